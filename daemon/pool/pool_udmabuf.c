/* SPDX-License-Identifier: MIT */
/* dma-bufs of memfds, by the kernel's udmabuf driver. */
#include "base/cleanup.h"
#include "pool/pool_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/udmabuf.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DEVICE     "/dev/udmabuf"
#define PARAMETERS "/sys/module/udmabuf/parameters/"

int pool_udmabuf_check(uint64_t *ret_limit_bytes, struct error *err)
{
    _cleanup_fclose_ FILE *f = NULL;
    unsigned long long mib = 64; /* the driver's default, should its parameter be unreadable */
    int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT)
        return error_set(err, ENOENT, DEVICE " is not there: load it with modprobe udmabuf");
    if (fd < 0)
        return error_set_errno(err, errno, DEVICE " cannot be opened by this user");
    close(fd);
    f = fopen(PARAMETERS "size_limit_mb", "re");
    if (f && fscanf(f, "%llu", &mib) != 1)
        mib = 64;
    *ret_limit_bytes = (uint64_t)mib << 20;
    return 0;
}

int pool_udmabuf_export(const struct pool *pool, uint64_t offset, uint64_t bytes, int *ret_fd,
                        struct error *err)
{
    struct udmabuf_create request = {
        .memfd = (__u32)pool->fd,
        .flags = UDMABUF_FLAGS_CLOEXEC,
        .offset = offset,
        .size = bytes,
    };
    _cleanup_close_ int device = open(DEVICE, O_RDWR | O_CLOEXEC);
    int fd;

    if (device < 0)
        return error_set_errno(err, errno == ENOENT ? EOPNOTSUPP : errno,
                               "%s: " DEVICE " cannot be opened", pool->name);
    fd = ioctl(device, UDMABUF_CREATE, &request);
    if (fd < 0)
        return error_set_errno(err, errno, "%s: no dma-buf of %llu MiB at offset %llu MiB",
                               pool->name, (unsigned long long)(bytes >> 20),
                               (unsigned long long)(offset >> 20));
    *ret_fd = fd;
    return 0;
}
