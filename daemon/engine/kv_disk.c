/* SPDX-License-Identifier: MIT */
#include "engine/kv_disk.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/kv_cost.h"
#include "engine/kv_directory.h"
#include "engine/kv_index.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECOND_NS 1000000000ull
#define PAUSE_NS  (30 * SECOND_NS)  /* of writing, after one that failed */
#define FLUSH_NS  (2 * SECOND_NS)   /* of all clients together, at the end */
#define END_NS    (10 * SECOND_NS)  /* a service manager waits for longer */
#define LOOK_NS   (600 * SECOND_NS) /* between two looks for what is too old */

#define MARK_NS (3600 * (int64_t)SECOND_NS) /* a file tells its last use this exactly */

/* What the thread does to a file besides jobs. */
struct errand {
    struct list link;
    struct pool_key key;
    uid_t uid;
    int64_t used_ns; /* mark it as used then; 0: remove it */
};

/* A user whose files go when they are found. */
struct forgotten {
    struct list link;
    uid_t uid;
};

struct kv_disk {
    struct kv_disk_config config;
    int root_fd;
    pthread_t thread;
    bool has_thread;

    pthread_mutex_t lock; /* all below */
    pthread_cond_t work, done;
    bool is_stopping, has_looked; /* the directory was looked through */
    bool is_waking, has_ended;    /* the thread calls config.wake(); it touches nothing any more */
    bool is_left;                 /* nobody waits for the thread any more: it frees this */
    struct list reads, writes, errands;
    struct list forgotten; /* before has_looked */
    struct kv_job *running;
    struct kv_index index;
    struct kv_disk_stats stats;
    struct kv_drive drive;
    uint64_t paused_until_ns; /* 0: writing is not paused */
    bool is_ending;           /* the process is */
    uint64_t flush_until_ns;  /* 0: nobody flushed yet */
};

static int64_t now_unix_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * (int64_t)SECOND_NS + now.tv_nsec;
}

static int64_t now_unix(void)
{
    return now_unix_ns() / (int64_t)SECOND_NS;
}

static struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){(time_t)(ns / SECOND_NS), (long)(ns % SECOND_NS)};
}

/* ---- the index and its errands; under the lock ---- */

/* Without memory the file stays as it is: a later start finds it. */
static void send(struct kv_disk *d, const struct kv_index_entry *e, int64_t used_ns)
{
    struct errand *errand = malloc(sizeof(*errand));

    if (!errand)
        return;
    *errand = (struct errand){.key = e->key, .uid = e->user->uid, .used_ns = used_ns};
    list_push_back(&d->errands, &errand->link);
    pthread_cond_signal(&d->work);
}

static void drop(struct kv_disk *d, struct kv_index_entry *e)
{
    d->stats.dropped_blocks++;
    send(d, e, 0);
    kv_index_remove(&d->index, e);
}

/* That of the block which a job's follows, where it is here. */
static struct kv_index_entry *parent_of(const struct kv_disk *d, const struct kv_job *job)
{
    return job->parent.hex[0] ? kv_index_find(&d->index, &job->parent) : NULL;
}

/* What the file of a block tells that is not there yet: that it goes just before the block that it
 * follows, here as after a restart. */
static int64_t first_use_ns(const struct kv_disk *d, const struct kv_job *job)
{
    const struct kv_index_entry *parent = parent_of(d, job);
    int64_t now_ns = now_unix_ns();

    return parent && parent->told_ns <= now_ns ? parent->told_ns - 1 : now_ns;
}

/* All of the user's; their bytes. */
static uint64_t drop_user(struct kv_disk *d, uid_t uid)
{
    const struct kv_index_user *u;
    uint64_t bytes = 0;

    while ((u = kv_index_user_of(&d->index, uid))) {
        struct kv_index_entry *e = list_first(&u->entries, struct kv_index_entry, link);

        bytes += e->bytes;
        drop(d, e);
    }
    return bytes;
}

/* What more of so many bytes displaces. */
static void make_room(struct kv_disk *d, uint64_t bytes)
{
    struct kv_index_entry *e;

    while (d->index.bytes + bytes > d->config.most_bytes && (e = kv_index_victim(&d->index)))
        drop(d, e);
}

static void drop_old(struct kv_disk *d)
{
    struct kv_index_entry *e;

    if (!d->config.keep_seconds)
        return;
    while ((e = kv_index_older(&d->index, now_unix() - (int64_t)d->config.keep_seconds)))
        drop(d, e);
}

/* ---- the thread ---- */

static void wake(struct kv_disk *d)
{
    void (*call)(void *user) = d->config.wake; /* end_thread() takes it away under the lock */

    if (!call)
        return;
    d->is_waking = true;
    pthread_mutex_unlock(&d->lock);
    call(d->config.user);
    pthread_mutex_lock(&d->lock);
    d->is_waking = false;
    pthread_cond_broadcast(&d->done);
}

static void do_errand(struct kv_disk *d, const struct errand *errand)
{
    if (errand->used_ns)
        kv_directory_mark(d->root_fd, errand->uid, &errand->key, errand->used_ns);
    else
        kv_directory_remove(d->root_fd, errand->uid, &errand->key);
}

/* Told once, until something can be written again. */
static void note_failure(struct kv_disk *d, int error)
{
    if (error != d->stats.write_error)
        log_warn("kv-disk %s: conversations cannot be written there: %s; it is tried again later",
                 d->config.path, strerror(-error));
    d->stats.write_error = error;
    d->stats.failed_writes++;
}

static void end_write(struct kv_disk *d, const struct kv_job *job, int64_t used_ns)
{
    const struct kv_record *r = &job->record;
    uint64_t bytes = kv_file_bytes(r->block_bytes, r->window_bytes);
    struct kv_index_entry *e = NULL, *parent = parent_of(d, job);

    if (job->result == -ECANCELED)
        return;
    if (job->result < 0) {
        note_failure(d, job->result);
        d->paused_until_ns = clock_now_ns() + d->config.pause_ns;
        return;
    }
    d->stats.write_error = 0;
    d->stats.written_blocks++;
    d->stats.written_bytes += bytes;
    if (kv_index_add(&d->index, r->uid, &r->key, bytes,
                     parent ? parent->used_unix : used_ns / (int64_t)SECOND_NS, parent, &e) < 0)
        return; /* a later start finds it */
    e->told_ns = used_ns;
    if (job->is_void)
        drop(d, e);
}

static void end_read(struct kv_disk *d, const struct kv_job *job, uint64_t ns)
{
    const struct kv_record *r = &job->record;
    struct kv_index_entry *e = kv_index_find(&d->index, &r->key);
    uint64_t bytes = kv_file_bytes(r->block_bytes, r->window_bytes);

    if (job->result == 0) {
        kv_drive_note(&d->drive, bytes, ns, clock_now_ns());
        d->stats.read_blocks++;
        d->stats.read_bytes += bytes;
    } else if (e && (job->result == -EBADMSG || job->result == -ENOENT || job->result == -EIO)) {
        d->stats.damaged_blocks++;
        drop(d, e);
    }
}

static void release(struct kv_job *job)
{
    if (job->release)
        job->release(job);
}

/* Does a job without the lock. */
static void do_job(struct kv_disk *d, struct kv_job *job)
{
    const struct kv_record *r = &job->record;
    uint64_t begin_ns = clock_now_ns(), bytes = kv_file_bytes(r->block_bytes, r->window_bytes);
    int64_t used_ns = first_use_ns(d, job);
    bool is_void = job->is_void;

    d->running = job;
    pthread_mutex_unlock(&d->lock);
    if (job->kind == KV_JOB_READ)
        job->result = kv_directory_read(d->root_fd, &job->record);
    else if (is_void)
        job->result = -ECANCELED;
    else if (bytes > d->config.most_bytes)
        job->result = -EFBIG;
    else
        job->result = kv_directory_write(d->root_fd, &job->record, used_ns);
    pthread_mutex_lock(&d->lock);
    d->running = NULL;
    if (job->kind == KV_JOB_READ)
        end_read(d, job, clock_now_ns() - begin_ns);
    else
        end_write(d, job, used_ns);
    if (job->client)
        list_push_back(&job->client->done, &job->link);
    else
        release(job);
    pthread_cond_broadcast(&d->done);
}

static int by_use(const void *a, const void *b)
{
    const struct kv_directory_file *x = a, *y = b;

    return (x->used_ns > y->used_ns) - (x->used_ns < y->used_ns);
}

static void look_through(struct kv_disk *d)
{
    struct kv_directory_file *files = NULL;
    int64_t now_ns = now_unix_ns();
    size_t n = 0;

    pthread_mutex_unlock(&d->lock);
    kv_directory_list(d->root_fd, &files, &n);
    if (n)
        qsort(files, n, sizeof(*files), by_use);
    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < n; i++) {
        const struct kv_directory_file *f = &files[i];
        bool is_ahead = f->used_ns > now_ns; /* the clock was set back */
        int64_t told_ns = is_ahead ? now_ns : f->used_ns;
        struct kv_index_entry *e;

        if (kv_index_add(&d->index, f->uid, &f->key, f->bytes, told_ns / (int64_t)SECOND_NS, NULL,
                         &e) < 0)
            continue;
        e->told_ns = told_ns;
        if (is_ahead)
            send(d, e, told_ns);
    }
    free(files);
    list_for_each_safe (f, &d->forgotten, struct forgotten, link) {
        drop_user(d, f->uid);
        list_remove(&f->link);
        free(f);
    }
    make_room(d, 0);
    drop_old(d);
    d->has_looked = true;
    wake(d);
}

/* The next job; NULL: none, or what it displaces must be removed before. */
static struct kv_job *next_job(struct kv_disk *d)
{
    struct kv_job *job = list_first(&d->reads, struct kv_job, link);
    uint64_t bytes;

    if (job || !list_empty(&d->errands))
        return job;
    job = list_first(&d->writes, struct kv_job, link);
    if (!job || job->is_void)
        return job;
    bytes = kv_file_bytes(job->record.block_bytes, job->record.window_bytes);
    if (bytes <= d->config.most_bytes)
        make_room(d, bytes);
    return list_empty(&d->errands) ? job : NULL;
}

/* Who waits to write has no other reason to come back. */
static void end_pause(struct kv_disk *d)
{
    if (!d->paused_until_ns || clock_now_ns() < d->paused_until_ns)
        return;
    d->paused_until_ns = 0;
    wake(d);
}

/* Does what is next; false: nothing is left, and the thread shall end. */
static bool do_next(struct kv_disk *d)
{
    struct kv_job *job = next_job(d);
    struct errand *errand = list_first(&d->errands, struct errand, link);
    struct timespec until;
    uint64_t until_ns;

    if (d->is_left)
        return false;
    if (job) {
        list_remove(&job->link);
        do_job(d, job);
        wake(d);
        return true;
    }
    if (errand) {
        list_remove(&errand->link);
        pthread_mutex_unlock(&d->lock);
        do_errand(d, errand);
        free(errand);
        pthread_mutex_lock(&d->lock);
        return true;
    }
    if (d->is_stopping)
        return false;
    until_ns = d->paused_until_ns ? d->paused_until_ns : clock_now_ns() + LOOK_NS;
    until = timespec_of(until_ns);
    if (pthread_cond_timedwait(&d->work, &d->lock, &until) == ETIMEDOUT) {
        drop_old(d);
        end_pause(d);
    }
    return true;
}

static void free_disk(struct kv_disk *d)
{
    list_for_each_safe (errand, &d->errands, struct errand, link)
        free(errand);
    list_for_each_safe (f, &d->forgotten, struct forgotten, link)
        free(f);
    kv_index_finish(&d->index);
    cleanup_close(&d->root_fd);
    pthread_cond_destroy(&d->work);
    pthread_cond_destroy(&d->done);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

static void *run(void *arg)
{
    struct kv_disk *d = arg;
    sigset_t over_limit;
    bool is_left;

    /* a file beyond the process's limit is a write that fails, not the end of the process */
    sigemptyset(&over_limit);
    sigaddset(&over_limit, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &over_limit, NULL);
    pthread_mutex_lock(&d->lock);
    look_through(d);
    while (do_next(d))
        ;
    is_left = d->is_left;
    d->has_ended = true;
    pthread_cond_broadcast(&d->done);
    pthread_mutex_unlock(&d->lock);
    if (is_left)
        free_disk(d);
    return NULL;
}

/* ---- from any thread ---- */

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
    if (!d->config.pause_ns)
        d->config.pause_ns = PAUSE_NS;
    if (!d->config.end_ns)
        d->config.end_ns = END_NS;
    list_init(&d->reads);
    list_init(&d->writes);
    list_init(&d->errands);
    list_init(&d->forgotten);
    kv_index_init(&d->index);
    init_conditions(d);
    d->root_fd = -1;
    r = kv_directory_open(cfg->path, &d->root_fd, err);
    if (r == 0) {
        r = -pthread_create(&d->thread, NULL, run, d);
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
    struct timespec until = timespec_of(clock_now_ns() + d->config.end_ns);
    bool has_ended;

    pthread_mutex_lock(&d->lock);
    d->is_stopping = true;
    pthread_cond_signal(&d->work);
    while (!d->has_ended && pthread_cond_timedwait(&d->done, &d->lock, &until) != ETIMEDOUT)
        ;
    has_ended = d->has_ended;
    d->is_left = !has_ended;
    d->config.wake = NULL;
    while (d->is_waking)
        pthread_cond_wait(&d->done, &d->lock);
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
        free_disk(d);
    else
        log_warn("kv-disk: the drive does not answer, and is not waited for any more");
}

bool kv_disk_has(struct kv_disk *d, const struct pool_key *key, uint64_t *ret_bytes)
{
    struct kv_index_entry *e;

    pthread_mutex_lock(&d->lock);
    e = kv_index_find(&d->index, key);
    if (e)
        *ret_bytes = e->bytes;
    pthread_mutex_unlock(&d->lock);
    return e != NULL;
}

void kv_disk_use(struct kv_disk *d, const struct pool_key *chain, uint32_t n)
{
    int64_t now_ns = now_unix_ns();
    bool shall_tell = false;
    struct kv_index_entry *e;

    pthread_mutex_lock(&d->lock);
    for (uint32_t i = n; i-- > 0;) {
        e = kv_index_find(&d->index, &chain[i]);
        if (!e)
            continue;
        kv_index_use(e, now_ns / (int64_t)SECOND_NS);
        shall_tell |= e->told_ns + MARK_NS <= now_ns;
    }
    /* all or none, or a beginning that others share would seem older than this end */
    for (uint32_t i = 0; i < n && shall_tell; i++) {
        e = kv_index_find(&d->index, &chain[i]);
        if (!e)
            continue;
        e->told_ns = now_ns - i;
        send(d, e, e->told_ns);
    }
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
    takes = d->has_looked && !d->paused_until_ns;
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
        release(job);
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
    struct timespec until = timespec_of(until_ns);
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
    ret_stats->bytes = d->index.bytes;
    ret_stats->files = d->index.n;
    ret_stats->bytes_per_second = kv_drive_speed(&d->drive, clock_now_ns());
    pthread_mutex_unlock(&d->lock);
}

bool kv_disk_user_bytes(struct kv_disk *d, uid_t uid, uint64_t *ret_bytes)
{
    const struct kv_index_user *u;
    bool is_known;

    pthread_mutex_lock(&d->lock);
    is_known = d->has_looked;
    u = kv_index_user_of(&d->index, uid);
    *ret_bytes = u ? u->bytes : 0;
    pthread_mutex_unlock(&d->lock);
    return is_known;
}

int kv_disk_forget(struct kv_disk *d, uid_t uid, uint64_t *ret_bytes)
{
    struct forgotten *f = malloc(sizeof(*f));

    if (!f)
        return -ENOMEM;
    f->uid = uid;
    pthread_mutex_lock(&d->lock);
    *ret_bytes = drop_user(d, uid);
    /* what is being written is not in the index yet */
    list_for_each (job, &d->writes, struct kv_job, link)
        job->is_void |= job->record.uid == uid;
    if (d->running && d->running->record.uid == uid)
        d->running->is_void = true;
    if (d->has_looked)
        free(f);
    else
        list_push_back(&d->forgotten, &f->link);
    pthread_mutex_unlock(&d->lock);
    return 0;
}
