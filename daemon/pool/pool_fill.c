/* SPDX-License-Identifier: MIT */
#include "pool/pool_fill.h"

#include "base/clock.h"
#include "pool/pool_fill_job.h"
#include "pool/pool_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    DEPTH_DEFAULT = 32,
    DEPTH_LIMIT = 1024,
    BLOCK_DEFAULT_BYTES = 1 << 20,
    BLOCK_LIMIT_BYTES = 64 << 20,
    TRIES_LIMIT = 5, /* with waits of 20, 80, 320 and 1280 ms between them */
};

#define RETRY_FIRST_NS UINT64_C(20000000)

/* Whether memory is there up to that byte of the job, and so far that its buffer can be
 * registered: 0, -EAGAIN, or why it never will be. */
static int check_memory(struct pool_fill_job *job, uint64_t end, struct error *err)
{
    uint64_t need, whole;
    int r;

    if (!job->allocator)
        return 0;
    need = ((uintptr_t)job->memory + end + POOL_FILL_STEP_BYTES - 1) & ~(POOL_FILL_STEP_BYTES - 1);
    need -= (uintptr_t)job->pool_memory;
    whole = job->allocator->pool->mapped_bytes;
    need = need < whole ? need : whole;
    if (job->allocated_bytes >= need)
        return 0;
    r = pool_allocator_check(job->allocator, need, err);
    if (r == 0)
        job->allocated_bytes = need;
    return r;
}

bool pool_fill_has_memory(struct pool_fill_job *job, uint64_t n)
{
    return check_memory(job, n, NULL) == 0;
}

int pool_fill_next(struct pool_fill_job *job, struct pool_block *ret, struct error *err)
{
    uint64_t at = job->next, end = job->bytes, bytes;
    bool is_direct = false;
    int r;

    if (at >= job->bytes)
        return 0;
    if (job->direct_start < job->direct_end) {
        if (at < job->direct_start) {
            end = job->direct_start;
        } else if (at < job->direct_end) {
            end = job->direct_end;
            is_direct = !atomic_load_explicit(&job->direct_refused, memory_order_relaxed);
        }
    }
    bytes = end - at;
    if (bytes > job->options.block_bytes)
        bytes = job->options.block_bytes;
    r = check_memory(job, at + bytes, err);
    if (r < 0)
        return r;
    *ret = (struct pool_block){
        .file_offset = job->file_offset + at,
        .memory = job->memory + at,
        .bytes = (uint32_t)bytes,
        .is_direct = is_direct,
    };
    job->next = at + bytes;
    return 1;
}

bool pool_fill_is_cancelled(const struct pool_fill_job *job)
{
    return job->options.cancel && atomic_load_explicit(job->options.cancel, memory_order_relaxed);
}

unsigned pool_fill_depth(struct pool_fill_job *job)
{
    const atomic_bool *urgent = job->options.is_urgent;

    return pool_fill_share_depth(&job->share, urgent && atomic_load(urgent), job->options.depth);
}

void pool_fill_report(const struct pool_fill_job *job)
{
    if (job->options.progress)
        job->options.progress(atomic_load(&job->done), job->bytes, job->options.progress_data);
}

void pool_fill_note(struct pool_fill_job *job, const char *what, int code)
{
    if (!job->result->note[0])
        snprintf(job->result->note, sizeof(job->result->note), "%s (%s)", what, strerror(-code));
}

/* Gives up the page cache of a range, whole pages around it included. */
static void drop_cache(const struct pool_fill_job *job, uint64_t offset, uint64_t bytes)
{
    uint64_t start = offset & ~(POOL_FILL_ALIGN_BYTES - 1);
    uint64_t end = (offset + bytes + POOL_FILL_ALIGN_BYTES - 1) & ~(POOL_FILL_ALIGN_BYTES - 1);

    posix_fadvise(job->buffered_fd, (off_t)start, (off_t)(end - start), POSIX_FADV_DONTNEED);
}

uint64_t pool_fill_retry_ns(struct pool_fill_job *job, int64_t n, unsigned tries)
{
    bool may_pass = n == -EIO || n == -EAGAIN || n == -ETIMEDOUT || n == -EINTR || n == -ENOMEM;

    if (!may_pass || tries >= TRIES_LIMIT)
        return 0;
    atomic_fetch_add(&job->retries, 1);
    return n == -EINTR ? 1 : RETRY_FIRST_NS << (2 * (tries - 1));
}

int pool_fill_advance(struct pool_fill_job *job, struct pool_block *block, int64_t n,
                      struct error *err)
{
    if (n == -EINVAL && block->is_direct) {
        /* some file systems open for direct I/O and refuse it when it comes to reading */
        atomic_store(&job->direct_refused, true);
        block->is_direct = false;
        return 1;
    }
    if (n == -EIO || n == -ETIMEDOUT)
        return error_set(err, (int)n,
                         "reading %u bytes at offset %llu failed %d times (%s): the drive or its "
                         "file system is damaged, see journalctl -k",
                         block->bytes, (unsigned long long)block->file_offset, TRIES_LIMIT,
                         strerror((int)-n));
    /* what the block layer makes of a medium error, and of data that fails its check */
    if (n == -ENODATA || n == -EILSEQ || n == -EREMOTEIO)
        return error_set(
            err, (int)n,
            "reading %u bytes at offset %llu failed (%s): the drive or its file system "
            "is damaged, see journalctl -k",
            block->bytes, (unsigned long long)block->file_offset, strerror((int)-n));
    if (n < 0)
        return error_set_errno(err, (int)n, "reading %u bytes at offset %llu failed", block->bytes,
                               (unsigned long long)block->file_offset);
    if (n == 0)
        return error_set(
            err, EIO,
            "the file ends at offset %llu, %u bytes before it should: it was cut short "
            "while it was read, or the download is incomplete",
            (unsigned long long)block->file_offset, block->bytes);
    if (!block->is_direct)
        drop_cache(job, block->file_offset, (uint64_t)n);
    atomic_fetch_add(&job->done, (uint64_t)n);
    if (n >= block->bytes)
        return 0;
    block->file_offset += (uint64_t)n;
    block->memory += n;
    block->bytes -= (uint32_t)n;
    /* what is left may start on any byte, which only a buffered read takes */
    block->is_direct = false;
    return 1;
}

static int check_request(const struct pool *pool, uint64_t pool_offset, uint64_t file_offset,
                         uint64_t bytes, const struct pool_fill_options *o, struct error *err)
{
    if (pool->is_sealed)
        return error_set(err, EINVAL, "the pool is sealed and cannot be filled any more");
    if (bytes > pool->bytes || pool_offset > pool->bytes - bytes)
        return error_set(err, EINVAL, "%llu bytes at offset %llu do not fit into a pool of %llu",
                         (unsigned long long)bytes, (unsigned long long)pool_offset,
                         (unsigned long long)pool->bytes);
    if (file_offset > INT64_MAX - bytes)
        return error_set(err, EINVAL, "no file has an offset %llu",
                         (unsigned long long)file_offset);
    if (o->depth > DEPTH_LIMIT || o->block_bytes > BLOCK_LIMIT_BYTES ||
        o->block_bytes % POOL_FILL_ALIGN_BYTES)
        return error_set(err, EINVAL,
                         "reads of %u bytes, %u at once, are outside of what can be asked for",
                         o->block_bytes, o->depth);
    return 0;
}

/*
 * Descriptions of our own, so that direct I/O and advice do not touch the caller's. They open the
 * same file even when its name is gone.
 */
static void open_descriptions(struct pool_fill_job *job, int fd)
{
    char path[40];

    job->direct_fd = job->owned_fd = -1;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (job->options.no_direct) {
        pool_fill_note(job, "direct I/O was not wanted", -ECANCELED);
    } else {
        job->direct_fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
        if (job->direct_fd < 0)
            pool_fill_note(job, "no direct I/O on this file", -errno);
    }
    job->owned_fd = open(path, O_RDONLY | O_CLOEXEC);
    job->buffered_fd = job->owned_fd >= 0 ? job->owned_fd : fd;
    if (job->owned_fd >= 0) /* blocks are large, reading ahead would only leave page cache behind */
        posix_fadvise(job->owned_fd, 0, 0, POSIX_FADV_RANDOM);
}

static void close_descriptions(struct pool_fill_job *job)
{
    if (job->direct_fd >= 0)
        close(job->direct_fd);
    if (job->owned_fd >= 0)
        close(job->owned_fd);
}

/* The middle whose file offsets and addresses are both aligned. */
static void find_direct_range(struct pool_fill_job *job)
{
    const uint64_t align = POOL_FILL_ALIGN_BYTES;
    uint64_t head = (align - job->file_offset % align) % align;

    if (job->direct_fd < 0)
        return;
    if (((uintptr_t)job->memory - job->file_offset) % align) {
        pool_fill_note(job, "no direct I/O to this place in the pool", -EINVAL);
        return;
    }
    if (head >= job->bytes || job->bytes - head < align)
        return; /* only ends */
    job->direct_start = head;
    job->direct_end = job->bytes - (job->file_offset + job->bytes) % align;
}

static int read_all(struct pool_fill_job *job, struct error *err)
{
    int r = -ENOSYS;

    if (job->options.no_uring)
        pool_fill_note(job, "io_uring was not wanted", -ECANCELED);
    else
        r = pool_fill_uring(job, err);
    if (r == -ENOSYS)
        r = pool_fill_threads(job, err);
    return r;
}

/* Reads, while a deferred pool gets its memory; all of it, whatever part is read into. */
static int run(struct pool_fill_job *job, struct pool *pool, struct error *err)
{
    struct pool_allocator allocator;
    int r;

    if (!pool->is_deferred)
        return read_all(job, err);
    r = pool_allocator_start(&allocator, pool, err);
    if (r < 0)
        return r;
    job->allocator = &allocator;
    r = read_all(job, err);
    if (r == 0)
        r = pool_allocator_wait(&allocator, job->options.cancel, err);
    pool_allocator_stop(&allocator);
    job->allocator = NULL;
    return r;
}

static int check_changed(const struct pool_file_id *before, int fd, struct error *err)
{
    struct pool_file_id after;
    int r = pool_file_id_get(fd, &after, err);

    if (r < 0 || pool_file_id_equal(before, &after))
        return r;
    return error_set(err, ESTALE,
                     "the file was changed while it was read (%llu bytes before, %llu after): wait "
                     "until whatever writes it is done and load it again",
                     (unsigned long long)before->size_bytes, (unsigned long long)after.size_bytes);
}

int pool_fill_file(struct pool *pool, uint64_t pool_offset, int fd, uint64_t file_offset,
                   uint64_t bytes, const struct pool_fill_options *options,
                   struct pool_fill_result *ret, struct error *err)
{
    struct pool_fill_result result = {.bytes = bytes};
    struct pool_fill_job job = {.file_offset = file_offset, .bytes = bytes, .result = &result};
    uint64_t start_ns = clock_now_ns();
    struct pool_file_id id;
    int r;

    if (options)
        job.options = *options;
    if (!job.options.depth)
        job.options.depth = DEPTH_DEFAULT;
    if (!job.options.block_bytes)
        job.options.block_bytes = BLOCK_DEFAULT_BYTES;
    r = check_request(pool, pool_offset, file_offset, bytes, &job.options, err);
    if (r < 0)
        return r;
    r = pool_file_id_get(fd, &id, err);
    if (r < 0)
        return r;
    if (job.options.expect && !pool_file_id_equal(&id, job.options.expect))
        return error_set(err, ESTALE,
                         "the file was changed after its header was read: load it again");
    job.pool_memory = pool->data;
    job.memory = job.pool_memory + pool_offset;
    open_descriptions(&job, fd);
    find_direct_range(&job);
    pool_fill_share_begin(&job.share, job.options.is_urgent && atomic_load(job.options.is_urgent));
    r = run(&job, pool, err);
    pool_fill_share_end(&job.share);
    /* a changed file explains a failed read better than the read does */
    if (r != -ECANCELED) {
        int changed = check_changed(&id, fd, err);
        r = changed < 0 ? changed : r;
    }
    if (r == 0) {
        drop_cache(&job, file_offset, bytes); /* also what others had left of it */
        pool_fill_report(&job);
        result.is_direct = job.direct_end > job.direct_start && !job.direct_refused;
        if (job.direct_refused)
            pool_fill_note(&job, "no direct I/O on this file system", -EINVAL);
        result.retries = job.retries;
        result.ns = clock_now_ns() - start_ns;
        if (ret)
            *ret = result;
    }
    close_descriptions(&job);
    return r;
}
