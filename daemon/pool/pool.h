/* SPDX-License-Identifier: MIT */
/*
 * Pools: memory in large pages that holds the image of a model file byte for byte, or a KV cache.
 * This is the front; back ends (memory of this process, memfd, the kernel module) stand behind
 * struct pool_ops. Knows nothing of GGUF, models or devices: a device gets pool_data() or what
 * pool_export() gives, and a size.
 *
 * A pool belongs to one thread at a time; pool_data() may be read by all once it is filled.
 */
#ifndef HEARTH_POOL_POOL_H
#define HEARTH_POOL_POOL_H

#include "base/error.h"
#include "pool/pool_key.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A pool starts on such a boundary and its mapping is a multiple of it, whatever pages it got. */
#define POOL_LARGE_PAGE_BYTES ((uint64_t)2 << 20)

/* To whole large pages; the sum must not overflow. */
static inline uint64_t pool_round_up(uint64_t bytes)
{
    return (bytes + POOL_LARGE_PAGE_BYTES - 1) & ~(POOL_LARGE_PAGE_BYTES - 1);
}

enum pool_kind {
    POOL_KIND_AUTO,  /* nobody chose (pool_choice.h does): as ANON */
    POOL_KIND_ANON,  /* private anonymous memory */
    POOL_KIND_MEMFD, /* shared memory with a descriptor that can outlive the process */
    POOL_KIND_KMOD,  /* the kernel module's: outlives the process, taken back when idle */
};

struct pool_keeper; /* pool_keeper.h */

struct pool_config {
    enum pool_kind kind;
    bool use_hugetlb; /* take reserved 2 MiB pages if enough are free, else transparent ones */
    int numa_node;    /* preferred node; -1: any */
    /* ANON: stays mapped writable when sealed, for a GPU driver that pins host memory for writing
     * whatever it does with it (amdgpu's userptr); the seal then only bars new fills. */
    bool stays_writable;
    /* Its name, by which pool_find() finds it later; NULL: nobody shall. Copied. ANON has none. */
    const struct pool_key *key;
    /* Written for as long as it lives, never sealed (a KV cache). Else it is an image: found again
     * only if it was sealed, that is, filled to the end. */
    bool is_cache;
    /* Memory comes later: by pool_fill_file(), in step with its reads, or pool_allocate(). Until
     * then it must not be touched. KMOD; the other kinds take pages as they are touched. */
    bool is_deferred;
    /* MEMFD: windows will be exported, which udmabuf refuses for a file sealed against writing;
     * the seal then binds only those who do not hold the descriptor. */
    bool is_exported;
    struct pool_keeper *keeper; /* MEMFD: keeps named pools over a restart; may be NULL */
};

struct pool;

/*
 * A writable, zeroed pool of `bytes` bytes (at least 1). The name is for people (/proc/PID/maps).
 * A key that is taken is left to whom it belongs: the pool then has none, and pool_info tells.
 * -ENOMEM with a sentence when the machine, the cgroup or the module's limits have not that much to
 * give: a pool that could only end in an OOM kill is not made. -EINVAL for a node that does not
 * exist; KMOD: what opening /dev/hearth gives.
 */
int pool_create(const struct pool_config *config, uint64_t bytes, const char *name,
                struct pool **ret, struct error *err);

/*
 * The pool that was created with config->key and the same size, by this user, now or by an earlier
 * process: with its bytes, sealed if it is an image, and active. Nothing is read, nothing copied.
 *
 * -ENOENT: there is none (ANON: never is). -ESTALE: there was, but the kernel took its memory
 * back. -EUCLEAN: an image that was never sealed (who filled it died), or a pool of another size:
 * it was let go of. -EBUSY: somebody fills it at this moment, or a cache is in use elsewhere. After
 * any of these pool_create() is what is left to do.
 */
int pool_find(const struct pool_config *config, uint64_t bytes, const char *name, struct pool **ret,
              struct error *err);

/* As pool_find(), of a cache, to change what is in it: when it is made idle and destroyed, it can
 * be found again. MEMFD: one that cannot be opened nobody finds any more. */
int pool_look(const struct pool_config *config, uint64_t bytes, const char *name, struct pool **ret,
              struct error *err);

/*
 * Takes over a pool by the descriptor of an earlier POOL_KIND_MEMFD pool (pool_fd(), kept by a
 * service manager over a restart). The bytes and the seal are as they were left. Takes over fd on
 * success only.
 */
int pool_adopt(int fd, uint64_t bytes, const char *name, struct pool **ret, struct error *err);

/* Lets go of it; NULL is allowed; no mapping, fill, export or import may be in use. A pool with a
 * key stays where its kind can (KMOD: idle from then on; MEMFD: with the keeper, unless idle). */
void pool_destroy(struct pool *pool);

/* Takes the key away: nobody finds the pool any more, and its memory goes with pool_destroy(). */
void pool_forget(struct pool *pool);

/* Gets all memory of a deferred pool; 0 at once if it is there. -ECANCELED soon after *cancel (may
 * be NULL) is set, -ENOMEM with a sentence; then the pool can only be destroyed. */
int pool_allocate(struct pool *pool, const atomic_bool *cancel, struct error *err);

void *pool_data(const struct pool *pool);     /* 2 MiB aligned; writing after pool_seal() faults;
                                                 NULL while idle */
uint64_t pool_bytes(const struct pool *pool); /* as asked for */
uint64_t pool_mapped_bytes(const struct pool *pool); /* rounded up to large pages, all readable */
const char *pool_name(const struct pool *pool);
int pool_fd(const struct pool *pool); /* borrowed; -1 when the kind has none */

/*
 * Makes the pool read-only for CPUs: ANON for this mapping (unless it stays writable), MEMFD for
 * every process and for good (unless it is exported), KMOD for every process and for good.
 * Doing it twice is harmless. On failure the pool can only be destroyed.
 */
int pool_seal(struct pool *pool, struct error *err);

/*
 * Idle: nothing of the pool is in use (no import, no export, no pointer into it), and its memory
 * may be taken back: KMOD, by the kernel when it needs memory; MEMFD, when the pool is destroyed.
 * Active again: -ESTALE when it was taken back, then the pool can only be destroyed; pool_data()
 * may have moved. That costs no more than a mapping, whatever the size.
 */
int pool_set_idle(struct pool *pool, bool is_idle, struct error *err);
bool pool_is_evicted(const struct pool *pool); /* its memory was taken back */

/*
 * A dma-buf of a window of the pool (large-page boundaries), for a device to map; the caller's to
 * close. is_writable: the CPU may map it for writing, which a sealed pool refuses with -EPERM.
 * -EOPNOTSUPP: this kind gives none, or not here (the sentence says why). -EFBIG: longer than
 * pool_export_limit_bytes().
 */
int pool_export(const struct pool *pool, uint64_t offset, uint64_t bytes, bool is_writable,
                int *ret_fd, struct error *err);
/* The longest window that can be exported; 0: none. */
uint64_t pool_export_limit_bytes(const struct pool *pool);

struct pool_info {
    const char *kind; /* "anonymous", "memfd", "kernel module" */
    bool is_sealed;
    bool is_named;           /* pool_find() can find it */
    uint64_t page_bytes;     /* what most of the resident memory lies in */
    uint64_t resident_bytes; /* in memory now */
    uint64_t huge_bytes;     /* of these, in pages of 2 MiB or more */
    int numa_node;           /* where it lies; -1: several, unknown, or nothing resident */
    char text[64];           /* "anonymous, 2 MiB pages" */
    char promises[512];      /* what this kind cannot give, in a sentence for `hearth status` */
};

/* Looks at /proc/self/smaps: not for hot paths. */
void pool_get_info(const struct pool *pool, struct pool_info *ret);

/* Bytes that can still be had without an OOM kill: MemAvailable and the limits of our cgroups. */
uint64_t pool_available_bytes(void);

#endif
