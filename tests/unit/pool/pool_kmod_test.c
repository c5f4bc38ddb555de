/* SPDX-License-Identifier: MIT */
/*
 * Pools of the kernel module: with the module itself where it is loaded, else with a stand-in.
 * Tests that need to tell the module how to behave are for the stand-in alone.
 */
#include "fake_hearth.h"
#include "harness.h"
#include "pool_fixture.h"

#include "pool/pool.h"
#include "pool/pool_fill.h"
#include "pool/pool_kmod.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)

static bool has_module;
static struct pool_key key; /* another for each test */

static int setup(void **state)
{
    static unsigned n;
    unsigned seed[2] = {(unsigned)getpid(), n++};

    pool_key_derive(&(struct pool_key){""}, "test", seed, sizeof(seed), &key);
    if (!has_module)
        fake_hearth_reset();
    return 0;
}

static struct pool_config config_for(bool is_cache)
{
    return (struct pool_config){
        .kind = POOL_KIND_KMOD, .numa_node = -1, .key = &key, .is_cache = is_cache};
}

static int find(const struct pool_config *config, uint64_t bytes, struct pool **ret)
{
    struct error err = {0};
    int r;

    *ret = NULL;
    r = pool_find(config, bytes, "test", ret, &err);
    assert_int_equal(r < 0, *ret == NULL);
    if (r < 0)
        assert_true(err.text[0]);
    return r;
}

static void remove_pool(struct pool *pool)
{
    pool_forget(pool);
    pool_destroy(pool);
}

static void image_is_found_again_whole_and_sealed(void **state)
{
    struct pool_config config = config_for(false);
    struct pool *pool = make(&config, 5 * MIB), *again;
    struct error err = {0};
    struct pool_info info;

    assert_int_equal((uintptr_t)pool_data(pool) % POOL_LARGE_PAGE_BYTES, 0);
    assert_int_equal(pool_mapped_bytes(pool), 6 * MIB);
    assert_int_equal(((char *)pool_data(pool))[6 * MIB - 1], 0);
    memset(pool_data(pool), 7, 5 * MIB);
    if (pool_seal(pool, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(((char *)pool_data(pool))[5 * MIB - 1], 7);
    pool_destroy(pool);

    assert_int_equal(find(&config, 5 * MIB, &again), 0);
    assert_int_equal(((char *)pool_data(again))[5 * MIB - 1], 7);
    pool_get_info(again, &info);
    assert_int_equal(info.is_sealed && info.is_named, true);
    assert_string_equal(info.kind, "kernel module");
    assert_int_equal(info.resident_bytes, 6 * MIB);
    /* others may use it at the same time */
    assert_int_equal(find(&config, 5 * MIB, &pool), 0);
    pool_destroy(pool);
    remove_pool(again);
    assert_int_equal(find(&config, 5 * MIB, &again), -ENOENT);
}

static void image_that_was_never_sealed_is_freed_by_its_finder(void **state)
{
    struct pool_config config = config_for(false);
    struct pool *pool;
    pid_t pid = -1;
    int status;

    if (has_module) {
        pid = fork();
        if (pid == 0) { /* dies half-way, as after kill -9 */
            make(&config, 4 * MIB);
            _exit(0);
        }
        waitpid(pid, &status, 0);
    } else { /* its memory is this process's: what a death leaves is made by hand */
        struct hearth_create request = {.size_bytes = 4 * MIB,
                                        .flags = HEARTH_CREATE_KEYED | HEARTH_CREATE_IDLE_ON_CLOSE};
        int device = open("/dev/hearth", O_RDWR | O_CLOEXEC);

        for (int i = 0; i < HEARTH_KEY_BYTES; i++) {
            unsigned byte;
            sscanf(key.hex + 2 * i, "%2x", &byte);
            request.key[i] = (uint8_t)byte;
        }
        close(ioctl(device, HEARTH_CREATE, &request));
        close(device);
        assert_int_equal(fake_hearth_n_pools(), 1);
    }
    assert_int_equal(find(&config, 4 * MIB, &pool), -EUCLEAN);
    assert_int_equal(find(&config, 4 * MIB, &pool), -ENOENT);
    if (!has_module)
        assert_int_equal(fake_hearth_n_pools(), 0);
}

static void image_that_was_not_finished_goes_with_its_pool(void **state)
{
    struct pool_config config = config_for(false);
    struct pool *pool = make(&config, 4 * MIB), *none;

    pool_destroy(pool);
    assert_int_equal(find(&config, 4 * MIB, &none), -ENOENT);
}

static void image_being_filled_is_left_to_who_fills_it(void **state)
{
    struct pool_config config = config_for(false);
    struct pool *pool = make(&config, 4 * MIB), *other;
    struct pool_info info;

    assert_int_equal(find(&config, 4 * MIB, &other), -EBUSY);
    /* and one that wants its name does without */
    other = make(&config, 4 * MIB);
    pool_get_info(other, &info);
    assert_int_equal(info.is_named, false);
    assert_non_null(strstr(info.promises, "another process holds a pool of this name"));
    pool_destroy(other);
    assert_int_equal(pool_seal(pool, NULL), 0);
    assert_int_equal(find(&config, 4 * MIB, &other), 0);
    pool_destroy(other);
    remove_pool(pool);
}

static void cache_is_found_again_writable(void **state)
{
    struct pool_config config = config_for(true);
    struct pool *pool = make(&config, 4 * MIB), *again;

    strcpy(pool_data(pool), "kept");
    assert_int_equal(pool_seal(pool, NULL), -EINVAL);
    assert_int_equal(find(&config, 4 * MIB, &again), -EBUSY); /* only one may write it */
    pool_destroy(pool);
    assert_int_equal(find(&config, 6 * MIB, &again), -EUCLEAN); /* of another size: of no use */
    pool = make(&config, 4 * MIB);
    strcpy(pool_data(pool), "kept");
    pool_destroy(pool);
    assert_int_equal(find(&config, 4 * MIB, &again), 0);
    assert_string_equal(pool_data(again), "kept");
    strcpy((char *)pool_data(again) + 4 * MIB - 8, "written");
    remove_pool(again);
}

static void idle_pool_has_no_mapping_and_comes_back_at_once(void **state)
{
    struct pool_config config = config_for(false);
    struct pool *pool = make(&config, 4 * MIB);
    char *data = pool_data(pool);

    memset(data, 9, 4 * MIB);
    assert_int_equal(pool_seal(pool, NULL), 0);
    assert_int_equal(pool_set_idle(pool, true, NULL), 0);
    assert_int_equal(pool_set_idle(pool, true, NULL), 0);
    assert_null(pool_data(pool));
    assert_int_equal(is_readable(data), false);
    assert_int_equal(pool_set_idle(pool, false, NULL), 0);
    assert_ptr_equal(pool_data(pool), data);
    assert_int_equal(data[4 * MIB - 1], 9);
    assert_int_equal(pool_is_evicted(pool), false);
    remove_pool(pool);
}

static void windows_are_dma_bufs_that_a_seal_keeps_from_writing(void **state)
{
    struct pool_config config = config_for(false);
    struct pool *pool = make(&config, 6 * MIB);
    struct error err = {0};
    int fd = -1;

    assert_int_equal(pool_export_limit_bytes(pool), 6 * MIB);
    assert_int_equal(pool_export(pool, 4 * MIB, 4 * MIB, false, &fd, &err), -EINVAL);
    assert_int_equal(pool_export(pool, 1 * MIB, 2 * MIB, false, &fd, &err), -EINVAL);
    assert_int_equal(pool_export(pool, 0, 0, false, &fd, &err), -EINVAL);
    assert_int_equal(fd, -1);
    assert_int_equal(pool_export(pool, 0, 2 * MIB, true, &fd, &err), 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    close(fd);
    assert_int_equal(pool_seal(pool, &err), 0);
    assert_int_equal(pool_export(pool, 0, 2 * MIB, true, &fd, &err), -EPERM);
    assert_int_equal(pool_export(pool, 2 * MIB, 4 * MIB, false, &fd, &err), 0);
    close(fd);
    remove_pool(pool);
}

/* ---- memory that comes while the file is read ---- */

static int make_file(uint64_t n, uint8_t **ret_bytes)
{
    char path[] = "/var/tmp/pool-kmod-XXXXXX";
    int fd = mkstemp(path);
    uint64_t x = 88172645463325252u;

    assert_true(fd >= 0);
    unlink(path);
    *ret_bytes = malloc(n);
    for (uint64_t i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (*ret_bytes)[i] = (uint8_t)x;
    }
    for (uint64_t at = 0; at < n;) {
        ssize_t w = write(fd, *ret_bytes + at, n - at);
        assert_true(w > 0);
        at += (uint64_t)w;
    }
    fsync(fd);
    return fd;
}

static void file_is_read_into_memory_as_it_comes(void **state)
{
    const uint64_t bytes = 70 * MIB + 4099;
    uint8_t *want;
    int fd = make_file(bytes, &want);

    for (int way = 0; way < 4; way++) {
        struct pool_config config = config_for(false);
        struct pool_fill_options options = {.no_uring = way & 1, .no_direct = way & 2};
        struct pool_fill_result result;
        struct error err = {0};
        struct pool *pool;

        config.is_deferred = true;
        fake_hearth.step_us = 500; /* slower than the reads */
        pool = make(&config, bytes);
        if (pool_fill_file(pool, 0, fd, 0, bytes, &options, &result, &err) < 0 ||
            pool_seal(pool, &err) < 0)
            fail_msg("way %d: %s", way, err.text);
        assert_memory_equal(pool_data(pool), want, bytes);
        if (result.is_uring && result.is_direct)
            assert_int_equal(result.is_registered, true);
        remove_pool(pool);
    }
    free(want);
    close(fd);
}

static void memory_beyond_what_is_read_is_there_after_the_fill(void **state)
{
    struct pool_config config = config_for(false);
    uint8_t *want;
    int fd = make_file(MIB, &want);
    struct pool *pool;

    config.is_deferred = true;
    fake_hearth.step_us = 500;
    pool = make(&config, 128 * MIB);
    assert_int_equal(pool_fill_file(pool, 0, fd, 0, MIB, NULL, NULL, NULL), 0);
    assert_memory_equal(pool_data(pool), want, MIB);
    assert_int_equal(is_readable((char *)pool_data(pool) + 128 * MIB - 1), true);
    assert_int_equal(pool_seal(pool, NULL), 0);
    remove_pool(pool);
    free(want);
    close(fd);
}

static void deferred_memory_can_be_had_without_a_file(void **state)
{
    struct pool_config config = config_for(true);
    struct pool *pool;

    config.is_deferred = true;
    pool = make(&config, 64 * MIB);
    assert_int_equal(pool_allocate(pool, NULL, NULL), 0);
    assert_int_equal(pool_allocate(pool, NULL, NULL), 0);
    assert_int_equal(((char *)pool_data(pool))[64 * MIB - 1], 0);
    remove_pool(pool);
}

static void *cancel_soon(void *cancel)
{
    usleep(20000);
    atomic_store((atomic_bool *)cancel, true);
    return NULL;
}

static void allocating_ends_soon_when_cancelled(void **state)
{
    struct pool_config config = config_for(false);
    struct error err = {0};
    uint8_t *bytes;
    int fd = make_file(4 * MIB, &bytes);

    config.is_deferred = true;
    for (int is_fill = 0; is_fill < 2; is_fill++) {
        atomic_bool cancel = false;
        struct pool_fill_options options = {.cancel = &cancel};
        struct hearth_query before, after;
        struct pool *pool = NULL;
        pthread_t thread;

        fake_hearth.step_us = 900000; /* hours for the whole of it */
        fake_hearth.n_interrupts = 0;
        assert_int_equal(pool_kmod_query(&before, &err), 0);
        pool = make(&config, before.limit_bytes / 2);
        assert_int_equal(pthread_create(&thread, NULL, cancel_soon, &cancel), 0);
        if (is_fill)
            assert_int_equal(pool_fill_file(pool, 0, fd, 0, 4 * MIB, &options, NULL, &err),
                             -ECANCELED);
        else
            assert_int_equal(pool_allocate(pool, &cancel, &err), -ECANCELED);
        if (!has_module)
            assert_true(fake_hearth.n_interrupts > 0);
        pthread_join(thread, NULL);
        pool_destroy(pool);
        assert_int_equal(pool_kmod_query(&after, &err), 0);
        assert_int_equal(after.used_bytes, before.used_bytes);
    }
    free(bytes);
    close(fd);
}

/* ---- what only the stand-in can be told to answer ---- */

static void memory_that_runs_out_ends_the_fill_with_the_arithmetic(void **state)
{
    const uint64_t bytes = 40 * MIB;
    struct pool_config config = config_for(false);
    uint8_t *want;
    int fd = make_file(bytes, &want);

    config.is_deferred = true;
    for (int no_uring = 0; no_uring < 2; no_uring++) {
        struct pool_fill_options options = {.no_uring = no_uring};
        struct pool *pool = make(&config, bytes);
        struct error err = {0};

        fake_hearth.fail_at_bytes = 20 * MIB;
        assert_int_equal(pool_fill_file(pool, 0, fd, 0, bytes, &options, NULL, &err), -ENOMEM);
        assert_non_null(strstr(err.text, "test: needs 0.04 GiB of memory, more than the kernel"));
        pool_destroy(pool);
        assert_int_equal(fake_hearth_n_pools(), 0);
    }
    free(want);
    close(fd);
}

static void evicted_pool_says_so_and_its_name_is_free(void **state)
{
    struct pool_config config = config_for(false);
    struct pool *pool = make(&config, 4 * MIB), *again;

    assert_int_equal(pool_seal(pool, NULL), 0);
    assert_int_equal(fake_hearth_evict_idle(), 0); /* it is in use */
    assert_int_equal(pool_set_idle(pool, true, NULL), 0);
    assert_int_equal(fake_hearth_evict_idle(), 1);
    assert_int_equal(pool_is_evicted(pool), true);
    assert_int_equal(pool_set_idle(pool, false, NULL), -ESTALE);
    pool_destroy(pool);
    assert_int_equal(find(&config, 4 * MIB, &again), -ESTALE);
    pool = make(&config, 4 * MIB);
    assert_int_equal(pool_seal(pool, NULL), 0);
    pool_destroy(pool);                                 /* idle from now on, by itself */
    assert_int_equal(find(&config, 4 * MIB, &pool), 0); /* and not any more */
    assert_int_equal(fake_hearth_evict_idle(), 0);
    pool_destroy(pool);
    assert_int_equal(fake_hearth_evict_idle(), 1);
}

static void cache_in_use_elsewhere_is_not_taken(void **state)
{
    struct pool_config config = config_for(true);
    struct pool *pool = make(&config, 4 * MIB), *again;

    pool_destroy(pool);
    fake_hearth.n_others = 1;
    assert_int_equal(find(&config, 4 * MIB, &again), -EBUSY);
    assert_int_equal(fake_hearth_n_pools(), 1);
    fake_hearth.n_others = 0;
    assert_int_equal(find(&config, 4 * MIB, &again), 0);
    remove_pool(again);
}

static void seal_that_finds_pages_in_use_fails_with_a_sentence(void **state)
{
    struct pool_config config = config_for(false);
    struct pool *pool = make(&config, 4 * MIB);
    struct error err = {0};

    fake_hearth.is_pinned = true;
    assert_int_equal(pool_seal(pool, &err), -EBUSY);
    assert_non_null(strstr(err.text, "cannot be sealed while something else"));
    pool_destroy(pool);
    assert_int_equal(fake_hearth_n_pools(), 0);
}

static void pool_over_the_limit_is_refused_with_the_arithmetic(void **state)
{
    struct pool_config config = config_for(false);
    struct error err = {0};
    struct pool *pool = NULL;

    fake_hearth.limit_bytes = 1024 * MIB;
    assert_int_equal(pool_create(&config, 2048 * MIB, "big", &pool, &err), -ENOMEM);
    assert_string_equal(err.text,
                        "big: needs 2.00 GiB, but pools in use hold 0.00 of the 1.00 GiB they may: "
                        "unload a model, choose a smaller one, or raise the module's parameter "
                        "limit_percent");
    assert_null(pool);
}

static void module_that_cannot_be_used_says_what_to_do(void **state)
{
    static const struct {
        int open_errno;
        unsigned abi_version;
        int code;
        const char *text;
    } cases[] = {
        {0, HEARTH_ABI_VERSION, 0, ""},
        {ENOENT, 0, -ENOENT, "load it with modprobe hearth"},
        {ENODEV, 0, -ENODEV, "modprobe hearth"},
        {EACCES, 0, -EACCES, "may not be opened by this user: add it to group daemon"},
        {0, HEARTH_ABI_VERSION + 1, -EPROTO, "install the module that came with it"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pool_config config = config_for(false);
        struct hearth_query query;
        struct error err = {0};
        struct pool *pool = NULL;

        fake_hearth.gid = 1; /* daemon, on every Debian */
        fake_hearth.open_errno = cases[i].open_errno;
        fake_hearth.abi_version = cases[i].abi_version;
        assert_int_equal(pool_kmod_query(&query, &err), cases[i].code);
        assert_non_null(strstr(err.text, cases[i].text));
        if (cases[i].open_errno)
            assert_int_equal(pool_create(&config, MIB, "none", &pool, &err), cases[i].code);
    }
}

#define KMOD_TEST(f) cmocka_unit_test_setup(f, setup)

#define WITH_EITHER                                                                                \
    KMOD_TEST(image_is_found_again_whole_and_sealed),                                              \
        KMOD_TEST(image_that_was_never_sealed_is_freed_by_its_finder),                             \
        KMOD_TEST(image_that_was_not_finished_goes_with_its_pool),                                 \
        KMOD_TEST(image_being_filled_is_left_to_who_fills_it),                                     \
        KMOD_TEST(cache_is_found_again_writable),                                                  \
        KMOD_TEST(idle_pool_has_no_mapping_and_comes_back_at_once),                                \
        KMOD_TEST(windows_are_dma_bufs_that_a_seal_keeps_from_writing),                            \
        KMOD_TEST(file_is_read_into_memory_as_it_comes),                                           \
        KMOD_TEST(memory_beyond_what_is_read_is_there_after_the_fill),                             \
        KMOD_TEST(deferred_memory_can_be_had_without_a_file),                                      \
        KMOD_TEST(allocating_ends_soon_when_cancelled)

static const struct CMUnitTest module_tests[] = {WITH_EITHER};

static const struct CMUnitTest tests[] = {
    WITH_EITHER,
    KMOD_TEST(memory_that_runs_out_ends_the_fill_with_the_arithmetic),
    KMOD_TEST(evicted_pool_says_so_and_its_name_is_free),
    KMOD_TEST(cache_in_use_elsewhere_is_not_taken),
    KMOD_TEST(seal_that_finds_pages_in_use_fails_with_a_sentence),
    KMOD_TEST(pool_over_the_limit_is_refused_with_the_arithmetic),
    KMOD_TEST(module_that_cannot_be_used_says_what_to_do),
};

int main(int argc, char **argv)
{
    has_module = access("/dev/hearth", R_OK | W_OK) == 0;
    printf("# with %s\n", has_module ? "the kernel module" : "a stand-in for the kernel module");
    return has_module ? TEST_MAIN(argc, argv, module_tests) : TEST_MAIN(argc, argv, tests);
}
