/* SPDX-License-Identifier: MIT */
/* Inside pool only: what the front needs of a back end. */
#ifndef HEARTH_POOL_POOL_OPS_H
#define HEARTH_POOL_POOL_OPS_H

#include "pool/pool.h"

struct pool {
    const struct pool_ops *ops;
    char *name;
    uint64_t bytes;
    uint64_t mapped_bytes; /* multiple of POOL_LARGE_PAGE_BYTES */
    void *data;            /* NULL until mapped */
    void *reservation;     /* address space around data, owned, inaccessible outside it; NULL for
                              hugetlb */
    size_t reservation_bytes;
    int fd; /* owned; -1: none */
    bool is_hugetlb;
    bool is_sealed;
    bool stays_writable;
    char note[160]; /* why something better was not had; "" when nothing was missed */
};

struct pool_ops {
    const char *kind;
    const char *promises; /* the sentence of pool_info */
    /* Maps pool->mapped_bytes writable zeroed bytes at pool->data. */
    int (*create)(struct pool *pool, const struct pool_config *config, struct error *err);
    int (*seal)(struct pool *pool, struct error *err);
    /* Undoes create, also a half-done one. */
    void (*destroy)(struct pool *pool);
};

extern const struct pool_ops pool_ops_anon;
extern const struct pool_ops pool_ops_memfd;

/* pool_memory.c, for pool_adopt(): maps pool->fd. */
int pool_memfd_map(struct pool *pool, bool is_writable, int numa_node, struct error *err);

#endif
