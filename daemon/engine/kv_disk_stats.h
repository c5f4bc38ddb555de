/* SPDX-License-Identifier: MIT */
/* The figures of the disk tier of KV caches, as they go to whoever asks. */
#ifndef HEARTH_ENGINE_KV_DISK_STATS_H
#define HEARTH_ENGINE_KV_DISK_STATS_H

#include <stdint.h>

struct kv_disk_stats {
    uint64_t bytes, files;                  /* that lie there */
    uint64_t written_blocks, written_bytes; /* since the start, as what follows */
    uint64_t read_blocks, read_bytes;
    uint64_t failed_writes;
    int write_error;           /* why the last write failed, negative; 0: it did not */
    uint64_t damaged_blocks;   /* found not to be what they should, and thrown away */
    uint64_t dropped_blocks;   /* by the limits, or by a user's wish */
    uint64_t bytes_per_second; /* of reads; 0: nothing was read of late */
};

#endif
