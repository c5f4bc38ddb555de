/* SPDX-License-Identifier: MIT */
/* Inside pool only: what the front needs of a back end. */
#ifndef HEARTH_POOL_POOL_OPS_H
#define HEARTH_POOL_POOL_OPS_H

#include "pool/pool.h"
#include "pool/pool_kept.h"

struct pool {
    const struct pool_ops *ops;
    char *name;
    uint64_t bytes;
    uint64_t mapped_bytes; /* multiple of POOL_LARGE_PAGE_BYTES */
    void *data;            /* NULL until mapped, and while idle */
    void *reservation;     /* address space around data, owned, inaccessible outside it; NULL for
                              hugetlb */
    size_t reservation_bytes;
    int fd; /* owned; -1: none */
    struct pool_key key;
    bool is_named; /* key names it */
    struct pool_keeper *keeper;
    bool is_hugetlb;
    bool is_sealed;
    bool is_cache;
    bool is_idle;
    bool is_exported;
    bool is_deferred; /* not all memory is there yet */
    bool stays_writable;
    char note[200]; /* why something better was not had; "" when nothing was missed */
};

/* What may be NULL says so; the front then does as described. */
struct pool_ops {
    const char *kind;
    const char *promises; /* the sentence of pool_info */
    bool has_own_limits;  /* create() fails if there is not enough: the front need not look */
    /* Maps pool->mapped_bytes writable zeroed bytes at pool->data. */
    int (*create)(struct pool *pool, const struct pool_config *config, struct error *err);
    /* Finds pool->key, maps it as it was left. Results as of pool_find(). NULL: -ENOENT. */
    int (*find)(struct pool *pool, const struct pool_config *config, struct error *err);
    /* The same for pool_look(): what is made idle and destroyed stays. NULL: as find. */
    int (*look)(struct pool *pool, struct error *err);
    /* Of pool_kept_list(). NULL: there are none. */
    int (*list)(const struct pool_config *config, struct pool_kept **ret_list, size_t *ret_n);
    int (*seal)(struct pool *pool, struct error *err);
    /* Gets memory until all is there: 0; -EINTR after a signal; -ENOMEM. Several threads may call
     * it. NULL: memory comes as it is touched. */
    int (*allocate)(const struct pool *pool, struct error *err);
    /* How much is there, from the start of the pool. NULL: all. */
    uint64_t (*allocated_bytes)(const struct pool *pool);
    /* NULL: there is nothing to do. */
    int (*set_idle)(struct pool *pool, bool is_idle, struct error *err);
    bool (*is_evicted)(const struct pool *pool); /* NULL: never */
    void (*forget)(struct pool *pool);           /* of a named pool; NULL: nothing to do */
    /* NULL: -EOPNOTSUPP, limit 0. */
    int (*export)(const struct pool *pool, uint64_t offset, uint64_t bytes, bool is_writable,
                  int *ret_fd, struct error *err);
    uint64_t (*export_limit_bytes)(const struct pool *pool);
    /* Sets resident_bytes, huge_bytes. NULL: by /proc/self/smaps. */
    void (*measure)(const struct pool *pool, struct pool_info *info);
    /* Undoes create or find, also a half-done one. */
    void (*destroy)(struct pool *pool);
};

extern const struct pool_ops pool_ops_anon;
extern const struct pool_ops pool_ops_memfd;
extern const struct pool_ops pool_ops_kmod;

/* pool.c: the ops of a kind, NULL when there is none. */
const struct pool_ops *pool_ops_of_kind(enum pool_kind kind);
/* A pool of no memory yet. */
int pool_new(const struct pool_ops *ops, uint64_t bytes, const char *name, struct pool **ret,
             struct error *err);
/* Adds to what pool_info tells of missed things. */
void pool_note(struct pool *pool, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* pool_memory.c: a place for the mapping, inaccessible all around. */
int pool_reserve(struct pool *pool, struct error *err);
/* Maps a descriptor there (hugetlb: anywhere), in place of what was. 0 or negative errno. */
int pool_map_fd(struct pool *pool, int prot, int fd);
/* Takes the mapping away; the place stays. */
int pool_unmap(struct pool *pool);
void pool_memory_destroy(struct pool *pool);
/* pool_memfd.c, for pool_adopt(): takes over the descriptor and maps it as it was left. */
int pool_memfd_take(struct pool *pool, int fd, struct error *err);
/* Hints about a new mapping: large pages, node, no core dump. */
void pool_advise(struct pool *pool, int numa_node);
/* The pages are there, only a new mapping does not know them: no faults while computing. */
void pool_populate(const struct pool *pool, uint64_t bytes);

/* pool_udmabuf.c: dma-bufs of memfds. 0, or negative errno with why there are none here. */
int pool_udmabuf_check(uint64_t *ret_limit_bytes, struct error *err);
int pool_udmabuf_export(const struct pool *pool, uint64_t offset, uint64_t bytes, int *ret_fd,
                        struct error *err);

#endif
