/* SPDX-License-Identifier: MIT */
/*
 * Pools of the kernel module. A descriptor of /dev/hearth is held only for one call, so that the
 * module can be unloaded when no pool is in use.
 */
#include "pool/pool_kmod.h"

#include "base/bytes.h"
#include "base/cleanup.h"
#include "pool/pool_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where no 2 MiB are left in one piece: 64 KiB, which GPU page tables still map by one entry. */
enum { FALLBACK_ORDER = 4 };

/* ioctl() that a signal does not disturb: what allocates is told apart by pool_ops.allocate. */
static int call(int fd, unsigned long request, void *argument)
{
    int r;

    do
        r = ioctl(fd, request, argument);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : r;
}

/* Why the device cannot be opened, and what to do about it. */
static int explain_open(int code, struct error *err)
{
    struct group group, *found = NULL;
    struct stat st;
    char names[1024]; /* of the group and, if they fit, of its members */

    if (code == -ENOENT)
        return error_set(err, ENOENT,
                         POOL_KMOD_DEVICE " is not there: install the kernel module (its sources "
                                          "are in kmod/) and load it with modprobe hearth");
    if (code == -ENODEV || code == -ENXIO)
        return error_set(err, ENODEV,
                         POOL_KMOD_DEVICE " has no module behind it: load it with modprobe hearth");
    if ((code == -EACCES || code == -EPERM) && stat(POOL_KMOD_DEVICE, &st) == 0) {
        getgrgid_r(st.st_gid, &group, names, sizeof(names), &found);
        if (found && st.st_mode & S_IWGRP && st.st_gid != 0)
            return error_set(err, EACCES,
                             POOL_KMOD_DEVICE " may not be opened by this user: add it to group %s",
                             found->gr_name);
    }
    return error_set_errno(err, code, POOL_KMOD_DEVICE " cannot be opened");
}

static int open_device(struct error *err)
{
    int fd = open(POOL_KMOD_DEVICE, O_RDWR | O_CLOEXEC);

    return fd < 0 ? explain_open(-errno, err) : fd;
}

int pool_kmod_query(struct hearth_query *ret, struct error *err)
{
    _cleanup_close_ int device = open_device(err);
    struct hearth_query query = {0};
    int r;

    if (device < 0)
        return device;
    r = call(device, HEARTH_QUERY, &query);
    if (r < 0)
        return error_set_errno(err, r, POOL_KMOD_DEVICE " does not answer");
    if (query.abi_version != HEARTH_ABI_VERSION)
        return error_set(err, EPROTO,
                         POOL_KMOD_DEVICE " speaks version %u and this program version %u: install "
                                          "the module that came with it",
                         query.abi_version, HEARTH_ABI_VERSION);
    if (query.large_page_bytes != POOL_LARGE_PAGE_BYTES)
        return error_set(err, EPROTO, POOL_KMOD_DEVICE " has pages of %llu KiB, not 2 MiB",
                         (unsigned long long)query.large_page_bytes >> 10);
    *ret = query;
    return 0;
}

static void key_bytes(const struct pool_key *key, uint8_t ret[HEARTH_KEY_BYTES])
{
    for (size_t i = 0; i < HEARTH_KEY_BYTES; i++) {
        char digits[3] = {key->hex[2 * i], key->hex[2 * i + 1], 0};
        ret[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
}

/* What stood against a pool, with the arithmetic. */
static int explain_create(const struct pool *pool, int code, struct error *err)
{
    struct hearth_query q;

    if ((code != -ENOMEM && code != -EDQUOT) || pool_kmod_query(&q, NULL) < 0)
        return error_set_errno(err, code, "%s: the kernel module gives no pool of %.2f GiB",
                               pool->name, bytes_gib(pool->mapped_bytes));
    if (code == -EDQUOT && q.uid_pools >= q.uid_limit_pools)
        return error_set(err, EDQUOT,
                         "%s: this user has %u pools of the kernel module and may have no more: "
                         "raise its parameter uid_limit_pools",
                         pool->name, q.uid_pools);
    if (code == -EDQUOT)
        return error_set(err, EDQUOT,
                         "%s: needs %.2f GiB, but this user's pools hold %.2f of the %.2f GiB they "
                         "may: unload a model or raise the module's parameter uid_limit_percent",
                         pool->name, bytes_gib(pool->mapped_bytes), bytes_gib(q.uid_used_bytes),
                         bytes_gib(q.uid_limit_bytes));
    if (pool->mapped_bytes > q.limit_bytes ||
        q.used_bytes - q.idle_bytes > q.limit_bytes - pool->mapped_bytes)
        return error_set(err, ENOMEM,
                         "%s: needs %.2f GiB, but pools in use hold %.2f of the %.2f GiB they may: "
                         "unload a model, choose a smaller one, or raise the module's parameter "
                         "limit_percent",
                         pool->name, bytes_gib(pool->mapped_bytes),
                         bytes_gib(q.used_bytes - q.idle_bytes), bytes_gib(q.limit_bytes));
    return error_set(err, ENOMEM,
                     "%s: needs %.2f GiB of memory, more than the kernel can free (%.2f GiB are "
                     "available): close something, unload a model, or choose a smaller one",
                     pool->name, bytes_gib(pool->mapped_bytes), bytes_gib(pool_available_bytes()));
}

static int map(struct pool *pool, bool is_writable, struct error *err)
{
    int r = pool_map_fd(pool, is_writable ? PROT_READ | PROT_WRITE : PROT_READ, pool->fd);

    if (r < 0)
        return error_set_errno(err, r, "%s: the kernel module's pool cannot be mapped", pool->name);
    if (!pool->is_deferred)
        pool_populate(pool, pool->mapped_bytes);
    return 0;
}

static int kmod_create(struct pool *pool, const struct pool_config *config, struct error *err)
{
    struct hearth_create request = {
        .size_bytes = pool->mapped_bytes,
        .flags = HEARTH_CREATE_FALLBACK | HEARTH_CREATE_IDLE_ON_CLOSE,
        .node = config->numa_node >= 0 ? config->numa_node : HEARTH_NODE_ANY,
        .min_order = FALLBACK_ORDER,
        .mode = 0600,
    };
    _cleanup_close_ int device = open_device(err);
    int r;

    if (device < 0)
        return error_prefix(err, "%s", pool->name), device;
    if (config->is_deferred)
        request.flags |= HEARTH_CREATE_DEFER;
    if (pool->is_named) {
        request.flags |= HEARTH_CREATE_KEYED;
        key_bytes(&pool->key, request.key);
    }
    r = call(device, HEARTH_CREATE, &request);
    if (r == -EEXIST) {
        pool_note(pool, "another process holds a pool of this name, so this one has none and will "
                        "not be found after a restart");
        pool->is_named = false;
        request.flags &= ~HEARTH_CREATE_KEYED;
        memset(request.key, 0, sizeof(request.key));
        r = call(device, HEARTH_CREATE, &request);
    }
    if (r < 0) {
        pool->is_named = false; /* the name, if there is one, is not ours to take away */
        return explain_create(pool, r, err);
    }
    pool->fd = r;
    pool->is_deferred = config->is_deferred;
    r = pool_reserve(pool, err);
    return r < 0 ? r : map(pool, true, err);
}

static int get_info(const struct pool *pool, struct hearth_info *ret)
{
    *ret = (struct hearth_info){0};
    return pool->fd < 0 ? -EBADF : call(pool->fd, HEARTH_POOL_INFO, ret);
}

static void kmod_forget(struct pool *pool)
{
    struct hearth_destroy request = {.uid = HEARTH_UID_SELF};
    _cleanup_close_ int device = open_device(NULL);

    key_bytes(&pool->key, request.key);
    if (device >= 0)
        call(device, HEARTH_DESTROY, &request);
}

/* Whether what was found may be taken: 0, or why not as of pool_find(). */
static int check_found(struct pool *pool, struct error *err)
{
    struct hearth_info info;
    bool is_alone;
    int r = get_info(pool, &info);

    if (r < 0)
        return error_set_errno(err, r, "%s: its pool cannot be examined", pool->name);
    /* the descriptor just opened is one of them */
    is_alone = info.files == 1 && !info.mappings && !info.dmabufs;
    if (info.state == HEARTH_STATE_EVICTED)
        return error_set(err, ESTALE, "%s: the kernel took its memory back", pool->name);
    pool->is_sealed = info.state == HEARTH_STATE_SEALED;
    if (info.size_bytes == pool->mapped_bytes && pool->is_sealed == !pool->is_cache &&
        (pool->is_sealed || is_alone))
        return 0;
    if (!is_alone)
        return error_set(err, EBUSY, "%s: another process fills or writes its pool", pool->name);
    kmod_forget(pool);
    return error_set(err, EUCLEAN, "%s: what a process that ended had begun to fill was freed",
                     pool->name);
}

static int kmod_find(struct pool *pool, const struct pool_config *config, struct error *err)
{
    struct hearth_open request = {.uid = HEARTH_UID_SELF, .flags = HEARTH_OPEN_WRITE};
    struct hearth_pool_flags none = {0};
    _cleanup_close_ int device = open_device(err);
    int r;

    if (device < 0)
        return error_prefix(err, "%s", pool->name), device;
    key_bytes(&pool->key, request.key);
    r = call(device, HEARTH_OPEN, &request);
    if (r < 0)
        return error_set_errno(err, r, "%s: no pool to be found again", pool->name);
    pool->fd = r;
    /* first of all, so that what is looked at stays */
    r = call(pool->fd, HEARTH_POOL_ACTIVATE, &none);
    if (r < 0)
        return error_set_errno(err, r, "%s: its pool cannot be used again", pool->name);
    r = check_found(pool, err);
    if (r == 0)
        r = pool_reserve(pool, err);
    return r < 0 ? r : map(pool, !pool->is_sealed, err);
}

/* Adds those of the entries that this user could find. */
static int add_kept(const struct hearth_info *entries, size_t n, struct pool_kept **list,
                    size_t *n_list)
{
    struct pool_kept *more = realloc(*list, (*n_list + n) * sizeof(*more));

    if (!more)
        return -ENOMEM;
    *list = more;
    for (size_t i = 0; i < n; i++) {
        const struct hearth_info *e = &entries[i];
        bool is_there = e->state == HEARTH_STATE_SEALED || e->state == HEARTH_STATE_WRITABLE;

        if (!is_there || !(e->status & HEARTH_STATUS_NAMED) || e->uid != geteuid())
            continue;
        more[*n_list] = (struct pool_kept){.mapped_bytes = e->size_bytes,
                                           .used_ns = e->used_ns,
                                           .is_sealed = e->state == HEARTH_STATE_SEALED};
        pool_key_from_bytes(e->key, &more[(*n_list)++].key);
    }
    return 0;
}

static int kmod_list(const struct pool_config *config, struct pool_kept **ret_list, size_t *ret_n)
{
    struct hearth_info entries[16];
    struct hearth_list request = {.entries = (uintptr_t)entries, .entry_bytes = sizeof(entries[0])};
    _cleanup_close_ int device = open_device(NULL);
    struct pool_kept *list = NULL;
    size_t n = 0;
    int r = device < 0 ? device : 0;

    (void)config;
    while (r == 0) {
        request.count = sizeof(entries) / sizeof(entries[0]);
        r = call(device, HEARTH_LIST, &request);
        if (r < 0 || !request.count)
            break;
        r = add_kept(entries, request.count, &list, &n);
    }
    if (r < 0 || !n) {
        free(list);
        return r < 0 ? r : 0;
    }
    *ret_list = list;
    *ret_n = n;
    return 0;
}

static int kmod_allocate(const struct pool *pool, struct error *err)
{
    struct hearth_pool_flags none = {0};

    if (ioctl(pool->fd, HEARTH_POOL_ALLOCATE, &none) == 0)
        return 0;
    return errno == EINTR ? -EINTR : explain_create(pool, -errno, err);
}

static uint64_t kmod_allocated_bytes(const struct pool *pool)
{
    struct hearth_info info;

    return get_info(pool, &info) < 0 ? 0 : info.allocated_bytes;
}

static int kmod_seal(struct pool *pool, struct error *err)
{
    struct hearth_pool_flags none = {0};
    int r = pool_unmap(pool); /* no area that could be written may be left */

    if (r == 0)
        r = call(pool->fd, HEARTH_POOL_SEAL, &none);
    if (r == -EBUSY)
        return error_set(err, EBUSY,
                         "%s: cannot be sealed while something else writes or pins its memory",
                         pool->name);
    if (r < 0)
        return error_set_errno(err, r, "%s: cannot be sealed", pool->name);
    return map(pool, false, err);
}

static int kmod_set_idle(struct pool *pool, bool is_idle, struct error *err)
{
    struct hearth_pool_flags none = {0};
    int r;

    if (is_idle) {
        r = pool_unmap(pool);
        if (r == 0)
            r = call(pool->fd, HEARTH_POOL_IDLE, &none);
        return r < 0 ? error_set_errno(err, r, "%s: cannot be left to the kernel", pool->name) : 0;
    }
    r = call(pool->fd, HEARTH_POOL_ACTIVATE, &none);
    if (r == -ESTALE)
        return error_set(err, ESTALE, "%s: the kernel took its memory back", pool->name);
    if (r < 0)
        return error_set_errno(err, r, "%s: its pool cannot be used again", pool->name);
    return map(pool, !pool->is_sealed, err);
}

static bool kmod_is_evicted(const struct pool *pool)
{
    struct hearth_info info;

    return get_info(pool, &info) == 0 && info.state == HEARTH_STATE_EVICTED;
}

static int kmod_export(const struct pool *pool, uint64_t offset, uint64_t bytes, bool is_writable,
                       int *ret_fd, struct error *err)
{
    struct hearth_export request = {
        .offset = offset, .length = bytes, .flags = is_writable ? HEARTH_EXPORT_WRITE : 0};
    int r = call(pool->fd, HEARTH_POOL_EXPORT, &request);

    if (r < 0)
        return error_set_errno(err, r, "%s: no dma-buf of %llu MiB at offset %llu MiB", pool->name,
                               (unsigned long long)(bytes >> 20),
                               (unsigned long long)(offset >> 20));
    *ret_fd = r;
    return 0;
}

static uint64_t kmod_export_limit_bytes(const struct pool *pool)
{
    return pool->mapped_bytes;
}

static void kmod_measure(const struct pool *pool, struct pool_info *ret)
{
    struct hearth_info info;

    if (get_info(pool, &info) < 0)
        return;
    for (unsigned order = 0; order < HEARTH_ORDERS; order++) {
        ret->resident_bytes += info.order_bytes[order];
        if (UINT64_C(4096) << order >= POOL_LARGE_PAGE_BYTES)
            ret->huge_bytes += info.order_bytes[order];
    }
}

const struct pool_ops pool_ops_kmod = {
    .kind = "kernel module",
    .promises = "",
    .has_own_limits = true,
    .create = kmod_create,
    .find = kmod_find,
    .list = kmod_list,
    .seal = kmod_seal,
    .allocate = kmod_allocate,
    .allocated_bytes = kmod_allocated_bytes,
    .set_idle = kmod_set_idle,
    .is_evicted = kmod_is_evicted,
    .forget = kmod_forget,
    .export = kmod_export,
    .export_limit_bytes = kmod_export_limit_bytes,
    .measure = kmod_measure,
    .destroy = pool_memory_destroy,
};
