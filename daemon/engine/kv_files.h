/* SPDX-License-Identifier: MIT */
/*
 * The files of the disk tier: which there are, which have to go, and what is yet to be done to them
 * in the directory. Belongs to kv_disk.c, whose lock is held for all but kv_errand_do(), the only
 * call that waits for a drive.
 */
#ifndef HEARTH_ENGINE_KV_FILES_H
#define HEARTH_ENGINE_KV_FILES_H

#include "base/list.h"
#include "engine/kv_directory.h"
#include "engine/kv_index.h"

#include <stdbool.h>
#include <stdint.h>

struct kv_files {
    struct kv_index index;
    struct list urgent;    /* struct kv_errand: users to set aside */
    struct list errands;   /* struct kv_errand */
    struct list forgotten; /* struct kv_errand: users, until the directory was looked through */
    bool has_gone;         /* there may be files that were set aside */
    bool has_looked;
    uint64_t dropped_blocks;
};

/* Something to be done in the directory. */
struct kv_errand {
    struct list link;
    enum { KV_ERRAND_MARK, KV_ERRAND_REMOVE, KV_ERRAND_SET_ASIDE } kind;
    struct pool_key key; /* but of SET_ASIDE */
    uid_t uid;
    int64_t used_ns; /* MARK */
};

void kv_files_init(struct kv_files *f);
void kv_files_finish(struct kv_files *f);

/* What was found in the directory at the start, [n]; sorts it. What was forgotten meanwhile is not
 * entered. */
void kv_files_enter(struct kv_files *f, struct kv_directory_file *found, size_t n, int64_t now_ns);
/* A file that was written, whose file tells of that use. NULL: no memory; a later start finds it.
 */
struct kv_index_entry *kv_files_add(struct kv_files *f, const struct kv_record *r, uint64_t bytes,
                                    struct kv_index_entry *parent, int64_t used_ns);
/* As kv_disk_use(). */
void kv_files_use(struct kv_files *f, const struct pool_key *chain, uint32_t n, int64_t now_ns);

void kv_files_drop(struct kv_files *f, struct kv_index_entry *e);
/* What was not used since then. */
void kv_files_drop_old(struct kv_files *f, int64_t before_unix);
/* Drops what more of so many bytes displaces. The last blocks of two kinds that a chain has there
 * (NULL: none) tell where it would displace itself: false then, and there is no room. */
bool kv_files_make_room(struct kv_files *f, uint64_t most_bytes, uint64_t bytes,
                        const struct kv_index_entry *parent, const struct kv_index_entry *common);
/* Nothing of the user is there any more; *ret_bytes: of what was. -ENOMEM: nothing has changed. */
int kv_files_forget(struct kv_files *f, uid_t uid, uint64_t *ret_bytes);

/* Whether files lie there that shall not. */
bool kv_files_has_excess(const struct kv_files *f);
/* The next errand, the caller's to free; NULL: none. */
struct kv_errand *kv_files_take_urgent(struct kv_files *f);
struct kv_errand *kv_files_take_errand(struct kv_files *f);
/* Without the lock. Negative errno: a user's files, who wanted them forgotten, could not be
 * removed.
 */
int kv_errand_do(const struct kv_errand *errand, int root_fd);

#endif
