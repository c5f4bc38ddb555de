/* SPDX-License-Identifier: MIT */
#include "engine/kv_files.h"

#include <errno.h>
#include <stdlib.h>

#define SECOND_NS 1000000000ll
#define MARK_NS   (3600 * SECOND_NS) /* a file tells its last use this exactly */

void kv_files_init(struct kv_files *f)
{
    *f = (struct kv_files){.has_gone = true}; /* of an earlier process */
    kv_index_init(&f->index);
    list_init(&f->urgent);
    list_init(&f->errands);
    list_init(&f->forgotten);
}

static void free_all(struct list *errands)
{
    list_for_each_safe (errand, errands, struct kv_errand, link)
        free(errand);
}

void kv_files_finish(struct kv_files *f)
{
    free_all(&f->urgent);
    free_all(&f->errands);
    free_all(&f->forgotten);
    kv_index_finish(&f->index);
}

/* ---- errands ---- */

/* Without memory the file stays as it is: a later start finds it. */
static void send(struct kv_files *f, const struct kv_index_entry *e, int kind, int64_t used_ns)
{
    struct kv_errand *errand = malloc(sizeof(*errand));

    if (!errand)
        return;
    *errand =
        (struct kv_errand){.kind = kind, .key = e->key, .uid = e->user->uid, .used_ns = used_ns};
    list_push_back(&f->errands, &errand->link);
}

static struct kv_errand *take(struct list *errands)
{
    struct kv_errand *errand = list_first(errands, struct kv_errand, link);

    if (errand)
        list_remove(&errand->link);
    return errand;
}

struct kv_errand *kv_files_take_urgent(struct kv_files *f)
{
    return take(&f->urgent);
}

struct kv_errand *kv_files_take_errand(struct kv_files *f)
{
    return take(&f->errands);
}

bool kv_files_has_excess(const struct kv_files *f)
{
    return f->has_gone || !list_empty(&f->errands) || !list_empty(&f->urgent);
}

int kv_errand_do(const struct kv_errand *errand, int root_fd)
{
    switch (errand->kind) {
    case KV_ERRAND_MARK:
        kv_directory_mark(root_fd, errand->uid, &errand->key, errand->used_ns);
        break;
    case KV_ERRAND_REMOVE:
        kv_directory_remove(root_fd, errand->uid, &errand->key);
        break;
    case KV_ERRAND_SET_ASIDE:
        return kv_directory_set_aside(root_fd, errand->uid);
    }
    return 0;
}

/* ---- what comes and is used ---- */

static int by_use(const void *a, const void *b)
{
    const struct kv_directory_file *x = a, *y = b;

    return (x->used_ns > y->used_ns) - (x->used_ns < y->used_ns);
}

static bool is_forgotten(const struct kv_files *f, uid_t uid)
{
    list_for_each (it, &f->forgotten, struct kv_errand, link)
        if (it->uid == uid)
            return true;
    return false;
}

void kv_files_enter(struct kv_files *f, struct kv_directory_file *found, size_t n, int64_t now_ns)
{
    if (n)
        qsort(found, n, sizeof(*found), by_use);
    for (size_t i = 0; i < n; i++) {
        const struct kv_directory_file *file = &found[i];
        bool is_ahead = file->used_ns > now_ns; /* the clock was set back */
        int64_t told_ns = is_ahead ? now_ns : file->used_ns;
        struct kv_index_entry *e;

        if (is_forgotten(f, file->uid) ||
            kv_index_add(&f->index, file->uid, &file->key, file->bytes, told_ns / SECOND_NS, NULL,
                         &e) < 0)
            continue;
        e->told_ns = told_ns;
        if (is_ahead)
            send(f, e, KV_ERRAND_MARK, told_ns);
    }
    free_all(&f->forgotten);
    list_init(&f->forgotten);
    f->has_looked = true;
}

struct kv_index_entry *kv_files_add(struct kv_files *f, const struct kv_record *r, uint64_t bytes,
                                    struct kv_index_entry *parent, int64_t used_ns)
{
    struct kv_index_entry *e;

    if (kv_index_add(&f->index, r->uid, &r->key, bytes,
                     parent ? parent->used_unix : used_ns / SECOND_NS, parent, &e) < 0)
        return NULL;
    e->told_ns = used_ns;
    return e;
}

void kv_files_use(struct kv_files *f, const struct pool_key *chain, uint32_t n, int64_t now_ns)
{
    bool shall_tell = false;
    struct kv_index_entry *e;

    for (uint32_t i = n; i-- > 0;) {
        e = kv_index_find(&f->index, &chain[i]);
        if (!e)
            continue;
        kv_index_use(e, now_ns / SECOND_NS);
        shall_tell |= e->told_ns + MARK_NS <= now_ns;
    }
    /* all or none, or a beginning that others share would seem older than this end */
    for (uint32_t i = 0; i < n && shall_tell; i++) {
        e = kv_index_find(&f->index, &chain[i]);
        if (!e)
            continue;
        e->told_ns = now_ns - i;
        send(f, e, KV_ERRAND_MARK, e->told_ns);
    }
}

/* ---- what goes ---- */

void kv_files_drop(struct kv_files *f, struct kv_index_entry *e)
{
    f->dropped_blocks++;
    send(f, e, KV_ERRAND_REMOVE, 0);
    kv_index_remove(&f->index, e);
}

void kv_files_drop_old(struct kv_files *f, int64_t before_unix)
{
    struct kv_index_entry *e;

    while ((e = kv_index_older(&f->index, before_unix)))
        kv_files_drop(f, e);
}

bool kv_files_make_room(struct kv_files *f, uint64_t most_bytes, uint64_t bytes,
                        const struct kv_index_entry *parent, const struct kv_index_entry *common)
{
    struct kv_index_entry *e;

    while (f->index.bytes + bytes > most_bytes && (e = kv_index_victim(&f->index))) {
        /* of each user's blocks of a chain the last goes first */
        if (e == parent || e == common)
            return false;
        kv_files_drop(f, e);
    }
    return true;
}

int kv_files_forget(struct kv_files *f, uid_t uid, uint64_t *ret_bytes)
{
    struct kv_errand *aside = malloc(sizeof(*aside)), *mark = malloc(sizeof(*mark));
    const struct kv_index_user *u;

    if (!aside || !mark) {
        free(aside);
        free(mark);
        return -ENOMEM;
    }
    *aside = *mark = (struct kv_errand){.kind = KV_ERRAND_SET_ASIDE, .uid = uid};
    list_push_back(&f->urgent, &aside->link);
    if (f->has_looked)
        free(mark);
    else
        list_push_back(&f->forgotten, &mark->link);
    f->has_gone = true;
    *ret_bytes = 0;
    while ((u = kv_index_user_of(&f->index, uid))) {
        struct kv_index_entry *e = list_first(&u->entries, struct kv_index_entry, link);

        *ret_bytes += e->bytes;
        f->dropped_blocks++;
        kv_index_remove(&f->index, e);
    }
    return 0;
}
