/* SPDX-License-Identifier: MIT */
/*
 * To be preloaded where lavapipe stands for a GPU: lets it import dma-bufs of sealed memory. A GPU
 * maps them by its own page tables; lavapipe maps them as the CPU does, always for writing, which
 * a seal forbids. Here it gets a read-only mapping instead, so a kernel that wrote would die.
 */
#undef _FILE_OFFSET_BITS /* which would make mmap and mmap64 one */
#include <dlfcn.h>
#include <errno.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/vfs.h>

typedef void *map_function(void *, size_t, int, int, int, off_t);

static void *map(const char *name, void *address, size_t bytes, int prot, int flags, int fd,
                 off_t offset)
{
    map_function *real = (map_function *)dlsym(RTLD_NEXT, name);
    void *p = real(address, bytes, prot, flags, fd, offset);
    struct statfs fs;

    if (p != MAP_FAILED || !(prot & PROT_WRITE) || (errno != EACCES && errno != EPERM) ||
        fstatfs(fd, &fs) < 0 || fs.f_type != DMA_BUF_MAGIC)
        return p;
    return real(address, bytes, prot & ~PROT_WRITE, flags, fd, offset);
}

void *mmap(void *address, size_t bytes, int prot, int flags, int fd, off_t offset)
{
    return map("mmap", address, bytes, prot, flags, fd, offset);
}

void *mmap64(void *address, size_t bytes, int prot, int flags, int fd, off64_t offset)
{
    return map("mmap64", address, bytes, prot, flags, fd, offset);
}
