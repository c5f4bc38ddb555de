/* SPDX-License-Identifier: MIT */
#include "engine/kv_disk_private.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAUSE_NS (30 * SECOND_NS) /* of writing, after one that failed */
#define FLUSH_NS (2 * SECOND_NS)  /* of all clients together, at the end */
#define END_NS   (10 * SECOND_NS) /* a service manager waits for longer */

void kv_disk_free(struct kv_disk *d)
{
    kv_files_finish(&d->files);
    cleanup_close(&d->root_fd);
    free(d->path);
    pthread_cond_destroy(&d->work);
    pthread_cond_destroy(&d->done);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

static void init_conditions(struct kv_disk *d)
{
    pthread_condattr_t monotonic;

    pthread_mutex_init(&d->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC); /* that of clock_now_ns() */
    pthread_cond_init(&d->work, &monotonic);
    pthread_cond_init(&d->done, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

int kv_disk_create(const struct kv_disk_config *cfg, struct kv_disk **ret_disk, struct error *err)
{
    struct kv_disk *d = calloc(1, sizeof(*d));
    int r;

    if (!d)
        return error_set(err, ENOMEM, "out of memory");
    d->config = *cfg;
    d->config.path = NULL; /* the caller's */
    d->path = strdup(cfg->path);
    if (!d->config.pause_ns)
        d->config.pause_ns = PAUSE_NS;
    if (!d->config.end_ns)
        d->config.end_ns = END_NS;
    list_init(&d->reads);
    list_init(&d->writes);
    kv_files_init(&d->files);
    init_conditions(d);
    d->root_fd = -1;
    r = d->path ? kv_directory_open(cfg->path, &d->root_fd, err)
                : error_set(err, ENOMEM, "out of memory");
    if (r == 0) {
        r = -pthread_create(&d->thread, NULL, kv_disk_run, d);
        d->has_thread = r == 0;
        if (r < 0)
            error_set_errno(err, r, "cannot start the thread for %s", cfg->path);
    }
    if (r < 0) {
        kv_disk_destroy(d);
        return r;
    }
    pthread_setname_np(d->thread, "hearth-disk");
    *ret_disk = d;
    return 0;
}

/* False: the thread has not come back in time, and has been left to itself. */
static bool end_thread(struct kv_disk *d)
{
    struct timespec until = kv_disk_timespec(clock_now_ns() + d->config.end_ns);
    bool has_ended;

    pthread_mutex_lock(&d->lock);
    d->is_stopping = true;
    pthread_cond_signal(&d->work);
    while (!d->has_ended && pthread_cond_timedwait(&d->done, &d->lock, &until) != ETIMEDOUT)
        ;
    d->config.wake = NULL;
    while (d->is_waking)
        pthread_cond_wait(&d->done, &d->lock);
    /* only now: whoever is left frees the lock that is waited for here */
    has_ended = d->has_ended;
    d->is_left = !has_ended;
    if (!has_ended)
        pthread_detach(d->thread);
    pthread_mutex_unlock(&d->lock);
    if (has_ended)
        pthread_join(d->thread, NULL);
    return has_ended;
}

void kv_disk_destroy(struct kv_disk *d)
{
    if (!d)
        return;
    if (!d->has_thread || end_thread(d))
        kv_disk_free(d);
    else
        log_warn("kv-disk: the drive does not answer, and is not waited for any more");
}

bool kv_disk_has(struct kv_disk *d, const struct pool_key *key, uint64_t *ret_bytes)
{
    struct kv_index_entry *e;

    pthread_mutex_lock(&d->lock);
    e = kv_index_find(&d->files.index, key);
    if (e)
        *ret_bytes = e->bytes;
    pthread_mutex_unlock(&d->lock);
    return e != NULL;
}

void kv_disk_use(struct kv_disk *d, const struct pool_key *chain, uint32_t n)
{
    pthread_mutex_lock(&d->lock);
    kv_files_use(&d->files, chain, n, kv_disk_now_unix_ns());
    pthread_cond_signal(&d->work);
    pthread_mutex_unlock(&d->lock);
}

uint64_t kv_disk_most_bytes(const struct kv_disk *d)
{
    return d->config.most_bytes;
}

bool kv_disk_takes_writes(struct kv_disk *d)
{
    bool takes;

    pthread_mutex_lock(&d->lock);
    takes = d->files.has_looked && !d->paused_until_ns;
    pthread_mutex_unlock(&d->lock);
    return takes;
}

void kv_disk_client_init(struct kv_disk_client *c)
{
    list_init(&c->done);
    c->n_under_way = 0;
}

static void release_queued(struct list *queue, const struct kv_disk_client *c)
{
    list_for_each_safe (job, queue, struct kv_job, link) {
        if (job->client != c)
            continue;
        list_remove(&job->link);
        kv_job_release(job);
    }
}

void kv_disk_client_finish(struct kv_disk *d, struct kv_disk_client *c)
{
    pthread_mutex_lock(&d->lock);
    release_queued(&d->reads, c);
    release_queued(&d->writes, c);
    release_queued(&c->done, c);
    if (d->running && d->running->client == c)
        d->running->client = NULL;
    c->n_under_way = 0;
    pthread_mutex_unlock(&d->lock);
}

void kv_disk_expect_end(struct kv_disk *d)
{
    pthread_mutex_lock(&d->lock);
    d->is_ending = true;
    pthread_mutex_unlock(&d->lock);
}

uint64_t kv_disk_flush_ns(struct kv_disk *d)
{
    uint64_t now_ns = clock_now_ns(), left_ns = 0;

    pthread_mutex_lock(&d->lock);
    if (d->is_ending && !d->flush_until_ns)
        d->flush_until_ns = now_ns + FLUSH_NS;
    if (now_ns < d->flush_until_ns)
        left_ns = d->flush_until_ns - now_ns;
    pthread_mutex_unlock(&d->lock);
    return left_ns;
}

void kv_disk_start(struct kv_disk *d, struct kv_disk_client *c, struct kv_job *job)
{
    job->client = c;
    job->is_void = false;
    c->n_under_way++;
    pthread_mutex_lock(&d->lock);
    list_push_back(job->kind == KV_JOB_READ ? &d->reads : &d->writes, &job->link);
    pthread_cond_signal(&d->work);
    pthread_mutex_unlock(&d->lock);
}

static struct kv_job *take_done(struct kv_disk_client *c)
{
    struct kv_job *job = list_first(&c->done, struct kv_job, link);

    if (job) {
        list_remove(&job->link);
        c->n_under_way--;
    }
    return job;
}

struct kv_job *kv_disk_take_done(struct kv_disk *d, struct kv_disk_client *c)
{
    struct kv_job *job;

    pthread_mutex_lock(&d->lock);
    job = take_done(c);
    pthread_mutex_unlock(&d->lock);
    return job;
}

struct kv_job *kv_disk_wait_done(struct kv_disk *d, struct kv_disk_client *c, uint64_t most_ns)
{
    uint64_t now_ns = clock_now_ns();
    uint64_t until_ns = most_ns < UINT64_MAX - now_ns ? now_ns + most_ns : UINT64_MAX;
    struct timespec until = kv_disk_timespec(until_ns);
    struct kv_job *job;

    pthread_mutex_lock(&d->lock);
    while (!(job = take_done(c)) && c->n_under_way)
        if (pthread_cond_timedwait(&d->done, &d->lock, &until) == ETIMEDOUT)
            break;
    pthread_mutex_unlock(&d->lock);
    return job;
}

void kv_disk_get_stats(struct kv_disk *d, struct kv_disk_stats *ret_stats)
{
    pthread_mutex_lock(&d->lock);
    *ret_stats = d->stats;
    ret_stats->bytes = d->files.index.bytes;
    ret_stats->files = d->files.index.n;
    ret_stats->dropped_blocks = d->files.dropped_blocks;
    ret_stats->bytes_per_second = kv_drive_speed(&d->drive, clock_now_ns());
    pthread_mutex_unlock(&d->lock);
}

bool kv_disk_user_bytes(struct kv_disk *d, uid_t uid, uint64_t *ret_bytes)
{
    const struct kv_index_user *u;
    bool is_known;

    pthread_mutex_lock(&d->lock);
    is_known = d->files.has_looked;
    u = kv_index_user_of(&d->files.index, uid);
    *ret_bytes = u ? u->bytes : 0;
    pthread_mutex_unlock(&d->lock);
    return is_known;
}

int kv_disk_forget(struct kv_disk *d, uid_t uid, uint64_t *ret_bytes)
{
    int r;

    pthread_mutex_lock(&d->lock);
    r = kv_files_forget(&d->files, uid, ret_bytes);
    if (r == 0) {
        /* what is being written is not among the files yet */
        list_for_each (job, &d->writes, struct kv_job, link)
            job->is_void |= job->record.uid == uid;
        if (d->running && d->running->record.uid == uid)
            d->running->is_void = true;
        pthread_cond_signal(&d->work);
    }
    pthread_mutex_unlock(&d->lock);
    return r;
}
