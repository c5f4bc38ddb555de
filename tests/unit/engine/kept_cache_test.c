/* SPDX-License-Identifier: MIT */
/* A KV cache that is found again: by a process that comes after one that ended, or was killed while
 * it changed what is shared. In pools of the kernel module where it is loaded, else in memfds. */
#include "harness.h"

#include "device/device_backend.h"
#include "engine/kv_cache.h"
#include "manager.h"
#include "model_fixture.h"
#include "pool/pool_kmod.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCKS = 12, ALICE = 1000, BOB = 1001 };

static bool has_module;

struct house {
    struct manager manager;
    struct model_fixture model;
    struct device *dev;
    struct pool_key model_key;
    struct kv_cache_config config;
    struct kv_cache *kv;
};

static void come(struct house *h)
{
    struct error err = {0};

    if (kv_cache_create(h->model.model, h->dev, &h->config, &h->kv, &err) < 0)
        fail_msg("%s", err.text);
}

static void house_init(struct house *h)
{
    struct builder_shape shape = model_fixture_shape("llama", GGUF_TYPE_F16);
    struct gguf_builder b;
    static unsigned n_houses; /* each with a model of its own: pools of the module stay */
    unsigned number[2] = {n_houses++, (unsigned)getpid()};

    *h = (struct house){0};
    manager_init(&h->manager);
    gguf_builder_transformer(&b, &shape);
    model_fixture_init(&h->model, &b);
    assert_int_equal(device_create("cpu:1", &h->dev, NULL), 0);
    pool_key_derive(&(struct pool_key){""}, "test", number, sizeof(number), &h->model_key);
    h->config = (struct kv_cache_config){
        .pools = {.kind = has_module ? POOL_KIND_KMOD : POOL_KIND_MEMFD,
                  .numa_node = -1,
                  .keeper = &h->manager.keeper},
        .size.tokens = BLOCKS * KV_BLOCK_TOKENS,
        .prefix_tokens = BLOCKS * KV_BLOCK_TOKENS,
        .model_key = &h->model_key,
    };
    come(h);
}

static void house_finish(struct house *h)
{
    pool_forget(h->kv->pool);
    kv_cache_destroy(h->kv, true);
    manager_finish(&h->manager);
    device_destroy(h->dev);
    model_fixture_finish(&h->model);
}

static void restart(struct house *h)
{
    kv_cache_destroy(h->kv, true);
    come(h);
}

static const uint32_t *words(uint32_t name)
{
    static uint32_t tokens[KV_BLOCK_TOKENS];

    for (uint32_t i = 0; i < KV_BLOCK_TOKENS; i++)
        tokens[i] = name * 1000 + i;
    return tokens;
}

/* The cpu device's addresses are host pointers. */
static uint64_t *block_words(const struct house *h, uint32_t layer, uint32_t block)
{
    const struct kv_layer *l = &h->kv->layers[layer];

    return (uint64_t *)(uintptr_t)(l->base + block * l->block_bytes); // NOLINT
}

/* Fills a block over all layers, as a step would; or looks whether it is filled so. */
static void fill(const struct house *h, uint32_t block, uint64_t value)
{
    for (uint32_t l = 0; l < h->model.model->dims.dim[DIM_LAYERS]; l++)
        for (size_t i = 0; i < h->kv->layers[l].block_bytes / sizeof(value); i++)
            block_words(h, l, block)[i] = value + l;
}

static bool is_filled(const struct house *h, uint32_t block, uint64_t value)
{
    for (uint32_t l = 0; l < h->model.model->dims.dim[DIM_LAYERS]; l++)
        for (size_t i = 0; i < h->kv->layers[l].block_bytes / sizeof(value); i++)
            if (block_words(h, l, block)[i] != value + l)
                return false;
    return true;
}

/* What the block at the end of such a chain is filled with. */
static uint64_t value_of(uid_t uid, uint64_t parents_value, uint32_t name)
{
    return (parents_value * 31 + name + 1) * 1000003 + uid;
}

/* A request that computes and shares a chain of n blocks named from `name` on, and ends. */
static void run(struct house *h, uid_t uid, uint32_t name, uint32_t n)
{
    uint32_t blocks[BLOCKS], parent = PREFIX_ROOT;
    uint64_t value = 0;

    for (uint32_t i = 0; i < n; i++) {
        value = value_of(uid, value, name + i);
        if (!kv_cache_take_shared(h->kv, uid, parent, words(name + i), &blocks[i])) {
            assert_int_equal(kv_cache_take(h->kv, &blocks[i]), 0);
            fill(h, blocks[i], value);
            assert_true(kv_cache_share(h->kv, uid, parent, words(name + i), &blocks[i]));
        }
        parent = blocks[i];
    }
    while (n)
        kv_cache_unref(h->kv, blocks[--n]);
}

/* How many of the chain's blocks are there, all rightly filled. */
static uint32_t found(const struct house *h, uid_t uid, uint32_t name, uint32_t n)
{
    uint32_t parent = PREFIX_ROOT, block, i;
    uint64_t value = 0;

    for (i = 0; i < n; i++) {
        if (!prefix_cache_find(h->kv->prefixes, uid, parent, words(name + i), &block))
            break;
        value = value_of(uid, value, name + i);
        if (!is_filled(h, block, value))
            fail_msg("block %u of user %u, chain %u, holds something else", i, uid, name);
        parent = block;
    }
    return i;
}

static void what_was_shared_is_found_and_the_rest_is_free(void **state)
{
    struct house h;
    uint32_t never;

    house_init(&h);
    assert_true(kv_cache_is_kept(h.kv));
    run(&h, ALICE, 0, 4);
    run(&h, BOB, 0, 2);
    assert_int_equal(kv_cache_take(h.kv, &never), 0); /* of a request that never came so far */
    restart(&h);
    assert_int_equal(h.kv->n_found, 6);
    assert_int_equal(found(&h, ALICE, 0, 5), 4);
    assert_int_equal(found(&h, BOB, 0, 4), 2);
    assert_int_equal(h.kv->n_free, BLOCKS - 6);
    assert_int_equal(kv_cache_n_held(h.kv), 0);
    run(&h, ALICE, 0, 8); /* which goes on from there */
    restart(&h);
    assert_int_equal(found(&h, ALICE, 0, 8), 8);
    house_finish(&h);
}

static void what_gave_way_is_not_found(void **state)
{
    struct house h;

    house_init(&h);
    run(&h, ALICE, 0, BLOCKS);
    run(&h, BOB, 50, 5);
    restart(&h);
    assert_int_equal(found(&h, ALICE, 0, BLOCKS), BLOCKS - 5);
    assert_int_equal(found(&h, BOB, 50, 5), 5);
    house_finish(&h);
}

static void what_was_to_be_filled_anew_is_not_found(void **state)
{
    struct house h;
    uint32_t block;

    house_init(&h);
    run(&h, ALICE, 0, BLOCKS);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(kv_cache_take(h.kv, &block), 0);
        fill(&h, block, 7);
    }
    restart(&h);
    assert_int_equal(h.kv->n_found, BLOCKS - 3);
    assert_int_equal(found(&h, ALICE, 0, BLOCKS), BLOCKS - 3);
    house_finish(&h);
}

static void a_cache_of_another_model_or_layout_is_not_taken(void **state)
{
    struct house h;

    house_init(&h);
    run(&h, ALICE, 0, 4);
    h.config.size.tokens += KV_BLOCK_TOKENS;
    restart(&h);
    assert_int_equal(h.kv->n_found, 0);
    h.config.size.tokens -= KV_BLOCK_TOKENS;
    h.config.size.type = KV_Q8_0;
    restart(&h);
    assert_int_equal(h.kv->n_found, 0);
    h.config.size.type = KV_F16;
    h.model_key.hex[5] ^= 1;
    restart(&h);
    assert_int_equal(h.kv->n_found, 0);
    h.model_key.hex[5] ^= 1;
    restart(&h); /* they did no harm to the first */
    assert_int_equal(found(&h, ALICE, 0, 4), 4);
    house_finish(&h);
}

/* The module keeps it for as long as nobody needs the memory. */
static void a_cache_that_is_given_up_stays_only_with_the_module(void **state)
{
    struct house h;

    house_init(&h);
    run(&h, ALICE, 0, 4);
    kv_cache_destroy(h.kv, false);
    come(&h);
    assert_int_equal(h.kv->n_found, has_module ? 4 : 0);
    house_finish(&h);
}

static void a_cache_that_nobody_keeps_says_so(void **state)
{
    struct house h;

    house_init(&h);
    kv_cache_destroy(h.kv, false);
    h.config.pools.kind = POOL_KIND_ANON;
    come(&h);
    assert_false(kv_cache_is_kept(h.kv));
    run(&h, ALICE, 0, 4); /* as good while it lasts */
    assert_int_equal(found(&h, ALICE, 0, 4), 4);
    kv_cache_destroy(h.kv, true);
    h.config.pools.kind = has_module ? POOL_KIND_KMOD : POOL_KIND_MEMFD;
    h.config.model_key = NULL;
    come(&h);
    assert_false(kv_cache_is_kept(h.kv));
    house_finish(&h);
}

/* ---- killed ---- */

enum { ROUNDS = 40, CHAINS = 5 };

/* Requests without end, over more chains than there is room for. */
static void live(struct house *h, atomic_uint *n_done)
{
    uint32_t random = (uint32_t)getpid();

    for (;;) {
        random = random * 1664525 + 1013904223;
        run(h, random >> 30 & 1 ? ALICE : BOB, (random >> 20) % CHAINS * 20,
            1 + (random >> 10) % 8);
        atomic_fetch_add(n_done, 1);
    }
}

static void killed_at_any_point_it_leaves_nothing_wrong(void **state)
{
    atomic_uint *n_done =
        mmap(NULL, sizeof(*n_done), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint32_t n_found = 0;
    struct house h;

    assert_ptr_not_equal(n_done, MAP_FAILED);
    house_init(&h);
    for (unsigned round = 0; round < ROUNDS; round++) {
        pid_t child;

        atomic_store(n_done, 0);
        child = fork();
        assert_true(child >= 0);
        if (child == 0)
            live(&h, n_done);
        while (atomic_load(n_done) < 20 + round)
            sched_yield();
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
        restart(&h);
        n_found += h.kv->n_found;
        assert_int_equal(h.kv->n_free + h.kv->n_found, BLOCKS);
        for (uint32_t c = 0; c < CHAINS; c++) {
            found(&h, ALICE, c * 20, 8);
            found(&h, BOB, c * 20, 8);
        }
    }
    assert_true(n_found > ROUNDS * BLOCKS / 2);
    munmap(n_done, sizeof(*n_done));
    house_finish(&h);
}

static const struct device_ops *cpu_ops;
static int n_imports;

static int map_first_only(struct device *dev, struct buffer *buf, const struct memory_import *mem,
                          struct error *err)
{
    if (n_imports++ == 0)
        return cpu_ops->buffer_import(dev, buf, mem, err);
    buf->is_imported = false;
    return cpu_ops->buffer_create(dev, buf, BUFFER_DEVICE, err);
}

/* What the device writes into memory of its own is not in the pool. */
static void a_cache_that_is_mapped_in_part_is_not_kept(void **state)
{
    struct device_ops ops;
    struct house h;

    house_init(&h);
    h.config.size.tokens = ((1ull << 30) / h.kv->layers[0].block_bytes + 1) * KV_BLOCK_TOKENS;
    if (kv_cache_memory_bytes(h.model.model, &h.config.size) > pool_available_bytes())
        SKIP("too little memory");
    kv_cache_destroy(h.kv, true);
    come(&h);
    assert_true(h.kv->n_buffers > 1);
    assert_true(kv_cache_is_kept(h.kv));
    cpu_ops = h.dev->ops;
    ops = *cpu_ops;
    ops.buffer_import = map_first_only;
    h.dev->ops = &ops;
    restart(&h);
    assert_false(kv_cache_is_kept(h.kv));
    assert_int_equal(h.kv->n_found, 0);
    h.dev->ops = cpu_ops;
    restart(&h);
    assert_int_equal(h.kv->n_found, 0);
    house_finish(&h);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_was_shared_is_found_and_the_rest_is_free),
    cmocka_unit_test(what_gave_way_is_not_found),
    cmocka_unit_test(what_was_to_be_filled_anew_is_not_found),
    cmocka_unit_test(a_cache_of_another_model_or_layout_is_not_taken),
    cmocka_unit_test(a_cache_that_is_given_up_stays_only_with_the_module),
    cmocka_unit_test(a_cache_that_nobody_keeps_says_so),
    cmocka_unit_test(killed_at_any_point_it_leaves_nothing_wrong),
    /* of memfds alone: a second window of a pool of the module takes 2 GiB */
    cmocka_unit_test(a_cache_that_is_mapped_in_part_is_not_kept),
};

int main(int argc, char **argv)
{
    struct hearth_query query;

    has_module = pool_kmod_query(&query, NULL) == 0;
    printf("# in %s\n", has_module ? "pools of the kernel module" : "memfds");
    return harness_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]) - has_module);
}
