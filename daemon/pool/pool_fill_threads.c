/* SPDX-License-Identifier: MIT */
/* Filling without io_uring: a few threads, each reading the next block. */
#include "pool/pool_fill_job.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

enum { N_THREADS = 8 };

struct crew {
    struct pool_fill_job *job;
    pthread_mutex_t mutex; /* guards job->next, err and code */
    atomic_bool failed;
    int code;
    struct error err; /* of the first that failed */
};

static void set_failed(struct crew *crew, int code, const struct error *err)
{
    pthread_mutex_lock(&crew->mutex);
    if (!crew->code) {
        crew->code = code;
        crew->err = *err;
    }
    pthread_mutex_unlock(&crew->mutex);
    atomic_store(&crew->failed, true);
}

static int read_block(struct pool_fill_job *job, struct pool_block *block, struct error *err)
{
    int r;

    do {
        int fd = block->is_direct ? job->direct_fd : job->buffered_fd;
        ssize_t n = pread(fd, block->memory, block->bytes, (off_t)block->file_offset);
        r = pool_fill_advance(job, block, n < 0 ? -errno : n, err);
    } while (r > 0);
    return r;
}

/* Reads blocks until there are none; the calling thread also reports. */
static void work(struct crew *crew, bool is_caller)
{
    struct error err = {0};
    struct pool_block block;
    bool more = true;
    int r;

    while (more && !atomic_load(&crew->failed) && !pool_fill_is_cancelled(crew->job)) {
        pthread_mutex_lock(&crew->mutex);
        more = pool_fill_next(crew->job, &block);
        pthread_mutex_unlock(&crew->mutex);
        if (!more)
            break;
        r = read_block(crew->job, &block, &err);
        if (r < 0)
            set_failed(crew, r, &err);
        else if (is_caller)
            pool_fill_report(crew->job);
    }
}

static void *thread_main(void *data)
{
    work(data, false);
    return NULL;
}

int pool_fill_threads(struct pool_fill_job *job, struct error *err)
{
    struct crew crew = {.job = job, .mutex = PTHREAD_MUTEX_INITIALIZER};
    pthread_t threads[N_THREADS - 1];
    unsigned n = 0;

    while (n < N_THREADS - 1 && n + 1 < job->options.depth &&
           job->bytes > (uint64_t)job->options.block_bytes * (n + 1) &&
           pthread_create(&threads[n], NULL, thread_main, &crew) == 0)
        n++;
    work(&crew, true);
    while (n)
        pthread_join(threads[--n], NULL);
    if (crew.code)
        return error_set(err, crew.code, "%s", crew.err.text);
    if (atomic_load(&job->done) < job->bytes)
        return error_set(err, ECANCELED, "loading was cancelled");
    return 0;
}
