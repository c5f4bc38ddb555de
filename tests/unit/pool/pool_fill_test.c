/* SPDX-License-Identifier: MIT */
#include "harness.h"

#include "pool/pool_fill.h"
#include "pool/pool_fill_job.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)

static char disk_dir[] = "/var/tmp/pool-fill-XXXXXX"; /* on a disk where there is one */
static char shm_dir[] = "/dev/shm/pool-fill-XXXXXX";

/* Bytes that differ wherever two blocks could be mixed up. */
static void make_bytes(uint8_t *out, uint64_t n)
{
    uint64_t x = 88172645463325252u;

    for (uint64_t i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        out[i] = (uint8_t)x;
    }
}

/* An open file of n such bytes, its name already gone. */
static int make_file(const char *dir, uint64_t n, uint8_t **ret_bytes)
{
    char path[256];
    int fd;

    *ret_bytes = malloc(n + 1);
    make_bytes(*ret_bytes, n);
    snprintf(path, sizeof(path), "%s/f-XXXXXX", dir);
    fd = mkstemp(path);
    assert_true(fd >= 0);
    for (uint64_t at = 0; at < n;) {
        ssize_t w = write(fd, *ret_bytes + at, n - at);
        assert_true(w > 0);
        at += (uint64_t)w;
    }
    fsync(fd);
    unlink(path);
    return fd;
}

static struct pool *make_pool(uint64_t bytes)
{
    const struct pool_config config = {.kind = POOL_KIND_ANON, .numa_node = -1};
    struct pool *pool = NULL;

    assert_int_equal(pool_create(&config, bytes ? bytes : 1, "test", &pool, NULL), 0);
    return pool;
}

static uint64_t cached_pages(int fd, uint64_t bytes)
{
    size_t n = (bytes + 4095) / 4096, cached = 0;
    unsigned char *pages = calloc(n + 1, 1);
    void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);

    assert_ptr_not_equal(map, MAP_FAILED);
    assert_int_equal(mincore(map, bytes, pages), 0);
    for (size_t i = 0; i < n; i++)
        cached += pages[i] & 1;
    munmap(map, bytes);
    free(pages);
    return cached;
}

static void assert_fills(const char *dir, uint64_t bytes, const struct pool_fill_options *options,
                         struct pool_fill_result *result)
{
    struct pool *pool = make_pool(bytes);
    struct error err = {0};
    uint8_t *want;
    int fd = make_file(dir, bytes, &want);

    if (pool_fill_file(pool, 0, fd, 0, bytes, options, result, &err) < 0)
        fail_msg("%llu bytes: %s", (unsigned long long)bytes, err.text);
    assert_int_equal(result->bytes, bytes);
    assert_memory_equal(pool_data(pool), want, bytes);
    for (uint64_t i = bytes; i < pool_mapped_bytes(pool) && i < bytes + 8192; i++)
        assert_int_equal(((uint8_t *)pool_data(pool))[i], 0);
    if (bytes && dir == disk_dir)
        assert_int_equal(cached_pages(fd, bytes), 0);
    free(want);
    close(fd);
    pool_destroy(pool);
}

static void fill_is_byte_equal_for_every_size_and_way(void **state)
{
    static const uint64_t sizes[] = {0, 1, 4095, 4096, 4097, 5 * MIB + 13, 130 * MIB + 4099};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (int way = 0; way < 8; way++) {
            struct pool_fill_options options = {
                .no_direct = way & 1,
                .no_uring = way & 2,
                .no_registered = way & 4,
                .depth = way == 3 ? 1 : 0,
                .block_bytes = way == 5 ? 4096 * 3 : 0,
            };
            struct pool_fill_result result;

            if (sizes[i] > 100 * MIB && way > 2)
                continue;
            assert_fills(disk_dir, sizes[i], &options, &result);
            if (options.no_direct)
                assert_int_equal(result.is_direct, false);
            if (options.no_uring)
                assert_int_equal(result.is_uring, false);
            if (options.no_uring || options.no_registered)
                assert_int_equal(result.is_registered, false);
            if (way)
                assert_true(result.note[0]);
            assert_fills(shm_dir, sizes[i], &options, &result);
        }
    }
}

static void fill_goes_around_the_page_cache_with_registered_buffers(void **state)
{
    struct pool_fill_result result;

    assert_fills(disk_dir, 40 * MIB + 1, NULL, &result);
    if (result.note[0])
        SKIP("not all can be had here: %s", result.note);
    assert_int_equal(result.is_direct && result.is_uring && result.is_registered, true);
}

static void fill_takes_parts_at_any_offset(void **state)
{
    static const uint64_t starts[][2] = {{0, 0}, {4096, 8192}, {1, 1}, {100, 4196}, {5, 6}, {3, 0}};
    uint8_t *want;
    int fd = make_file(disk_dir, 3 * MIB, &want);

    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        for (int no_uring = 0; no_uring < 2; no_uring++) {
            struct pool_fill_options options = {.no_uring = no_uring, .block_bytes = 65536};
            struct pool_fill_result result;
            struct pool *pool = make_pool(4 * MIB);
            uint64_t from = starts[i][0], to = starts[i][1], n = 2 * MIB + 77;
            uint8_t *data = pool_data(pool);

            assert_int_equal(pool_fill_file(pool, to, fd, from, n, &options, &result, NULL), 0);
            assert_memory_equal(data + to, want + from, n);
            assert_int_equal(data[to + n], 0);
            if (to)
                assert_int_equal(data[to - 1], 0);
            if ((from - to) % 4096)
                assert_int_equal(result.is_direct, false);
            pool_destroy(pool);
        }
    }
    free(want);
    close(fd);
}

static void fill_refuses_bad_requests_with_a_sentence(void **state)
{
    struct pool *pool = make_pool(MIB);
    struct pool_fill_options options = {.block_bytes = 1000};
    struct pool_file_id other = {0};
    struct error err = {0};
    uint8_t *bytes;
    int fd = make_file(disk_dir, MIB, &bytes), odd, pipes[2];

    assert_int_equal(pool_fill_file(pool, 1, fd, 0, MIB, NULL, NULL, &err), -EINVAL);
    assert_non_null(strstr(err.text, "do not fit into a pool"));
    assert_int_equal(pool_fill_file(pool, 0, fd, UINT64_MAX - 5, 10, NULL, NULL, &err), -EINVAL);
    assert_int_equal(pool_fill_file(pool, 0, fd, 0, MIB, &options, NULL, &err), -EINVAL);
    options = (struct pool_fill_options){.expect = &other};
    assert_int_equal(pool_fill_file(pool, 0, fd, 0, MIB, &options, NULL, &err), -ESTALE);
    assert_non_null(strstr(err.text, "changed after its header was read"));
    odd = open("/", O_RDONLY | O_CLOEXEC);
    assert_int_equal(pool_fill_file(pool, 0, odd, 0, MIB, NULL, NULL, &err), -EISDIR);
    close(odd);
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    assert_int_equal(pool_fill_file(pool, 0, pipes[0], 0, MIB, NULL, NULL, &err), -EINVAL);
    assert_non_null(strstr(err.text, "not a regular file"));
    close(pipes[0]);
    close(pipes[1]);
    assert_int_equal(pool_fill_file(pool, 0, -1, 0, MIB, NULL, NULL, &err), -EBADF);
    assert_int_equal(pool_seal(pool, &err), 0);
    assert_int_equal(pool_fill_file(pool, 0, fd, 0, MIB, NULL, NULL, &err), -EINVAL);
    assert_non_null(strstr(err.text, "sealed"));
    free(bytes);
    close(fd);
    pool_destroy(pool);
}

static void fill_of_a_file_that_is_too_short_names_where_it_ends(void **state)
{
    for (int way = 0; way < 4; way++) {
        struct pool_fill_options options = {.no_direct = way & 1, .no_uring = way & 2};
        struct pool *pool = make_pool(20 * MIB);
        struct error err = {0};
        uint8_t *bytes;
        int fd = make_file(disk_dir, 9 * MIB + 5, &bytes);

        assert_int_equal(pool_fill_file(pool, 0, fd, 0, 20 * MIB, &options, NULL, &err), -EIO);
        assert_non_null(strstr(err.text, "the file ends at offset"));
        free(bytes);
        close(fd);
        pool_destroy(pool);
    }
}

struct meddler {
    int fd;
    bool is_done;
    bool cuts; /* else writes */
    atomic_bool *cancel;
    uint64_t last, total;
    unsigned calls;
};

static void meddle(uint64_t done, uint64_t total, void *data)
{
    struct meddler *m = data;

    assert_true(done >= m->last && done <= total);
    m->last = done;
    m->total = total;
    m->calls++;
    if (m->is_done || done == total)
        return;
    m->is_done = true;
    if (m->cancel)
        atomic_store(m->cancel, true);
    else if (m->cuts)
        assert_int_equal(ftruncate(m->fd, 4097), 0);
    else
        assert_int_equal(pwrite(m->fd, "x", 1, 30 * MIB), 1);
}

static void fill_notices_a_file_that_changes_meanwhile(void **state)
{
    for (int way = 0; way < 8; way++) {
        struct meddler meddler = {.cuts = way & 4};
        struct pool_fill_options options = {
            .no_direct = way & 1,
            .no_uring = way & 2,
            .block_bytes = 65536,
            .depth = 2,
            .progress = meddle,
            .progress_data = &meddler,
        };
        struct pool *pool = make_pool(32 * MIB);
        struct error err = {0};
        uint8_t *bytes;

        meddler.fd = make_file(disk_dir, 32 * MIB, &bytes);
        usleep(20000); /* time stamps of files are as coarse as that */
        assert_int_equal(pool_fill_file(pool, 0, meddler.fd, 0, 32 * MIB, &options, NULL, &err),
                         -ESTALE);
        assert_int_equal(meddler.is_done, true);
        assert_non_null(strstr(err.text, "was changed while it was read"));
        free(bytes);
        close(meddler.fd);
        pool_destroy(pool);
    }
}

static void fill_can_be_cancelled_and_reports_progress(void **state)
{
    uint8_t *bytes;
    int fd = make_file(disk_dir, 64 * MIB, &bytes);

    for (int no_uring = 0; no_uring < 2; no_uring++) {
        atomic_bool cancel = false;
        struct meddler meddler = {.is_done = true};
        struct pool_fill_options options = {
            .no_uring = no_uring,
            .block_bytes = 65536,
            .depth = 4,
            .progress = meddle,
            .progress_data = &meddler,
            .cancel = &cancel,
        };
        struct pool *pool = make_pool(64 * MIB);
        struct error err = {0};

        assert_int_equal(pool_fill_file(pool, 0, fd, 0, 64 * MIB, &options, NULL, &err), 0);
        assert_int_equal(meddler.last, 64 * MIB);
        assert_int_equal(meddler.total, 64 * MIB);
        assert_true(meddler.calls > 3);
        meddler = (struct meddler){.cancel = &cancel};
        assert_int_equal(pool_fill_file(pool, 0, fd, 0, 64 * MIB, &options, NULL, &err),
                         -ECANCELED);
        assert_true(meddler.last < 64 * MIB);
        pool_destroy(pool);
    }
    free(bytes);
    close(fd);
}

/* Root is not held to the limit on locked memory, so this gives root up for good. */
static void fill_works_under_a_small_limit_on_locked_memory(void **state)
{
    struct rlimit old, small = {.rlim_cur = 65536};
    struct pool_fill_result result;
    bool was_root = geteuid() == 0;

    getrlimit(RLIMIT_MEMLOCK, &old);
    small.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &small), 0);
    if (was_root) {
        assert_int_equal(chown(disk_dir, 65534, 65534), 0);
        assert_int_equal(seteuid(65534), 0);
    }
    assert_fills(disk_dir, 20 * MIB + 1, NULL, &result);
    assert_int_equal(result.is_registered, false);
    assert_non_null(strstr(result.note, result.is_uring ? "locked memory" : "io_uring"));
    if (was_root)
        assert_int_equal(seteuid(0), 0);
    setrlimit(RLIMIT_MEMLOCK, &old);
}

/* Drives and file systems that fail cannot be had in a test, their answers can. */
static void fill_takes_every_answer_of_a_drive(void **state)
{
    struct pool_fill_result result = {0};
    struct pool_fill_job job = {.buffered_fd = -1, .result = &result};
    const struct pool_block whole = {.file_offset = 8192, .memory = NULL, .bytes = 4096};
    struct pool_block block = whole;
    struct error err = {0};

    assert_int_equal(pool_fill_advance(&job, &block, -EIO, &err), -EIO);
    assert_string_equal(err.text,
                        "reading 4096 bytes at offset 8192 failed 5 times (Input/output error): "
                        "the drive or its file system is damaged, see journalctl -k");
    assert_int_equal(pool_fill_advance(&job, &block, -ENODATA, &err), -ENODATA);
    assert_string_equal(err.text,
                        "reading 4096 bytes at offset 8192 failed (No data available): the drive "
                        "or its file system is damaged, see journalctl -k");
    assert_int_equal(pool_fill_advance(&job, &block, -EFAULT, &err), -EFAULT);
    assert_string_equal(err.text, "reading 4096 bytes at offset 8192 failed: Bad address");
    assert_int_equal(pool_fill_advance(&job, &block, -EINVAL, &err), -EINVAL);
    assert_memory_equal(&block, &whole, sizeof(block));
    block.is_direct = true;
    assert_int_equal(pool_fill_advance(&job, &block, -EINVAL, &err), 1);
    assert_int_equal(block.is_direct, false);
    assert_int_equal(job.direct_refused, true);
    assert_int_equal(job.done, 0);
    block.is_direct = true;
    assert_int_equal(pool_fill_advance(&job, &block, 1000, &err), 1);
    assert_int_equal(block.is_direct, false);
    assert_int_equal(block.file_offset == 9192 && block.bytes == 3096, true);
    assert_ptr_equal(block.memory, (char *)1000);
    assert_int_equal(pool_fill_advance(&job, &block, 3096, &err), 0);
    assert_int_equal(job.done, 4096);
    assert_int_equal(pool_fill_advance(&job, &block, 0, &err), -EIO);
}

static void fill_tries_again_ever_later_what_may_pass(void **state)
{
    static const int passing[] = {-EIO, -EAGAIN, -ETIMEDOUT, -ENOMEM};
    struct pool_fill_job job = {0};

    for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
        uint64_t last_ns = 0;

        for (unsigned tries = 1; tries < 5; tries++) {
            uint64_t ns = pool_fill_retry_ns(&job, passing[i], tries);
            assert_true(ns > last_ns);
            last_ns = ns;
        }
        assert_int_equal(pool_fill_retry_ns(&job, passing[i], 5), 0);
    }
    assert_true(pool_fill_retry_ns(&job, -EINTR, 1) > 0);
    assert_int_equal(pool_fill_retry_ns(&job, -EINVAL, 1), 0);
    assert_int_equal(pool_fill_retry_ns(&job, -EFAULT, 1), 0);
}

/* ---- a drive that fails now and then ---- */

/* The next so many reads fail; the functions that read are wrapped at link time. */
static struct {
    atomic_int failures_left;
    int error;
} drive;

ssize_t __real_pread64(int fd, void *data, size_t n, off_t offset);
ssize_t __wrap_pread64(int fd, void *data, size_t n, off_t offset);
int __real_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
                                            unsigned n, struct __kernel_timespec *ts,
                                            sigset_t *mask);
int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
                                            unsigned n, struct __kernel_timespec *ts,
                                            sigset_t *mask);

static bool drive_fails(void)
{
    return atomic_load(&drive.failures_left) > 0 && atomic_fetch_sub(&drive.failures_left, 1) > 0;
}

/* Reads one thing at a time, in the order of asking, while it is on; counts of what file. */
static struct {
    atomic_bool is_on;
    pthread_mutex_t lock;
    pthread_cond_t next;
    unsigned n_asked, n_served; /* under lock */
    ino_t urgent;
    atomic_uint n_reads[2]; /* [1] of the urgent file */
} slow = {.lock = PTHREAD_MUTEX_INITIALIZER, .next = PTHREAD_COND_INITIALIZER};

static void read_slowly(int fd)
{
    struct stat st;
    unsigned turn;

    assert_int_equal(fstat(fd, &st), 0);
    pthread_mutex_lock(&slow.lock);
    turn = slow.n_asked++;
    while (slow.n_served != turn)
        pthread_cond_wait(&slow.next, &slow.lock);
    pthread_mutex_unlock(&slow.lock);
    usleep(300);
    atomic_fetch_add(&slow.n_reads[st.st_ino == slow.urgent], 1);
    pthread_mutex_lock(&slow.lock);
    slow.n_served++;
    pthread_cond_broadcast(&slow.next);
    pthread_mutex_unlock(&slow.lock);
}

ssize_t __wrap_pread64(int fd, void *data, size_t n, off_t offset)
{
    if (slow.is_on)
        read_slowly(fd);
    if (!drive_fails())
        return __real_pread64(fd, data, n, offset);
    errno = -drive.error;
    return -1;
}

/* What a ring was asked for since it was looked at. */
static struct {
    bool is_looked_at;
    unsigned n_asked, n_fixed, most_under_way;
    uint32_t longest, shortest; /* bytes of one read into a registered buffer */
} asked;

static void look_at_what_is_asked(struct io_uring *ring)
{
    for (unsigned i = *ring->sq.khead; i != ring->sq.sqe_tail; i++) {
        const struct io_uring_sqe *sqe = &ring->sq.sqes[i & *ring->sq.kring_mask];

        asked.n_asked++;
        if (sqe->opcode != IORING_OP_READ_FIXED)
            continue;
        asked.n_fixed++;
        asked.longest = sqe->len > asked.longest ? sqe->len : asked.longest;
        asked.shortest = sqe->len < asked.shortest ? sqe->len : asked.shortest;
    }
    /* those whose end the reader has taken notice of are behind the head */
    if (asked.n_asked - *ring->cq.khead > asked.most_under_way)
        asked.most_under_way = asked.n_asked - *ring->cq.khead;
}

int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
                                            unsigned n, struct __kernel_timespec *ts,
                                            sigset_t *mask)
{
    struct io_uring_cqe *it;
    unsigned head;
    int r;

    if (asked.is_looked_at)
        look_at_what_is_asked(ring);
    r = __real_io_uring_submit_and_wait_timeout(ring, cqe, n, ts, mask);
    io_uring_for_each_cqe(ring, head, it) if (drive_fails()) it->res = drive.error;
    return r;
}

static void fill_has_32_fixed_reads_of_a_mebibyte_under_way(void **state)
{
    struct pool_fill_result result;

    memset(&asked, 0, sizeof(asked));
    asked.shortest = UINT32_MAX;
    asked.is_looked_at = true;
    assert_fills(disk_dir, 48 * MIB, NULL, &result);
    asked.is_looked_at = false;
    if (result.note[0])
        SKIP("not all can be had here: %s", result.note);
    assert_int_equal(asked.most_under_way, 32);
    assert_int_equal(asked.n_fixed, 48);
    assert_int_equal(asked.shortest, MIB);
    assert_int_equal(asked.longest, MIB);
}

static void fill_survives_reads_that_fail_for_a_while(void **state)
{
    static const int errors[] = {-EIO, -EAGAIN};

    for (int way = 0; way < 4; way++) {
        struct pool_fill_options options = {.no_uring = way & 1, .block_bytes = 65536};
        struct pool_fill_result result;

        drive.error = errors[way / 2];
        atomic_store(&drive.failures_left, 3);
        assert_fills(disk_dir, 3 * MIB + 17, &options, &result);
        assert_int_equal(drive.failures_left <= 0, true);
        assert_int_equal(result.retries, 3);
    }
}

static void fill_of_a_broken_drive_ends_with_the_place(void **state)
{
    uint8_t *bytes;
    int fd = make_file(disk_dir, MIB, &bytes);

    for (int no_uring = 0; no_uring < 2; no_uring++) {
        struct pool_fill_options options = {.no_uring = no_uring};
        struct pool *pool = make_pool(MIB);
        struct error err = {0};

        drive.error = -EIO;
        atomic_store(&drive.failures_left, 1000);
        assert_int_equal(pool_fill_file(pool, 0, fd, 0, MIB, &options, NULL, &err), -EIO);
        assert_string_equal(err.text,
                            "reading 1048576 bytes at offset 0 failed 5 times (Input/output "
                            "error): the drive or its file system is damaged, see journalctl -k");
        assert_int_equal(drive.failures_left, 995);
        pool_destroy(pool);
    }
    atomic_store(&drive.failures_left, 0);
    free(bytes);
    close(fd);
}

static void *set_main(void *flag)
{
    usleep(100000);
    atomic_store((atomic_bool *)flag, true);
    return NULL;
}

static void fill_that_waits_to_try_again_can_be_cancelled(void **state)
{
    uint8_t *bytes;
    int fd = make_file(disk_dir, MIB, &bytes);

    for (int no_uring = 0; no_uring < 2; no_uring++) {
        atomic_bool cancel = false;
        struct pool_fill_options options = {.no_uring = no_uring, .cancel = &cancel};
        struct pool *pool = make_pool(MIB);
        pthread_t thread;

        drive.error = -EIO;
        atomic_store(&drive.failures_left, 1000);
        assert_int_equal(pthread_create(&thread, NULL, set_main, &cancel), 0);
        assert_int_equal(pool_fill_file(pool, 0, fd, 0, MIB, &options, NULL, NULL), -ECANCELED);
        assert_true(drive.failures_left > 995);
        pthread_join(thread, NULL);
        pool_destroy(pool);
    }
    atomic_store(&drive.failures_left, 0);
    free(bytes);
    close(fd);
}

static void fills_share_the_drive_and_leave_it_to_the_urgent(void **state)
{
    struct pool_fill_share a, b, c;

    pool_fill_share_begin(&a, false);
    assert_int_equal(pool_fill_share_depth(&a, false, 32), 32);
    pool_fill_share_begin(&b, false);
    assert_int_equal(pool_fill_share_depth(&a, false, 32), 32);
    pool_fill_share_begin(&c, false);
    assert_int_equal(pool_fill_share_depth(&a, false, 32), 21);
    assert_int_equal(pool_fill_share_depth(&a, false, 1), 1);
    assert_int_equal(pool_fill_share_depth(&c, true, 32), 32); /* somebody came to wait for it */
    assert_int_equal(pool_fill_share_depth(&a, false, 32), 1);
    assert_int_equal(pool_fill_share_depth(&b, false, 32), 1);
    pool_fill_share_end(&c);
    assert_int_equal(pool_fill_share_depth(&b, false, 32), 32);
    pool_fill_share_end(&b);
    pool_fill_share_end(&a);
}

static void *fill_in_the_background(void *fd)
{
    const struct pool_fill_options options = {.no_uring = true, .block_bytes = 16384};
    struct pool *pool = make_pool(4 * MIB);
    intptr_t r = pool_fill_file(pool, 0, *(int *)fd, 0, 4 * MIB, &options, NULL, NULL);

    pool_destroy(pool);
    return (void *)r;
}

/* Both want all of a drive that serves them in turn. */
static void an_urgent_fill_gets_the_drive_from_one_that_began_before(void **state)
{
    const atomic_bool is_urgent = true;
    const struct pool_fill_options options = {
        .no_uring = true, .block_bytes = 16384, .is_urgent = &is_urgent};
    uint8_t *bytes[2];
    int fds[2] = {make_file(disk_dir, 4 * MIB, &bytes[0]), make_file(disk_dir, 4 * MIB, &bytes[1])};
    struct pool *pool = make_pool(4 * MIB);
    unsigned n_before, n_after;
    pthread_t thread;
    struct stat st;
    void *r;

    assert_int_equal(fstat(fds[1], &st), 0);
    slow.urgent = st.st_ino;
    slow.is_on = true;
    assert_int_equal(pthread_create(&thread, NULL, fill_in_the_background, &fds[0]), 0);
    while (slow.n_reads[0] < 16)
        usleep(100);
    n_before = slow.n_reads[0];
    assert_int_equal(pool_fill_file(pool, 0, fds[1], 0, 4 * MIB, &options, NULL, NULL), 0);
    n_after = slow.n_reads[0];
    pthread_join(thread, &r);
    slow.is_on = false;
    assert_ptr_equal(r, NULL);
    assert_int_equal(memcmp(pool_data(pool), bytes[1], 4 * MIB), 0);
    /* eight read at a time, one of the other's beside them, and what that had begun before */
    assert_true(n_after > n_before);
    assert_true(n_after - n_before < slow.n_reads[1] / 4);
    pool_destroy(pool);
    for (int i = 0; i < 2; i++) {
        free(bytes[i]);
        close(fds[i]);
    }
}

static int forbid_io_uring(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = 4, .filter = filter};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
                   prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0
               ? -1
               : 0;
}

/* As in containers. In a child: the filter cannot be taken off. */
static void fill_works_where_io_uring_is_forbidden(void **state)
{
    uint8_t *want;
    int fd = make_file(disk_dir, 9 * MIB + 1, &want), status;
    pid_t pid = fork();

    if (pid == 0) {
        struct pool_fill_result result = {0};
        struct pool *pool = make_pool(9 * MIB + 1);

        if (forbid_io_uring() < 0)
            _exit(77);
        if (pool_fill_file(pool, 0, fd, 0, 9 * MIB + 1, NULL, &result, NULL) < 0)
            _exit(1);
        if (memcmp(pool_data(pool), want, 9 * MIB + 1))
            _exit(2);
        _exit(result.is_uring || !strstr(result.note, "no io_uring (Operation not permitted)"));
    }
    waitpid(pid, &status, 0);
    free(want);
    close(fd);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        SKIP("no seccomp filters here");
    assert_int_equal(status, 0);
}

static unsigned count_fds(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static int teardown(void **state)
{
    return count_fds() == *(unsigned *)*state ? 0 : -1;
}

static int setup(void **state)
{
    static unsigned n;

    n = count_fds();
    *state = &n;
    return 0;
}

#define FILL_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static const struct CMUnitTest tests[] = {
    FILL_TEST(fill_is_byte_equal_for_every_size_and_way),
    FILL_TEST(fill_goes_around_the_page_cache_with_registered_buffers),
    FILL_TEST(fill_takes_parts_at_any_offset),
    FILL_TEST(fill_refuses_bad_requests_with_a_sentence),
    FILL_TEST(fill_of_a_file_that_is_too_short_names_where_it_ends),
    FILL_TEST(fill_notices_a_file_that_changes_meanwhile),
    FILL_TEST(fill_can_be_cancelled_and_reports_progress),
    FILL_TEST(fill_works_under_a_small_limit_on_locked_memory),
    FILL_TEST(fill_takes_every_answer_of_a_drive),
    FILL_TEST(fill_tries_again_ever_later_what_may_pass),
    FILL_TEST(fill_has_32_fixed_reads_of_a_mebibyte_under_way),
    FILL_TEST(fill_survives_reads_that_fail_for_a_while),
    FILL_TEST(fill_of_a_broken_drive_ends_with_the_place),
    FILL_TEST(fill_that_waits_to_try_again_can_be_cancelled),
    FILL_TEST(fills_share_the_drive_and_leave_it_to_the_urgent),
    FILL_TEST(an_urgent_fill_gets_the_drive_from_one_that_began_before),
    FILL_TEST(fill_works_where_io_uring_is_forbidden),
};

static void remove_dirs(void)
{
    rmdir(disk_dir);
    rmdir(shm_dir);
}

int main(int argc, char **argv)
{
    if (!mkdtemp(disk_dir) || !mkdtemp(shm_dir))
        return 1;
    atexit(remove_dirs);
    return TEST_MAIN(argc, argv, tests);
}
