/* SPDX-License-Identifier: MIT */
/* Filling without io_uring: a few threads, each reading the next block. */
#include "pool/pool_fill_job.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

enum { N_THREADS = 8 };

#define WAIT_NS UINT64_C(2000000)

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

static void wait_ns(uint64_t ns)
{
    const struct timespec t = {.tv_sec = (time_t)(ns / 1000000000),
                               .tv_nsec = (long)(ns % 1000000000)};

    nanosleep(&t, NULL);
}

static int read_block(struct pool_fill_job *job, struct pool_block *block, struct error *err)
{
    unsigned tries = 0;
    int r = 1;

    while (r > 0) {
        int fd = block->is_direct ? job->direct_fd : job->buffered_fd;
        ssize_t n = pread(fd, block->memory, block->bytes, (off_t)block->file_offset);
        int64_t got = n < 0 ? -errno : n;
        uint64_t again_ns = got < 0 ? pool_fill_retry_ns(job, got, ++tries) : 0;

        if (again_ns && pool_fill_is_cancelled(job))
            return error_set(err, ECANCELED, "loading was cancelled");
        if (again_ns) {
            wait_ns(again_ns);
            continue;
        }
        tries = got > 0 ? 0 : tries;
        r = pool_fill_advance(job, block, got, err);
    }
    return r;
}

/* The next block for the thread of that number: as pool_fill_next(). */
static int next_block(struct crew *crew, unsigned thread, struct pool_block *block,
                      struct error *err)
{
    int r = -EAGAIN;

    pthread_mutex_lock(&crew->mutex);
    if (thread < pool_fill_depth(crew->job))
        r = pool_fill_next(crew->job, block, err);
    else if (crew->job->next >= crew->job->bytes)
        r = 0;
    pthread_mutex_unlock(&crew->mutex);
    return r;
}

/* Reads blocks until there are none; the calling thread, number 0, also reports. */
static void work(struct crew *crew, unsigned thread)
{
    struct error err = {0};
    struct pool_block block;
    int r = 1;

    while (r && !atomic_load(&crew->failed) && !pool_fill_is_cancelled(crew->job)) {
        r = next_block(crew, thread, &block, &err);
        if (r == -EAGAIN) {
            wait_ns(WAIT_NS);
            continue;
        }
        if (r > 0 && (r = read_block(crew->job, &block, &err)) == 0)
            r = 1;
        if (r < 0) {
            set_failed(crew, r, &err);
            return;
        }
        if (!thread)
            pool_fill_report(crew->job);
    }
}

struct member {
    struct crew *crew;
    unsigned thread;
};

static void *thread_main(void *data)
{
    struct member *m = data;

    work(m->crew, m->thread);
    return NULL;
}

int pool_fill_threads(struct pool_fill_job *job, struct error *err)
{
    struct crew crew = {.job = job, .mutex = PTHREAD_MUTEX_INITIALIZER};
    struct member members[N_THREADS];
    pthread_t threads[N_THREADS - 1];
    unsigned n = 0;

    while (n < N_THREADS - 1 && n + 1 < job->options.depth &&
           job->bytes > (uint64_t)job->options.block_bytes * (n + 1)) {
        members[n] = (struct member){&crew, n + 1};
        if (pthread_create(&threads[n], NULL, thread_main, &members[n]))
            break;
        n++;
    }
    work(&crew, 0);
    while (n)
        pthread_join(threads[--n], NULL);
    if (crew.code)
        return error_set(err, crew.code, "%s", crew.err.text);
    if (atomic_load(&job->done) < job->bytes)
        return error_set(err, ECANCELED, "loading was cancelled");
    return 0;
}
