/* SPDX-License-Identifier: MIT */
#include "harness.h"
#include "pool_fixture.h"

#include "pool/pool.h"
#include "pool/pool_keeper.h"
#include "pool/pool_kept.h"
#include "pool/pool_window.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static const struct pool_config anon = {.kind = POOL_KIND_ANON, .numa_node = -1};
static const struct pool_config memfd = {.kind = POOL_KIND_MEMFD, .numa_node = -1};

static void pool_is_aligned_zeroed_writable_and_guarded(void **state)
{
    static const uint64_t sizes[] = {1, 4095, 4097, 2 * MIB, 5 * MIB + 13};
    static const struct pool_config *const configs[] = {&anon, &memfd};

    for (size_t i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint64_t bytes = sizes[i / 2];
        struct pool *pool = make(configs[i % 2], bytes);
        uint8_t *data = pool_data(pool);
        unsigned char resident;

        assert_int_equal((uintptr_t)data % POOL_LARGE_PAGE_BYTES, 0);
        assert_int_equal(pool_bytes(pool), bytes);
        assert_int_equal(pool_mapped_bytes(pool) % POOL_LARGE_PAGE_BYTES, 0);
        assert_in_range(pool_mapped_bytes(pool), bytes, bytes + POOL_LARGE_PAGE_BYTES - 1);
        assert_string_equal(pool_name(pool), "test");
        assert_int_equal(pool_fd(pool) >= 0, configs[i % 2] == &memfd);
        assert_int_equal(data[0] | data[bytes - 1] | data[pool_mapped_bytes(pool) - 1], 0);
        memset(data, 7, bytes);
        /* the pages around it are ours and inaccessible */
        assert_int_equal(mincore(data - 4096, 4096, &resident), 0);
        assert_int_equal(is_readable(data), true);
        assert_int_equal(is_readable(data - 1), false);
        assert_int_equal(is_readable(data + pool_mapped_bytes(pool)), false);
        pool_destroy(pool);
    }
    pool_destroy(NULL);
}

static void pool_refuses_what_cannot_be_had(void **state)
{
    struct pool_config config = anon;
    struct error err = {0};
    struct pool *pool = NULL;

    assert_int_equal(pool_create(&config, 0, "none", &pool, &err), -EINVAL);
    assert_int_equal(pool_create(&config, UINT64_MAX, "all", &pool, &err), -ENOMEM);
    assert_int_equal(pool_create(&config, UINT64_MAX / 4, "half", &pool, &err), -ENOMEM);
    assert_int_equal(pool_create(&config, pool_available_bytes() + GIB, "big", &pool, &err),
                     -ENOMEM);
    assert_non_null(strstr(err.text, "big: needs "));
    assert_non_null(strstr(err.text, "GiB can be had"));
    config.kind = (enum pool_kind)77;
    assert_int_equal(pool_create(&config, 1, "kind", &pool, &err), -EINVAL);
    config = (struct pool_config){.kind = POOL_KIND_ANON, .numa_node = 4000};
    if (access("/sys/devices/system/node/node0", F_OK) == 0) {
        assert_int_equal(pool_create(&config, 1, "node", &pool, &err), -EINVAL);
        assert_non_null(strstr(err.text, "NUMA node 4000 does not exist"));
    }
    assert_null(pool);
}

static void pool_says_what_pages_it_got(void **state)
{
    struct pool *pool = make(&anon, 16 * MIB);
    struct pool_info info;
    char enabled[64] = "";
    int fd = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY | O_CLOEXEC);

    if (fd >= 0) {
        assert_true(read(fd, enabled, sizeof(enabled) - 1) > 0);
        close(fd);
    }
    pool_get_info(pool, &info);
    assert_int_equal(info.resident_bytes, 0);
    assert_string_equal(info.text, "anonymous, not resident");
    memset(pool_data(pool), 1, 16 * MIB);
    pool_get_info(pool, &info);
    assert_int_equal(info.resident_bytes, 16 * MIB);
    assert_int_equal(info.is_sealed, false);
    assert_non_null(strstr(info.promises, "without the kernel module"));
    if (strstr(enabled, "[madvise]") || strstr(enabled, "[always]")) {
        assert_int_equal(info.huge_bytes, 16 * MIB);
        assert_int_equal(info.page_bytes, 2 * MIB);
        assert_string_equal(info.text, "anonymous, 2 MiB pages");
    } else {
        assert_int_equal(info.page_bytes, 4096);
        assert_string_equal(info.text, "anonymous, 4 KiB pages");
    }
    pool_destroy(pool);
}

static void pool_takes_hugetlb_pages_or_says_why_not(void **state)
{
    struct pool_config config = {.use_hugetlb = true, .numa_node = -1};

    for (int kind = POOL_KIND_ANON; kind <= POOL_KIND_MEMFD; kind++) {
        struct pool_info info;
        struct pool *pool;

        config.kind = (enum pool_kind)kind;
        pool = make(&config, 3 * MIB);
        memset(pool_data(pool), 1, 3 * MIB);
        pool_get_info(pool, &info);
        if (strstr(info.text, "hugetlb"))
            assert_int_equal(info.huge_bytes, 4 * MIB);
        else
            assert_non_null(strstr(info.promises, "too few free hugetlb pages"));
        assert_int_equal(pool_seal(pool, NULL), 0);
        assert_int_equal(*((char *)pool_data(pool) + 3 * MIB - 1), 1);
        pool_destroy(pool);
    }
}

/* Whether a child that writes there dies of it. */
static bool write_faults(volatile char *at)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        *at = 9;
        _exit(0);
    }
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status);
}

static void pool_sealed_keeps_its_bytes_and_takes_no_writes(void **state)
{
    static const struct pool_config *const configs[] = {&anon, &memfd};

    for (int i = 0; i < 2; i++) {
        struct pool *pool = make(configs[i], 3 * MIB);
        char *data = pool_data(pool);
        struct error err = {0};
        struct pool_info info;

        memset(data, 42, 3 * MIB);
        if (pool_seal(pool, &err) < 0)
            fail_msg("%s", err.text);
        assert_int_equal(pool_seal(pool, &err), 0);
        assert_ptr_equal(pool_data(pool), data);
        assert_int_equal(data[0] == 42 && data[3 * MIB - 1] == 42 && data[3 * MIB] == 0, true);
        assert_int_equal(write_faults(data), true);
        pool_get_info(pool, &info);
        assert_int_equal(info.is_sealed, true);
        if (pool_fd(pool) >= 0) {
            assert_ptr_equal(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, pool_fd(pool), 0),
                             MAP_FAILED);
            assert_int_equal(pwrite(pool_fd(pool), "x", 1, 0), -1);
            assert_int_equal(errno, EPERM);
        }
        pool_destroy(pool);
    }
}

static void pool_kept_descriptor_brings_the_pool_back(void **state)
{
    for (int is_sealed = 0; is_sealed < 2; is_sealed++) {
        struct pool *pool = make(&memfd, 3 * MIB), *again = NULL;
        struct error err = {0};
        int fd;

        memset(pool_data(pool), 5, 3 * MIB);
        if (is_sealed)
            assert_int_equal(pool_seal(pool, &err), 0);
        fd = fcntl(pool_fd(pool), F_DUPFD_CLOEXEC, 3);
        pool_destroy(pool);
        assert_int_equal(pool_adopt(fd, 9 * MIB, "again", &again, &err), -EINVAL);
        assert_non_null(strstr(err.text, "has 4194304 bytes, not 10485760"));
        if (pool_adopt(fd, 3 * MIB, "again", &again, &err) < 0)
            fail_msg("%s", err.text);
        assert_int_equal(((char *)pool_data(again))[3 * MIB - 1], 5);
        assert_int_equal(write_faults(pool_data(again)), is_sealed);
        pool_destroy(again);
        assert_int_equal(fcntl(fd, F_GETFD), -1);
    }
    assert_int_equal(pool_adopt(STDERR_FILENO, 1, "tty", &(struct pool *){NULL}, NULL), -EINVAL);
}

/* ---- a keeper ---- */

struct fake_keeper {
    struct pool_keeper keeper;
    struct pool_key key;
    int fd;      /* what it keeps; -1: nothing */
    int refusal; /* what keep() fails with */
};

static int fake_keep(struct pool_keeper *keeper, const struct pool_key *key, int fd)
{
    struct fake_keeper *k = (struct fake_keeper *)keeper;

    if (k->refusal)
        return k->refusal;
    k->key = *key;
    k->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return 0;
}

static void fake_forget(struct pool_keeper *keeper, const struct pool_key *key)
{
    struct fake_keeper *k = (struct fake_keeper *)keeper;

    if (k->fd >= 0)
        close(k->fd);
    k->fd = -1;
}

static int fake_take(struct pool_keeper *keeper, const struct pool_key *key)
{
    struct fake_keeper *k = (struct fake_keeper *)keeper;

    return k->fd < 0 || strcmp(k->key.hex, key->hex) ? -ENOENT : fcntl(k->fd, F_DUPFD_CLOEXEC, 3);
}

static int fake_list(struct pool_keeper *keeper, struct pool_key **ret_keys, size_t *ret_n)
{
    const struct fake_keeper *k = (struct fake_keeper *)keeper;

    *ret_n = k->fd >= 0;
    *ret_keys = malloc(sizeof(**ret_keys));
    **ret_keys = k->key;
    return 0;
}

static struct fake_keeper keeper = {
    {fake_keep, fake_forget, fake_take, fake_take, fake_list}, {""}, -1, 0};
static const struct pool_key image_key = {"image"};

static struct pool_config kept_config(bool is_cache)
{
    return (struct pool_config){.kind = POOL_KIND_MEMFD,
                                .numa_node = -1,
                                .key = &image_key,
                                .is_cache = is_cache,
                                .keeper = &keeper.keeper};
}

static void kept_memfd_is_found_by_its_key(void **state)
{
    struct pool_config config = kept_config(false);
    struct pool *pool = make(&config, 3 * MIB), *again = NULL;
    struct pool_key other = {"other"};
    struct pool_info info;

    assert_int_equal(pool_find(&config, 3 * MIB, "test", &again, NULL), -ENOENT);
    memset(pool_data(pool), 5, 3 * MIB);
    assert_int_equal(keeper.fd, -1); /* an image is kept when it is whole */
    assert_int_equal(pool_seal(pool, NULL), 0);
    assert_true(keeper.fd >= 0);
    pool_destroy(pool);
    config.key = &other;
    assert_int_equal(pool_find(&config, 3 * MIB, "test", &again, NULL), -ENOENT);
    config.key = &image_key;
    assert_int_equal(pool_find(&config, 3 * MIB, "test", &again, NULL), 0);
    assert_int_equal(((uint8_t *)pool_data(again))[3 * MIB - 1], 5);
    pool_get_info(again, &info);
    assert_int_equal(info.is_sealed && info.is_named, true);
    /* what may be taken back is not left where nobody could */
    assert_int_equal(pool_set_idle(again, true, NULL), 0);
    assert_int_equal(keeper.fd, -1);
    assert_null(pool_data(again));
    assert_int_equal(pool_set_idle(again, false, NULL), 0);
    assert_true(keeper.fd >= 0);
    assert_int_equal(((uint8_t *)pool_data(again))[3 * MIB - 1], 5);
    pool_forget(again);
    assert_int_equal(keeper.fd, -1);
    pool_destroy(again);
}

static void kept_memfd_of_no_use_is_given_up(void **state)
{
    struct pool_config cache = kept_config(true), image = kept_config(false);
    struct pool *pool, *again = NULL;

    for (int is_small = 0; is_small < 2; is_small++) {
        pool = make(&cache, 4 * MIB);
        assert_true(keeper.fd >= 0); /* a cache is kept from the start */
        pool_destroy(pool);
        assert_true(keeper.fd >= 0);
        /* one of another size; one that was never sealed and should be */
        assert_int_equal(pool_find(is_small ? &cache : &image, is_small ? 2 * MIB : 4 * MIB, "test",
                                   &again, NULL),
                         -EUCLEAN);
        assert_int_equal(keeper.fd, -1);
    }
    assert_null(again);
}

static void what_is_kept_tells_what_it_is(void **state)
{
    for (int is_cache = 0; is_cache < 2; is_cache++) {
        struct pool_config config = kept_config(is_cache);
        struct pool *pool = make(&config, 3 * MIB);
        struct pool_kept *list;
        size_t n;

        if (!is_cache)
            assert_int_equal(pool_seal(pool, NULL), 0);
        pool_destroy(pool);
        assert_int_equal(pool_kept_list(&config, &list, &n), 0);
        assert_int_equal(n, 1);
        assert_string_equal(list[0].key.hex, image_key.hex);
        assert_int_equal(list[0].is_sealed, !is_cache);
        assert_int_equal(list[0].mapped_bytes, 4 * MIB);
        free(list);
        fake_forget(&keeper.keeper, &image_key);
    }
}

static void kept_cache_is_changed_in_place(void **state)
{
    struct pool_config config = kept_config(true);
    struct pool *pool = make(&config, 4 * MIB);

    memset(pool_data(pool), 5, 4 * MIB);
    pool_destroy(pool);
    assert_int_equal(pool_look(&config, 4 * MIB, "test", &pool, NULL), 0);
    ((uint8_t *)pool_data(pool))[7] = 6;
    assert_int_equal(pool_set_idle(pool, true, NULL), 0);
    pool_destroy(pool);
    assert_int_equal(pool_find(&config, 4 * MIB, "test", &pool, NULL), 0);
    assert_int_equal(((uint8_t *)pool_data(pool))[7], 6);
    assert_int_equal(((uint8_t *)pool_data(pool))[8], 5);
    pool_destroy(pool);
    /* what cannot be opened nobody finds unchanged */
    assert_int_equal(pool_look(&config, 2 * MIB, "test", &pool, NULL), -EINVAL);
    assert_int_equal(pool_find(&config, 4 * MIB, "test", &pool, NULL), -ENOENT);
    assert_int_equal(pool_look(&config, 4 * MIB, "test", &pool, NULL), -ENOENT);
}

static void pool_that_cannot_be_kept_says_so_and_serves(void **state)
{
    struct pool_config config = kept_config(false);
    struct pool *pool = make(&config, 2 * MIB);
    struct pool_info info;

    keeper.refusal = -ENOTCONN;
    assert_int_equal(pool_seal(pool, NULL), 0);
    keeper.refusal = 0;
    pool_get_info(pool, &info);
    assert_int_equal(info.is_named, false);
    assert_non_null(strstr(info.promises, "not kept over a restart"));
    assert_non_null(pool_data(pool));
    pool_destroy(pool);
}

static void pool_that_is_not_to_be_exported_is_not(void **state)
{
    struct pool *pool = make(&memfd, 4 * MIB);
    struct error err = {0};
    int fd = -1;

    assert_int_equal(pool_export_limit_bytes(pool), 0);
    assert_int_equal(pool_export(pool, 0, 2 * MIB, false, &fd, &err), -EOPNOTSUPP);
    pool_destroy(pool);
    pool = make(&anon, 4 * MIB);
    assert_int_equal(pool_export(pool, 0, 2 * MIB, false, &fd, &err), -EOPNOTSUPP);
    assert_string_equal(err.text, "test: anonymous memory has no dma-bufs");
    assert_int_equal(fd, -1);
    pool_destroy(pool);
}

/* What a device would see of a window. */
static void assert_window_shows(const struct pool *pool, uint64_t offset, int value)
{
    struct error err = {0};
    uint8_t *map;
    int fd = -1;

    if (pool_export(pool, offset, 2 * MIB, false, &fd, &err) < 0)
        fail_msg("%s", err.text);
    map = mmap(NULL, 2 * MIB, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    assert_int_equal(map[0] == value && map[2 * MIB - 1] == value, true);
    munmap(map, 2 * MIB);
    close(fd);
}

static void exported_memfd_shows_its_bytes_through_udmabuf(void **state)
{
    struct pool_config config = {
        .kind = POOL_KIND_MEMFD, .numa_node = -1, .is_exported = true, .is_cache = false};
    struct pool *pool;
    uint64_t limit;
    int fd = -1;

    if (access("/dev/udmabuf", R_OK | W_OK) < 0)
        SKIP("no /dev/udmabuf here");
    pool = make(&config, 8 * MIB);
    memset(pool_data(pool), 3, 8 * MIB);
    assert_window_shows(pool, 6 * MIB, 3);
    ((uint8_t *)pool_data(pool))[0] = 4;
    ((uint8_t *)pool_data(pool))[2 * MIB - 1] = 4;
    assert_int_equal(pool_seal(pool, NULL), 0);
    assert_int_equal(write_faults(pool_data(pool)), true);
    assert_window_shows(pool, 0, 4); /* a sealed one, too */
    limit = pool_export_limit_bytes(pool);
    assert_true(limit >= 64 * MIB);
    pool_destroy(pool);
    if (limit > 1024 * MIB)
        return;
    pool = make(&config, limit + 2 * MIB);
    assert_int_equal(pool_export(pool, 0, limit + 2 * MIB, false, &fd, NULL), -EFBIG);
    assert_int_equal(pool_export(pool, 0, limit, false, &fd, NULL), 0);
    close(fd);
    pool_destroy(pool);
}

static void pool_windows_keep_tensors_whole_on_large_pages(void **state)
{
    struct pool *pool = make(&anon, 1); /* only its size counts: see the fake below */
    struct pool_extent extents[] = {
        {"e", 5 * GIB, GIB, 0},           {"a", 3, 100, 0},
        {"b", 103, 1200 * MIB, 0},        {"c", 1200 * MIB + 103, 900 * MIB + 5, 0},
        {"d", 2200 * MIB, 2500 * MIB, 0},
    };
    struct pool_window *w;
    struct error err = {0};
    size_t n;

    pool_destroy(pool);
    /* address space only: nothing of it is touched */
    if (pool_available_bytes() < 7 * GIB)
        SKIP("too little memory for a pool of 7 GiB, even untouched");
    pool = make(&anon, 7 * GIB);
    assert_int_equal(pool_windows(pool, extents, 5, &w, &n, &err), 0);
    assert_int_equal(n, 4);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(w[i].offset % (2 * MIB), 0);
        assert_int_equal(w[i].bytes % (2 * MIB), 0);
        assert_in_range(w[i].offset + w[i].bytes, 1, pool_mapped_bytes(pool));
        if (i)
            assert_true(w[i - 1].offset + w[i - 1].bytes <= w[i].offset + 2 * MIB);
    }
    for (int i = 0; i < 5; i++) {
        const struct pool_extent *e = &extents[i];
        assert_true(e->window < n && w[e->window].offset <= e->offset &&
                    e->offset + e->bytes <= w[e->window].offset + w[e->window].bytes);
    }
    assert_int_equal(extents[1].window == 0 && extents[2].window == 0, true);
    assert_int_equal(extents[3].window == 1 && w[1].offset == 1200 * MIB, true);
    assert_int_equal(w[extents[4].window].bytes, 2500 * MIB); /* alone, though over 2 GiB */
    free(w);
    extents[0].bytes = 3 * GIB;
    assert_int_equal(pool_windows(pool, extents, 5, &w, &n, &err), -EINVAL);
    assert_non_null(strstr(err.text, "tensor e "));
    extents[0] = (struct pool_extent){"huge", MIB, 4 * GIB, 0};
    assert_int_equal(pool_windows(pool, extents, 5, &w, &n, &err), -EFBIG);
    assert_non_null(strstr(err.text, "tensor huge "));
    assert_int_equal(pool_windows(pool, extents, 0, &w, &n, &err), 0);
    assert_int_equal(n, 0);
    free(w);
    pool_destroy(pool);
}

static void pool_key_changes_with_the_file_and_its_header(void **state)
{
    char path[] = "/tmp/pool-key-XXXXXX";
    struct pool_key a, b, c, d;
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 12345}};
    struct pool_key later, finer, longer, derived, other;
    struct error err = {0};
    int fd = mkstemp(path);

    assert_int_equal(write(fd, "model", 5), 5);
    assert_int_equal(pool_key_of_file(fd, "head", 4, &a, &err), 0);
    assert_int_equal(pool_key_of_file(fd, "head", 4, &b, &err), 0);
    assert_int_equal(pool_key_of_file(fd, "heat", 4, &c, &err), 0);
    assert_int_equal(futimens(fd, times), 0);
    assert_int_equal(pool_key_of_file(fd, "head", 4, &d, &err), 0);
    assert_int_equal(strlen(a.hex), 64);
    assert_string_equal(a.hex, b.hex);
    assert_string_not_equal(a.hex, c.hex);
    assert_string_not_equal(a.hex, d.hex);
    times[1].tv_sec++;
    assert_int_equal(futimens(fd, times), 0);
    assert_int_equal(pool_key_of_file(fd, "head", 4, &later, &err), 0);
    assert_string_not_equal(later.hex, d.hex);
    times[1].tv_nsec++;
    assert_int_equal(futimens(fd, times), 0);
    assert_int_equal(pool_key_of_file(fd, "head", 4, &finer, &err), 0);
    assert_string_not_equal(finer.hex, later.hex);
    assert_int_equal(write(fd, "s", 1), 1);
    assert_int_equal(futimens(fd, times), 0);
    assert_int_equal(pool_key_of_file(fd, "head", 4, &longer, &err), 0);
    assert_string_not_equal(longer.hex, finer.hex);
    /* and what belongs to it by what it is for and how it is laid out */
    pool_key_derive(&a, "kv", "layout", 6, &derived);
    assert_int_equal(strlen(derived.hex), 64);
    assert_string_not_equal(derived.hex, a.hex);
    pool_key_derive(&d, "kv", "layout", 6, &other);
    assert_string_not_equal(derived.hex, other.hex);
    pool_key_derive(&a, "kvl", "ayout", 5, &other);
    assert_string_not_equal(derived.hex, other.hex);
    pool_key_derive(&a, "kv", "another", 7, &other);
    assert_string_not_equal(derived.hex, other.hex);
    close(fd);
    unlink(path);
    fd = open("/", O_RDONLY | O_CLOEXEC);
    assert_int_equal(pool_key_of_file(fd, "", 0, &a, &err), -EISDIR);
    close(fd);
}

static void lasting_key_is_of_the_file_and_not_of_its_device(void **state)
{
    enum { BYTES = 3000001 };
    struct pool_file_id id = {1, 2, BYTES, 3, 4}, other = id;
    char *content = calloc(1, BYTES);
    struct pool_key key, again;

    pool_key_lasting(&id, "head", 4, content, &key);
    assert_int_equal(strlen(key.hex), 64);
    other.device++;
    pool_key_lasting(&other, "head", 4, content, &again);
    assert_string_equal(again.hex, key.hex);
    pool_key_lasting(&id, "heat", 4, content, &again);
    assert_string_not_equal(again.hex, key.hex);
    for (size_t i = 0; i < 4; i++) {
        other = id;
        other.inode += i == 0;
        other.size_bytes -= i == 1;
        other.mtime_sec += i == 2;
        other.mtime_nsec += i == 3;
        pool_key_lasting(&other, "head", 4, content, &again);
        assert_string_not_equal(again.hex, key.hex);
    }
    /* what stands in the sample: the first byte, the last, and any page of 64 KiB somewhere */
    for (size_t i = 0; i < 3; i++) {
        size_t first = (size_t[]){0, BYTES - 1, BYTES / 2}[i];
        size_t n = (size_t[]){1, 1, 65536}[i];

        memset(content + first, 1, n);
        pool_key_lasting(&id, "head", 4, content, &again);
        assert_string_not_equal(again.hex, key.hex);
        memset(content + first, 0, n);
    }
    /* a short one counts with every byte */
    id.size_bytes = 20000;
    pool_key_lasting(&id, "head", 4, content, &key);
    content[7777] = 1;
    pool_key_lasting(&id, "head", 4, content, &again);
    assert_string_not_equal(again.hex, key.hex);
    free(content);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(pool_is_aligned_zeroed_writable_and_guarded),
    cmocka_unit_test(pool_refuses_what_cannot_be_had),
    cmocka_unit_test(pool_says_what_pages_it_got),
    cmocka_unit_test(pool_takes_hugetlb_pages_or_says_why_not),
    cmocka_unit_test(pool_sealed_keeps_its_bytes_and_takes_no_writes),
    cmocka_unit_test(pool_kept_descriptor_brings_the_pool_back),
    cmocka_unit_test(kept_memfd_is_found_by_its_key),
    cmocka_unit_test(kept_memfd_of_no_use_is_given_up),
    cmocka_unit_test(what_is_kept_tells_what_it_is),
    cmocka_unit_test(kept_cache_is_changed_in_place),
    cmocka_unit_test(pool_that_cannot_be_kept_says_so_and_serves),
    cmocka_unit_test(pool_that_is_not_to_be_exported_is_not),
    cmocka_unit_test(exported_memfd_shows_its_bytes_through_udmabuf),
    cmocka_unit_test(pool_windows_keep_tensors_whole_on_large_pages),
    cmocka_unit_test(pool_key_changes_with_the_file_and_its_header),
    cmocka_unit_test(lasting_key_is_of_the_file_and_not_of_its_device),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
