/* SPDX-License-Identifier: MIT */
#include "engine/kv_cache.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

/* Layers start on large pages, so that a window of them can be mapped by large GPU pages. */
#define LAYER_ALIGN  (2ull << 20)
#define WINDOW_BYTES (2ull << 30)

static uint64_t layer_block_bytes(const struct model *m)
{
    return (uint64_t)KV_BLOCK_TOKENS * (m->dims.dim[DIM_K] + m->dims.dim[DIM_V]) * 2;
}

/* A window of the pool that the device maps, or where it cannot, memory of its own. */
static int make_window(struct kv_cache *kv, struct device *dev, uint64_t offset, uint64_t bytes,
                       struct buffer **ret_buffer, struct error *err)
{
    struct memory_import mem = {.dmabuf_fd = -1, .bytes = bytes};
    int r;

    if (!kv->pool)
        return buffer_create(dev, bytes, BUFFER_DEVICE, ret_buffer, err);
    mem.host = (char *)pool_data(kv->pool) + offset;
    r = buffer_import(dev, &mem, ret_buffer, err);
    if (r < 0 || (*ret_buffer)->is_imported || kv->n_buffers)
        return r;
    /* the device copied what it should have mapped: then the pool is of no use */
    buffer_destroy(*ret_buffer);
    pool_destroy(kv->pool);
    kv->pool = NULL;
    return buffer_create(dev, bytes, BUFFER_DEVICE, ret_buffer, err);
}

/* Makes the cache's windows of whole layers, each as large as fits, and points the layers there.
 */
static int make_layers(struct kv_cache *kv, const struct model *m, struct device *dev,
                       uint64_t layer_bytes, struct error *err)
{
    uint32_t n_layers = m->dims.dim[DIM_LAYERS];
    uint32_t per_window = layer_bytes < WINDOW_BYTES ? (uint32_t)(WINDOW_BYTES / layer_bytes) : 1;

    for (uint32_t first = 0; first < n_layers; first += per_window) {
        uint32_t n = n_layers - first < per_window ? n_layers - first : per_window;
        struct buffer *buf;
        int r = make_window(kv, dev, first * layer_bytes, n * layer_bytes, &buf, err);
        if (r < 0)
            return r;
        kv->buffers[kv->n_buffers++] = buf;
        for (uint32_t i = 0; i < n; i++)
            kv->layers[first + i] = (struct kv_layer){
                .base = buf->address + i * layer_bytes,
                .block_bytes = layer_block_bytes(m),
                .n_kv_heads = m->dims.dim[DIM_KV_HEADS],
                .n_channels_k = m->dims.dim[DIM_HEAD_K],
                .n_channels_v = m->dims.dim[DIM_HEAD_V],
                .n_blocks = kv->n_blocks,
            };
    }
    return 0;
}

/* All blocks free, none shared. */
static int make_blocks(struct kv_cache *kv, uint32_t n_blocks, uint64_t prefix_tokens)
{
    uint64_t most = prefix_tokens / KV_BLOCK_TOKENS, seed;

    kv->n_blocks = kv->n_free = n_blocks;
    kv->free_list = calloc(n_blocks, sizeof(*kv->free_list));
    kv->ref_counts = calloc(n_blocks, sizeof(*kv->ref_counts));
    if (!kv->free_list || !kv->ref_counts)
        return -ENOMEM;
    for (uint32_t i = 0; i < n_blocks; i++)
        kv->free_list[i] = n_blocks - 1 - i;
    if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) < 0)
        seed = (uintptr_t)kv; /* early boot */
    return prefix_cache_create(n_blocks, most < n_blocks ? (uint32_t)most : n_blocks, seed,
                               &kv->prefixes);
}

int kv_cache_create(const struct model *m, struct device *dev, const struct kv_cache_config *cfg,
                    struct kv_cache **ret_kv, struct error *err)
{
    uint32_t n_layers = m->dims.dim[DIM_LAYERS];
    uint64_t blocks = (cfg->n_tokens + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS, layer_bytes;
    struct kv_cache *kv = calloc(1, sizeof(*kv));
    struct device_info info;
    int r;

    if (!kv)
        return error_set(err, ENOMEM, "out of memory");
    if (!blocks || blocks > UINT32_MAX / KV_BLOCK_TOKENS ||
        __builtin_mul_overflow(blocks, layer_block_bytes(m), &layer_bytes) ||
        layer_bytes > UINT64_MAX / 2 / n_layers) {
        r = error_set(err, EINVAL, "a cache of %llu tokens is not possible",
                      (unsigned long long)cfg->n_tokens);
        goto fail;
    }
    layer_bytes = (layer_bytes + LAYER_ALIGN - 1) & ~(LAYER_ALIGN - 1);
    kv->block_bytes = layer_block_bytes(m) * n_layers;
    kv->layers = calloc(n_layers, sizeof(*kv->layers));
    kv->buffers = calloc(n_layers, sizeof(struct buffer *));
    if (!kv->layers || !kv->buffers || make_blocks(kv, (uint32_t)blocks, cfg->prefix_tokens) < 0) {
        r = error_set(err, ENOMEM, "out of memory");
        goto fail;
    }
    device_get_info(dev, &info);
    if (info.is_zero_copy) {
        r = pool_create(&cfg->pools, layer_bytes * n_layers, "kv", &kv->pool, err);
        if (r < 0)
            goto fail;
    }
    r = make_layers(kv, m, dev, layer_bytes, err);
    if (r < 0)
        goto fail;
    *ret_kv = kv;
    return 0;
fail:
    kv_cache_destroy(kv);
    return r;
}

void kv_cache_destroy(struct kv_cache *kv)
{
    if (!kv)
        return;
    for (size_t i = 0; i < kv->n_buffers; i++)
        buffer_destroy(kv->buffers[i]);
    pool_destroy(kv->pool);
    free(kv->buffers);
    free(kv->layers);
    free(kv->free_list);
    free(kv->ref_counts);
    prefix_cache_destroy(kv->prefixes);
    free(kv);
}

int kv_cache_take(struct kv_cache *kv, uint32_t *ret_block)
{
    if (kv->n_free)
        *ret_block = kv->free_list[--kv->n_free];
    else if (!prefix_cache_evict(kv->prefixes, ret_block))
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
    if (prefix_cache_has(kv->prefixes, block))
        prefix_cache_release(kv->prefixes, block);
    else
        kv->free_list[kv->n_free++] = block;
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
    if (prefix_cache_enter(kv->prefixes, uid, parent, tokens, *block) == 0)
        return true;
    if (!prefix_cache_evict(kv->prefixes, &other))
        return false;
    kv->free_list[kv->n_free++] = other;
    return prefix_cache_enter(kv->prefixes, uid, parent, tokens, *block) == 0;
}

uint32_t kv_cache_n_held(const struct kv_cache *kv)
{
    return kv->n_blocks - kv->n_free - prefix_cache_n_idle(kv->prefixes);
}
