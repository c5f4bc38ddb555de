/* SPDX-License-Identifier: MIT */
/*
 * One block of a KV cache in a file of its own: what its layers hold, under the name of its key,
 * with all that is needed to tell whether the file is what its name says. A file appears whole or
 * not at all, so that a process killed at any point leaves nothing wrong; what a power failure or a
 * bad drive leaves is found out by its checksum. The content is a conversation's, in clear: files
 * are for their owner alone. Blocking calls; any thread.
 */
#ifndef HEARTH_ENGINE_KV_FILE_H
#define HEARTH_ENGINE_KV_FILE_H

#include "kernels/args.h"
#include "pool/pool_key.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Of the format, and of what blocks hold: raised, too, when kernels begin to store keys and values
 * in another way. */
#define KV_FILE_VERSION 1u
/* How the name of a file begins that is being written: nobody's when its writer is gone. */
#define KV_FILE_UNFINISHED ".new-"

struct kv_record {
    struct pool_key key; /* digest of all that decides what the block holds: see kv_spill.h */
    uid_t uid;           /* whose it is */
    uint32_t tokens[KV_BLOCK_TOKENS];
    uint64_t block_bytes;
    uint64_t window_bytes; /* of the block of windowed layers, after the other; 0: none */
    void *data;            /* [block_bytes + window_bytes], borrowed */
};

/* Bytes of such a file. */
uint64_t kv_file_bytes(uint64_t block_bytes, uint64_t window_bytes);
/* Whether a file may have that name, when it is whole. */
bool kv_file_is_name(const char *name);

/* Whether the file of that name is, by its header and its size, one that was written whole under
 * it, for that user: its data is not read. 0, -EBADMSG, or why that cannot be told. */
int kv_file_check(int dir_fd, const char *name, uid_t uid);

/* Writes the record into the directory, in place of one of the same key. Negative errno: nothing of
 * it is left. */
int kv_file_write(int dir_fd, const struct kv_record *r);
/* Fills in the data of a record whose other fields say what is expected; window_bytes: at most, and
 * 0 afterwards where the file has none. -ENOENT: there is no such file; -EBADMSG: it is not what
 * was expected; its data may be anything then. */
int kv_file_read(int dir_fd, struct kv_record *r);

#endif
