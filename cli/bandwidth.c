/* SPDX-License-Identifier: MIT */
#include "bandwidth.h"

#include "base/clock.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum { THREADS_MOST = 256, PASSES = 5 };

#define BUFFER_BYTES (512ull << 20)

struct reader {
    pthread_t thread;
    const uint64_t *from;
    size_t n;
    uint64_t sum; /* kept, so that the reads cannot be left out */
};

static uint64_t sum_words(const uint64_t *from, size_t n)
{
    uint64_t a[8] = {0};

    for (size_t i = 0; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; k++)
            a[k] += from[i + (size_t)k];
    return a[0] + a[1] + a[2] + a[3] + a[4] + a[5] + a[6] + a[7];
}

static void *read_share(void *arg)
{
    struct reader *r = arg;

    r->sum = sum_words(r->from, r->n);
    return NULL;
}

/* Reads the whole buffer once by n threads; 0 when a thread could not be started. Starting threads
 * costs microseconds against the milliseconds of the pass. */
static uint64_t pass_ns(const uint64_t *data, unsigned n)
{
    struct reader readers[THREADS_MOST];
    size_t share = BUFFER_BYTES / sizeof(uint64_t) / n;
    uint64_t start_ns = clock_now_ns();
    unsigned n_started = 0;

    for (; n_started < n; n_started++) {
        readers[n_started] = (struct reader){.from = data + n_started * share, .n = share};
        if (pthread_create(&readers[n_started].thread, NULL, read_share, &readers[n_started]))
            break;
    }
    for (unsigned i = 0; i < n_started; i++)
        pthread_join(readers[i].thread, NULL);
    return n_started == n ? clock_now_ns() - start_ns : 0;
}

double bandwidth_measure(unsigned n_threads)
{
    uint64_t best_ns = UINT64_MAX;
    void *data;

    if (!n_threads)
        n_threads = 1;
    if (n_threads > THREADS_MOST)
        n_threads = THREADS_MOST;
    data = mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return 0;
    madvise(data, BUFFER_BYTES, MADV_HUGEPAGE);
    memset(data, 1, BUFFER_BYTES);
    for (int pass = 0; pass < PASSES && best_ns; pass++) {
        uint64_t took_ns = pass_ns(data, n_threads);
        if (took_ns < best_ns)
            best_ns = took_ns;
    }
    munmap(data, BUFFER_BYTES);
    return best_ns ? (double)BUFFER_BYTES / ((double)best_ns * 1e-9) : 0;
}
