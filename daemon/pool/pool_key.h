/* SPDX-License-Identifier: MIT */
/* Which file an image is of: found again after a restart, told apart after the file changes. */
#ifndef HEARTH_POOL_POOL_KEY_H
#define HEARTH_POOL_POOL_KEY_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pool_file_id {
    uint64_t device, inode, size_bytes;
    int64_t mtime_sec;
    uint32_t mtime_nsec;
};

/* -EINVAL when the descriptor is not that of a regular file. */
int pool_file_id_get(int fd, struct pool_file_id *ret, struct error *err);
bool pool_file_id_equal(const struct pool_file_id *a, const struct pool_file_id *b);

enum { POOL_KEY_BYTES = 32 };

struct pool_key {
    char hex[2 * POOL_KEY_BYTES + 1]; /* SHA-256 and a NUL */
};

void pool_key_from_bytes(const uint8_t bytes[POOL_KEY_BYTES], struct pool_key *ret);

/* Digest of the file's identity and its header bytes. */
int pool_key_of_file(int fd, const void *header, size_t header_bytes, struct pool_key *ret,
                     struct error *err);

/*
 * The same for what outlives the machine's start, too: by what of the file's identity lasts, its
 * header bytes, and a sample of its content (all size_bytes of it, of which a few hundred KiB are
 * read). The number of the device is left out, as btrfs, device mapper and network file systems
 * give out another one at each start; no other name of a file system is there for all of them. Of
 * two files that still have the same inode and time of change on two file systems, one is a copy of
 * the other, or the sample tells them apart.
 */
void pool_key_lasting(const struct pool_file_id *id, const void *header, size_t header_bytes,
                      const void *content, struct pool_key *ret);

/*
 * The key of something that belongs to another pool: a KV cache to the model whose tokens it holds.
 * purpose: a word that tells such things apart; layout: whatever decides how its bytes are to be
 * read, all of it (a cache of another layout must have another key).
 */
void pool_key_derive(const struct pool_key *base, const char *purpose, const void *layout,
                     size_t layout_bytes, struct pool_key *ret);

#endif
