/* SPDX-License-Identifier: MIT */
/* Pools of shared memory with a descriptor, kept over a restart by whoever is asked to. */
#include "pool/pool_keeper.h"
#include "pool/pool_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21U << 26)
#endif

/* A descriptor of the right size; sets pool->fd. */
static int open_file(struct pool *pool, unsigned flags)
{
    char name[80];
    int r;

    snprintf(name, sizeof(name), "hearth:%.60s", pool->name);
    pool->fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
    if (pool->fd < 0)
        return -errno;
    /* udmabuf takes only files that cannot shrink under it */
    if (ftruncate(pool->fd, (off_t)pool->mapped_bytes) < 0 ||
        fcntl(pool->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0) {
        r = -errno;
        close(pool->fd);
        pool->fd = -1;
        return r;
    }
    return 0;
}

static int create_hugetlb(struct pool *pool)
{
    int r = open_file(pool, MFD_HUGETLB | MFD_HUGE_2MB);

    if (r < 0)
        return r;
    r = pool_map_fd(pool, PROT_READ | PROT_WRITE, pool->fd);
    if (r < 0) {
        close(pool->fd);
        pool->fd = -1;
    }
    return r;
}

/*
 * A read-only mapping comes from a descriptor without write access: kernels before 6.7 count any
 * shared mapping of a writable one as a writer and then refuse the seal, or the mapping after it.
 */
static int map_read_only(struct pool *pool)
{
    char path[40];
    int fd, r;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", pool->fd);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    r = pool_map_fd(pool, PROT_READ, fd);
    close(fd);
    return r;
}

static int map(struct pool *pool, bool is_writable, int numa_node, struct error *err)
{
    int r = 0;

    if (!pool->is_hugetlb) /* hugetlb mappings are aligned by nature */
        r = pool_reserve(pool, err);
    if (r < 0)
        return r;
    r = is_writable ? pool_map_fd(pool, PROT_READ | PROT_WRITE, pool->fd) : map_read_only(pool);
    if (r < 0)
        return error_set_errno(err, r, "%s: shared memory cannot be mapped", pool->name);
    pool_advise(pool, numa_node);
    return 0;
}

/* Asks the keeper to keep it; a pool that is not kept is as good for this process. */
static void keep(struct pool *pool)
{
    int r;

    if (!pool->is_named || !pool->keeper)
        return;
    r = pool->keeper->keep(pool->keeper, &pool->key, pool->fd);
    if (r < 0) {
        pool_note(pool, "it is not kept over a restart (%s)", strerror(-r));
        pool->is_named = false;
    }
}

static int create(struct pool *pool, const struct pool_config *config, struct error *err)
{
    int r;

    if (!pool->keeper)
        pool->is_named = false;
    if (config->use_hugetlb) {
        r = create_hugetlb(pool);
        pool->is_hugetlb = r == 0;
        if (r < 0)
            pool_note(pool, "too few free hugetlb pages (%s)", strerror(-r));
    }
    if (pool->is_hugetlb) {
        pool_advise(pool, config->numa_node);
    } else {
        r = open_file(pool, 0);
        if (r < 0)
            return error_set_errno(err, r, "%s: no shared memory of %llu bytes", pool->name,
                                   (unsigned long long)pool->mapped_bytes);
        r = map(pool, true, config->numa_node, err);
        if (r < 0)
            return r;
    }
    if (pool->is_cache) /* an image is kept once it is whole */
        keep(pool);
    return 0;
}

int pool_memfd_take(struct pool *pool, int fd, struct error *err)
{
    struct stat st;
    int seals;

    if (fstat(fd, &st) < 0)
        return error_set_errno(err, errno, "%s: the kept pool cannot be examined", pool->name);
    seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0)
        return error_set(err, EINVAL, "%s: the descriptor is not that of a pool", pool->name);
    if ((uint64_t)st.st_size != pool->mapped_bytes)
        return error_set(err, EINVAL,
                         "%s: the kept pool has %lld bytes, not %llu: load the model again",
                         pool->name, (long long)st.st_size, (unsigned long long)pool->mapped_bytes);
    pool->is_sealed = seals & F_SEAL_SEAL;
    pool->is_exported = !(seals & F_SEAL_WRITE);
    pool->is_hugetlb = st.st_blksize >= (blksize_t)POOL_LARGE_PAGE_BYTES;
    pool->fd = fd;
    return map(pool, !pool->is_sealed, -1, err);
}

/* One byte of each large page of a whole image: maps those that are large, and shows which are. */
static void touch(const struct pool *pool)
{
    const volatile char *data = pool->data;

    for (uint64_t at = 0; at < pool->bytes; at += POOL_LARGE_PAGE_BYTES)
        (void)data[at];
}

static int find(struct pool *pool, const struct pool_config *config, struct error *err)
{
    int fd = pool->keeper ? pool->keeper->take(pool->keeper, &pool->key) : -ENOENT, r;

    if (fd < 0)
        return error_set(err, ENOENT, "%s: no pool was kept", pool->name);
    r = pool_memfd_take(pool, fd, err);
    if (r < 0 && pool->fd < 0)
        close(fd);
    if (r == 0 && pool->is_sealed)
        touch(pool);
    if (r == 0 && pool->is_sealed == !pool->is_cache)
        return 0;
    pool->keeper->forget(pool->keeper, &pool->key);
    return r < 0 && r != -EINVAL
               ? r
               : error_set(err, EUCLEAN, "%s: what was kept is of no use", pool->name);
}

/* Its name stays with what the keeper has. */
static int look(struct pool *pool, struct error *err)
{
    int fd = pool->keeper ? pool->keeper->look(pool->keeper, &pool->key) : -ENOENT, r;

    pool->is_named = false;
    if (fd == -ENOENT)
        return error_set(err, ENOENT, "%s: no pool was kept", pool->name);
    r = fd < 0 ? error_set_errno(err, fd, "%s: what is kept cannot be opened", pool->name)
               : pool_memfd_take(pool, fd, err);
    if (r < 0 && fd >= 0 && pool->fd < 0)
        close(fd);
    if (r < 0)
        pool->keeper->forget(pool->keeper, &pool->key);
    return r;
}

/* What it is says its file: its size, and images are kept once they are sealed. Where that cannot
 * be seen it may be either. */
static struct pool_kept kept_of(struct pool_keeper *keeper, const struct pool_key *key)
{
    struct pool_kept kept = {.key = *key, .is_sealed = true};
    int fd = keeper->look(keeper, key), seals;
    struct stat st;

    if (fd < 0)
        return kept;
    seals = fcntl(fd, F_GET_SEALS);
    kept.is_sealed = seals >= 0 && seals & F_SEAL_SEAL;
    if (fstat(fd, &st) == 0)
        kept.mapped_bytes = (uint64_t)st.st_size;
    close(fd);
    return kept;
}

static int list(const struct pool_config *config, struct pool_kept **ret_list, size_t *ret_n)
{
    struct pool_key *keys = NULL;
    struct pool_kept *kept = NULL;
    size_t n = 0;
    int r = config->keeper ? config->keeper->list(config->keeper, &keys, &n) : 0;

    if (r == 0 && n) {
        kept = calloc(n, sizeof(*kept));
        r = kept ? 0 : -ENOMEM;
    }
    for (size_t i = 0; r == 0 && i < n; i++)
        kept[i] = kept_of(config->keeper, &keys[i]);
    free(keys);
    if (r < 0)
        return r;
    *ret_list = kept;
    *ret_n = n;
    return 0;
}

static void forget(struct pool *pool)
{
    pool->keeper->forget(pool->keeper, &pool->key);
}

static int seal(struct pool *pool, struct error *err)
{
    const int seals = F_SEAL_SEAL | (pool->is_exported ? 0 : F_SEAL_WRITE);
    int r;

    /* The writable mapping has to go first; replacing it keeps pool_data() where it is. */
    r = map_read_only(pool);
    if (r < 0)
        return error_set_errno(err, r, "%s: cannot be mapped read-only", pool->name);
    if (fcntl(pool->fd, F_ADD_SEALS, seals) < 0)
        return error_set_errno(err, errno, "%s: cannot be sealed", pool->name);
    if (!pool->is_hugetlb)
        madvise(pool->data, (size_t)pool->mapped_bytes, MADV_HUGEPAGE);
    madvise(pool->data, (size_t)pool->mapped_bytes, MADV_DONTDUMP);
    pool_populate(pool, pool->bytes);
    keep(pool);
    return 0;
}

/* Nobody could take it back from a keeper, so what may be taken back is not left with one. */
static int set_idle(struct pool *pool, bool is_idle, struct error *err)
{
    if (!pool->is_named)
        return 0;
    if (is_idle)
        forget(pool);
    else
        keep(pool);
    return 0;
}

static int export(const struct pool *pool, uint64_t offset, uint64_t bytes, bool is_writable,
                  int *ret_fd, struct error *err)
{
    if (!pool->is_exported)
        return error_set(err, EOPNOTSUPP, "%s: its memfd is not one to export", pool->name);
    return pool_udmabuf_export(pool, offset, bytes, ret_fd, err);
}

static uint64_t export_limit_bytes(const struct pool *pool)
{
    uint64_t limit = 0;

    return pool->is_exported && pool_udmabuf_check(&limit, NULL) == 0 ? limit : 0;
}

const struct pool_ops pool_ops_memfd = {
    .kind = "memfd",
    .promises = "without the kernel module: weights are not given back under memory pressure, and "
                "survive a restart only where the service manager keeps their descriptor",
    .create = create,
    .find = find,
    .look = look,
    .list = list,
    .seal = seal,
    .set_idle = set_idle,
    .forget = forget,
    .export = export,
    .export_limit_bytes = export_limit_bytes,
    .destroy = pool_memory_destroy,
};
