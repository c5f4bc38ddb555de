/* SPDX-License-Identifier: MIT */
/*
 * Filling through io_uring. Two things would make reads wait for the CPU: zeroing new pages and
 * pinning them for each read. So a helper thread makes the pages of the pool a little ahead of the
 * reads, and pages that are there are pinned chunk by chunk as registered buffers.
 */
#include "base/clock.h"
#include "pool/pool_fill_job.h"

#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* powers of two and multiples of large pages, so that none is split */
#define CHUNK_LEAST_BYTES   ((uintptr_t)POOL_FILL_STEP_BYTES)
#define POPULATE_STEP_BYTES POOL_FILL_STEP_BYTES
#define POPULATE_AHEAD_BYTES                                                                       \
    ((uint64_t)512 << 20)                         /* more would be taken long before it is needed */
#define POPULATE_LEAST_BYTES ((uint64_t)64 << 20) /* for less a thread costs more than it saves */

enum {
    CHUNKS_LIMIT = 16384,
    REPORT_INTERVAL_MS = 100,
    WAIT_MS = 2, /* for memory, or to try again */
};

struct populator {
    pthread_t thread;
    bool is_running;
    char *memory;
    uint64_t bytes;
    atomic_uint_fast64_t wanted; /* bytes to have populated soon */
    atomic_uint_fast64_t done;   /* bytes populated */
    atomic_bool stop;
};

struct slot {
    struct pool_block block;
    unsigned tries;    /* that failed */
    uint64_t again_ns; /* when to try again; 0: it is free or under way */
};

struct ring_fill {
    struct pool_fill_job *job;
    struct io_uring ring;
    struct slot *slots;
    unsigned *free_slots;
    unsigned n_free, n_waiting, depth; /* slots; n_waiting: those to be tried again */
    bool is_starved;                   /* the next block's memory is not there yet */
    uintptr_t first_chunk;             /* address of chunk 0 */
    uintptr_t chunk_bytes;
    unsigned n_chunks;    /* 0: no registered buffers */
    uint8_t *chunk_state; /* CHUNK_* */
    uint64_t n_reads, n_registered;
    struct populator populator;
};

enum { CHUNK_NEW, CHUNK_REGISTERED, CHUNK_REFUSED };

static void *populate_main(void *data)
{
    struct populator *p = data;
    uint64_t at = 0;

    while (at < p->bytes && !atomic_load(&p->stop)) {
        uint64_t n = p->bytes - at < POPULATE_STEP_BYTES ? p->bytes - at : POPULATE_STEP_BYTES;
        uintptr_t start = ((uintptr_t)p->memory + at) & ~(uintptr_t)4095;

        if (at >= atomic_load(&p->wanted)) {
            struct timespec ms = {.tv_nsec = 1000000};
            nanosleep(&ms, NULL);
            continue;
        }
        if (madvise((void *)start, (size_t)((uintptr_t)p->memory + at + n - start),
                    MADV_POPULATE_WRITE) < 0 &&
            errno != EINTR)
            return NULL; /* only a help: reads make the pages themselves, and report what is wrong
                          */
        at += n;
        atomic_store(&p->done, at);
    }
    return NULL;
}

static void populator_start(struct populator *p, char *memory, uint64_t bytes)
{
    p->memory = memory;
    p->bytes = bytes;
    atomic_store(&p->wanted, POPULATE_AHEAD_BYTES);
    if (bytes >= POPULATE_LEAST_BYTES)
        p->is_running = pthread_create(&p->thread, NULL, populate_main, p) == 0;
}

static void populator_stop(struct populator *p)
{
    atomic_store(&p->stop, true);
    if (p->is_running)
        pthread_join(p->thread, NULL);
}

/* Makes an empty table of buffers; without one, reads are plain. */
static void setup_buffers(struct ring_fill *f)
{
    struct pool_fill_job *job = f->job;
    uintptr_t end = (uintptr_t)job->memory + job->bytes;
    unsigned n;
    int r;

    if (job->options.no_registered || !job->bytes) {
        pool_fill_note(job, "registered buffers were not wanted", -ECANCELED);
        return;
    }
    f->chunk_bytes = CHUNK_LEAST_BYTES;
    while (job->bytes / f->chunk_bytes >= CHUNKS_LIMIT - 2)
        f->chunk_bytes *= 2;
    f->first_chunk = (uintptr_t)job->memory & ~(f->chunk_bytes - 1);
    n = (unsigned)((end - f->first_chunk + f->chunk_bytes - 1) / f->chunk_bytes);
    f->chunk_state = calloc(n, 1);
    if (!f->chunk_state)
        return;
    r = io_uring_register_buffers_sparse(&f->ring, n);
    if (r < 0)
        pool_fill_note(job, "no registered buffers", r);
    else
        f->n_chunks = n;
}

/* Pins a chunk; the limit on locked memory may stand against it, then its reads are plain. */
static void register_chunk(struct ring_fill *f, unsigned chunk)
{
    const uintptr_t start = (uintptr_t)f->job->memory, end = start + f->job->bytes;
    uintptr_t from = f->first_chunk + chunk * f->chunk_bytes, to = from + f->chunk_bytes;
    struct iovec iov;
    int r;

    from = from < start ? start : from;
    to = to > end ? end : to;
    iov = (struct iovec){.iov_base = (void *)from, .iov_len = to - from};
    r = io_uring_register_buffers_update_tag(&f->ring, chunk, &iov, NULL, 1);
    f->chunk_state[chunk] = r < 0 ? CHUNK_REFUSED : CHUNK_REGISTERED;
    if (r < 0)
        pool_fill_note(f->job, "buffers could not be registered, see the limit on locked memory",
                       r);
}

/* Pinning pages that are not there yet would make them on this thread while reads wait. */
static bool is_populated(struct ring_fill *f, unsigned chunk)
{
    uintptr_t to = f->first_chunk + (chunk + 1) * f->chunk_bytes - (uintptr_t)f->job->memory;

    to = to < f->job->bytes ? to : f->job->bytes;
    if (!f->populator.is_running)
        return pool_fill_has_memory(f->job, to);
    return atomic_load(&f->populator.done) >= to;
}

/* The chunk a block lies in, if it lies whole in a registered one; -1 otherwise. */
static int chunk_of(struct ring_fill *f, const struct pool_block *b)
{
    uintptr_t at = (uintptr_t)b->memory - f->first_chunk;
    unsigned chunk;

    if (!f->n_chunks)
        return -1;
    chunk = (unsigned)(at / f->chunk_bytes);
    if ((at + b->bytes - 1) / f->chunk_bytes != chunk)
        return -1;
    if (f->chunk_state[chunk] == CHUNK_NEW && is_populated(f, chunk))
        register_chunk(f, chunk);
    return f->chunk_state[chunk] == CHUNK_REGISTERED ? (int)chunk : -1;
}

/* Never more are queued than the ring has entries, so there is always one. */
static void queue_slot(struct ring_fill *f, unsigned slot)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&f->ring);
    const struct pool_block *b = &f->slots[slot].block;
    int fd = b->is_direct ? f->job->direct_fd : f->job->buffered_fd;
    int chunk = chunk_of(f, b);

    if (chunk >= 0) {
        io_uring_prep_read_fixed(sqe, fd, b->memory, b->bytes, b->file_offset, chunk);
        f->n_registered++;
    } else {
        io_uring_prep_read(sqe, fd, b->memory, b->bytes, b->file_offset);
    }
    f->n_reads++;
    io_uring_sqe_set_data64(sqe, slot);
}

/* Queues blocks while there are free slots and the other fills leave room. */
static int queue_blocks(struct ring_fill *f, struct error *err)
{
    unsigned most = pool_fill_depth(f->job);
    struct pool_block block;
    int r = 0;

    while (f->n_free && f->depth - f->n_free < most &&
           (r = pool_fill_next(f->job, &block, err)) > 0) {
        unsigned slot = f->free_slots[--f->n_free];
        f->slots[slot] = (struct slot){.block = block};
        queue_slot(f, slot);
    }
    f->is_starved = r == -EAGAIN;
    atomic_store(&f->populator.wanted, f->job->next + POPULATE_AHEAD_BYTES);
    return r == -EAGAIN || r > 0 ? 0 : r;
}

static void free_slot(struct ring_fill *f, unsigned slot)
{
    f->slots[slot].again_ns = 0;
    f->free_slots[f->n_free++] = slot;
}

/* Queues again what has waited long enough; at the end of a fill nothing waits any more. */
static void queue_waiting(struct ring_fill *f, bool is_ending)
{
    uint64_t now_ns = f->n_waiting ? clock_now_ns() : 0;

    for (unsigned i = 0; f->n_waiting && i < f->depth; i++) {
        struct slot *slot = &f->slots[i];

        if (!slot->again_ns || (!is_ending && slot->again_ns > now_ns))
            continue;
        f->n_waiting--;
        slot->again_ns = 0;
        if (is_ending)
            free_slot(f, i);
        else
            queue_slot(f, i);
    }
}

static int handle_completion(struct ring_fill *f, const struct io_uring_cqe *cqe, bool is_ending,
                             struct error *err)
{
    unsigned index = (unsigned)io_uring_cqe_get_data64(cqe);
    struct slot *slot = &f->slots[index];
    uint64_t again_ns;
    int r;

    if (is_ending) {
        free_slot(f, index);
        return 0;
    }
    again_ns = cqe->res < 0 ? pool_fill_retry_ns(f->job, cqe->res, ++slot->tries) : 0;
    if (again_ns) {
        slot->again_ns = clock_now_ns() + again_ns;
        f->n_waiting++;
        return 0;
    }
    slot->tries = cqe->res > 0 ? 0 : slot->tries;
    r = pool_fill_advance(f->job, &slot->block, cqe->res, err);
    if (r > 0) {
        queue_slot(f, index);
        return 0;
    }
    free_slot(f, index);
    return r;
}

/* Takes what has completed; the first failure ends the fill, later ones are of no interest. */
static int reap(struct ring_fill *f, int failed, struct error *err)
{
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;
    int r;

    io_uring_for_each_cqe(&f->ring, head, cqe)
    {
        r = handle_completion(f, cqe, failed < 0, err);
        if (r < 0 && failed == 0)
            failed = r;
        n++;
    }
    io_uring_cq_advance(&f->ring, n);
    return failed;
}

static bool is_read_whole(const struct ring_fill *f)
{
    return f->n_free == f->depth && f->job->next >= f->job->bytes;
}

/* Waits for a completion, or for what else there is to do. */
static int submit_and_wait(struct ring_fill *f)
{
    bool is_short = f->n_waiting || f->is_starved;
    struct __kernel_timespec timeout = {.tv_nsec =
                                            (is_short ? WAIT_MS : REPORT_INTERVAL_MS) * 1000000};
    struct io_uring_cqe *cqe;
    int r = io_uring_submit_and_wait_timeout(&f->ring, &cqe, 1, &timeout, NULL);

    return r == -ETIME || r == -EINTR || r == -EAGAIN || r == -EBUSY || r > 0 ? 0 : r;
}

static int run(struct ring_fill *f, struct error *err)
{
    uint64_t reported = 0;
    int failed = 0, r;

    for (;;) {
        if (!failed && pool_fill_is_cancelled(f->job))
            failed = error_set(err, ECANCELED, "loading was cancelled");
        queue_waiting(f, failed);
        if (!failed)
            failed = queue_blocks(f, err);
        if (is_read_whole(f) || (failed && f->n_free + io_uring_sq_ready(&f->ring) == f->depth))
            return failed; /* nothing is under way */
        r = submit_and_wait(f);
        if (r < 0 && !failed)
            failed = error_set_errno(err, r, "io_uring failed");
        failed = reap(f, failed, err);
        if (!failed && atomic_load(&f->job->done) - reported >= f->job->bytes / 256) {
            reported = atomic_load(&f->job->done);
            pool_fill_report(f->job);
        }
    }
}

static int init(struct ring_fill *f, struct pool_fill_job *job)
{
    unsigned depth = job->options.depth;
    int r = io_uring_queue_init(depth, &f->ring, 0);

    if (r < 0) { /* containers and kernel.io_uring_disabled forbid it, old kernels lack it */
        pool_fill_note(job, "no io_uring", r);
        return -ENOSYS;
    }
    f->job = job;
    f->depth = depth;
    f->slots = calloc(depth, sizeof(*f->slots));
    f->free_slots = calloc(depth, sizeof(*f->free_slots));
    if (!f->slots || !f->free_slots)
        return -ENOMEM;
    for (unsigned i = 0; i < depth; i++)
        f->free_slots[f->n_free++] = i;
    setup_buffers(f);
    return 0;
}

int pool_fill_uring(struct pool_fill_job *job, struct error *err)
{
    struct ring_fill f = {0};
    int r = init(&f, job);

    if (r == -ENOSYS)
        return r;
    if (r < 0) {
        error_set(err, ENOMEM, "not enough memory to read with");
    } else {
        if (!job->allocator)
            populator_start(&f.populator, job->memory, job->bytes);
        r = run(&f, err);
        populator_stop(&f.populator);
        job->result->is_uring = true;
        job->result->is_registered = f.n_registered * 2 > f.n_reads;
    }
    /* now, not whenever the ring's last reference goes: a seal must find no page pinned */
    if (f.n_chunks)
        io_uring_unregister_buffers(&f.ring);
    io_uring_queue_exit(&f.ring);
    free(f.slots);
    free(f.free_slots);
    free(f.chunk_state);
    return r;
}
