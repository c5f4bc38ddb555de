/* SPDX-License-Identifier: MIT */
/*
 * The directory of shared blocks at the head of a KV pool, by which a later process finds what an
 * earlier one had computed. A record is made void before its block is filled anew and becomes valid
 * after the block is complete, so that a process killed at any point leaves no record of what is
 * not there. Nothing read is trusted: the memory may hold anything, and what does not prove right
 * is dropped. Its tokens are as private as the keys and values beside them; the pool is its owner's
 * alone.
 */
#ifndef HEARTH_ENGINE_PREFIX_DIRECTORY_H
#define HEARTH_ENGINE_PREFIX_DIRECTORY_H

#include "engine/prefix_cache.h"
#include "engine/window_blocks.h"

#include <stdbool.h>
#include <stdint.h>

struct prefix_directory {
    struct prefix_record *records; /* [n_blocks] in the pool; NULL: there is no directory */
    uint32_t n_blocks;
    uint64_t next_serial;
};

/* Bytes of memory a directory of so many blocks takes, a multiple of 4 KiB. */
uint64_t prefix_directory_bytes(uint32_t n_blocks);

/*
 * Opens the directory in memory of that size (page-aligned, borrowed) and enters what is valid into
 * the empty tree, all idle, in the order in which it was entered. What is of another layout (64
 * bytes that name all that decides how blocks are to be read) or not valid is wiped. Blocks of
 * windowed layers that belong to what was entered are restored in `windows` (NULL: there are none).
 * Returns how many blocks were entered; -ENOMEM.
 */
int prefix_directory_open(struct prefix_directory *d, void *memory, uint32_t n_blocks,
                          const char layout[64], struct prefix_cache *p,
                          struct window_blocks *windows);

/* Of memory of so many bytes that nobody has open, whatever it holds: where it begins with a
 * directory, nothing of the user's is found any more. Returns the bytes of the user's blocks. */
uint64_t prefix_directory_forget(void *memory, uint64_t bytes, uid_t uid);

/* Records a block that is complete, as it was entered into the tree. */
void prefix_directory_set(struct prefix_directory *d, uid_t uid, uint32_t parent,
                          const uint32_t *tokens, uint32_t block);
/* The block of windowed layers, complete, that belongs to a recorded block; WINDOW_NONE: none any
 * more, said before that one is written again. */
void prefix_directory_set_window(struct prefix_directory *d, uint32_t block, uint32_t window);
/* Before the block is written again. */
void prefix_directory_clear(struct prefix_directory *d, uint32_t block);

#endif
