/* SPDX-License-Identifier: MIT */
/* The parts of the Vulkan back end that need no Vulkan: cutting into submissions, the cache file.
 */
#include "harness.h"

#include "device/vulkan/vk_cache_file.h"
#include "device/vulkan/vk_call.h"
#include "device/vulkan/vk_fault.h"
#include "device/vulkan/vk_segments.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000ull

/* ---- where programs are cut ---- */

static void measure_rows(struct vk_segments *s, uint64_t ns_per_call, uint32_t rows)
{
    for (size_t i = 0; i < s->n; i++)
        vk_segments_measured(s, i, (vk_segments_end(s, i) - vk_segments_first(s, i)) * ns_per_call,
                             rows);
}

static void measure_all(struct vk_segments *s, uint64_t ns_per_call)
{
    measure_rows(s, ns_per_call, 1);
}

/* Every call is in exactly one segment, in order. */
static void assert_whole(const struct vk_segments *s)
{
    for (size_t i = 0; i < s->n; i++)
        assert_true(vk_segments_end(s, i) > vk_segments_first(s, i));
    assert_int_equal(vk_segments_end(s, s->n - 1), s->n_calls);
}

static void what_is_unknown_is_cut_into_layers(void **state)
{
    struct vk_segments s;

    assert_int_equal(vk_segments_init(&s, 40, 0), 0);
    assert_int_equal(s.n, 3);
    assert_int_equal(s.ends[0], VK_SEGMENT_FIRST_CALLS);
    assert_whole(&s);
    assert_false(vk_segments_recut(&s, 1));
    vk_segments_finish(&s);
}

static void what_is_known_of_calls_shortens_the_first_cuts(void **state)
{
    struct vk_segments s;

    assert_int_equal(vk_segments_init(&s, 40, 20 * MS), 0);
    assert_int_equal(s.ends[0], VK_SEGMENT_TARGET_NS / (20 * MS));
    assert_whole(&s);
    vk_segments_finish(&s);
    assert_int_equal(vk_segments_init(&s, 40, 500 * MS), 0);
    assert_int_equal(s.n, 40);
    vk_segments_finish(&s);
}

static void the_longest_call_is_one_alone_or_twice_a_share(void **state)
{
    struct vk_segments s;
    uint32_t rows;

    assert_int_equal(vk_segments_init(&s, VK_SEGMENT_FIRST_CALLS + 1, 0), 0);
    vk_segments_measured(&s, 0, 16 * MS, 1);
    vk_segments_measured(&s, 1, MS, 1);
    assert_int_equal(vk_segments_longest_call(&s, &rows), 2 * MS);
    vk_segments_measured(&s, 1, 9 * MS, 1);
    assert_int_equal(vk_segments_longest_call(&s, &rows), 9 * MS);
    vk_segments_finish(&s);
}

static void short_submissions_become_one(void **state)
{
    struct vk_segments s;

    assert_int_equal(vk_segments_init(&s, 400, 0), 0);
    measure_all(&s, MS / 100);
    assert_true(vk_segments_recut(&s, 1));
    assert_int_equal(s.n, 1);
    assert_whole(&s);
    measure_all(&s, MS / 100);
    assert_false(vk_segments_recut(&s, 1));
    vk_segments_finish(&s);
}

static void long_submissions_are_cut_until_each_is_short(void **state)
{
    struct vk_segments s;

    assert_int_equal(vk_segments_init(&s, 64, 0), 0);
    measure_all(&s, 20 * MS); /* 320 ms each */
    assert_true(vk_segments_recut(&s, 1));
    assert_whole(&s);
    for (size_t i = 0; i < s.n; i++)
        assert_true((vk_segments_end(&s, i) - vk_segments_first(&s, i)) * 20 * MS <=
                    VK_SEGMENT_LIMIT_NS / 2);
    measure_all(&s, 20 * MS);
    assert_false(vk_segments_recut(&s, 1));
    vk_segments_finish(&s);
}

static void one_slow_call_among_fast_ones_ends_up_alone(void **state)
{
    struct vk_segments s;
    size_t slow = 5;

    assert_int_equal(vk_segments_init(&s, 32, 0), 0);
    for (int round = 0; round < 12; round++) {
        for (size_t i = 0; i < s.n; i++) {
            size_t first = vk_segments_first(&s, i), end = vk_segments_end(&s, i);
            bool has_it = first <= slow && slow < end;

            vk_segments_measured(&s, i, (end - first) * MS / 10 + (has_it ? 300 * MS : 0), 1);
        }
        if (!vk_segments_recut(&s, 1))
            break;
        assert_whole(&s);
    }
    for (size_t i = 0; i < s.n; i++)
        if (vk_segments_first(&s, i) <= slow && slow < vk_segments_end(&s, i))
            assert_int_equal(vk_segments_end(&s, i) - vk_segments_first(&s, i), 1);
    assert_true(s.n <= 8);
    vk_segments_finish(&s);
}

static void cuts_stay_where_times_only_waver(void **state)
{
    struct vk_segments s;

    assert_int_equal(vk_segments_init(&s, 64, 0), 0);
    measure_all(&s, 3 * MS);
    vk_segments_recut(&s, 1);
    for (int i = 0; i < 20; i++) {
        measure_all(&s, (i % 2 ? 4 : 3) * MS);
        assert_false(vk_segments_recut(&s, 1));
    }
    vk_segments_finish(&s);
}

static void cuts_learnt_in_a_small_step_do_not_stay_for_a_full_one(void **state)
{
    struct vk_segments s;
    uint32_t rows;

    assert_int_equal(vk_segments_init(&s, 400, 0), 0);
    measure_rows(&s, MS / 8, 65);
    assert_true(vk_segments_recut(&s, 65));
    assert_int_equal(s.n, 1);
    measure_rows(&s, MS / 8, 65); /* 50 ms in all */
    assert_false(vk_segments_recut(&s, 65));
    assert_true(vk_segments_recut(&s, 256)); /* which may take four times as long */
    assert_whole(&s);
    for (size_t i = 0; i < s.n; i++)
        assert_true((vk_segments_end(&s, i) - vk_segments_first(&s, i)) * MS / 2 <=
                    VK_SEGMENT_LIMIT_NS / 2);
    measure_rows(&s, MS / 2, 256);
    assert_false(vk_segments_recut(&s, 65));
    measure_rows(&s, MS / 8, 65); /* nothing new */
    assert_int_equal(vk_segments_longest_call(&s, &rows), MS);
    assert_int_equal(rows, 256);
    assert_false(vk_segments_recut(&s, 256));
    vk_segments_finish(&s);
}

static void steps_that_take_as_long_whatever_their_rows_become_one(void **state)
{
    struct vk_segments s;

    assert_int_equal(vk_segments_init(&s, 400, 0), 0);
    for (int round = 0; round < 8; round++) {
        uint32_t rows = round % 2 ? 16 : 5;

        vk_segments_recut(&s, rows);
        if (round > 4) /* and stay one */
            assert_int_equal(s.n, 1);
        measure_rows(&s, MS / 8, rows);
    }
    vk_segments_finish(&s);
}

static void bind(struct vk_segments *s, size_t every, uint64_t ns)
{
    for (size_t k = 0; k < s->n_calls; k++)
        s->bound_ns[k] = k % every ? 0 : ns;
}

/* No segment of several calls has more than half the limit of bounds. */
static void assert_bound(const struct vk_segments *s)
{
    for (size_t i = 0; i < s->n; i++) {
        size_t first = vk_segments_first(s, i), n = vk_segments_end(s, i) - first;
        uint64_t sum = 0;

        for (size_t k = first; k < first + n; k++)
            sum += s->bound_ns[k];
        assert_true(n == 1 || sum <= VK_SEGMENT_LIMIT_NS / 2);
    }
    assert_whole(s);
}

static void a_long_context_is_cut_before_anything_was_measured(void **state)
{
    struct vk_segments s;

    assert_int_equal(vk_segments_init(&s, 40, 0), 0);
    bind(&s, 8, 60 * MS); /* two in the first segment */
    assert_true(vk_segments_recut(&s, 1));
    assert_bound(&s);
    assert_false(vk_segments_recut(&s, 1));
    bind(&s, 1, 150 * MS); /* each more than a segment may have: each alone */
    assert_true(vk_segments_recut(&s, 1));
    assert_int_equal(s.n, 40);
    vk_segments_finish(&s);
}

static void cuts_learnt_on_a_short_context_do_not_stay_for_a_long_one(void **state)
{
    struct vk_segments s;

    assert_int_equal(vk_segments_init(&s, 400, 0), 0);
    bind(&s, 10, MS / 100);
    measure_all(&s, MS / 10);
    assert_true(vk_segments_recut(&s, 1));
    assert_int_equal(s.n, 1);
    measure_all(&s, MS / 10);
    assert_false(vk_segments_recut(&s, 1));
    bind(&s, 10, 30 * MS); /* the next step looks at a thousand times as much */
    assert_true(vk_segments_recut(&s, 1));
    assert_bound(&s);
    assert_true(s.n <= 20);
    for (size_t i = 0; i < s.n; i++) /* a GPU that takes half the bound */
        vk_segments_measured(&s, i, 50 * MS, 1);
    assert_false(vk_segments_recut(&s, 1));
    bind(&s, 10, MS / 100); /* and the one after it no more */
    for (int round = 0; round < 4; round++) {
        measure_all(&s, MS / 10);
        vk_segments_recut(&s, 1);
    }
    assert_int_equal(s.n, 1);
    vk_segments_finish(&s);
}

/* ---- calls ---- */

static void a_part_is_bound_by_its_own_rows_and_what_they_see(void **state)
{
    const struct vk_launch launch = {
        .groups = {50, 1, 1}, .part_groups = 20, .part_rows = 40, .position_ns = 2};
    struct dispatch d = {.op = KERNEL_ATTENTION, .barrier = true, .max_rows = 100};
    struct vk_calls calls = {0};

    d.args.attention.kv.n_blocks = 10;
    assert_int_equal(vk_calls_add(&calls, &d, &launch, VK_NULL_HANDLE, 0), 0);
    assert_int_equal(calls.n, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(calls.list[i].first_group, i * 20);
        assert_int_equal(calls.list[i].groups[0], i < 2 ? 20 : 10);
        assert_int_equal(calls.list[i].push[1], 50);
        assert_int_equal(calls.list[i].barrier, i == 0); /* they may run side by side */
    }
    assert_int_equal(vk_call_bound_ns(&calls.list[0], 100, 7), 40 * 7 * 2);
    assert_int_equal(vk_call_bound_ns(&calls.list[1], 50, 7), 10 * 7 * 2);
    assert_int_equal(vk_call_bound_ns(&calls.list[2], 50, 7), 0);
    /* what a step does not tell, or tells wrongly, is what the cache holds */
    assert_int_equal(vk_call_bound_ns(&calls.list[0], UINT32_MAX, 0), 40 * 320 * 2);
    assert_int_equal(vk_call_bound_ns(&calls.list[0], 100, 9999), 40 * 320 * 2);
    d.args.attention.window = 64;
    assert_int_equal(vk_calls_add(&calls, &d, &launch, VK_NULL_HANDLE, 0), 0);
    assert_int_equal(vk_call_bound_ns(&calls.list[3], 100, 9999), 40 * 64 * 2);
    d.args.attention.window = ATTENTION_CHUNKS | 48;
    assert_int_equal(vk_calls_add(&calls, &d, &launch, VK_NULL_HANDLE, 0), 0);
    assert_int_equal(vk_call_bound_ns(&calls.list[6], 100, 9999), 40 * 48 * 2);
    vk_calls_finish(&calls);
}

/* ---- the cache file ---- */

struct cache {
    char dir[64], path[128];
};

static int cache_setup(void **state)
{
    struct cache *c = calloc(1, sizeof(*c));

    snprintf(c->dir, sizeof(c->dir), "/tmp/hearth-test-XXXXXX");
    assert_non_null(mkdtemp(c->dir));
    snprintf(c->path, sizeof(c->path), "%s/a/b/pipelines", c->dir);
    *state = c;
    return 0;
}

static int cache_teardown(void **state)
{
    struct cache *c = *state;
    char command[160];

    snprintf(command, sizeof(command), "chmod -R u+w %s; rm -rf %s", c->dir, c->dir);
    assert_int_equal(system(command), 0);
    free(c);
    return 0;
}

static void written_content_is_read_again_and_private(void **state)
{
    struct cache *c = *state;
    struct stat st;
    void *data;
    size_t n;

    assert_int_equal(vk_cache_file_write(c->path, "pipelines", 9, NULL), 0);
    assert_int_equal(vk_cache_file_read(c->path, &data, &n), 0);
    assert_int_equal(n, 9);
    assert_memory_equal(data, "pipelines", 9);
    free(data);
    assert_int_equal(stat(c->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    *strrchr(c->path, '/') = '\0';
    assert_int_equal(stat(c->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
}

/* Each byte in turn wrong, and each length too short. */
static void a_damaged_file_is_thrown_away(void **state)
{
    struct cache *c = *state;
    char content[64];
    void *data;
    size_t n;

    for (int i = 0; i < 33; i++) {
        FILE *f;

        assert_int_equal(vk_cache_file_write(c->path, "pipelines", 9, NULL), 0);
        f = fopen(c->path, "r+");
        n = fread(content, 1, sizeof(content), f);
        assert_int_equal(n, 33);
        content[i] ^= 4;
        rewind(f);
        fwrite(content, 1, n, f);
        fclose(f);
        assert_int_equal(vk_cache_file_read(c->path, &data, &n), -EBADMSG);
        assert_int_equal(access(c->path, F_OK), -1);
        assert_int_equal(vk_cache_file_write(c->path, "pipelines", 9, NULL), 0);
        assert_int_equal(truncate(c->path, i), 0);
        assert_int_equal(vk_cache_file_read(c->path, &data, &n), -EBADMSG);
    }
}

static void a_file_that_others_can_write_is_not_read(void **state)
{
    struct cache *c = *state;
    char link[160];
    void *data;
    size_t n;

    assert_int_equal(vk_cache_file_write(c->path, "pipelines", 9, NULL), 0);
    assert_int_equal(chmod(c->path, 0622), 0);
    assert_int_equal(vk_cache_file_read(c->path, &data, &n), -EPERM);
    assert_int_equal(chmod(c->path, 0600), 0);
    snprintf(link, sizeof(link), "%s/link", c->dir);
    assert_int_equal(symlink(c->path, link), 0);
    assert_int_equal(vk_cache_file_read(link, &data, &n), -ELOOP);
}

/* In the file's directory, last changed so many seconds ago. */
static void put_file(const struct cache *c, const char *name, time_t seconds)
{
    struct timespec times[2] = {{.tv_sec = time(NULL) - seconds}, {.tv_sec = time(NULL) - seconds}};
    char path[256];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", c->dir, name);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    assert_int_equal(futimens(fd, times), 0);
    close(fd);
}

static bool has_file(const struct cache *c, const char *name)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", c->dir, name);
    return access(path, F_OK) == 0;
}

static void files_of_old_drivers_and_of_crashes_are_thrown_away(void **state)
{
    static const struct {
        const char *name;
        time_t seconds;
        bool stays;
    } files[] = {
        {"pipelines-1002-own", 5000, true},       {"pipelines-1002-old", 5000, false},
        {"pipelines-8086-new", 900, true},        {"pipelines-1002-own.aB3dE9", 7200, false},
        {"pipelines-1002-own.aB3dE8", 900, true}, {"notes-old", 5000, true},
    };
    struct cache *c = *state;
    void *data;
    size_t n;

    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
        put_file(c, files[i].name, files[i].seconds);
    snprintf(c->path, sizeof(c->path), "%s/pipelines-1002-own", c->dir);
    vk_cache_file_prune(c->path, 1000);
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
        if (has_file(c, files[i].name) != files[i].stays)
            fail_msg("%s", files[i].name);
    /* what is read has been used */
    assert_int_equal(vk_cache_file_write(c->path, "pipelines", 9, NULL), 0);
    put_file(c, "pipelines-1002-own", 5000);
    assert_int_equal(vk_cache_file_read(c->path, &data, &n), 0);
    free(data);
    snprintf(c->path, sizeof(c->path), "%s/pipelines-8086-new", c->dir);
    vk_cache_file_prune(c->path, 1000);
    assert_true(has_file(c, "pipelines-1002-own"));
}

static void a_directory_that_cannot_be_written_is_told(void **state)
{
    struct cache *c = *state;
    struct error err = {0};

    if (geteuid() == 0)
        snprintf(c->path, sizeof(c->path), "/proc/hearth/pipelines");
    else
        assert_int_equal(chmod(c->dir, 0500), 0);
    assert_true(vk_cache_file_write(c->path, "pipelines", 9, &err) < 0);
    assert_non_null(strstr(err.text, c->path));
}

static void the_cache_directory_is_the_services_or_the_users(void **state)
{
    char path[256], small[8];

    setenv("CACHE_DIRECTORY", "/var/cache/hearth:/other", 1);
    setenv("XDG_CACHE_HOME", "/x", 1);
    setenv("HOME", "/home/u", 1);
    assert_int_equal(vk_cache_file_path("p", path, sizeof(path)), 0);
    assert_string_equal(path, "/var/cache/hearth/p");
    unsetenv("CACHE_DIRECTORY");
    assert_int_equal(vk_cache_file_path("p", path, sizeof(path)), 0);
    assert_string_equal(path, "/x/hearth/p");
    setenv("XDG_CACHE_HOME", "relative", 1);
    assert_int_equal(vk_cache_file_path("p", path, sizeof(path)), 0);
    assert_string_equal(path, "/home/u/.cache/hearth/p");
    assert_int_equal(vk_cache_file_path("p", small, sizeof(small)), -ENAMETOOLONG);
    unsetenv("HOME");
    assert_int_equal(vk_cache_file_path("p", path, sizeof(path)), -ENOENT);
}

/* ---- faults made on purpose ---- */

static void a_fault_is_planned_as_it_is_written(void **state)
{
    static const char *const wrong[] = {"device-lost",    "device-lost:",     "device-lost:0",
                                        "device-lost:-1", "device-lost:3:",   "device-lost:3:0",
                                        "device-lost:3x", "device-lost:3:2,", "anything"};
    struct error err = {0};
    uint64_t ticket = 9;

    assert_int_equal(vk_fault_plan(NULL, &ticket, &err), 0);
    assert_int_equal(ticket, 0);
    assert_int_equal(vk_fault_plan("", &ticket, &err), 0);
    assert_int_equal(ticket, 0);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        assert_int_equal(vk_fault_plan(wrong[i], &ticket, &err), -EINVAL);
        assert_non_null(strstr(err.text, wrong[i]));
    }
    assert_int_equal(vk_fault_plan("device-lost:7", &ticket, &err), 0);
    assert_int_equal(ticket, 7);
    assert_int_equal(vk_fault_lose(), VK_ERROR_DEVICE_LOST);
    assert_int_equal(vk_fault_plan("device-lost:7", &ticket, &err), 0);
    assert_int_equal(ticket, 0);
    assert_int_equal(vk_fault_plan("device-lost:8:2", &ticket, &err), 0);
    assert_int_equal(ticket, 8);
    vk_fault_lose();
    assert_int_equal(vk_fault_plan("device-lost:8:2", &ticket, &err), 0);
    assert_int_equal(ticket, 0);
}

#define CACHE_TEST(name) cmocka_unit_test_setup_teardown(name, cache_setup, cache_teardown)

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_is_unknown_is_cut_into_layers),
    cmocka_unit_test(what_is_known_of_calls_shortens_the_first_cuts),
    cmocka_unit_test(the_longest_call_is_one_alone_or_twice_a_share),
    cmocka_unit_test(short_submissions_become_one),
    cmocka_unit_test(long_submissions_are_cut_until_each_is_short),
    cmocka_unit_test(one_slow_call_among_fast_ones_ends_up_alone),
    cmocka_unit_test(cuts_stay_where_times_only_waver),
    cmocka_unit_test(cuts_learnt_in_a_small_step_do_not_stay_for_a_full_one),
    cmocka_unit_test(steps_that_take_as_long_whatever_their_rows_become_one),
    cmocka_unit_test(a_long_context_is_cut_before_anything_was_measured),
    cmocka_unit_test(cuts_learnt_on_a_short_context_do_not_stay_for_a_long_one),
    cmocka_unit_test(a_part_is_bound_by_its_own_rows_and_what_they_see),
    CACHE_TEST(written_content_is_read_again_and_private),
    CACHE_TEST(a_damaged_file_is_thrown_away),
    CACHE_TEST(a_file_that_others_can_write_is_not_read),
    CACHE_TEST(files_of_old_drivers_and_of_crashes_are_thrown_away),
    CACHE_TEST(a_directory_that_cannot_be_written_is_told),
    cmocka_unit_test(the_cache_directory_is_the_services_or_the_users),
    cmocka_unit_test(a_fault_is_planned_as_it_is_written),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
