/* SPDX-License-Identifier: MIT */
#include "pool/pool.h"

#include "base/bytes.h"
#include "pool/pool_allocator.h"
#include "pool/pool_ops.h"

#include <errno.h>
#include <numa.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct pool_ops *pool_ops_of_kind(enum pool_kind kind)
{
    switch (kind) {
    case POOL_KIND_AUTO:
    case POOL_KIND_ANON:
        return &pool_ops_anon;
    case POOL_KIND_MEMFD:
        return &pool_ops_memfd;
    case POOL_KIND_KMOD:
        return &pool_ops_kmod;
    }
    return NULL;
}

void pool_note(struct pool *pool, const char *fmt, ...)
{
    size_t used = strlen(pool->note);
    va_list args;

    va_start(args, fmt);
    if (used && used + 2 < sizeof(pool->note))
        used += (size_t)snprintf(pool->note + used, sizeof(pool->note) - used, "; ");
    vsnprintf(pool->note + used, sizeof(pool->note) - used, fmt, args);
    va_end(args);
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

int pool_new(const struct pool_ops *ops, uint64_t bytes, const char *name, struct pool **ret,
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

/* A pool as configured, no memory yet. */
static int configured(const struct pool_config *config, uint64_t bytes, const char *name,
                      struct pool **ret, struct error *err)
{
    const struct pool_ops *ops = pool_ops_of_kind(config->kind);
    int r;

    if (!ops)
        return error_set(err, EINVAL, "%s: there is no pool kind %d", name, (int)config->kind);
    r = pool_new(ops, bytes, name, ret, err);
    if (r < 0)
        return r;
    (*ret)->stays_writable = config->stays_writable;
    (*ret)->is_cache = config->is_cache;
    (*ret)->is_exported = config->is_exported;
    (*ret)->keeper = config->keeper;
    (*ret)->is_named = config->key && ops->find;
    if (config->key)
        (*ret)->key = *config->key;
    return 0;
}

/* Pages come as they are touched: what can never be had must not be promised. */
static int check_available(const struct pool *pool, struct error *err)
{
    uint64_t available;

    if (pool->ops->has_own_limits || pool->is_hugetlb) /* reserved pages are not of the rest */
        return 0;
    available = pool_available_bytes();
    if (pool->bytes <= available)
        return 0;
    return error_set(err, ENOMEM,
                     "%s: needs %.2f GiB of memory but only %.2f GiB can be had: close something, "
                     "unload a model, or choose a smaller one",
                     pool->name, bytes_gib(pool->bytes), bytes_gib(available));
}

int pool_create(const struct pool_config *config, uint64_t bytes, const char *name,
                struct pool **ret, struct error *err)
{
    struct pool *pool = NULL;
    int r = check_node(config->numa_node, name, err);

    if (r == 0)
        r = configured(config, bytes, name, &pool, err);
    if (r < 0)
        return r;
    r = pool->ops->create(pool, config, err);
    if (r == 0)
        r = check_available(pool, err);
    if (r < 0) {
        pool_forget(pool);
        pool_destroy(pool);
        return r;
    }
    *ret = pool;
    return 0;
}

static int open_kept(const struct pool_config *config, bool is_look, uint64_t bytes,
                     const char *name, struct pool **ret, struct error *err)
{
    struct pool *pool = NULL;
    int r = configured(config, bytes, name, &pool, err);

    if (r < 0)
        return r;
    if (!pool->is_named)
        r = error_set(err, ENOENT, "%s: no %s pool is kept", name, pool->ops->kind);
    else if (is_look && pool->ops->look)
        r = pool->ops->look(pool, err);
    else
        r = pool->ops->find(pool, config, err);
    if (r < 0) {
        pool->is_named = false; /* it keeps its name, which may be another process's */
        pool_destroy(pool);
        return r;
    }
    *ret = pool;
    return 0;
}

int pool_find(const struct pool_config *config, uint64_t bytes, const char *name, struct pool **ret,
              struct error *err)
{
    return open_kept(config, false, bytes, name, ret, err);
}

int pool_look(const struct pool_config *config, uint64_t bytes, const char *name, struct pool **ret,
              struct error *err)
{
    return open_kept(config, true, bytes, name, ret, err);
}

int pool_adopt(int fd, uint64_t bytes, const char *name, struct pool **ret, struct error *err)
{
    struct pool *pool = NULL;
    int r = pool_new(&pool_ops_memfd, bytes, name, &pool, err);

    if (r < 0)
        return r;
    r = pool_memfd_take(pool, fd, err);
    if (r < 0) {
        pool->fd = -1; /* stays the caller's */
        pool_destroy(pool);
        return r;
    }
    *ret = pool;
    return 0;
}

void pool_destroy(struct pool *pool)
{
    if (!pool)
        return;
    if (!pool->is_sealed && !pool->is_cache)
        pool_forget(pool); /* half an image is of no use to anybody */
    pool->ops->destroy(pool);
    free(pool->name);
    free(pool);
}

void pool_forget(struct pool *pool)
{
    if (!pool || !pool->is_named)
        return;
    if (pool->ops->forget)
        pool->ops->forget(pool);
    pool->is_named = false;
}

int pool_allocate(struct pool *pool, const atomic_bool *cancel, struct error *err)
{
    struct pool_allocator a;
    int r;

    if (!pool->is_deferred)
        return 0;
    r = pool_allocator_start(&a, pool, err);
    if (r < 0)
        return r;
    r = pool_allocator_wait(&a, cancel, err);
    pool_allocator_stop(&a);
    return r;
}

void *pool_data(const struct pool *pool)
{
    return pool->is_idle ? NULL : pool->data;
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
    if (pool->is_cache)
        return error_set(err, EINVAL, "%s: a cache is written as long as it lives", pool->name);
    r = pool->ops->seal(pool, err);
    if (r == 0)
        pool->is_sealed = true;
    return r;
}

int pool_set_idle(struct pool *pool, bool is_idle, struct error *err)
{
    int r = 0;

    if (pool->is_idle == is_idle)
        return 0;
    if (pool->ops->set_idle)
        r = pool->ops->set_idle(pool, is_idle, err);
    if (r == 0)
        pool->is_idle = is_idle;
    return r;
}

bool pool_is_evicted(const struct pool *pool)
{
    return pool->ops->is_evicted && pool->ops->is_evicted(pool);
}

int pool_export(const struct pool *pool, uint64_t offset, uint64_t bytes, bool is_writable,
                int *ret_fd, struct error *err)
{
    uint64_t limit = pool_export_limit_bytes(pool);

    if (!pool->ops->export)
        return error_set(err, EOPNOTSUPP, "%s: %s memory has no dma-bufs", pool->name,
                         pool->ops->kind);
    if (!bytes || (offset | bytes) % POOL_LARGE_PAGE_BYTES || bytes > pool->mapped_bytes ||
        offset > pool->mapped_bytes - bytes)
        return error_set(err, EINVAL,
                         "%s: no window of %llu bytes at offset %llu can be cut from %llu bytes",
                         pool->name, (unsigned long long)bytes, (unsigned long long)offset,
                         (unsigned long long)pool->mapped_bytes);
    if (limit && bytes > limit)
        return error_set(err, EFBIG, "%s: a window of %llu MiB is more than the %llu that %s takes",
                         pool->name, (unsigned long long)(bytes >> 20),
                         (unsigned long long)(limit >> 20), pool->ops->kind);
    if (is_writable && pool->is_sealed)
        return error_set(err, EPERM, "%s: is sealed against writing", pool->name);
    return pool->ops->export(pool, offset, bytes, is_writable, ret_fd, err);
}

uint64_t pool_export_limit_bytes(const struct pool *pool)
{
    return pool->ops->export_limit_bytes ? pool->ops->export_limit_bytes(pool) : 0;
}
