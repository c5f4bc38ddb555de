/* SPDX-License-Identifier: MIT */
#include "bandwidth.h"

#include "base/clock.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum { THREADS_MOST = 256, PASSES = 5, WORDS_AT_ONCE = 8 };

#define BYTES_MOST (512ull << 20)

struct reader {
    pthread_t thread;
    const uint64_t *from;
    size_t n, n_times;
    uint64_t sum; /* kept, so that the reads cannot be left out */
};

static uint64_t sum_words(const uint64_t *from, size_t n)
{
    uint64_t a[WORDS_AT_ONCE] = {0};

    for (size_t i = 0; i + WORDS_AT_ONCE <= n; i += WORDS_AT_ONCE)
        for (int k = 0; k < WORDS_AT_ONCE; k++)
            a[k] += from[i + (size_t)k];
    return a[0] + a[1] + a[2] + a[3] + a[4] + a[5] + a[6] + a[7];
}

static void *read_share(void *arg)
{
    struct reader *r = arg;

    for (size_t i = 0; i < r->n_times; i++) {
        r->sum += sum_words(r->from, r->n);
        __asm__ volatile("" ::: "memory"); /* read it again, whatever was there */
    }
    return NULL;
}

/* Every thread reads its share n_times; 0 when a thread could not be started. Starting threads
 * costs microseconds against the milliseconds of the pass. */
static uint64_t pass_ns(const uint64_t *data, size_t share, unsigned n_threads, size_t n_times)
{
    struct reader readers[THREADS_MOST];
    uint64_t start_ns = clock_now_ns();
    unsigned n_started = 0;

    for (; n_started < n_threads; n_started++) {
        readers[n_started] =
            (struct reader){.from = data + n_started * share, .n = share, .n_times = n_times};
        if (pthread_create(&readers[n_started].thread, NULL, read_share, &readers[n_started]))
            break;
    }
    for (unsigned i = 0; i < n_started; i++)
        pthread_join(readers[i].thread, NULL);
    return n_started == n_threads ? clock_now_ns() - start_ns : 0;
}

double bandwidth_measure(unsigned n_threads, uint64_t bytes)
{
    uint64_t best_ns = UINT64_MAX, read_bytes;
    size_t share, n_times;
    void *data;

    if (!n_threads)
        n_threads = 1;
    if (n_threads > THREADS_MOST)
        n_threads = THREADS_MOST;
    if (bytes > BYTES_MOST)
        bytes = BYTES_MOST;
    share = bytes / sizeof(uint64_t) / n_threads / WORDS_AT_ONCE * WORDS_AT_ONCE;
    if (!share)
        share = WORDS_AT_ONCE;
    read_bytes = share * n_threads * sizeof(uint64_t);
    n_times = (BYTES_MOST + read_bytes - 1) / read_bytes;
    data = mmap(NULL, read_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return 0;
    madvise(data, read_bytes, MADV_HUGEPAGE);
    memset(data, 1, read_bytes);
    for (int pass = 0; pass < PASSES && best_ns; pass++) {
        uint64_t took_ns = pass_ns(data, share, n_threads, n_times);
        if (took_ns < best_ns)
            best_ns = took_ns;
    }
    munmap(data, read_bytes);
    return best_ns ? (double)(read_bytes * n_times) / ((double)best_ns * 1e-9) : 0;
}
