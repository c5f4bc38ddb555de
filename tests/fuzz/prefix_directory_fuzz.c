/* SPDX-License-Identifier: MIT */
/* The head of a KV pool as anyone may have left it: records of any shape with right checksums,
 * turned bytes, noise. Whatever it is, what is found must be a tree that can be taken down. */
#include "engine/prefix_directory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BLOCKS = 24, USERS = 3, NAMES = 6, WINDOWS = 5 };

static _Alignas(4096) uint8_t memory[2 * 4096 + BLOCKS * 160];
static const char layout[64] = "fuzz";

static const uint32_t *words(uint8_t name)
{
    static uint32_t tokens[KV_BLOCK_TOKENS];

    tokens[KV_BLOCK_TOKENS - 1] = name;
    return tokens;
}

/* Opens the directory as a new process would. Blocks of windows belong to one block each, and to
 * those alone that were entered. */
static void come(struct prefix_directory *d, struct prefix_cache **cache)
{
    struct window_blocks *windows;
    uint32_t n_shared = 0;
    int n;

    prefix_cache_destroy(*cache);
    *cache = NULL;
    if (prefix_cache_create(BLOCKS, BLOCKS - 2, 1, cache) < 0 ||
        window_blocks_create(WINDOWS, BLOCKS, &windows) < 0)
        abort();
    n = prefix_directory_open(d, memory, BLOCKS, layout, *cache, windows);
    for (uint32_t i = 0; i < BLOCKS; i++)
        if (window_blocks_of(windows, i) != WINDOW_NONE) {
            n_shared++;
            if (!prefix_cache_has(*cache, i))
                abort();
        }
    if (n_shared != window_blocks_n_idle(windows) || n_shared != window_blocks_n_shared(windows) ||
        n_shared > WINDOWS)
        abort();
    window_blocks_destroy(windows);
    if (n < 0 || n > BLOCKS - 2 || prefix_cache_n_entered(*cache) != (uint32_t)n ||
        prefix_cache_n_idle(*cache) != (uint32_t)n)
        abort();
}

/* Everything can be given up, each block once, and no block before one that follows it. */
static void take_down(struct prefix_cache *cache)
{
    uint32_t n = prefix_cache_n_entered(cache), block, child;

    for (uint32_t i = 0; i < n; i++) {
        if (!prefix_cache_evict(cache, &block) || block >= BLOCKS || prefix_cache_has(cache, block))
            abort();
        for (uid_t uid = 0; uid < USERS; uid++)
            for (uint8_t name = 0; name < NAMES; name++)
                if (prefix_cache_find(cache, uid, block, words(name), &child))
                    abort();
    }
    if (prefix_cache_evict(cache, &block) || prefix_cache_n_entered(cache))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct prefix_directory d;
    struct prefix_cache *cache = NULL;

    if (prefix_directory_bytes(BLOCKS) > sizeof(memory))
        abort();
    memset(memory, 0, sizeof(memory));
    come(&d, &cache);
    for (; size >= 5; data += 5, size -= 5) {
        uint32_t block = data[1] % BLOCKS;

        if (data[0] < 160)
            prefix_directory_set(&d, data[2] % USERS,
                                 data[3] % (BLOCKS + 2) == BLOCKS ? PREFIX_ROOT
                                                                  : data[3] % (BLOCKS + 2),
                                 words(data[4] % NAMES), block);
        else if (data[0] < 180)
            prefix_directory_clear(&d, block);
        else if (data[0] < 190)
            prefix_directory_set_window(&d, block, data[2] % (WINDOWS + 2));
        else if (data[0] < 220)
            memory[((size_t)data[1] | (size_t)data[2] << 8) % sizeof(memory)] ^= data[3];
        else
            come(&d, &cache);
    }
    come(&d, &cache);
    take_down(cache);
    if (data)
        memcpy(memory + 4096, data, size);
    come(&d, &cache);
    take_down(cache);
    prefix_cache_destroy(cache);
    return 0;
}
