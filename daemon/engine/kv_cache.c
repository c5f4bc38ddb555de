/* SPDX-License-Identifier: MIT */
#include "engine/kv_cache.h"

#include "engine/kv_file.h"
#include "engine/kv_spill.h"
#include "engine/pool_buffer.h"
#include "kernels/step.h"
#include "pool/pool_kept.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define WINDOW_BYTES    (2ull << 30)
#define DIRECTORY_ALIGN (2ull << 20) /* layers after it start on large pages */

static uint64_t align(uint64_t bytes)
{
    return (bytes + DIRECTORY_ALIGN - 1) & ~(DIRECTORY_ALIGN - 1);
}

/* A window of the pool that the device maps, or where it cannot, memory of its own. */
static int make_window(struct kv_cache *kv, struct device *dev, uint64_t offset, uint64_t bytes,
                       struct buffer **ret_buffer, struct error *err)
{
    int r;

    if (!kv->pool)
        return buffer_create(dev, bytes, BUFFER_DEVICE, ret_buffer, err);
    r = pool_buffer_import(dev, kv->pool, offset, bytes, true, ret_buffer, err);
    if (r < 0 || (*ret_buffer)->is_imported)
        return r;
    /* the device copied what it should have mapped: then nobody can find it in the pool, */
    pool_forget(kv->pool);
    if (kv->n_buffers)
        return 0;
    /* which is of no use if none of the cache is there */
    buffer_destroy(*ret_buffer);
    pool_destroy(kv->pool);
    kv->pool = NULL;
    return buffer_create(dev, bytes, BUFFER_DEVICE, ret_buffer, err);
}

/* Where the CPU finds a window that was made at that place of the pool. */
static char *host_of(const struct kv_cache *kv, const struct buffer *buf, uint64_t offset)
{
    if (buf->is_imported)
        return (char *)pool_data(kv->pool) + offset;
    return buf->host; /* of the device's own: NULL where it is out of reach */
}

/* Makes the cache's windows of whole layers, from `start` on, each as large as fits, and points the
 * layers there. */
static int make_layers(struct kv_cache *kv, const struct model *m, struct device *dev,
                       const struct kv_size *size, uint64_t start, struct error *err)
{
    uint32_t n_layers = m->dims.dim[DIM_LAYERS];

    for (uint32_t first = 0, end; first < n_layers; first = end) {
        uint64_t bytes = kv_size_layer_bytes(m, size, first), at = 0;
        struct buffer *buf;
        int r;

        for (end = first + 1; end < n_layers; end++) {
            uint64_t more = kv_size_layer_bytes(m, size, end);
            if (bytes && more && bytes + more > WINDOW_BYTES)
                break;
            bytes += more;
        }
        r = make_window(kv, dev, start, bytes, &buf, err);
        if (r < 0)
            return r;
        kv->buffers[kv->n_buffers++] = buf;
        for (uint32_t i = first; i < end; i++) {
            kv->layers[i] = kv_size_layer(m, size, i, buf->address + at);
            if (host_of(kv, buf, start))
                kv->hosts[i] = host_of(kv, buf, start) + at;
            at += kv_size_layer_bytes(m, size, i);
        }
        start += bytes;
    }
    return 0;
}

/* No block shared, but for what the directory says. The others are free. */
static int make_blocks(struct kv_cache *kv, const struct kv_cache_config *cfg,
                       const struct pool_key *key)
{
    uint64_t most = cfg->prefix_tokens / KV_BLOCK_TOKENS, seed;
    int r;

    kv->free_list = calloc(kv->n_blocks, sizeof(*kv->free_list));
    kv->ref_counts = calloc(kv->n_blocks, sizeof(*kv->ref_counts));
    if (!kv->free_list || !kv->ref_counts)
        return -ENOMEM;
    if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) < 0)
        seed = (uintptr_t)kv; /* early boot */
    r = prefix_cache_create(kv->n_blocks, most < kv->n_blocks ? (uint32_t)most : kv->n_blocks, seed,
                            &kv->prefixes);
    if (r == 0 && kv->n_window_blocks)
        r = window_blocks_create(kv->n_window_blocks, kv->n_blocks, &kv->windows);
    if (r == 0 && key)
        r = prefix_directory_open(&kv->directory, pool_data(kv->pool), kv->n_blocks, key->hex,
                                  kv->prefixes, kv->windows);
    if (r < 0)
        return r;
    kv->n_found = (uint32_t)r;
    for (uint32_t i = kv->n_blocks; i-- > 0;)
        if (!prefix_cache_has(kv->prefixes, i))
            kv->free_list[kv->n_free++] = i;
    return 0;
}

/* Kernels that store keys and values in another way must be told apart here, or a later version
 * would take what an earlier one left. */
void kv_cache_contents_key(const struct model *m, struct device *dev,
                           const struct kv_cache_config *cfg, const struct pool_key *model_key,
                           struct pool_key *ret)
{
    const struct gguf_tensor *factors = model_rope_factors(m, 0, cfg->context_tokens)->tensor;
    struct device_info info;
    char layout[512];
    int n;

    device_get_info(dev, &info);
    n = snprintf(layout, sizeof(layout),
                 "%s, %u layers, blocks of %u tokens of %llu bytes in %llu and %llu, version %u, "
                 "rotated by %s, on %s",
                 cfg->size.type == KV_Q8_0 ? "q8_0" : "f16", m->dims.dim[DIM_LAYERS],
                 KV_BLOCK_TOKENS, (unsigned long long)model_kv_bytes_per_token(m, cfg->size.type),
                 (unsigned long long)kv_size_block_bytes(m, &cfg->size, false),
                 (unsigned long long)kv_size_block_bytes(m, &cfg->size, true), KV_FILE_VERSION,
                 factors ? factors->name : "no factors", info.name);
    pool_key_derive(model_key, "kv", layout, (size_t)n, ret);
}

/* By which a later process finds the pool: of blocks that hold the same, and as many. */
static void derive_key(const struct kv_cache *kv, const struct model *m, struct device *dev,
                       const struct kv_cache_config *cfg, struct pool_key *ret)
{
    const uint32_t counts[2] = {kv->n_blocks, kv->n_window_blocks};
    struct pool_key contents;

    kv_cache_contents_key(m, dev, cfg, cfg->model_key, &contents);
    pool_key_derive(&contents, "blocks", counts, sizeof(counts), ret);
}

/* A pool for the directory and the layers: the one that is there, or a new one. */
static int make_pool(struct kv_cache *kv, const struct kv_cache_config *cfg,
                     const struct pool_key *key, uint64_t bytes, struct error *err)
{
    struct pool_config pools = cfg->pools;

    pools.is_cache = true;
    pools.key = key;
    /* whatever stands against finding one, it can be made */
    if (key && pool_find(&pools, bytes, "kv", &kv->pool, NULL) == 0)
        return 0;
    return pool_create(&pools, bytes, "kv", &kv->pool, err);
}

static bool is_named(const struct pool *pool)
{
    struct pool_info info;

    if (!pool)
        return false;
    pool_get_info(pool, &info);
    return info.is_named;
}

static int make_memory(struct kv_cache *kv, const struct model *m, struct device *dev,
                       const struct kv_cache_config *cfg, struct error *err)
{
    uint64_t directory_bytes = align(prefix_directory_bytes(kv->n_blocks));
    struct pool_key key;
    struct device_info info;
    int r = 0;

    if (cfg->model_key)
        derive_key(kv, m, dev, cfg, &key);
    device_get_info(dev, &info);
    if (info.is_zero_copy)
        r = make_pool(kv, cfg, cfg->model_key ? &key : NULL,
                      directory_bytes + kv_size_layers_bytes(m, &cfg->size), err);
    if (r == 0)
        r = make_layers(kv, m, dev, &cfg->size, directory_bytes, err);
    if (r < 0)
        return r;
    r = make_blocks(kv, cfg, is_named(kv->pool) ? &key : NULL);
    return r < 0 ? error_set(err, -r, "out of memory") : 0;
}

uint64_t kv_cache_memory_bytes(const struct model *m, const struct kv_size *size)
{
    return align(prefix_directory_bytes((uint32_t)kv_blocks_for(size->tokens))) +
           kv_size_layers_bytes(m, size);
}

void kv_cache_shape(const struct model *m, const struct kv_size *size, struct kv_layer *ret_layers)
{
    for (uint32_t i = 0; i < m->dims.dim[DIM_LAYERS]; i++)
        ret_layers[i] = kv_size_layer(m, size, i, 0);
}

int kv_cache_create(const struct model *m, struct device *dev, const struct kv_cache_config *cfg,
                    struct kv_cache **ret_kv, struct error *err)
{
    uint32_t n_layers = m->dims.dim[DIM_LAYERS];
    uint64_t blocks = kv_blocks_for(cfg->size.tokens), bytes;
    uint64_t block_bytes = KV_BLOCK_TOKENS * model_kv_bytes_per_token(m, cfg->size.type);
    struct kv_cache *kv = calloc(1, sizeof(*kv));
    int r;

    if (!kv)
        return error_set(err, ENOMEM, "out of memory");
    r = kv_size_check_type(m, cfg->size.type, err);
    if (r < 0)
        goto fail;
    if (!blocks || blocks > UINT32_MAX / KV_BLOCK_TOKENS ||
        __builtin_mul_overflow(blocks, block_bytes, &bytes) || bytes > UINT64_MAX / 2) {
        r = error_set(err, EINVAL, "a cache of %llu tokens is not possible",
                      (unsigned long long)cfg->size.tokens);
        goto fail;
    }
    kv->size = cfg->size;
    kv->n_blocks = (uint32_t)blocks;
    kv->n_window_blocks = (uint32_t)kv_size_window_blocks(m, &cfg->size);
    kv->window = model_window(m);
    kv->block_bytes = kv_size_block_bytes(m, &cfg->size, false);
    kv->window_block_bytes = kv_size_block_bytes(m, &cfg->size, true);
    kv->n_layers = n_layers;
    kv->layers = calloc(n_layers, sizeof(*kv->layers));
    kv->hosts = calloc(n_layers, sizeof(char *));
    kv->buffers = calloc(n_layers, sizeof(struct buffer *));
    r = kv->layers && kv->hosts && kv->buffers ? make_memory(kv, m, dev, cfg, err)
                                               : error_set(err, ENOMEM, "out of memory");
    if (r < 0)
        goto fail;
    *ret_kv = kv;
    return 0;
fail:
    kv_cache_destroy(kv, false);
    return r;
}

void kv_cache_destroy(struct kv_cache *kv, bool is_left)
{
    if (!kv)
        return;
    for (size_t i = 0; i < kv->n_buffers; i++)
        buffer_destroy(kv->buffers[i]);
    if (kv->pool && !is_left)
        pool_set_idle(kv->pool, true, NULL);
    pool_destroy(kv->pool);
    free(kv->buffers);
    free(kv->layers);
    free(kv->hosts);
    free(kv->free_list);
    free(kv->ref_counts);
    prefix_cache_destroy(kv->prefixes);
    window_blocks_destroy(kv->windows);
    free(kv);
}

/* What goes with a block that is taken out of the tree. */
static void forget_block(struct kv_cache *kv, uint32_t block)
{
    if (kv->directory.records)
        prefix_directory_clear(&kv->directory, block);
    if (kv->windows)
        window_blocks_part(kv->windows, block);
    state_slots_forget(kv->states, block);
    kv_spill_forget(kv->spill, block);
}

/* Takes the idle block that was not used for longest out of the tree. */
static bool evict(struct kv_cache *kv, uint32_t *ret_block)
{
    if (!prefix_cache_evict(kv->prefixes, ret_block))
        return false;
    forget_block(kv, *ret_block);
    return true;
}

static bool enter(struct kv_cache *kv, uid_t uid, uint32_t parent, const uint32_t *tokens,
                  uint32_t block)
{
    if (prefix_cache_enter(kv->prefixes, uid, parent, tokens, block) < 0)
        return false;
    if (kv->directory.records)
        prefix_directory_set(&kv->directory, uid, parent, tokens, block);
    return true;
}

int kv_cache_take(struct kv_cache *kv, uint32_t *ret_block)
{
    if (kv->n_free)
        *ret_block = kv->free_list[--kv->n_free];
    else if (!evict(kv, ret_block))
        return -ENOSPC;
    kv->ref_counts[*ret_block] = 1;
    return 0;
}

void kv_cache_ref(struct kv_cache *kv, uint32_t block)
{
    if (kv->ref_counts[block]++ == 0)
        prefix_cache_hold(kv->prefixes, block);
}

void kv_cache_unref(struct kv_cache *kv, uint32_t block)
{
    if (--kv->ref_counts[block])
        return;
    if (!prefix_cache_has(kv->prefixes, block)) {
        kv->free_list[kv->n_free++] = block;
        return;
    }
    prefix_cache_release(kv->prefixes, block);
    kv_spill_offer(kv->spill, block);
}

bool kv_cache_take_shared(struct kv_cache *kv, uid_t uid, uint32_t parent, const uint32_t *tokens,
                          uint32_t *ret_block)
{
    if (!prefix_cache_find(kv->prefixes, uid, parent, tokens, ret_block))
        return false;
    kv_cache_ref(kv, *ret_block);
    return true;
}

bool kv_cache_share(struct kv_cache *kv, uid_t uid, uint32_t parent, const uint32_t *tokens,
                    uint32_t *block)
{
    uint32_t other;

    if (kv_cache_take_shared(kv, uid, parent, tokens, &other)) {
        kv_cache_unref(kv, *block);
        *block = other;
        return true;
    }
    if (enter(kv, uid, parent, tokens, *block))
        return true;
    if (!evict(kv, &other))
        return false;
    kv->free_list[kv->n_free++] = other;
    return enter(kv, uid, parent, tokens, *block);
}

uint64_t kv_cache_forget(struct kv_cache *kv, uid_t uid)
{
    uint64_t bytes = 0;
    uint32_t block;
    bool has = prefix_cache_next_idle(kv->prefixes, uid, PREFIX_ROOT, &block);

    while (has) {
        uint32_t next;

        has = prefix_cache_next_idle(kv->prefixes, uid, block, &next);
        prefix_cache_remove(kv->prefixes, block);
        bytes += kv->block_bytes + (kv_cache_has_window(kv, block) ? kv->window_block_bytes : 0);
        forget_block(kv, block);
        kv->free_list[kv->n_free++] = block;
        block = next;
    }
    return bytes;
}

void kv_cache_forget_kept(const struct pool_config *pools, const struct list *forgets)
{
    struct pool_config config = *pools;
    struct pool_kept *list;
    size_t n;

    config.is_cache = true;
    if (pool_kept_list(pools, &list, &n) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        uint64_t bytes = list[i].mapped_bytes;
        struct pool *pool;

        config.key = &list[i].key;
        if ((list[i].is_sealed && bytes) ||
            pool_look(&config, bytes ? bytes : 1, "kv", &pool, NULL) < 0)
            continue;
        list_for_each (f, forgets, struct kv_forget, link)
            f->bytes += prefix_directory_forget(pool_data(pool), pool_bytes(pool), f->uid);
        pool_set_idle(pool, true, NULL);
        pool_destroy(pool);
    }
    free(list);
}

int kv_cache_take_window(struct kv_cache *kv, uint32_t *ret_window)
{
    uint32_t left;
    int r = window_blocks_take(kv->windows, ret_window, &left);

    if (r == 0 && left != WINDOW_NONE && kv->directory.records)
        prefix_directory_set_window(&kv->directory, left, WINDOW_NONE);
    return r;
}

void kv_cache_share_window(struct kv_cache *kv, uint32_t block, uint32_t *window)
{
    if (window_blocks_join(kv->windows, block, window) && kv->directory.records)
        prefix_directory_set_window(&kv->directory, block, *window);
}

/* ---- what blocks hold ---- */

uint32_t kv_cache_first_seen(const struct kv_cache *kv, uint32_t n_tokens)
{
    return attention_first(n_tokens, kv->window) / KV_BLOCK_TOKENS;
}

bool kv_cache_has_window(const struct kv_cache *kv, uint32_t block)
{
    return kv->windows && window_blocks_of(kv->windows, block) != WINDOW_NONE;
}

void kv_cache_see(const struct kv_cache *kv, struct kv_seen *seen, bool has_window)
{
    seen->run = has_window ? seen->run + 1 : 0;
    seen->n++;
    if (seen->run >= seen->n - kv_cache_first_seen(kv, seen->n * KV_BLOCK_TOKENS))
        seen->most = seen->n;
}

/* Where layers have blocks of windows at all, they have fewer than the others. */
static bool has_layer(const struct kv_cache *kv, uint32_t layer, bool is_windowed)
{
    const struct kv_layer *l = &kv->layers[layer];

    return l->block_bytes && is_windowed == (kv->windows && l->n_blocks == kv->n_window_blocks);
}

uint64_t kv_cache_content_bytes(const struct kv_cache *kv, bool is_windowed)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < kv->n_layers; i++) {
        if (!has_layer(kv, i, is_windowed))
            continue;
        if (!kv->hosts[i])
            return 0;
        bytes += kv->layers[i].block_bytes;
    }
    return bytes;
}

void kv_cache_read(const struct kv_cache *kv, uint32_t block, bool is_windowed, void *to)
{
    char *at = to;

    for (uint32_t i = 0; i < kv->n_layers; i++) {
        uint64_t bytes = kv->layers[i].block_bytes;

        if (!has_layer(kv, i, is_windowed))
            continue;
        memcpy(at, kv->hosts[i] + block * bytes, bytes);
        at += bytes;
    }
}

void kv_cache_write(struct kv_cache *kv, uint32_t block, bool is_windowed, const void *from)
{
    const char *at = from;

    for (uint32_t i = 0; i < kv->n_layers; i++) {
        uint64_t bytes = kv->layers[i].block_bytes;

        if (!has_layer(kv, i, is_windowed))
            continue;
        memcpy(kv->hosts[i] + block * bytes, at, bytes);
        at += bytes;
    }
}

/* ---- figures ---- */

bool kv_cache_is_kept(const struct kv_cache *kv)
{
    return kv->directory.records;
}

uint32_t kv_cache_n_held(const struct kv_cache *kv)
{
    return kv->n_blocks - kv->n_free - prefix_cache_n_idle(kv->prefixes);
}

uint64_t kv_cache_bytes(const struct kv_cache *kv)
{
    return kv->n_blocks * kv->block_bytes + kv->n_window_blocks * kv->window_block_bytes;
}

uint64_t kv_cache_held_bytes(const struct kv_cache *kv)
{
    uint64_t windows = kv->windows ? window_blocks_n_held(kv->windows) : 0;

    return kv_cache_n_held(kv) * kv->block_bytes + windows * kv->window_block_bytes;
}

uint64_t kv_cache_shared_bytes(const struct kv_cache *kv)
{
    uint64_t windows = kv->windows ? window_blocks_n_shared(kv->windows) : 0;

    return prefix_cache_n_entered(kv->prefixes) * kv->block_bytes +
           windows * kv->window_block_bytes;
}
