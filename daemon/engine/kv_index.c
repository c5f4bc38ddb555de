/* SPDX-License-Identifier: MIT */
#include "engine/kv_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS_LEAST = 64 };

void kv_index_init(struct kv_index *x)
{
    *x = (struct kv_index){0};
    list_init(&x->users);
}

void kv_index_finish(struct kv_index *x)
{
    struct kv_index_entry *e;

    while ((e = kv_index_victim(x)))
        kv_index_remove(x, e);
    free(x->buckets);
    kv_index_init(x);
}

/* A key is a digest: any part of it will do. */
static size_t bucket_of(const struct kv_index *x, const struct pool_key *key)
{
    uint64_t h;

    memcpy(&h, key->hex, sizeof(h));
    h = (h ^ h >> 29) * 0xff51afd7ed558ccdu;
    return (size_t)(h >> 32) & (x->n_buckets - 1);
}

static void enter_bucket(struct kv_index *x, struct kv_index_entry *e)
{
    struct kv_index_entry **bucket = &x->buckets[bucket_of(x, &e->key)];

    e->next = *bucket;
    *bucket = e;
}

static int grow(struct kv_index *x)
{
    size_t n = x->n_buckets ? 2 * x->n_buckets : BUCKETS_LEAST;
    struct kv_index_entry **buckets;

    if (x->n < x->n_buckets)
        return 0;
    buckets = calloc(n, sizeof(struct kv_index_entry *));
    if (!buckets)
        return -ENOMEM;
    free(x->buckets);
    x->buckets = buckets;
    x->n_buckets = n;
    list_for_each (u, &x->users, struct kv_index_user, link)
        list_for_each (e, &u->entries, struct kv_index_entry, link)
            enter_bucket(x, e);
    return 0;
}

struct kv_index_entry *kv_index_find(const struct kv_index *x, const struct pool_key *key)
{
    struct kv_index_entry *e = x->n_buckets ? x->buckets[bucket_of(x, key)] : NULL;

    while (e && strcmp(e->key.hex, key->hex) != 0)
        e = e->next;
    return e;
}

struct kv_index_user *kv_index_user_of(const struct kv_index *x, uid_t uid)
{
    list_for_each (u, &x->users, struct kv_index_user, link)
        if (u->uid == uid)
            return u;
    return NULL;
}

static struct kv_index_user *need_user(struct kv_index *x, uid_t uid)
{
    struct kv_index_user *u = kv_index_user_of(x, uid);

    if (u)
        return u;
    u = calloc(1, sizeof(*u));
    if (!u)
        return NULL;
    u->uid = uid;
    list_init(&u->entries);
    list_push_back(&x->users, &u->link);
    return u;
}

int kv_index_add(struct kv_index *x, uid_t uid, const struct pool_key *key, uint64_t bytes,
                 int64_t used_unix, struct kv_index_entry *parent,
                 struct kv_index_entry **ret_entry)
{
    struct kv_index_entry *e = calloc(1, sizeof(*e)), *old = kv_index_find(x, key);
    struct kv_index_user *u = e && grow(x) == 0 ? need_user(x, uid) : NULL;

    if (!u) {
        free(e);
        return -ENOMEM;
    }
    *e = (struct kv_index_entry){.user = u, .key = *key, .bytes = bytes, .used_unix = used_unix};
    list_insert_before(parent && parent->user == u ? &parent->link : &u->entries, &e->link);
    u->bytes += bytes;
    x->bytes += bytes;
    x->n++;
    if (old)
        kv_index_remove(x, old);
    enter_bucket(x, e);
    *ret_entry = e;
    return 0;
}

void kv_index_use(struct kv_index_entry *e, int64_t now_unix)
{
    struct kv_index_user *u = e->user;

    list_remove(&e->link);
    list_push_back(&u->entries, &e->link);
    if (e->used_unix < now_unix)
        e->used_unix = now_unix;
}

void kv_index_remove(struct kv_index *x, struct kv_index_entry *e)
{
    struct kv_index_entry **link = &x->buckets[bucket_of(x, &e->key)];
    struct kv_index_user *u = e->user;

    while (*link != e)
        link = &(*link)->next;
    *link = e->next;
    list_remove(&e->link);
    u->bytes -= e->bytes;
    x->bytes -= e->bytes;
    x->n--;
    free(e);
    if (!list_empty(&u->entries))
        return;
    list_remove(&u->link);
    free(u);
}

struct kv_index_entry *kv_index_victim(const struct kv_index *x)
{
    struct kv_index_user *most = NULL;

    list_for_each (u, &x->users, struct kv_index_user, link)
        if (!most || u->bytes > most->bytes)
            most = u;
    return most ? list_first(&most->entries, struct kv_index_entry, link) : NULL;
}

struct kv_index_entry *kv_index_older(const struct kv_index *x, int64_t before_unix)
{
    list_for_each (u, &x->users, struct kv_index_user, link) {
        struct kv_index_entry *e = list_first(&u->entries, struct kv_index_entry, link);

        if (e && e->used_unix < before_unix)
            return e;
    }
    return NULL;
}
