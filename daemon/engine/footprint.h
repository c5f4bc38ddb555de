/* SPDX-License-Identifier: MIT */
/*
 * What a model takes of memory, before it takes any: the arithmetic by which loads are let in or
 * refused, for whoever asks. Owns nothing. Any thread.
 */
#ifndef HEARTH_ENGINE_FOOTPRINT_H
#define HEARTH_ENGINE_FOOTPRINT_H

#include "device/device.h"
#include "engine/residency.h"
#include "engine/runner.h"

/* What whoever runs the daemon asks of caches; 0: the default. */
struct cache_wishes {
    uint32_t context_tokens;
    uint64_t kv_bytes;
    uint32_t prefix_percent; /* most of it that may be shared; 0: none */
    uint32_t kv_type;        /* KV_F16, KV_Q8_0 */
};

/* Sets what of the configuration says how long conversations are and how large the cache is; its
 * batch_tokens count. device_memory_bytes: what the device has in all; 0: no memory of its own, or
 * unknown. */
void footprint_choose_cache(const struct cache_wishes *wishes, const struct model *m,
                            uint64_t device_memory_bytes, struct runner_config *cfg);

/* Memory of a device, as it is now. */
struct device_room {
    uint64_t free_bytes; /* RESIDENCY_UNLIMITED: unknown, or it has no limit of its own */
    bool is_shared;      /* caches lie in the machine's memory, where the device maps it */
};
void device_room_measure(struct device *dev, struct device_room *ret_room);

/* What a model with so many bytes of weights and cache holds; missing_bytes: of the weights, what
 * is not in memory yet. */
struct residency_bytes footprint_of(const struct device_room *room, uint64_t weights_bytes,
                                    uint64_t missing_bytes, uint64_t cache_bytes);

/* What is left under the limit of the kernel module; UINT64_MAX: these pools are none of its. */
uint64_t footprint_free_module_bytes(enum pool_kind kind);
/* What the machine has left for pools of this kind, those counted that it could take back. */
uint64_t footprint_free_host_bytes(enum pool_kind kind);

/* How many conversations of so many tokens, kept as f16, fit at a time into what is free, beside a
 * model whose files have so many bytes; 0: not one. */
uint64_t footprint_most_sequences(const struct model *m, const struct device_room *room,
                                  uint64_t file_bytes, uint64_t free_host_bytes, uint32_t kv_type,
                                  uint32_t context_tokens);
/* Tokens of the longest that fits alone, at most those the model was trained for. */
uint32_t footprint_longest_context(const struct model *m, const struct device_room *room,
                                   uint64_t file_bytes, uint64_t free_host_bytes, uint32_t kv_type);

#endif
