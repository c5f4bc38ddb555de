/* SPDX-License-Identifier: MIT */
/* Where a pool is mapped, and pools of anonymous memory, in large pages where they can be had. */
#include "pool/pool_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <numa.h>
#include <numaif.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef PR_SET_VMA
#define PR_SET_VMA           0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MAP_HUGE_2MB
#define MAP_HUGE_2MB (21 << 26)
#endif

/*
 * Takes address space and finds the aligned place in it. What is left on both sides stays
 * inaccessible: overruns fault, and the kernel never joins two pools into one mapping, so
 * /proc/self/smaps tells them apart.
 */
int pool_reserve(struct pool *pool, struct error *err)
{
    const uint64_t large = POOL_LARGE_PAGE_BYTES;
    size_t bytes = (size_t)(pool->mapped_bytes + 2 * large);
    void *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED)
        return error_set_errno(err, errno, "%s: no address space for %llu bytes", pool->name,
                               (unsigned long long)pool->mapped_bytes);
    pool->reservation = p;
    pool->reservation_bytes = bytes;
    return 0;
}

static void *place(const struct pool *pool)
{
    const uintptr_t large = (uintptr_t)POOL_LARGE_PAGE_BYTES;

    /* strictly inside: at least one page is left in front */
    return (void *)(((uintptr_t)pool->reservation + large) & ~(large - 1));
}

/* Replaces what is at `at`; anywhere when it is NULL (hugetlb mappings are aligned by nature). */
static int map_at(struct pool *pool, void *at, int prot, int flags, int fd)
{
    void *p = mmap(at, (size_t)pool->mapped_bytes, prot, flags | (at ? MAP_FIXED : 0), fd, 0);

    if (p == MAP_FAILED)
        return -errno;
    pool->data = p;
    return 0;
}

int pool_map_fd(struct pool *pool, int prot, int fd)
{
    return map_at(pool, pool->reservation ? place(pool) : pool->data, prot, MAP_SHARED, fd);
}

int pool_unmap(struct pool *pool)
{
    int r = map_at(pool, place(pool), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);

    if (r == 0)
        pool->data = NULL;
    return r;
}

void pool_populate(const struct pool *pool, uint64_t bytes)
{
    madvise(pool->data, (size_t)bytes, MADV_POPULATE_READ);
}

static void set_note(struct pool *pool, const char *what, int code)
{
    pool_note(pool, "%s (%s)", what, strerror(-code));
}

/* Hints: each may be refused, none is needed for the bytes to be right. */
void pool_advise(struct pool *pool, int numa_node)
{
    size_t bytes = (size_t)pool->mapped_bytes;
    char name[80];

    if (!pool->is_hugetlb && madvise(pool->data, bytes, MADV_HUGEPAGE) < 0)
        set_note(pool, "transparent huge pages are not to be had", -errno);
    madvise(pool->data, bytes, MADV_DONTDUMP);
    if (pool->fd < 0) {
        snprintf(name, sizeof(name), "hearth:%.60s", pool->name);
        for (char *c = name; *c; c++) /* the kernel takes printable ASCII without \`$[] */
            if (*c < 0x20 || *c > 0x7e || strchr("\\`$[]", *c))
                *c = '_';
        prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, pool->data, bytes, name);
    }
    if (numa_node >= 0 && numa_available() >= 0) {
        struct bitmask *nodes = numa_allocate_nodemask();
        /* preferred, not bound: a full node must not bring the OOM killer while others have room */
        numa_bitmask_setbit(nodes, (unsigned)numa_node);
        if (mbind(pool->data, bytes, MPOL_PREFERRED, nodes->maskp, nodes->size + 1, 0) < 0)
            set_note(pool, "the NUMA node could not be chosen", -errno);
        numa_bitmask_free(nodes);
    }
}

static int anon_create(struct pool *pool, const struct pool_config *config, struct error *err)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    int r;

    if (config->use_hugetlb) {
        r = map_at(pool, NULL, PROT_READ | PROT_WRITE, flags | MAP_HUGETLB | MAP_HUGE_2MB, -1);
        pool->is_hugetlb = r == 0;
        if (r < 0)
            set_note(pool, "too few free hugetlb pages", r);
    }
    if (!pool->is_hugetlb) {
        r = pool_reserve(pool, err);
        if (r < 0)
            return r;
        r = map_at(pool, place(pool), PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, -1);
        if (r < 0)
            return error_set_errno(err, r, "%s: %llu bytes cannot be mapped", pool->name,
                                   (unsigned long long)pool->mapped_bytes);
    }
    pool_advise(pool, config->numa_node);
    return 0;
}

static int anon_seal(struct pool *pool, struct error *err)
{
    if (pool->stays_writable) {
        pool_note(pool, "not even this one is: the GPU's driver maps them for writing");
        return 0;
    }
    if (mprotect(pool->data, (size_t)pool->mapped_bytes, PROT_READ) < 0)
        return error_set_errno(err, errno, "%s: cannot be made read-only", pool->name);
    return 0;
}

void pool_memory_destroy(struct pool *pool)
{
    if (pool->reservation)
        munmap(pool->reservation, pool->reservation_bytes);
    else if (pool->data)
        munmap(pool->data, (size_t)pool->mapped_bytes);
    if (pool->fd >= 0)
        close(pool->fd);
}

const struct pool_ops pool_ops_anon = {
    .kind = "anonymous",
    .promises = "without the kernel module: weights are read again after a restart, are not given "
                "back under memory pressure, and only this process is kept from writing them",
    .create = anon_create,
    .seal = anon_seal,
    .destroy = pool_memory_destroy,
};
