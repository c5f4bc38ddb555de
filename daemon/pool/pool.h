/* SPDX-License-Identifier: MIT */
/*
 * Pools: memory in large pages that holds the image of a model file byte for byte, or a KV cache.
 * This is the front; back ends (memory of this process, memfd) stand behind struct pool_ops. Knows
 * nothing of GGUF, models or devices: a device gets pool_data() or pool_fd() and a size.
 *
 * A pool belongs to one thread at a time; pool_data() may be read by all once it is filled.
 */
#ifndef HEARTH_POOL_POOL_H
#define HEARTH_POOL_POOL_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A pool starts on such a boundary and its mapping is a multiple of it, whatever pages it got. */
#define POOL_LARGE_PAGE_BYTES ((uint64_t)2 << 20)

enum pool_kind {
    POOL_KIND_AUTO,  /* the best there is here: ANON today */
    POOL_KIND_ANON,  /* private anonymous memory */
    POOL_KIND_MEMFD, /* shared memory with a descriptor that can outlive the process */
};

struct pool_config {
    enum pool_kind kind;
    bool use_hugetlb; /* take reserved 2 MiB pages if enough are free, else transparent ones */
    int numa_node;    /* preferred node; -1: any */
    /* ANON: stays mapped writable when sealed, for a GPU driver that pins host memory for writing
     * whatever it does with it (amdgpu's userptr); the seal then only bars new fills. */
    bool stays_writable;
};

struct pool;

/*
 * A writable, zeroed pool of `bytes` bytes (at least 1). The name is for people (/proc/PID/maps).
 * -ENOMEM with a sentence when the machine or the cgroup has not that much to give: a pool that
 * could only end in an OOM kill is not made. -EINVAL for a node that does not exist.
 */
int pool_create(const struct pool_config *config, uint64_t bytes, const char *name,
                struct pool **ret, struct error *err);

/*
 * Takes over a pool by the descriptor of an earlier POOL_KIND_MEMFD pool (pool_fd(), kept by a
 * service manager over a restart). The bytes and the seal are as they were left. Takes over fd on
 * success only.
 */
int pool_adopt(int fd, uint64_t bytes, const char *name, struct pool **ret, struct error *err);

void pool_destroy(struct pool *pool); /* NULL is allowed; no mapping or fill may be in use */

void *pool_data(const struct pool *pool);     /* 2 MiB aligned; writing after pool_seal() faults */
uint64_t pool_bytes(const struct pool *pool); /* as asked for */
uint64_t pool_mapped_bytes(const struct pool *pool); /* rounded up to large pages, all readable */
const char *pool_name(const struct pool *pool);
int pool_fd(const struct pool *pool); /* borrowed; -1 when the kind has none */

/*
 * Makes the pool read-only for CPUs: ANON for this mapping (unless it stays writable), MEMFD for
 * every process and for good.
 * Doing it twice is harmless. On failure the pool can only be destroyed.
 */
int pool_seal(struct pool *pool, struct error *err);

struct pool_info {
    const char *kind; /* "anonymous", "memfd" */
    bool is_sealed;
    uint64_t page_bytes;     /* what most of the resident memory lies in */
    uint64_t resident_bytes; /* in memory now */
    uint64_t huge_bytes;     /* of these, in pages of 2 MiB or more */
    int numa_node;           /* where it lies; -1: several, unknown, or nothing resident */
    char text[64];           /* "anonymous, 2 MiB pages" */
    char promises[320];      /* what this kind cannot give, in a sentence for `hearth status` */
};

/* Looks at /proc/self/smaps: not for hot paths. */
void pool_get_info(const struct pool *pool, struct pool_info *ret);

/* Bytes that can still be had without an OOM kill: MemAvailable and the limits of our cgroups. */
uint64_t pool_available_bytes(void);

#endif
