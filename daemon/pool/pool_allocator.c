/* SPDX-License-Identifier: MIT */
#include "pool/pool_allocator.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#define WAIT_NS 1000000

static void on_interrupt(int signo)
{
    (void)signo; /* that a system call ends early is all that is wanted */
}

static void set_handler(void)
{
    const struct sigaction action = {.sa_handler = on_interrupt}; /* no SA_RESTART */

    sigaction(SIGRTMIN, &action, NULL);
}

static void *allocate_main(void *data)
{
    struct pool_allocator *a = data;
    struct error err = {0};
    sigset_t interrupt;
    int r = -EINTR;

    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGRTMIN);
    pthread_sigmask(SIG_UNBLOCK, &interrupt, NULL);
    while (r == -EINTR && !atomic_load(&a->is_stopping))
        r = a->pool->ops->allocate(a->pool, &err);
    if (r < 0 && r != -EINTR) {
        pthread_mutex_lock(&a->lock);
        if (!a->failure.code)
            a->failure = err;
        pthread_mutex_unlock(&a->lock);
    }
    if (r == 0)
        atomic_store(&a->is_whole, true);
    atomic_fetch_add(&a->n_ended, 1);
    return NULL;
}

int pool_allocator_start(struct pool_allocator *a, struct pool *pool, struct error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    *a = (struct pool_allocator){.pool = pool, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_once(&once, set_handler);
    while (a->n_threads < POOL_ALLOCATOR_THREADS &&
           pthread_create(&a->threads[a->n_threads], NULL, allocate_main, a) == 0)
        a->n_threads++;
    if (!a->n_threads)
        return error_set(err, EAGAIN, "%s: no thread to allocate memory with", pool->name);
    return 0;
}

int pool_allocator_check(struct pool_allocator *a, uint64_t bytes, struct error *err)
{
    bool have_ended = atomic_load(&a->n_ended) == a->n_threads; /* before the rest is looked at */
    int r = 0;

    pthread_mutex_lock(&a->lock);
    if (a->failure.code) {
        r = a->failure.code;
        if (err)
            *err = a->failure;
    }
    pthread_mutex_unlock(&a->lock);
    if (r < 0 || a->pool->ops->allocated_bytes(a->pool) >= bytes)
        return r;
    return have_ended ? error_set(err, EIO, "%s: its memory is not there", a->pool->name) : -EAGAIN;
}

int pool_allocator_wait(struct pool_allocator *a, const atomic_bool *cancel, struct error *err)
{
    const struct timespec wait = {.tv_nsec = WAIT_NS};

    while (!atomic_load(&a->is_whole)) {
        int r = pool_allocator_check(a, a->pool->mapped_bytes, err);

        if (r < 0 && r != -EAGAIN)
            return r;
        if (cancel && atomic_load(cancel))
            return error_set(err, ECANCELED, "loading was cancelled");
        nanosleep(&wait, NULL);
    }
    return 0;
}

void pool_allocator_stop(struct pool_allocator *a)
{
    const struct timespec wait = {.tv_nsec = WAIT_NS};

    atomic_store(&a->is_stopping, true);
    /* a signal may come just before the system call that it should interrupt: again, then */
    while (atomic_load(&a->n_ended) < a->n_threads) {
        for (unsigned i = 0; i < a->n_threads; i++)
            pthread_kill(a->threads[i], SIGRTMIN);
        nanosleep(&wait, NULL);
    }
    for (unsigned i = 0; i < a->n_threads; i++)
        pthread_join(a->threads[i], NULL);
    if (atomic_load(&a->is_whole))
        a->pool->is_deferred = false;
    pthread_mutex_destroy(&a->lock);
}
