/* SPDX-License-Identifier: MIT */
/*
 * Preloaded into a program, counts its allocations in a file that others can map: at
 * $ALLOCATION_COUNTER, one uint64_t of calls of malloc, calloc, realloc and the like. glibc's own
 * names are behind it, so nothing is looked up and nothing allocates before it is there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static atomic_uint_fast64_t own;
static atomic_uint_fast64_t *count = &own;

__attribute__((constructor)) static void open_counter(void)
{
    const char *path = getenv("ALLOCATION_COUNTER");
    int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    void *map;

    if (fd < 0 || ftruncate(fd, sizeof(own)) < 0)
        return;
    map = mmap(NULL, sizeof(own), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED)
        count = map;
}

void *malloc(size_t size)
{
    atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
    atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
    return __libc_realloc(p, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
    void *p = aligned_alloc(alignment, size);

    if (!p)
        return ENOMEM;
    *ret = p;
    return 0;
}
