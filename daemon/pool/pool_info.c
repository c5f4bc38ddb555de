/* SPDX-License-Identifier: MIT */
/* What the kernel says about memory: where a pool lies, and what is left. */
#include "pool/pool_ops.h"

#include "base/cleanup.h"

#include <numa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

enum { NODE_SAMPLES = 64 };

/* Sums the smaps fields of the mappings that lie within the pool. */
static void read_smaps(const struct pool *pool, struct pool_info *info)
{
    _cleanup_fclose_ FILE *f = fopen("/proc/self/smaps", "re");
    const unsigned long start = (unsigned long)(uintptr_t)pool->data;
    const unsigned long end = start + (unsigned long)pool->mapped_bytes;
    unsigned long from, to, kib;
    bool is_ours = false;
    char line[512], field[40];

    while (f && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
            is_ours = from >= start && to <= end;
            continue;
        }
        if (!is_ours || sscanf(line, "%39[A-Za-z_]: %lu kB", field, &kib) != 2)
            continue;
        if (!strcmp(field, "Rss")) {
            info->resident_bytes += (uint64_t)kib << 10;
        } else if (!strcmp(field, "AnonHugePages") || !strcmp(field, "ShmemPmdMapped")) {
            info->huge_bytes += (uint64_t)kib << 10;
        } else if (!strcmp(field, "Private_Hugetlb") || !strcmp(field, "Shared_Hugetlb")) {
            info->huge_bytes += (uint64_t)kib << 10; /* not part of Rss */
            info->resident_bytes += (uint64_t)kib << 10;
        }
    }
}

/* The node of all sampled pages, -1 when they differ or none is there. */
static int find_node(const struct pool *pool)
{
    void *pages[NODE_SAMPLES];
    int status[NODE_SAMPLES], node = -1;
    uint64_t step = pool->bytes / NODE_SAMPLES;

    if (numa_available() < 0)
        return -1;
    for (int i = 0; i < NODE_SAMPLES; i++)
        pages[i] =
            (void *)(((uintptr_t)pool->data + (uintptr_t)(step * (uint64_t)i)) & ~(uintptr_t)4095);
    if (numa_move_pages(0, NODE_SAMPLES, pages, NULL, status, 0) < 0)
        return -1;
    for (int i = 0; i < NODE_SAMPLES; i++) {
        if (status[i] < 0)
            continue;
        if (node >= 0 && node != status[i])
            return -1;
        node = status[i];
    }
    return node;
}

void pool_get_info(const struct pool *pool, struct pool_info *ret)
{
    uint64_t base = (uint64_t)sysconf(_SC_PAGESIZE);
    const char *pages;

    *ret = (struct pool_info){
        .kind = pool->ops->kind, .is_sealed = pool->is_sealed, .is_named = pool->is_named};
    if (pool->ops->measure)
        pool->ops->measure(pool, ret);
    else if (pool->data)
        read_smaps(pool, ret);
    ret->numa_node = pool->data ? find_node(pool) : -1;
    ret->page_bytes = base;
    if (pool->is_hugetlb || (ret->resident_bytes && ret->huge_bytes * 2 > ret->resident_bytes))
        ret->page_bytes = POOL_LARGE_PAGE_BYTES;
    if (pool->is_hugetlb)
        pages = "2 MiB hugetlb pages";
    else if (ret->resident_bytes == 0)
        pages = "not resident";
    else if (ret->huge_bytes == 0)
        pages = "4 KiB pages";
    else
        pages = ret->huge_bytes * 10 >= ret->resident_bytes * 9 ? "2 MiB pages"
                                                                : "2 MiB and 4 KiB pages";
    snprintf(ret->text, sizeof(ret->text), "%s, %s", pool->ops->kind, pages);
    snprintf(ret->promises, sizeof(ret->promises), "%s%s%s", pool->ops->promises,
             pool->ops->promises[0] && pool->note[0] ? "; " : "", pool->note);
}

/* A file with one number; UINT64_MAX when it is absent or says "max". */
static uint64_t read_number(const char *dir, const char *file)
{
    _cleanup_fclose_ FILE *f = NULL;
    unsigned long long n;
    char path[4200];

    snprintf(path, sizeof(path), "%s/%s", dir, file);
    f = fopen(path, "re");
    return f && fscanf(f, "%llu", &n) == 1 ? n : UINT64_MAX;
}

/* Page cache that the cgroup can give up. */
static uint64_t cgroup_file_bytes(const char *dir)
{
    _cleanup_fclose_ FILE *f = NULL;
    unsigned long long n;
    uint64_t total = 0;
    char path[4200], field[64];

    snprintf(path, sizeof(path), "%s/memory.stat", dir);
    f = fopen(path, "re");
    while (f && fscanf(f, "%63s %llu", field, &n) == 2)
        if (!strcmp(field, "inactive_file") || !strcmp(field, "active_file"))
            total += n;
    return total;
}

/* The tightest of our cgroup and those above it (cgroup v2). */
static uint64_t cgroup_available(void)
{
    _cleanup_fclose_ FILE *f = fopen("/proc/self/cgroup", "re");
    uint64_t least = UINT64_MAX;
    char line[4000], dir[4100];

    while (f && fgets(line, sizeof(line), f)) {
        if (strncmp(line, "0::/", 4))
            continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(dir, sizeof(dir), "/sys/fs/cgroup%s", line + 3);
        /* the root too: in a container it is the container's own group */
        while (strlen(dir) >= strlen("/sys/fs/cgroup")) {
            uint64_t max = read_number(dir, "memory.max"), used, here;
            if (max != UINT64_MAX) {
                used = read_number(dir, "memory.current");
                here = used < max ? max - used : 0;
                here += cgroup_file_bytes(dir);
                least = here < least ? here : least;
            }
            *strrchr(dir, '/') = 0;
        }
    }
    return least;
}

uint64_t pool_available_bytes(void)
{
    _cleanup_fclose_ FILE *f = fopen("/proc/meminfo", "re");
    uint64_t available = UINT64_MAX, in_cgroup = cgroup_available();
    unsigned long long kib;
    char line[128];

    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
            available = (uint64_t)kib << 10;
    return in_cgroup < available ? in_cgroup : available;
}
