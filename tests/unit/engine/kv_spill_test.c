/* SPDX-License-Identifier: MIT */
/* What a cache holds goes to disk and comes back to another one: to the bit, to its own user, no
 * more than there is room for, and nothing that belongs to another model or was damaged. */
#include "harness.h"

#include "engine/kv_cache.h"
#include "engine/kv_directory.h"
#include "engine/kv_spill_private.h"
#include "model_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { BLOCKS = 12, WINDOW = 70, WINDOW_BLOCKS = 6, CHAIN = 8, ALICE = 1000, BOB = 1001 };

static const struct kv_speeds unknown_speeds = {0};

/* ---- a drive that takes its time ---- */

enum { HELD_SECONDS = 20 /* at most, so that what waits for it fails rather than hangs */ };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_held, has_given_up;
    _Atomic uint32_t n_waiting;
} drive = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* Looks into the cache's tree and the disk's index. */
static uint32_t n_looks;

const uint32_t *__real_prefix_cache_get(const struct prefix_cache *p, uint32_t block,
                                        uid_t *ret_uid, uint32_t *ret_parent);
const uint32_t *__wrap_prefix_cache_get(const struct prefix_cache *p, uint32_t block,
                                        uid_t *ret_uid, uint32_t *ret_parent);
bool __real_kv_disk_has(struct kv_disk *d, const struct pool_key *key, uint64_t *ret_bytes);
bool __wrap_kv_disk_has(struct kv_disk *d, const struct pool_key *key, uint64_t *ret_bytes);

const uint32_t *__wrap_prefix_cache_get(const struct prefix_cache *p, uint32_t block,
                                        uid_t *ret_uid, uint32_t *ret_parent)
{
    n_looks++;
    return __real_prefix_cache_get(p, block, ret_uid, ret_parent);
}

bool __wrap_kv_disk_has(struct kv_disk *d, const struct pool_key *key, uint64_t *ret_bytes)
{
    n_looks++;
    return __real_kv_disk_has(d, key, ret_bytes);
}

DIR *__real_fdopendir(int fd);
DIR *__wrap_fdopendir(int fd);
ssize_t __real_writev(int fd, const struct iovec *parts, int n);
ssize_t __wrap_writev(int fd, const struct iovec *parts, int n);

static void drive_wait(void)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += HELD_SECONDS;
    pthread_mutex_lock(&drive.lock);
    drive.n_waiting++;
    while (drive.is_held && !drive.has_given_up)
        drive.has_given_up =
            pthread_cond_timedwait(&drive.changed, &drive.lock, &until) == ETIMEDOUT;
    drive.n_waiting--;
    pthread_mutex_unlock(&drive.lock);
}

ssize_t __wrap_writev(int fd, const struct iovec *parts, int n)
{
    drive_wait();
    return __real_writev(fd, parts, n);
}

DIR *__wrap_fdopendir(int fd)
{
    drive_wait();
    return __real_fdopendir(fd);
}

/* Writes and listings wait from now on. */
static void drive_hold(void)
{
    pthread_mutex_lock(&drive.lock);
    drive.is_held = true;
    drive.has_given_up = false;
    pthread_mutex_unlock(&drive.lock);
}

/* Nobody has waited for it. */
static bool drive_is_held(void)
{
    bool is_held;

    pthread_mutex_lock(&drive.lock);
    is_held = drive.is_held && !drive.has_given_up;
    pthread_mutex_unlock(&drive.lock);
    return is_held;
}

static void drive_let_go(void)
{
    pthread_mutex_lock(&drive.lock);
    drive.is_held = false;
    pthread_cond_broadcast(&drive.changed);
    pthread_mutex_unlock(&drive.lock);
}

/* ---- a cache with its disk ---- */

struct house {
    char path[64];
    struct model_fixture model;
    struct device *dev;
    struct kv_disk *disk;
    struct pool_key contents;
    struct kv_cache_config config;
    struct kv_cache *kv;
    struct kv_spill *spill;
    uint64_t disk_bytes; /* what it may hold */
};

/* Until the directory was looked through. */
static void wait_for_look(struct house *h)
{
    uint64_t bytes;

    while (!kv_disk_user_bytes(h->disk, ALICE, &bytes))
        usleep(100);
}

static void come(struct house *h)
{
    struct kv_disk_config disk = {.path = h->path, .most_bytes = h->disk_bytes};
    struct error err = {0};

    if (kv_disk_create(&disk, &h->disk, &err) < 0)
        fail_msg("%s", err.text);
    wait_for_look(h);
    if (kv_cache_create(h->model.model, h->dev, &h->config, &h->kv, &err) < 0)
        fail_msg("%s", err.text);
    kv_cache_contents_key(h->model.model, h->dev, &h->config, &(struct pool_key){"model"},
                          &h->contents);
    assert_int_equal(kv_spill_create(h->kv, h->disk, &h->contents, &h->spill), 0);
}

/* The process ends in good order. */
static void leave(struct house *h)
{
    kv_disk_expect_end(h->disk);
    kv_spill_destroy(h->spill);
    kv_cache_destroy(h->kv, false);
    kv_disk_destroy(h->disk);
}

/* Whatever was in memory is gone. */
static void restart(struct house *h)
{
    leave(h);
    come(h);
}

static void house_init(struct house *h, const char *arch, uint32_t kv_type)
{
    struct builder_shape shape = model_fixture_shape(arch, GGUF_TYPE_F16);
    struct gguf_builder b;

    *h = (struct house){.disk_bytes = 1 << 30};
    strcpy(h->path, "/tmp/hearth-spill-XXXXXX");
    assert_non_null(mkdtemp(h->path));
    shape.layers = 6;
    gguf_builder_transformer(&b, &shape);
    if (strcmp(arch, "gemma3") == 0)
        gguf_builder_u32(&b, "gemma3.attention.sliding_window", WINDOW);
    model_fixture_init(&h->model, &b);
    assert_int_equal(device_create("cpu:1", &h->dev, NULL), 0);
    h->config = (struct kv_cache_config){
        .pools = {.numa_node = -1},
        .size = {.tokens = BLOCKS * KV_BLOCK_TOKENS,
                 .window_tokens =
                     (strcmp(arch, "gemma3") == 0 ? WINDOW_BLOCKS : BLOCKS) * KV_BLOCK_TOKENS,
                 .type = kv_type},
        .prefix_tokens = BLOCKS * KV_BLOCK_TOKENS,
    };
    come(h);
}

static void house_finish(struct house *h)
{
    char command[96];

    leave(h);
    device_destroy(h->dev);
    model_fixture_finish(&h->model);
    snprintf(command, sizeof(command), "rm -r %s", h->path);
    assert_int_equal(system(command), 0);
}

/* ---- what blocks hold ---- */

/* The tokens of a chain of that name. */
static const uint32_t *words(uint32_t name)
{
    static uint32_t tokens[CHAIN * KV_BLOCK_TOKENS];

    for (uint32_t i = 0; i < CHAIN * KV_BLOCK_TOKENS; i++)
        tokens[i] = name * 1000 + i;
    return tokens;
}

static unsigned char byte_of(uint32_t name, uint32_t block, uint32_t layer, size_t i)
{
    return (unsigned char)(name * 101 + block * 31 + layer * 7 + i * 3 + i / 251);
}

/* Fills what the layers of one kind hold of the n-th block of a chain, or looks whether it is so:
 * the cpu device's addresses are host pointers. */
static bool content(const struct house *h, uint32_t block, bool is_windowed, uint32_t name,
                    uint32_t n, bool is_filling)
{
    for (uint32_t l = 0; l < h->model.model->dims.dim[DIM_LAYERS]; l++) {
        const struct kv_layer *layer = &h->kv->layers[l];
        unsigned char *at =
            (unsigned char *)(uintptr_t)(layer->base + block * layer->block_bytes); // NOLINT

        if (is_windowed != (h->kv->windows && model_layer_kind(h->model.model, l)->is_windowed))
            continue;
        for (size_t i = 0; i < layer->block_bytes; i++) {
            if (is_filling)
                at[i] = byte_of(name, n, l, i);
            else if (at[i] != byte_of(name, n, l, i))
                return false;
        }
    }
    return true;
}

/* A request that computes and shares the first n blocks of a chain, and ends; of them, the first
 * n_common are everybody's. The last n_windows keep their blocks of windowed layers. */
static void compute(struct house *h, uid_t uid, uint32_t name, uint32_t n, uint32_t n_common,
                    uint32_t n_windows)
{
    uint32_t blocks[CHAIN], windows[CHAIN], parent = PREFIX_ROOT;

    for (uint32_t i = 0; i < n; i++) {
        uid_t owner = i < n_common ? PREFIX_COMMON : uid;

        assert_int_equal(kv_cache_take(h->kv, &blocks[i]), 0);
        content(h, blocks[i], false, name, i, true);
        assert_true(
            kv_cache_share(h->kv, owner, parent, words(name) + i * KV_BLOCK_TOKENS, &blocks[i]));
        parent = blocks[i];
        if (!h->kv->windows || i + n_windows < n)
            continue;
        assert_int_equal(kv_cache_take_window(h->kv, &windows[i]), 0);
        content(h, windows[i], true, name, i, true);
        kv_cache_share_window(h->kv, blocks[i], &windows[i]);
        window_blocks_unref(h->kv->windows, windows[i]);
    }
    while (n)
        kv_cache_unref(h->kv, blocks[--n]);
}

static void compute_chain(struct house *h, uid_t uid, uint32_t name)
{
    compute(h, uid, name, CHAIN, 0, WINDOW_BLOCKS);
}

/* How many of the chain's blocks are in the cache, all rightly filled. */
static uint32_t found(const struct house *h, uid_t uid, uint32_t name, uint32_t n_common)
{
    uint32_t parent = PREFIX_ROOT, block, i;

    for (i = 0; i < CHAIN; i++) {
        uint32_t window;

        if (!prefix_cache_find(h->kv->prefixes, i < n_common ? PREFIX_COMMON : uid, parent,
                               words(name) + i * KV_BLOCK_TOKENS, &block))
            break;
        if (!content(h, block, false, name, i, false))
            fail_msg("block %u of user %u, chain %u, holds something else", i, uid, name);
        window = h->kv->windows ? window_blocks_of(h->kv->windows, block) : WINDOW_NONE;
        if (window != WINDOW_NONE && !content(h, window, true, name, i, false))
            fail_msg("window %u of user %u, chain %u, holds something else", i, uid, name);
        parent = block;
    }
    return i;
}

/* ---- what is read back ---- */

static bool begin(struct house *h, uid_t uid, uint32_t name, uint32_t n_common,
                  const struct kv_speeds *speeds, struct kv_restore **ret)
{
    const struct kv_chain chain = {
        .tokens = words(name), .n_blocks = CHAIN, .n_common = n_common, .uid = uid};

    return kv_restore_begin(h->spill, &chain, speeds, ret);
}

/* Reads back what there is of a chain; how many blocks it read. */
static uint32_t restore(struct house *h, uid_t uid, uint32_t name, uint32_t n_common)
{
    struct kv_restore *r;
    uint32_t n;

    if (!begin(h, uid, name, n_common, &unknown_speeds, &r))
        return 0;
    while (!kv_restore_is_over(r)) {
        usleep(100);
        kv_spill_step(h->spill, 0);
    }
    n = kv_restore_n_read(r);
    kv_restore_end(r);
    return n;
}

static uint64_t n_files(const struct house *h)
{
    struct kv_disk_stats s;

    kv_disk_get_stats(h->disk, &s);
    return s.files;
}

static void a_chain_comes_back_to_the_bit(void **state)
{
    static const uint32_t types[] = {KV_F16, KV_Q8_0};
    struct house h;

    for (size_t i = 0; i < 2; i++) {
        house_init(&h, "llama", types[i]);
        compute_chain(&h, ALICE, 1);
        restart(&h);
        assert_int_equal(found(&h, ALICE, 1, 0), 0);
        assert_int_equal(restore(&h, ALICE, 1, 0), CHAIN);
        assert_int_equal(found(&h, ALICE, 1, 0), CHAIN);
        assert_int_equal(kv_cache_n_held(h.kv), 0);
        assert_int_equal(restore(&h, ALICE, 1, 0), 0); /* it is there */
        assert_int_equal(n_files(&h), CHAIN);
        house_finish(&h);
    }
}

static void each_block_is_written_once(void **state)
{
    struct kv_disk_stats s;
    struct house h;

    house_init(&h, "llama", KV_F16);
    compute_chain(&h, ALICE, 1);
    restart(&h);
    restore(&h, ALICE, 1, 0);
    for (unsigned i = 0; i < 1000 && kv_spill_n_waiting(h.spill); i++)
        kv_spill_step(h.spill, 1);
    assert_int_equal(kv_spill_n_waiting(h.spill), 0);
    kv_disk_get_stats(h.disk, &s);
    assert_int_equal(s.written_blocks, 0);
    house_finish(&h);
}

static void only_its_user_finds_it(void **state)
{
    struct house h;

    house_init(&h, "llama", KV_F16);
    compute_chain(&h, ALICE, 1);
    restart(&h);
    assert_int_equal(restore(&h, BOB, 1, 0), 0);
    assert_int_equal(restore(&h, ALICE, 2, 0), 0);
    assert_int_equal(restore(&h, ALICE, 1, 0), CHAIN);
    assert_int_equal(found(&h, BOB, 1, 0), 0);
    house_finish(&h);
}

static void what_is_everybodys_serves_another_user(void **state)
{
    struct house h;

    house_init(&h, "llama", KV_F16);
    compute(&h, ALICE, 1, CHAIN, 3, 0);
    restart(&h);
    assert_int_equal(restore(&h, BOB, 1, 3), 3);
    assert_int_equal(found(&h, BOB, 1, 3), 3);
    assert_int_equal(restore(&h, ALICE, 1, 3), CHAIN - 3);
    assert_int_equal(found(&h, ALICE, 1, 3), CHAIN);
    house_finish(&h);
}

static void another_model_or_type_finds_nothing(void **state)
{
    struct pool_key here, other;
    struct house h;

    house_init(&h, "llama", KV_F16);
    kv_cache_contents_key(h.model.model, h.dev, &h.config, &(struct pool_key){"other"}, &other);
    assert_string_not_equal(other.hex, h.contents.hex);
    compute_chain(&h, ALICE, 1);
    h.config.size.type = KV_Q8_0;
    here = h.contents;
    restart(&h);
    assert_string_not_equal(here.hex, h.contents.hex);
    assert_int_equal(restore(&h, ALICE, 1, 0), 0);
    h.config.size.type = KV_F16;
    h.config.size.tokens += KV_BLOCK_TOKENS; /* how large the cache is does not count */
    restart(&h);
    assert_int_equal(restore(&h, ALICE, 1, 0), CHAIN);
    house_finish(&h);
}

static void windows_come_back_with_their_blocks(void **state)
{
    struct house h;

    house_init(&h, "gemma3", KV_F16);
    compute(&h, ALICE, 1, CHAIN, 0, 3);
    restart(&h);
    assert_int_equal(restore(&h, ALICE, 1, 0), CHAIN);
    assert_int_equal(found(&h, ALICE, 1, 0), CHAIN);
    assert_int_equal(window_blocks_n_shared(h.kv->windows), 3);
    assert_int_equal(window_blocks_n_held(h.kv->windows), 0);
    house_finish(&h);
}

/* Without what windowed layers look at nobody can go on from there. */
static void blocks_without_the_windows_behind_them_are_not_read(void **state)
{
    struct house h;

    house_init(&h, "gemma3", KV_F16);
    compute(&h, ALICE, 1, CHAIN, 0, 2);
    restart(&h);
    assert_int_equal(restore(&h, ALICE, 1, 0), 0);
    assert_int_equal(n_files(&h), CHAIN);
    house_finish(&h);
}

static void what_is_cheaper_to_compute_is_not_read(void **state)
{
    /* a block takes 3.2 us to compute; the drive reads a byte in one second, or in no time */
    struct kv_speeds slow = {.prompt_token_ns = 100, .bytes_per_second = 1};
    struct kv_speeds fast = {.prompt_token_ns = 100, .bytes_per_second = UINT64_MAX / 2};
    struct kv_restore *r = NULL;
    struct house h;

    house_init(&h, "llama", KV_F16);
    compute_chain(&h, ALICE, 1);
    restart(&h);
    assert_false(begin(&h, ALICE, 1, 0, &slow, &r));
    assert_int_equal(kv_cache_n_held(h.kv), 0);
    assert_true(begin(&h, ALICE, 1, 0, &fast, &r));
    kv_restore_end(r);
    house_finish(&h);
}

/* The file of the n-th block of a chain that begins in this cache. */
static void path_of(const struct house *h, uid_t uid, uint32_t name, uint32_t n, char ret[192])
{
    struct pool_key key = h->contents;

    for (uint32_t i = 0; i <= n; i++) {
        uint32_t of[1 + KV_BLOCK_TOKENS] = {uid};

        memcpy(of + 1, words(name) + i * KV_BLOCK_TOKENS, KV_BLOCK_TOKENS * sizeof(uint32_t));
        pool_key_derive(&key, "block", of, sizeof(of), &key);
    }
    snprintf(ret, 192, "%s/%u/%s", h->path, (unsigned)uid, key.hex);
}

/* Tokens that cost a nanosecond: no drive is as fast. */
static void what_proves_slower_than_computing_is_not_read_to_its_end(void **state)
{
    const struct kv_speeds speeds = {.prompt_token_ns = 1};
    struct kv_restore *r = NULL;
    struct house h;

    house_init(&h, "llama", KV_F16);
    compute_chain(&h, ALICE, 1);
    restart(&h);
    assert_true(begin(&h, ALICE, 1, 0, &speeds, &r));
    while (!kv_restore_is_over(r)) {
        usleep(100);
        kv_spill_step(h.spill, 0);
    }
    assert_in_range(kv_restore_n_read(r), 1, CHAIN - 1);
    kv_restore_end(r);
    house_finish(&h);
}

/* The first prompt of a process: nobody knows yet what computing takes. */
static void a_restore_goes_by_what_becomes_known_of_computing(void **state)
{
    struct kv_restore *r = NULL;
    struct house h;

    house_init(&h, "llama", KV_F16);
    compute_chain(&h, ALICE, 1);
    restart(&h);
    assert_true(begin(&h, ALICE, 1, 0, &unknown_speeds, &r));
    kv_restore_note_pace(h.spill, 1);
    while (!kv_restore_is_over(r)) {
        usleep(100);
        kv_spill_step(h.spill, 0);
    }
    assert_in_range(kv_restore_n_read(r), 1, CHAIN - 1);
    kv_restore_end(r);
    house_finish(&h);
}

/* Whether windowed layers have blocks of their own is a matter of how large the cache is. */
static void another_layout_has_another_key(void **state)
{
    struct pool_key before;
    struct house h;

    house_init(&h, "gemma3", KV_F16);
    compute_chain(&h, ALICE, 1);
    before = h.contents;
    assert_non_null(h.kv->windows);
    h.config.size.window_tokens = h.config.size.tokens;
    restart(&h);
    assert_null(h.kv->windows);
    assert_string_not_equal(h.contents.hex, before.hex);
    assert_int_equal(restore(&h, ALICE, 1, 0), 0);
    house_finish(&h);
}

static void a_file_of_another_size_is_not_there_and_is_written_again(void **state)
{
    struct kv_disk_stats s;
    struct house h;
    char path[192];

    house_init(&h, "llama", KV_F16);
    compute_chain(&h, ALICE, 1);
    leave(&h);
    path_of(&h, ALICE, 1, 3, path);
    assert_int_equal(truncate(path, 1000), 0);
    come(&h);
    assert_int_equal(restore(&h, ALICE, 1, 0), 3);
    kv_disk_get_stats(h.disk, &s);
    assert_int_equal(s.damaged_blocks, 0);
    compute_chain(&h, ALICE, 1);
    restart(&h);
    assert_int_equal(restore(&h, ALICE, 1, 0), CHAIN);
    house_finish(&h);
}

static void only_what_the_cache_lacks_is_read(void **state)
{
    struct house h;

    house_init(&h, "llama", KV_F16);
    compute_chain(&h, ALICE, 1);
    restart(&h);
    compute(&h, ALICE, 1, 5, 0, 0);
    assert_int_equal(restore(&h, ALICE, 1, 0), CHAIN - 5);
    assert_int_equal(found(&h, ALICE, 1, 0), CHAIN);
    house_finish(&h);
}

static void a_damaged_block_ends_what_is_read(void **state)
{
    struct kv_disk_stats s;
    struct house h;
    char path[192];
    int fd;

    house_init(&h, "llama", KV_F16);
    compute_chain(&h, ALICE, 1);
    restart(&h);
    path_of(&h, ALICE, 1, 3, path);
    fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "x", 1, 400), 1);
    close(fd);
    assert_int_equal(restore(&h, ALICE, 1, 0), 3);
    assert_int_equal(found(&h, ALICE, 1, 0), 3);
    assert_int_equal(kv_cache_n_held(h.kv), 0);
    kv_disk_get_stats(h.disk, &s);
    assert_int_equal(s.damaged_blocks, 1);
    house_finish(&h);
}

static void what_has_no_room_in_the_cache_stays_on_disk(void **state)
{
    uint32_t held[BLOCKS - 5];
    struct house h;

    house_init(&h, "llama", KV_F16);
    compute_chain(&h, ALICE, 1);
    restart(&h);
    for (size_t i = 0; i < BLOCKS - 5; i++)
        assert_int_equal(kv_cache_take(h.kv, &held[i]), 0);
    assert_int_equal(restore(&h, ALICE, 1, 0), 5);
    for (size_t i = 0; i < BLOCKS - 5; i++)
        kv_cache_unref(h.kv, held[i]);
    assert_int_equal(restore(&h, ALICE, 1, 0), CHAIN - 5);
    assert_int_equal(found(&h, ALICE, 1, 0), CHAIN);
    house_finish(&h);
}

/* A request that is cancelled while its blocks are on their way, and the next one. */
static void a_restore_may_end_at_any_time(void **state)
{
    struct kv_restore *r;
    struct house h;

    house_init(&h, "llama", KV_F16);
    compute_chain(&h, ALICE, 1);
    restart(&h);
    for (unsigned steps = 0; steps < 4; steps++) {
        if (!begin(&h, ALICE, 1, 0, &unknown_speeds, &r))
            break; /* all was read by then */
        for (unsigned i = 0; i < steps; i++)
            kv_spill_step(h.spill, 0);
        kv_restore_end(r);
        assert_int_equal(kv_cache_n_held(h.kv), 0);
    }
    restore(&h, ALICE, 1, 0);
    assert_int_equal(found(&h, ALICE, 1, 0), CHAIN);
    house_finish(&h);
}

/* The blocks of a chain become idle from the last to the first; without the first the others are of
 * no use. */
static void the_beginning_is_written_first(void **state)
{
    struct house h;
    char path[192];

    house_init(&h, "llama", KV_F16);
    compute_chain(&h, ALICE, 1);
    kv_spill_step(h.spill, 1);
    path_of(&h, ALICE, 1, 0, path);
    while (!n_files(&h))
        usleep(100);
    assert_int_equal(access(path, F_OK), 0);
    house_finish(&h);
}

/* What the device thread does between two steps must not grow with a conversation's length. */
static void no_step_looks_through_a_long_chain(void **state)
{
    enum { LONG = 1000, LOOKS_MOST_AT_ONCE = 500 };
    uint32_t tokens[KV_BLOCK_TOKENS] = {0}, parent = PREFIX_ROOT;
    uint32_t *blocks = calloc(LONG, sizeof(*blocks));
    struct house h;

    house_init(&h, "llama", KV_F16);
    leave(&h);
    h.config.size.tokens = h.config.size.window_tokens = h.config.prefix_tokens =
        LONG * KV_BLOCK_TOKENS;
    come(&h);
    for (uint32_t i = 0; i < LONG; i++) {
        tokens[0] = i;
        assert_int_equal(kv_cache_take(h.kv, &blocks[i]), 0);
        assert_true(kv_cache_share(h.kv, ALICE, parent, tokens, &blocks[i]));
        parent = blocks[i];
    }
    for (uint32_t i = LONG; i-- > 0;)
        kv_cache_unref(h.kv, blocks[i]);
    while (n_files(&h) < LONG) {
        n_looks = 0;
        kv_spill_step(h.spill, 1);
        assert_in_range(n_looks, 0, LOOKS_MOST_AT_ONCE);
    }
    free(blocks);
    house_finish(&h);
}

static void what_gives_way_in_memory_before_it_is_written_is_not(void **state)
{
    uint32_t block;
    struct house h;

    house_init(&h, "llama", KV_F16);
    compute_chain(&h, ALICE, 1);
    kv_spill_step(h.spill, 2); /* copies of two are on their way */
    for (uint32_t i = 0; i < BLOCKS; i++)
        assert_int_equal(kv_cache_take(h.kv, &block), 0);
    assert_int_equal(kv_spill_n_waiting(h.spill), 0);
    for (uint32_t i = 0; i < BLOCKS; i++)
        content(&h, i, false, 9, 9, true);
    restart(&h);
    assert_int_equal(restore(&h, ALICE, 1, 0), 2);
    assert_int_equal(found(&h, ALICE, 1, 0), 2);
    house_finish(&h);
}

static void what_is_gone_from_disk_is_written_again_from_memory(void **state)
{
    struct house h;

    house_init(&h, "llama", KV_F16);
    compute_chain(&h, ALICE, 1);
    restart(&h);
    restore(&h, ALICE, 1, 0);
    assert_int_equal(kv_disk_forget(h.disk, ALICE, &(uint64_t){0}), 0);
    restart(&h); /* what came back into memory is written at the end */
    assert_int_equal(restore(&h, ALICE, 1, 0), CHAIN);
    house_finish(&h);
}

static void what_a_user_has_forgotten_is_not_written(void **state)
{
    uint32_t held;
    struct house h;

    house_init(&h, "gemma3", KV_F16);
    compute(&h, ALICE, 1, 4, 0, 3);
    compute(&h, BOB, 2, 4, 0, 3);
    compute(&h, ALICE, 3, 3, 0, 0);
    assert_true(kv_cache_take_shared(h.kv, ALICE, PREFIX_ROOT, words(3), &held)); /* runs */
    kv_cache_forget(h.kv, ALICE);
    assert_int_equal(h.kv->n_free, BLOCKS - 5);
    assert_int_equal(window_blocks_n_shared(h.kv->windows), 3);
    assert_int_equal(found(&h, ALICE, 1, 0), 0);
    assert_int_equal(found(&h, ALICE, 3, 0), 1);
    assert_int_equal(found(&h, BOB, 2, 0), 4);
    assert_int_equal(kv_spill_n_waiting(h.spill), 5);
    kv_cache_unref(h.kv, held);
    restart(&h);
    assert_int_equal(restore(&h, ALICE, 1, 0), 0);
    assert_int_equal(restore(&h, BOB, 2, 0), 4);
    house_finish(&h);
}

/* Each block that has no room is tried once, or those after it would be copied without end. */
static void a_chain_longer_than_the_disk_comes_back_by_its_beginning(void **state)
{
    struct kv_disk_stats s;
    struct house h;

    house_init(&h, "llama", KV_F16);
    h.disk_bytes = 3 * kv_file_bytes(h.spill->block_bytes, 0) + 1;
    restart(&h);
    compute(&h, ALICE, 1, CHAIN, 2, 0);
    while (kv_spill_step(h.spill, 2) || h.spill->client.n_under_way)
        usleep(100);
    assert_int_equal(kv_spill_n_waiting(h.spill), 0);
    kv_disk_get_stats(h.disk, &s);
    assert_int_equal(s.written_blocks, 3);
    assert_int_equal(s.dropped_blocks, 0);
    restart(&h);
    assert_int_equal(restore(&h, ALICE, 1, 2), 3);
    assert_int_equal(found(&h, ALICE, 1, 2), 3);
    house_finish(&h);
}

static void a_cache_ends_without_its_drive(void **state)
{
    struct house h;

    house_init(&h, "llama", KV_F16);
    compute_chain(&h, ALICE, 1);
    drive_hold();
    kv_spill_step(h.spill, 2);
    kv_spill_destroy(h.spill); /* one write is under way, one is queued, six blocks wait */
    kv_cache_destroy(h.kv, false);
    assert_true(drive_is_held());
    drive_let_go();
    kv_disk_destroy(h.disk);
    come(&h);
    assert_true(n_files(&h) <= 1);
    house_finish(&h);
}

static void on_wake(void *user)
{
    ++*(_Atomic uint32_t *)user;
}

static void nobody_waits_for_a_drive_that_hangs(void **state)
{
    _Atomic uint32_t n_woken = 0;
    struct kv_disk_config disk = {
        .most_bytes = 1 << 30, .end_ns = 1000000, .wake = on_wake, .user = &n_woken};
    struct house h;
    int fd;

    house_init(&h, "llama", KV_F16);
    leave(&h);
    come(&h);
    kv_spill_destroy(h.spill);
    kv_disk_destroy(h.disk);
    disk.path = h.path;
    assert_int_equal(kv_disk_create(&disk, &h.disk, NULL), 0);
    wait_for_look(&h);
    assert_int_equal(kv_spill_create(h.kv, h.disk, &h.contents, &h.spill), 0);
    compute_chain(&h, ALICE, 1);
    drive_hold();
    kv_spill_step(h.spill, 2);
    while (!drive.n_waiting)
        usleep(100);
    kv_spill_destroy(h.spill);
    kv_cache_destroy(h.kv, false);
    kv_disk_destroy(h.disk);
    assert_true(drive_is_held());
    assert_true(n_woken);
    n_woken = 0;
    drive_let_go();
    /* its thread ends by itself then, and lets go of the directory */
    do {
        usleep(100);
        fd = -1;
    } while (kv_directory_open(h.path, &fd, NULL) < 0);
    close(fd);
    assert_int_equal(n_woken, 0);
    come(&h);
    house_finish(&h);
}

static void nobody_waits_for_the_directory_to_be_looked_through(void **state)
{
    struct kv_disk_config disk = {.most_bytes = 1 << 30};
    struct pool_key key;
    uint64_t bytes = 0;
    struct house h;

    house_init(&h, "llama", KV_F16);
    compute_chain(&h, ALICE, 1);
    compute(&h, BOB, 2, 2, 0, 0);
    leave(&h);
    disk.path = h.path;
    drive_hold();
    assert_int_equal(kv_disk_create(&disk, &h.disk, NULL), 0);
    assert_false(kv_disk_user_bytes(h.disk, BOB, &bytes));
    kv_spill_next_key(&h.contents, BOB, words(2), &key);
    assert_false(kv_disk_has(h.disk, &key, &bytes));
    assert_false(kv_disk_takes_writes(h.disk));
    assert_int_equal(kv_disk_forget(h.disk, ALICE, &bytes), 0);
    assert_true(drive_is_held());
    drive_let_go();
    wait_for_look(&h);
    assert_true(kv_disk_has(h.disk, &key, &bytes));
    assert_int_equal(n_files(&h), 2); /* the forgotten user's are gone */
    kv_disk_destroy(h.disk);
    come(&h);
    assert_int_equal(n_files(&h), 2);
    house_finish(&h);
}

static void a_block_larger_than_the_disk_may_hold_has_no_spill(void **state)
{
    struct kv_spill *spill = NULL;
    struct kv_disk_config disk = {0};
    struct house h;

    house_init(&h, "llama", KV_F16);
    disk.most_bytes = kv_file_bytes(h.spill->block_bytes, 0);
    leave(&h);
    disk.path = h.path;
    for (int less = 0; less <= 1; less++) {
        come(&h);
        kv_spill_destroy(h.spill);
        kv_disk_destroy(h.disk);
        disk.most_bytes -= (uint64_t)less;
        assert_int_equal(kv_disk_create(&disk, &h.disk, NULL), 0);
        assert_int_equal(kv_spill_create(h.kv, h.disk, &h.contents, &spill), less ? -EFBIG : 0);
        assert_ptr_equal(h.kv->spill, less ? NULL : spill);
        h.spill = less ? NULL : spill;
        leave(&h);
    }
    come(&h);
    house_finish(&h);
}

static void a_cache_out_of_reach_has_no_spill(void **state)
{
    struct kv_spill *spill = NULL;
    struct house h;

    house_init(&h, "llama", KV_F16);
    kv_spill_destroy(h.spill);
    h.kv->hosts[3] = NULL;
    assert_int_equal(kv_spill_create(h.kv, h.disk, &h.contents, &spill), -ENOTSUP);
    assert_null(h.kv->spill);
    h.spill = NULL;
    house_finish(&h);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_chain_comes_back_to_the_bit),
    cmocka_unit_test(each_block_is_written_once),
    cmocka_unit_test(only_its_user_finds_it),
    cmocka_unit_test(what_is_everybodys_serves_another_user),
    cmocka_unit_test(another_model_or_type_finds_nothing),
    cmocka_unit_test(windows_come_back_with_their_blocks),
    cmocka_unit_test(blocks_without_the_windows_behind_them_are_not_read),
    cmocka_unit_test(what_is_cheaper_to_compute_is_not_read),
    cmocka_unit_test(what_proves_slower_than_computing_is_not_read_to_its_end),
    cmocka_unit_test(a_restore_goes_by_what_becomes_known_of_computing),
    cmocka_unit_test(another_layout_has_another_key),
    cmocka_unit_test(a_file_of_another_size_is_not_there_and_is_written_again),
    cmocka_unit_test(only_what_the_cache_lacks_is_read),
    cmocka_unit_test(a_damaged_block_ends_what_is_read),
    cmocka_unit_test(what_has_no_room_in_the_cache_stays_on_disk),
    cmocka_unit_test(a_restore_may_end_at_any_time),
    cmocka_unit_test(the_beginning_is_written_first),
    cmocka_unit_test(no_step_looks_through_a_long_chain),
    cmocka_unit_test(what_gives_way_in_memory_before_it_is_written_is_not),
    cmocka_unit_test(what_is_gone_from_disk_is_written_again_from_memory),
    cmocka_unit_test(what_a_user_has_forgotten_is_not_written),
    cmocka_unit_test(a_chain_longer_than_the_disk_comes_back_by_its_beginning),
    cmocka_unit_test(a_cache_ends_without_its_drive),
    cmocka_unit_test(nobody_waits_for_a_drive_that_hangs),
    cmocka_unit_test(nobody_waits_for_the_directory_to_be_looked_through),
    cmocka_unit_test(a_block_larger_than_the_disk_may_hold_has_no_spill),
    cmocka_unit_test(a_cache_out_of_reach_has_no_spill),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
