/* SPDX-License-Identifier: MIT */
/* Inside the spill only: kv_spill.c writes, kv_restore.c reads back. */
#ifndef HEARTH_ENGINE_KV_SPILL_PRIVATE_H
#define HEARTH_ENGINE_KV_SPILL_PRIVATE_H

#include "engine/index_list.h"
#include "engine/kv_cache.h"
#include "engine/kv_spill.h"

/* Copies of blocks on their way, so many at a time; of these, writes. */
enum { SPILL_JOBS = 4, SPILL_WRITES = 2 };

struct spill_job {
    struct kv_job job;
    bool is_busy;
    uint32_t block;             /* of a write; INDEX_NONE: it holds something else by now */
    struct kv_restore *restore; /* of a read; NULL: nobody waits for it any more */
};

struct kv_spill {
    struct kv_cache *kv;
    struct kv_disk *disk;
    struct kv_disk_client client;
    struct pool_key contents;
    uint64_t block_bytes, window_bytes;
    struct spilled {
        struct pool_key key;  /* "": not known yet */
        uint32_t last_common; /* this block or the last before it that is everybody's, if any */
        bool is_waiting, is_written_now;
        bool is_refused;                /* the disk has no room for it after those before it */
    } * blocks;                         /* [n_blocks] */
    struct index_link *links;           /* [n_blocks] */
    struct index_list waiting;          /* blocks offered */
    uint32_t *path;                     /* [n_blocks], for the way up a chain */
    struct spill_job *jobs[SPILL_JOBS]; /* the disk's, where they outlive it */
    struct list restores;               /* struct kv_restore */
    uint64_t prompt_token_ns;           /* what they go by; 0: not known */
};

/* The key of a block that follows another of that key (the contents key: a first one). */
void kv_spill_next_key(const struct pool_key *parent, uid_t uid, const uint32_t *tokens,
                       struct pool_key *ret);
/* Whether the disk has a block of that key, in a file as long as those of this cache are. */
bool kv_spill_finds(const struct kv_spill *s, const struct pool_key *key, uint64_t *ret_bytes);
/* A job that is not busy, or NULL. */
struct spill_job *kv_spill_free_job(struct kv_spill *s);

/* Restores ask for as much as there are free jobs, the oldest first. */
void kv_restore_ask_all(struct kv_spill *s);
/* A read of it is done. */
void kv_restore_take(struct kv_restore *r, const struct spill_job *j);

#endif
