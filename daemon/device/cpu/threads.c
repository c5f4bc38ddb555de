/* SPDX-License-Identifier: MIT */
#include "device/cpu/threads.h"

#include "base/clock.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Longest look for the next phase of a job before sleeping. Short against a scheduler's time slice
 * (milliseconds), so that little is lost when the worker waited for is not running; long against
 * the phases of one small item (rows of a decode step) that come between the wide ones. For the
 * next job nobody looks: it comes when another thread has slept through this one. */
#define SPIN_NS 20000

/* A slice that the workers ask of the scheduler, the least there is (Linux 6.12; before, it is
 * ignored): beside other programs that want their cores they are put off sooner, but for shorter,
 * and it is the longest absence that a barrier waits for. */
#define SLICE_NS 100000

/* Before a job's first phase comes an item of no work: who takes it begins the job, so that the
 * submitting thread does none of it. */
#define PHASE_START UINT32_MAX

struct queued {
    struct job *job;
    uint64_t ticket;
};

/* The items of a phase that a worker takes first: always the same ones of the same phase, so that
 * what they read is still in the caches of its core. Whoever has done all of his takes those of
 * others. One word says which is the next and where they end, so that one fetch-add both takes an
 * item and proves that it is there. */
struct share {
    _Alignas(64) _Atomic uint64_t word;
};
#define word_make(first, end) ((uint64_t)(end) << 32 | (first))
#define word_next(w)          ((uint32_t)(w))
#define word_end(w)           ((uint32_t)((w) >> 32))

struct worker {
    struct share share;
    struct threads *owner;
    pthread_t thread;
    unsigned index;
};

struct threads {
    _Alignas(64) _Atomic uint32_t done;  /* items of the phase that are finished */
    _Alignas(64) _Atomic uint32_t epoch; /* futex: moves whenever shares are dealt */
    /* Workers that look for a new epoch, and those that sleep until there is one. */
    _Atomic uint32_t n_looking, n_asleep;
    _Atomic bool is_stopping;

    /* Written by whoever begins a phase, before it deals the shares. */
    struct job *job;
    uint32_t phase, n_items;
    uint64_t running_ticket;

    pthread_mutex_t lock;
    pthread_cond_t finished;
    /* under lock */
    struct queued *queue;
    size_t n_queued, queue_cap;
    uint64_t last_ticket, done_ticket;
    _Atomic bool is_running; /* a job; read without lock, too */

    unsigned n_workers; /* running */
    unsigned n_shares;
    struct worker workers[];
};

static void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int n)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Makes the items of a phase known. n_needed: workers that should see to them, beside the caller
 * if it is one. */
static void deal(struct threads *t, uint32_t n_items, uint32_t n_needed)
{
    uint32_t n_looking;

    t->n_items = n_items;
    atomic_store_explicit(&t->done, 0, memory_order_relaxed);
    for (uint32_t i = 0; i < t->n_shares; i++) {
        uint32_t first = (uint32_t)((uint64_t)n_items * i / t->n_shares);
        uint32_t end = (uint32_t)((uint64_t)n_items * (i + 1) / t->n_shares);

        atomic_store(&t->workers[i].share.word, word_make(first, end));
    }
    atomic_fetch_add(&t->epoch, 1);
    /* Who stops looking after this goes to sleep on an epoch that is over: it will not sleep. */
    n_looking = atomic_load(&t->n_looking);
    if (n_needed > n_looking && atomic_load(&t->n_asleep))
        futex_wake(&t->epoch, (int)(n_needed - n_looking));
}

/* Under lock. */
static void start_next_job(struct threads *t)
{
    struct queued q = t->queue[0];

    memmove(t->queue, t->queue + 1, --t->n_queued * sizeof(*t->queue));
    t->job = q.job;
    t->running_ticket = q.ticket;
    t->phase = PHASE_START;
    t->is_running = true;
}

/* Ends the running job. Returns whether another one is there. */
static bool finish_job(struct threads *t)
{
    bool more;

    pthread_mutex_lock(&t->lock);
    t->done_ticket = t->running_ticket;
    more = t->n_queued > 0;
    if (more)
        start_next_job(t);
    else
        t->is_running = false;
    pthread_mutex_unlock(&t->lock);
    pthread_cond_broadcast(&t->finished); /* who wakes finds the lock free */
    return more;
}

/* Called by the worker that finished a phase: goes on to the next phase with work for several. */
static void advance(struct threads *t, unsigned thread)
{
    for (;;) {
        uint32_t n_items;
        bool is_small = false;

        t->phase++; /* PHASE_START wraps to 0 */
        if (t->phase >= t->job->n_phases) {
            if (!finish_job(t))
                return;
            continue;
        }
        n_items = t->job->begin_phase(t->job, t->phase, &is_small);
        if (n_items > 1 && !is_small) {
            deal(t, n_items, (n_items < t->n_workers ? n_items : t->n_workers) - 1);
            return;
        }
        for (uint32_t i = 0; i < n_items; i++)
            t->job->run_item(t->job, t->phase, i, thread);
    }
}

/* Waits until the epoch is another than seen. */
static void wait_for_epoch(struct threads *t, uint32_t seen)
{
    uint64_t until = clock_now_ns() + SPIN_NS;
    bool is_new = false;

    atomic_fetch_add(&t->n_looking, 1);
    do {
        for (int i = 0; i < 16 && !is_new; i++) {
            is_new = atomic_load(&t->epoch) != seen;
            relax();
        }
        /* who else wants this core had better take it now than in the middle of an item, for which
         * the other workers would wait */
        if (!is_new)
            sched_yield();
    } while (!is_new && atomic_load(&t->is_running) && clock_now_ns() < until);
    atomic_fetch_add(&t->n_asleep, !is_new);
    atomic_fetch_sub(&t->n_looking, 1);
    if (is_new)
        return;
    if (!atomic_load(&t->is_stopping))
        futex_wait(&t->epoch, seen);
    atomic_fetch_sub(&t->n_asleep, 1);
}

/* Takes items of a share until there are none. Returns how many. */
static uint32_t work_off(struct threads *t, struct share *share, unsigned thread)
{
    uint32_t n = 0;
    uint64_t w = atomic_load(&share->word);

    while (word_next(w) < word_end(w)) {
        w = atomic_fetch_add(&share->word, 1);
        if (word_next(w) >= word_end(w))
            break;
        if (t->phase != PHASE_START)
            t->job->run_item(t->job, t->phase, word_next(w), thread);
        n++;
    }
    return n;
}

/* Takes items of all shares, its own first; runs what comes after the phase if it was the last to
 * finish. The phase cannot end before the items taken here are counted, so all are of one phase. */
static void work(struct threads *t, unsigned thread)
{
    uint32_t mine = 0, i = thread, n_items;

    do {
        mine += work_off(t, &t->workers[i].share, thread);
        i = i + 1 < t->n_shares ? i + 1 : 0;
    } while (i != thread);
    if (!mine)
        return;
    n_items = t->n_items; /* of this phase as long as what is mine is not counted */
    if (atomic_fetch_add(&t->done, mine) + mine == n_items)
        advance(t, thread);
}

/* Of the calling thread; what it has otherwise stays as it is. */
static void ask_for_short_slices(void)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attr;

    if (syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0) || attr.policy != SCHED_OTHER)
        return;
    attr.size = sizeof(attr);
    attr.runtime = SLICE_NS;
    syscall(SYS_sched_setattr, 0, &attr, 0);
}

static void *worker_main(void *arg)
{
    struct worker *self = arg;
    struct threads *t = self->owner;

    ask_for_short_slices();
    while (!atomic_load_explicit(&t->is_stopping, memory_order_acquire)) {
        uint32_t epoch = atomic_load(&t->epoch);

        work(t, self->index);
        wait_for_epoch(t, epoch);
    }
    return NULL;
}

unsigned threads_allowed_cpus(void)
{
    char line[4096], path[4200];
    cpu_set_t set;
    unsigned n = 1;
    FILE *f;

    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        n = (unsigned)CPU_COUNT(&set);
    f = fopen("/proc/self/cgroup", "re");
    if (!f)
        return n;
    while (fgets(line, sizeof(line), f)) {
        char *end = strchr(line, '\n');

        if (strncmp(line, "0::", 3) || !end)
            continue;
        /* The quota of every level counts. */
        for (; end > line + 3; end = memrchr(line + 3, '/', (size_t)(end - line - 3))) {
            unsigned long quota, period;
            FILE *max;

            *end = 0;
            snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cpu.max", line + 3);
            max = fopen(path, "re");
            if (max && fscanf(max, "%lu %lu", &quota, &period) == 2 && period &&
                (quota + period - 1) / period < n)
                n = (unsigned)((quota + period - 1) / period);
            if (max)
                fclose(max);
        }
    }
    fclose(f);
    return n ? n : 1;
}

int threads_create(unsigned n, struct threads **ret_threads, struct error *err)
{
    size_t bytes = sizeof(struct threads) + n * sizeof(struct worker);
    struct threads *t = aligned_alloc(64, (bytes + 63) / 64 * 64);
    pthread_condattr_t attr;

    if (!t)
        return error_set(err, ENOMEM, "out of memory");
    memset(t, 0, bytes);
    t->n_shares = n;
    pthread_mutex_init(&t->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&t->finished, &attr);
    pthread_condattr_destroy(&attr);
    for (; t->n_workers < n; t->n_workers++) {
        struct worker *w = &t->workers[t->n_workers];
        char name[16];
        int r;

        w->owner = t;
        w->index = t->n_workers;
        r = pthread_create(&w->thread, NULL, worker_main, w);
        if (r) {
            threads_destroy(t);
            return error_set_errno(err, r, "cannot start worker thread %u of %u", w->index + 1, n);
        }
        snprintf(name, sizeof(name), "hearth-cpu%u", w->index % 1000);
        pthread_setname_np(w->thread, name);
    }
    *ret_threads = t;
    return 0;
}

void threads_destroy(struct threads *t)
{
    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    while (t->is_running)
        pthread_cond_wait(&t->finished, &t->lock);
    pthread_mutex_unlock(&t->lock);
    atomic_store(&t->is_stopping, true);
    atomic_fetch_add(&t->epoch, 1);
    futex_wake(&t->epoch, INT32_MAX);
    for (unsigned i = 0; i < t->n_workers; i++)
        pthread_join(t->workers[i].thread, NULL);
    pthread_cond_destroy(&t->finished);
    pthread_mutex_destroy(&t->lock);
    free(t->queue);
    free(t);
}

int threads_submit(struct threads *t, struct job *job, uint64_t *ret_ticket)
{
    int r = 0;

    pthread_mutex_lock(&t->lock);
    if (t->n_queued == t->queue_cap) {
        size_t cap = t->queue_cap ? t->queue_cap * 2 : 16;
        struct queued *more = realloc(t->queue, cap * sizeof(*more));

        if (!more) {
            r = -ENOMEM;
            goto out;
        }
        t->queue = more;
        t->queue_cap = cap;
    }
    t->queue[t->n_queued++] = (struct queued){job, ++t->last_ticket};
    *ret_ticket = t->last_ticket;
    if (!t->is_running) {
        start_next_job(t);
        deal(t, 1, 1);
    }
out:
    pthread_mutex_unlock(&t->lock);
    return r;
}

int threads_wait(struct threads *t, uint64_t ticket, uint64_t timeout_ns)
{
    uint64_t now = clock_now_ns();
    uint64_t until = timeout_ns > UINT64_MAX / 4 ? UINT64_MAX / 4 : now + timeout_ns;
    struct timespec ts = {(time_t)(until / 1000000000u), (long)(until % 1000000000u)};
    int r = 0;

    pthread_mutex_lock(&t->lock);
    while (t->done_ticket < ticket && r == 0)
        r = pthread_cond_timedwait(&t->finished, &t->lock, &ts);
    if (t->done_ticket >= ticket)
        r = 0;
    pthread_mutex_unlock(&t->lock);
    return r ? -ETIME : 0;
}
