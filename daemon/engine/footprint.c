/* SPDX-License-Identifier: MIT */
#include "engine/footprint.h"

#include "engine/running.h"
#include "pool/pool_kmod.h"

#include <unistd.h>

/* More positions than any machine has memory for. */
#define TOKENS_MOST (1ull << 32)

/* A cache of four contexts of 8192 tokens holds sixteen conversations of 2000 tokens, and while one
 * request has the longest context, what others had computed need not go. Of the memory it takes a
 * sixteenth at most: four contexts of a model of 8 billion parameters on a machine of 64 GiB, one
 * on a machine of 16. */
enum { CONTEXT_DEFAULT = 8192, CACHE_CONTEXTS = 4, CACHE_MEMORY_SHARE = 16 };

/* Bytes of a cache whose size nobody chose. It must not depend on what is free now: a later process
 * finds only a cache of the same size. */
static uint64_t default_cache_bytes(uint64_t device_memory_bytes, uint64_t context_bytes)
{
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE), most;

    if (device_memory_bytes && device_memory_bytes < memory)
        memory = device_memory_bytes;
    most = memory / CACHE_MEMORY_SHARE;
    return context_bytes * CACHE_CONTEXTS < most ? context_bytes * CACHE_CONTEXTS : most;
}

void footprint_choose_cache(const struct cache_wishes *wishes, const struct model *m,
                            uint64_t device_memory_bytes, struct runner_config *cfg)
{
    uint32_t context = wishes->context_tokens ? wishes->context_tokens : CONTEXT_DEFAULT;
    uint32_t batch = cfg->batch_tokens ? cfg->batch_tokens : RUNNER_BATCH_TOKENS;
    struct kv_size one;
    uint64_t bytes = wishes->kv_bytes;

    if (context > m->dims.dim[DIM_CONTEXT])
        context = m->dims.dim[DIM_CONTEXT];
    cfg->context_tokens = context;
    one = kv_size_of(m, wishes->kv_type, context, 1, batch);
    if (!bytes) {
        cfg->least = one;
        bytes = default_cache_bytes(device_memory_bytes, kv_size_bytes(m, &one));
    }
    cfg->cache = kv_size_within(m, wishes->kv_type, bytes, context, RUNNING_SEQS_MOST, batch);
    /* what follows changes what was computed, or the pooling counts earlier rows */
    if (m->arch->is_bidirectional ||
        (m->dims.pooling != POOLING_NONE && m->dims.pooling != POOLING_LAST))
        return;
    cfg->prefix_tokens = cfg->cache.tokens / 100 * wishes->prefix_percent +
                         cfg->cache.tokens % 100 * wishes->prefix_percent / 100;
}

void device_room_measure(struct device *dev, struct device_room *ret_room)
{
    struct device_info info;

    device_get_info(dev, &info);
    *ret_room = (struct device_room){device_free_bytes(dev), info.is_zero_copy};
}

struct residency_bytes footprint_of(const struct device_room *room, uint64_t weights_bytes,
                                    uint64_t missing_bytes, uint64_t cache_bytes)
{
    return (struct residency_bytes){
        .host = missing_bytes + (room->is_shared ? cache_bytes : 0),
        .device = room->free_bytes == RESIDENCY_UNLIMITED ? 0 : weights_bytes + cache_bytes,
    };
}

uint64_t footprint_free_module_bytes(enum pool_kind kind)
{
    struct hearth_query module;
    uint64_t held;

    if (kind != POOL_KIND_KMOD || pool_kmod_query(&module, NULL) < 0)
        return UINT64_MAX;
    held = module.used_bytes > module.idle_bytes ? module.used_bytes - module.idle_bytes : 0;
    return module.limit_bytes > held ? module.limit_bytes - held : 0;
}

uint64_t footprint_free_host_bytes(enum pool_kind kind)
{
    uint64_t left = pool_available_bytes(), most = footprint_free_module_bytes(kind);

    return most < left ? most : left;
}

/* What the model would be let in by. */
struct question {
    const struct model *m;
    const struct device_room *room;
    uint64_t file_bytes, free_host_bytes;
    uint32_t kv_type;
};

static bool fits(const struct question *q, uint64_t context_tokens, uint64_t n_seqs)
{
    const struct runner_config cfg = {
        .least = kv_size_of(q->m, q->kv_type, context_tokens * n_seqs, (uint32_t)n_seqs,
                            RUNNER_BATCH_TOKENS),
        .prefix_tokens = context_tokens * n_seqs, /* as by default: state is kept for them, too */
    };
    uint64_t weights_bytes = pool_round_up(q->file_bytes);
    struct residency_bytes need =
        footprint_of(q->room, weights_bytes, weights_bytes, runner_least_cache_bytes(q->m, &cfg));

    return residency_make_room(NULL, 0, need,
                               (struct residency_bytes){q->free_host_bytes, q->room->free_bytes});
}

uint64_t footprint_most_sequences(const struct model *m, const struct device_room *room,
                                  uint64_t file_bytes, uint64_t free_host_bytes, uint32_t kv_type,
                                  uint32_t context_tokens)
{
    const struct question q = {m, room, file_bytes, free_host_bytes, kv_type};
    uint64_t low = 0, high = TOKENS_MOST / context_tokens;

    if (model_state_bytes(m) && high > RUNNER_SEQS) /* each needs a slot for its state */
        high = RUNNER_SEQS;
    while (low < high) {
        uint64_t middle = low + (high - low + 1) / 2;

        if (fits(&q, context_tokens, middle))
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

uint32_t footprint_longest_context(const struct model *m, const struct device_room *room,
                                   uint64_t file_bytes, uint64_t free_host_bytes, uint32_t kv_type)
{
    const struct question q = {m, room, file_bytes, free_host_bytes, kv_type};
    uint32_t low = 0, high = m->dims.dim[DIM_CONTEXT];

    while (low < high) {
        uint32_t middle = high - (high - low) / 2; /* both may be as far apart as numbers go */

        if (fits(&q, middle, 1))
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}
