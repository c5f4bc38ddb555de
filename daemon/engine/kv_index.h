/* SPDX-License-Identifier: MIT */
/*
 * What lies on disk of KV caches: which keys, whose, how large, last used when; and who goes when
 * there is too much. Pure: it touches no file and has no clock. What is in excess is taken of the
 * user who has most, that which was not used for longest first, so that nobody's conversations
 * displace those of a user who has less.
 */
#ifndef HEARTH_ENGINE_KV_INDEX_H
#define HEARTH_ENGINE_KV_INDEX_H

#include "base/list.h"
#include "pool/pool_key.h"

#include <stdint.h>
#include <sys/types.h>

struct kv_index_user {
    struct list link;    /* kv_index.users */
    struct list entries; /* kv_index_entry.link, the least recently used first */
    uid_t uid;
    uint64_t bytes;
};

struct kv_index_entry {
    struct list link;
    struct kv_index_entry *next; /* in its bucket */
    struct kv_index_user *user;
    struct pool_key key;
    uint64_t bytes;
    int64_t used_unix;
    int64_t told_ns; /* the owner's: the use that the file itself tells, of Unix time */
};

struct kv_index {
    struct kv_index_entry **buckets; /* [n_buckets], a power of two, or 0 */
    size_t n_buckets, n;
    uint64_t bytes;
    struct list users;
};

void kv_index_init(struct kv_index *x);
void kv_index_finish(struct kv_index *x);

/* NULL: it is not there. */
struct kv_index_entry *kv_index_find(const struct kv_index *x, const struct pool_key *key);
/* Enters a key as the most recently used of its user's, or (parent: of the same user) just before
 * the block that it follows, without which it is of no use; in place of one that is there. -ENOMEM:
 * nothing has changed. */
int kv_index_add(struct kv_index *x, uid_t uid, const struct pool_key *key, uint64_t bytes,
                 int64_t used_unix, struct kv_index_entry *parent,
                 struct kv_index_entry **ret_entry);
void kv_index_use(struct kv_index_entry *e, int64_t now_unix);
/* Takes it out and frees it. */
void kv_index_remove(struct kv_index *x, struct kv_index_entry *e);

/* Who goes first where there is too much; NULL: nothing is left. */
struct kv_index_entry *kv_index_victim(const struct kv_index *x);
/* One that was last used before then; NULL: none was. Of each user the first is looked at: what
 * goes first must be what was used first. */
struct kv_index_entry *kv_index_older(const struct kv_index *x, int64_t before_unix);
/* NULL: nothing is the user's. */
struct kv_index_user *kv_index_user_of(const struct kv_index *x, uid_t uid);

#endif
