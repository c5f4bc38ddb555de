/* SPDX-License-Identifier: MIT */
#include "pool/pool.h"

#include "pool/pool_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <numa.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const struct pool_ops *ops_of_kind(enum pool_kind kind)
{
    switch (kind) {
    case POOL_KIND_AUTO:
    case POOL_KIND_ANON:
        return &pool_ops_anon;
    case POOL_KIND_MEMFD:
        return &pool_ops_memfd;
    }
    return NULL;
}

static double gib(uint64_t bytes)
{
    return (double)bytes / (1 << 30);
}

static int check_node(int node, const char *name, struct error *err)
{
    if (node < 0 || numa_available() < 0) /* a kernel without NUMA has one node, wanted or not */
        return 0;
    if (node > numa_max_node() || !numa_bitmask_isbitset(numa_all_nodes_ptr, (unsigned)node))
        return error_set(err, EINVAL,
                         "%s: NUMA node %d does not exist or may not be used here (the highest is "
                         "%d): choose another or -1 for any",
                         name, node, numa_max_node());
    return 0;
}

static int new_pool(const struct pool_ops *ops, uint64_t bytes, const char *name, struct pool **ret,
                    struct error *err)
{
    struct pool *pool;
    uint64_t mapped;

    if (bytes == 0)
        return error_set(err, EINVAL, "%s: a pool holds at least one byte", name);
    if (__builtin_add_overflow(bytes, POOL_LARGE_PAGE_BYTES - 1, &mapped) ||
        mapped > PTRDIFF_MAX / 2)
        return error_set(err, ENOMEM, "%s: no memory is as large as %llu bytes", name,
                         (unsigned long long)bytes);
    pool = calloc(1, sizeof(*pool));
    if (!pool)
        return error_set(err, ENOMEM, "%s: not enough memory", name);
    pool->ops = ops;
    pool->fd = -1;
    pool->bytes = bytes;
    pool->mapped_bytes = mapped & ~(POOL_LARGE_PAGE_BYTES - 1);
    pool->name = strdup(name);
    if (!pool->name) {
        free(pool);
        return error_set(err, ENOMEM, "%s: not enough memory", name);
    }
    *ret = pool;
    return 0;
}

int pool_create(const struct pool_config *config, uint64_t bytes, const char *name,
                struct pool **ret, struct error *err)
{
    const struct pool_ops *ops = ops_of_kind(config->kind);
    struct pool *pool = NULL;
    uint64_t available;
    int r;

    if (!ops)
        return error_set(err, EINVAL, "%s: there is no pool kind %d", name, (int)config->kind);
    r = check_node(config->numa_node, name, err);
    if (r < 0)
        return r;
    r = new_pool(ops, bytes, name, &pool, err);
    if (r < 0)
        return r;
    pool->stays_writable = config->stays_writable;
    r = ops->create(pool, config, err);
    if (r < 0)
        goto fail;
    available = pool_available_bytes();
    if (!pool->is_hugetlb && bytes > available) { /* reserved pages are not taken from the rest */
        r = error_set(err, ENOMEM,
                      "%s: needs %.2f GiB of memory but only %.2f GiB can be had: close something, "
                      "unload a model, or choose a smaller one",
                      name, gib(bytes), gib(available));
        goto fail;
    }
    *ret = pool;
    return 0;

fail:
    pool_destroy(pool);
    return r;
}

int pool_adopt(int fd, uint64_t bytes, const char *name, struct pool **ret, struct error *err)
{
    struct pool *pool = NULL;
    struct stat st;
    int seals, r;

    if (fstat(fd, &st) < 0)
        return error_set_errno(err, errno, "%s: the kept pool cannot be examined", name);
    seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0)
        return error_set(err, EINVAL, "%s: the descriptor is not that of a pool", name);
    r = new_pool(&pool_ops_memfd, bytes, name, &pool, err);
    if (r < 0)
        return r;
    if ((uint64_t)st.st_size != pool->mapped_bytes) {
        r = error_set(err, EINVAL,
                      "%s: the kept pool has %lld bytes, not %llu: load the model again", name,
                      (long long)st.st_size, (unsigned long long)pool->mapped_bytes);
        goto fail;
    }
    pool->is_sealed = seals & F_SEAL_WRITE;
    pool->is_hugetlb = st.st_blksize >= (blksize_t)POOL_LARGE_PAGE_BYTES;
    pool->fd = fd;
    r = pool_memfd_map(pool, !pool->is_sealed, -1, err);
    if (r < 0) {
        pool->fd = -1; /* stays the caller's */
        goto fail;
    }
    *ret = pool;
    return 0;

fail:
    pool_destroy(pool);
    return r;
}

void pool_destroy(struct pool *pool)
{
    if (!pool)
        return;
    pool->ops->destroy(pool);
    free(pool->name);
    free(pool);
}

void *pool_data(const struct pool *pool)
{
    return pool->data;
}

uint64_t pool_bytes(const struct pool *pool)
{
    return pool->bytes;
}

uint64_t pool_mapped_bytes(const struct pool *pool)
{
    return pool->mapped_bytes;
}

const char *pool_name(const struct pool *pool)
{
    return pool->name;
}

int pool_fd(const struct pool *pool)
{
    return pool->fd;
}

int pool_seal(struct pool *pool, struct error *err)
{
    int r;

    if (pool->is_sealed)
        return 0;
    r = pool->ops->seal(pool, err);
    if (r == 0)
        pool->is_sealed = true;
    return r;
}
