/* SPDX-License-Identifier: MIT */
/* What the disk tier's thread does: jobs, errands, and looks for what is too old. */
#include "engine/kv_disk_private.h"

#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_NS (600 * SECOND_NS) /* between two looks for what is too old */

enum { CLEANED_AT_ONCE = 32 /* files; reads wait for no more */ };

void kv_job_release(struct kv_job *job)
{
    if (job->release)
        job->release(job);
}

/* That of the block which a job's follows, where it is here. */
static struct kv_index_entry *parent_of(const struct kv_disk *d, const struct kv_job *job)
{
    return job->parent.hex[0] ? kv_index_find(&d->files.index, &job->parent) : NULL;
}

static uint64_t bytes_of(const struct kv_job *job)
{
    return kv_file_bytes(job->record.block_bytes, job->record.window_bytes);
}

/* What the file of a block tells that is not there yet: that it goes just before the block that it
 * follows, here as after a restart. */
static int64_t first_use_ns(const struct kv_disk *d, const struct kv_job *job)
{
    const struct kv_index_entry *parent = parent_of(d, job);
    int64_t now_ns = kv_disk_now_unix_ns();

    return parent && parent->told_ns <= now_ns ? parent->told_ns - 1 : now_ns;
}

static void drop_old(struct kv_disk *d)
{
    if (d->config.keep_seconds)
        kv_files_drop_old(&d->files, (kv_disk_now_unix_ns() / (int64_t)SECOND_NS) -
                                         (int64_t)d->config.keep_seconds);
}

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

/* Without the lock, from taking the errand on. */
static void do_errand(struct kv_disk *d, struct kv_errand *errand)
{
    int e;

    pthread_mutex_unlock(&d->lock);
    e = kv_errand_do(errand, d->root_fd);
    if (e < 0)
        log_warn("kv-disk %s: what user %u wants forgotten could not be removed: %s; remove %s/%u, "
                 "or it is found again after a restart",
                 d->path, (unsigned)errand->uid, strerror(-e), d->path, (unsigned)errand->uid);
    free(errand);
    pthread_mutex_lock(&d->lock);
}

/* Whoever wants something forgotten waits for nothing else. */
static void set_aside(void *disk)
{
    struct kv_disk *d = disk;
    struct kv_errand *errand;

    pthread_mutex_lock(&d->lock);
    while ((errand = kv_files_take_urgent(&d->files)))
        do_errand(d, errand);
    pthread_mutex_unlock(&d->lock);
}

/* Told once, until something can be written again. */
static void note_failure(struct kv_disk *d, int error)
{
    if (error != d->stats.write_error)
        log_warn("kv-disk %s: conversations cannot be written there: %s; it is tried again later",
                 d->path, strerror(-error));
    d->stats.write_error = error;
    d->stats.failed_writes++;
}

static void end_write(struct kv_disk *d, const struct kv_job *job, int64_t used_ns)
{
    struct kv_index_entry *e;

    if (job->result == -ECANCELED || job->result == -E2BIG || job->result == -ESTALE)
        return;
    if (job->result < 0) {
        note_failure(d, job->result);
        d->paused_until_ns = clock_now_ns() + d->config.pause_ns;
        return;
    }
    d->stats.write_error = 0;
    d->stats.written_blocks++;
    d->stats.written_bytes += bytes_of(job);
    e = kv_files_add(&d->files, &job->record, bytes_of(job), parent_of(d, job), used_ns);
    if (e && job->is_void)
        kv_files_drop(&d->files, e);
}

static void end_read(struct kv_disk *d, const struct kv_job *job, uint64_t ns)
{
    const struct kv_record *r = &job->record;
    struct kv_index_entry *e = kv_index_find(&d->files.index, &r->key);
    uint64_t bytes = bytes_of(job);

    if (job->result == 0) {
        kv_drive_note(&d->drive, bytes, ns, clock_now_ns());
        d->stats.read_blocks++;
        d->stats.read_bytes += bytes;
    } else if (e && (job->result == -EBADMSG || job->result == -ENOENT || job->result == -EIO)) {
        d->stats.damaged_blocks++;
        kv_files_drop(&d->files, e);
    }
}

/* Why a write shall not be done, whatever goes, as in kv_job; 0: it shall. */
static int why_not_write(const struct kv_disk *d, const struct kv_job *job)
{
    if (job->is_void)
        return -ECANCELED;
    if (bytes_of(job) > d->config.most_bytes)
        return -EFBIG;
    return job->parent.hex[0] && !parent_of(d, job) ? -ESTALE : 0;
}

static bool has_room(const struct kv_disk *d, const struct kv_job *job)
{
    return d->files.index.bytes + bytes_of(job) <= d->config.most_bytes;
}

/* Does a job without the lock. */
static void do_job(struct kv_disk *d, struct kv_job *job)
{
    uint64_t begin_ns = clock_now_ns();
    int64_t used_ns = first_use_ns(d, job);
    int why_not = job->kind == KV_JOB_WRITE ? why_not_write(d, job) : 0;

    if (job->kind == KV_JOB_WRITE && !why_not && !has_room(d, job))
        why_not = -E2BIG; /* next_job() made as much as may be */
    d->running = job;
    pthread_mutex_unlock(&d->lock);
    if (job->kind == KV_JOB_READ)
        job->result = kv_directory_read(d->root_fd, &job->record);
    else if (why_not < 0)
        job->result = why_not;
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
        kv_job_release(job);
    pthread_cond_broadcast(&d->done);
}

static void look_through(struct kv_disk *d)
{
    struct kv_directory_file *found = NULL;
    size_t n = 0;

    pthread_mutex_unlock(&d->lock);
    kv_directory_list(d->root_fd, set_aside, d, &found, &n);
    pthread_mutex_lock(&d->lock);
    kv_files_enter(&d->files, found, n, kv_disk_now_unix_ns());
    free(found);
    kv_files_make_room(&d->files, d->config.most_bytes, 0, NULL, NULL);
    drop_old(d);
    wake(d);
}

/* The next job; NULL: none, or what it displaces must be removed before. */
static struct kv_job *next_job(struct kv_disk *d)
{
    struct kv_job *job = list_first(&d->reads, struct kv_job, link);
    const struct kv_index_entry *common;

    if (job || kv_files_has_excess(&d->files))
        return job;
    job = list_first(&d->writes, struct kv_job, link);
    if (!job || why_not_write(d, job))
        return job;
    common = job->common.hex[0] ? kv_index_find(&d->files.index, &job->common) : NULL;
    kv_files_make_room(&d->files, d->config.most_bytes, bytes_of(job), parent_of(d, job), common);
    return kv_files_has_excess(&d->files) ? NULL : job;
}

/* Goes on with files that lie there and shall not; false: there are none. */
static bool remove_excess(struct kv_disk *d)
{
    struct kv_errand *errand = kv_files_take_errand(&d->files);
    bool is_more;

    if (errand) {
        do_errand(d, errand);
        return true;
    }
    if (!d->files.has_gone)
        return false;
    d->files.has_gone = false; /* unless somebody says so meanwhile */
    pthread_mutex_unlock(&d->lock);
    is_more = kv_directory_clean(d->root_fd, CLEANED_AT_ONCE);
    pthread_mutex_lock(&d->lock);
    d->files.has_gone |= is_more;
    return true;
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
    struct kv_errand *urgent = kv_files_take_urgent(&d->files);
    struct kv_job *job;
    struct timespec until;
    uint64_t until_ns;

    if (urgent) {
        do_errand(d, urgent);
        return true;
    }
    if (d->is_left)
        return false;
    job = next_job(d);
    if (job) {
        list_remove(&job->link);
        do_job(d, job);
        wake(d);
        return true;
    }
    if (remove_excess(d))
        return true;
    if (d->is_stopping)
        return false;
    until_ns = d->paused_until_ns ? d->paused_until_ns : clock_now_ns() + LOOK_NS;
    until = kv_disk_timespec(until_ns);
    if (pthread_cond_timedwait(&d->work, &d->lock, &until) == ETIMEDOUT) {
        drop_old(d);
        end_pause(d);
    }
    return true;
}

void *kv_disk_run(void *arg)
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
        kv_disk_free(d);
    return NULL;
}
