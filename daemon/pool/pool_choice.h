/* SPDX-License-Identifier: MIT */
/*
 * Which kind of pools a machine and a device make the best of: looked up once, at the start. What
 * to choose is decided from plain facts, so that it can be tested. Any thread.
 */
#ifndef HEARTH_POOL_POOL_CHOICE_H
#define HEARTH_POOL_POOL_CHOICE_H

#include "base/error.h"
#include "pool/pool.h"

/* What there is here. */
struct pool_offer {
    struct error kmod;            /* code 0: the kernel module answers; else why not */
    struct error udmabuf;         /* the same for udmabuf */
    uint64_t udmabuf_limit_bytes; /* of one window */
    bool has_large_memfds;        /* memfds get transparent huge pages */
};
void pool_offer_get(struct pool_offer *ret);

/* What is to be done with pools. */
struct pool_wishes {
    bool use_hugetlb;
    bool maps_dmabufs; /* the device maps dma-bufs */
    bool maps_files;   /* the device maps shared memory by its address, too */
    bool copies;       /* the device maps nothing and copies what it needs */
    bool is_kept;      /* there is a pool_keeper */
};

struct pool_choice {
    enum pool_kind kind;
    bool is_exported;  /* for pool_config */
    char text[80];     /* "pools of the kernel module" */
    char advice[1024]; /* what would be better and how to have it, sentences; "" for the best */
};
void pool_choose(const struct pool_offer *offer, const struct pool_wishes *wishes,
                 struct pool_choice *ret);

#endif
