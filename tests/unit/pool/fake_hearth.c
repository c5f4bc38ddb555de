/* SPDX-License-Identifier: MIT */
#include "fake_hearth.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LARGE_BYTES ((uint64_t)2 << 20)

enum { POOLS_MOST = 32 };

struct fake_pool {
    int memory; /* memfd; -1: the slot is free */
    ino_t inode;
    struct hearth_info info; /* files: descriptors of this process */
};

struct fake_hearth fake_hearth;
static struct fake_pool pools[POOLS_MOST];
static uint64_t clock_ns; /* passes with every use of a pool */
/* guards all of these but what tests set; taken by whoever comes in from outside */
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

int __real_open64(const char *path, int flags, ...);
int __real_close(int fd);
int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_open64(const char *path, int flags, ...);
int __real_stat64(const char *path, struct stat *ret);
int __wrap_stat64(const char *path, struct stat *ret);
int __wrap_close(int fd);
int __wrap_ioctl(int fd, unsigned long request, ...);

static void drop(struct fake_pool *p)
{
    if (p->memory >= 0)
        __real_close(p->memory);
    *p = (struct fake_pool){.memory = -1};
}

void fake_hearth_reset(void)
{
    fake_hearth = (struct fake_hearth){
        .is_on = true, .abi_version = HEARTH_ABI_VERSION, .limit_bytes = (uint64_t)64 << 30};
    pthread_mutex_lock(&lock);
    for (int i = 0; i < POOLS_MOST; i++) {
        if (!pools[i].inode)
            pools[i].memory = -1;
        drop(&pools[i]);
    }
    pthread_mutex_unlock(&lock);
}

unsigned fake_hearth_n_pools(void)
{
    unsigned n = 0;

    pthread_mutex_lock(&lock);
    for (int i = 0; i < POOLS_MOST; i++)
        n += pools[i].memory >= 0 && pools[i].info.state != HEARTH_STATE_EVICTED;
    pthread_mutex_unlock(&lock);
    return n;
}

static bool can_be_evicted(const struct fake_pool *p)
{
    return p->memory >= 0 && p->info.status & HEARTH_STATUS_IDLE &&
           p->info.state != HEARTH_STATE_EVICTED;
}

static bool evict(struct fake_pool *p)
{
    p->info.state = HEARTH_STATE_EVICTED;
    p->info.allocated_bytes = 0;
    return ftruncate(p->memory, 0) == 0;
}

unsigned fake_hearth_evict_idle(void)
{
    unsigned n = 0;

    pthread_mutex_lock(&lock);
    for (int i = 0; i < POOLS_MOST; i++)
        n += can_be_evicted(&pools[i]) && evict(&pools[i]);
    pthread_mutex_unlock(&lock);
    return n;
}

static struct fake_pool *pool_of_fd(int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return NULL;
    for (int i = 0; i < POOLS_MOST; i++)
        if (pools[i].memory >= 0 && pools[i].inode == st.st_ino)
            return &pools[i];
    return NULL;
}

static struct fake_pool *pool_of_key(const __u8 *key)
{
    for (int i = 0; i < POOLS_MOST; i++)
        if (pools[i].memory >= 0 && pools[i].info.status & HEARTH_STATUS_NAMED &&
            !memcmp(pools[i].info.key, key, HEARTH_KEY_BYTES))
            return &pools[i];
    return NULL;
}

static int descriptor(struct fake_pool *p)
{
    p->info.files++;
    p->info.used_ns = ++clock_ns;
    return fcntl(p->memory, F_DUPFD_CLOEXEC, 3);
}

static uint64_t idle_bytes(void)
{
    uint64_t n = 0;

    for (int i = 0; i < POOLS_MOST; i++)
        n += can_be_evicted(&pools[i]) ? pools[i].info.size_bytes : 0;
    return n;
}

static uint64_t used_bytes(void)
{
    uint64_t n = 0;

    for (int i = 0; i < POOLS_MOST; i++)
        if (pools[i].memory >= 0 && pools[i].info.state != HEARTH_STATE_EVICTED)
            n += pools[i].info.size_bytes;
    return n;
}

/* Takes from idle pools what a new one lacks; none, if that does not do. */
static bool make_room(uint64_t bytes)
{
    if (used_bytes() - idle_bytes() + bytes > fake_hearth.limit_bytes)
        return false;
    for (int i = 0; i < POOLS_MOST && used_bytes() + bytes > fake_hearth.limit_bytes; i++)
        if (can_be_evicted(&pools[i]))
            evict(&pools[i]);
    return true;
}

static int create(const struct hearth_create *request)
{
    struct fake_pool *old = pool_of_key(request->key), *p = NULL;
    struct stat st;

    if (request->size_bytes % LARGE_BYTES || !request->size_bytes)
        return -EINVAL;
    if (request->flags & HEARTH_CREATE_KEYED && old) {
        if (old->info.state != HEARTH_STATE_EVICTED)
            return -EEXIST;
        drop(old);
    }
    if (!make_room(request->size_bytes))
        return -ENOMEM;
    for (int i = 0; i < POOLS_MOST && !p; i++)
        p = pools[i].memory < 0 ? &pools[i] : NULL;
    if (!p)
        return -EDQUOT;
    p->memory = memfd_create("fake-pool", MFD_CLOEXEC);
    fstat(p->memory, &st);
    p->inode = st.st_ino;
    p->info = (struct hearth_info){.size_bytes = request->size_bytes,
                                   .flags = request->flags,
                                   .mode = request->mode,
                                   .uid = geteuid(),
                                   .used_ns = ++clock_ns};
    if (request->flags & HEARTH_CREATE_KEYED) {
        p->info.status = HEARTH_STATUS_NAMED;
        memcpy(p->info.key, request->key, HEARTH_KEY_BYTES);
    }
    if (!(request->flags & HEARTH_CREATE_DEFER)) {
        if (ftruncate(p->memory, (off_t)request->size_bytes) < 0)
            return -errno;
        p->info.allocated_bytes = request->size_bytes;
        p->info.state = HEARTH_STATE_WRITABLE;
    }
    return descriptor(p);
}

static int open_pool(const struct hearth_open *request)
{
    struct fake_pool *p = pool_of_key(request->key);

    if (!p)
        return -ENOENT;
    if (p->info.state == HEARTH_STATE_ALLOCATING)
        return -EBUSY;
    return p->info.state == HEARTH_STATE_EVICTED ? -ESTALE : descriptor(p);
}

static int destroy(const struct hearth_destroy *request)
{
    struct fake_pool *p = pool_of_key(request->key);

    if (!p)
        return -ENOENT;
    p->info.status &= ~HEARTH_STATUS_NAMED;
    if (!p->info.files)
        drop(p);
    return 0;
}

/* By slots; the real cursor is no number of one either. */
static int list_pools(struct hearth_list *request)
{
    char *to = (char *)(uintptr_t)request->entries; // NOLINT
    __u32 n = 0;

    for (; request->cursor < POOLS_MOST && n < request->count; request->cursor++) {
        const struct fake_pool *p = &pools[request->cursor];

        if (p->memory >= 0)
            memcpy(to + (size_t)n++ * request->entry_bytes, &p->info, sizeof(p->info));
    }
    request->count = n;
    return 0;
}

static int query(struct hearth_query *ret)
{
    *ret = (struct hearth_query){
        .abi_version = fake_hearth.abi_version,
        .large_page_bytes = LARGE_BYTES,
        .limit_bytes = fake_hearth.limit_bytes,
        .used_bytes = used_bytes(),
        .idle_bytes = idle_bytes(),
        .uid_limit_pools = POOLS_MOST,
        .uid_limit_bytes = fake_hearth.limit_bytes,
        .uid_used_bytes = used_bytes(),
    };
    return 0;
}

/* One large page: 1 when the pool is whole. */
static int allocate_page(struct fake_pool *p)
{
    struct hearth_info *info = &p->info;
    int r = 0;

    pthread_mutex_lock(&lock);
    if (info->allocated_bytes >= info->size_bytes)
        r = 1;
    else if (fake_hearth.fail_at_bytes && info->allocated_bytes >= fake_hearth.fail_at_bytes)
        r = -ENOMEM;
    else if (ftruncate(p->memory, (off_t)(info->allocated_bytes + LARGE_BYTES)) < 0)
        r = -errno;
    else
        info->allocated_bytes += LARGE_BYTES;
    if (r == 1 && info->state == HEARTH_STATE_ALLOCATING)
        info->state = HEARTH_STATE_WRITABLE;
    pthread_mutex_unlock(&lock);
    return r;
}

static int allocate(struct fake_pool *p)
{
    const struct timespec step = {.tv_nsec = (long)fake_hearth.step_us * 1000};
    int r = 0;

    while (r == 0) {
        if (step.tv_nsec && nanosleep(&step, NULL) < 0) {
            atomic_fetch_add(&fake_hearth.n_interrupts, 1);
            return -EINTR;
        }
        r = allocate_page(p);
    }
    return r < 0 ? r : 0;
}

static int set_idle(struct fake_pool *p, bool is_idle)
{
    if (p->info.state == HEARTH_STATE_EVICTED)
        return -ESTALE;
    if (p->info.state == HEARTH_STATE_ALLOCATING)
        return -EBUSY;
    p->info.status &= ~HEARTH_STATUS_IDLE;
    p->info.status |= is_idle ? HEARTH_STATUS_IDLE : 0;
    p->info.used_ns = ++clock_ns;
    return 0;
}

static int seal(struct fake_pool *p)
{
    if (p->info.state == HEARTH_STATE_ALLOCATING || fake_hearth.is_pinned)
        return -EBUSY;
    p->info.state = HEARTH_STATE_SEALED;
    return 0;
}

static int info(const struct fake_pool *p, struct hearth_info *ret)
{
    pthread_mutex_lock(&lock);
    *ret = p->info;
    pthread_mutex_unlock(&lock);
    ret->files += fake_hearth.n_others;
    ret->order_bytes[9] = ret->allocated_bytes;
    return 0;
}

static int call_device(unsigned long request, void *argument)
{
    switch (request) {
    case HEARTH_QUERY:
        return query(argument);
    case HEARTH_CREATE:
        return create(argument);
    case HEARTH_OPEN:
        return open_pool(argument);
    case HEARTH_DESTROY:
        return destroy(argument);
    case HEARTH_LIST:
        return list_pools(argument);
    }
    return -ENOTTY;
}

static int call_pool(struct fake_pool *p, unsigned long request, void *argument)
{
    const struct hearth_export *window = argument;

    switch (request) {
    case HEARTH_POOL_INFO:
        return info(p, argument);
    case HEARTH_POOL_SEAL:
        return seal(p);
    case HEARTH_POOL_IDLE:
        return set_idle(p, true);
    case HEARTH_POOL_ACTIVATE:
        return set_idle(p, false);
    case HEARTH_POOL_EXPORT:
        return window->offset + window->length > p->info.size_bytes
                   ? -EINVAL
                   : memfd_create("fake-dmabuf", MFD_CLOEXEC);
    }
    return -ENOTTY;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    struct fake_pool *p;
    void *argument;
    va_list args;
    int r;

    va_start(args, request);
    argument = va_arg(args, void *);
    va_end(args);
    if (!fake_hearth.is_on || _IOC_TYPE(request) != HEARTH_IOC_MAGIC)
        return __real_ioctl(fd, request, argument);
    while (request == HEARTH_CREATE && fake_hearth.is_held)
        usleep(1000);
    pthread_mutex_lock(&lock);
    p = pool_of_fd(fd);
    if (p && request == HEARTH_POOL_ALLOCATE) { /* which takes its time, and can be interrupted */
        pthread_mutex_unlock(&lock);
        r = allocate(p);
    } else {
        r = p ? call_pool(p, request, argument) : call_device(request, argument);
        pthread_mutex_unlock(&lock);
    }
    if (r >= 0)
        return r;
    errno = -r;
    return -1;
}

int __wrap_open64(const char *path, int flags, ...)
{
    mode_t mode;
    va_list args;

    va_start(args, flags);
    mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (!fake_hearth.is_on || strcmp(path, "/dev/hearth"))
        return __real_open64(path, flags, mode);
    if (fake_hearth.open_errno) {
        errno = fake_hearth.open_errno;
        return -1;
    }
    return __real_open64("/dev/null", O_RDWR | O_CLOEXEC);
}

int __wrap_stat64(const char *path, struct stat *ret)
{
    if (!fake_hearth.is_on || strcmp(path, "/dev/hearth"))
        return __real_stat64(path, ret);
    *ret = (struct stat){.st_mode = S_IFCHR | 0660, .st_gid = fake_hearth.gid};
    return 0;
}

int __wrap_close(int fd)
{
    struct fake_pool *p;
    int r;

    if (!fake_hearth.is_on)
        return __real_close(fd);
    pthread_mutex_lock(&lock);
    p = pool_of_fd(fd);
    if (p && --p->info.files == 0) {
        p->info.used_ns = ++clock_ns; /* its mapping went just before */
        if (p->info.state == HEARTH_STATE_ALLOCATING || !(p->info.status & HEARTH_STATUS_NAMED))
            drop(p);
        else if (p->info.flags & HEARTH_CREATE_IDLE_ON_CLOSE)
            p->info.status |= HEARTH_STATUS_IDLE;
    }
    r = __real_close(fd);
    pthread_mutex_unlock(&lock);
    return r;
}
