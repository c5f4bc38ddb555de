/* SPDX-License-Identifier: MIT */
#include "device/device.h"
#include "device/device_backend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int device_create(const char *config, struct device **ret_device, struct error *err)
{
    if (!config || !*config || !strcmp(config, "auto") || !strcmp(config, "cpu"))
        return cpu_device_create("", ret_device, err);
    if (!strncmp(config, "cpu:", 4))
        return cpu_device_create(config + 4, ret_device, err);
    return error_set(err, EINVAL, "no device is called '%s': use auto, cpu or cpu:THREADS", config);
}

void device_destroy(struct device *dev)
{
    if (!dev)
        return;
    free(dev->buffers);
    dev->ops->destroy(dev);
}

void device_get_info(const struct device *dev, struct device_info *ret_info)
{
    *ret_info = dev->info;
}

int device_activation_for(const struct device *dev, enum gguf_type type, uint32_t n_cols,
                          uint32_t max_rows)
{
    const struct gguf_type_info *info = gguf_type_get_info(type);

    if (!kernel_supports_type(type) || !n_cols || n_cols % info->block_elements)
        return -1;
    return dev->ops->activation_for(dev, type, n_cols, max_rows);
}

/* Room in the list first, so that adding cannot fail. */
static int prepare_buffer(struct device *dev, uint64_t bytes, struct buffer **ret_buffer,
                          struct error *err)
{
    struct buffer **list;
    struct buffer *buf;

    if (!bytes)
        return error_set(err, EINVAL, "a buffer must hold at least one byte");
    list = realloc(dev->buffers, (dev->n_buffers + 1) * sizeof(*list));
    if (!list)
        return error_set(err, ENOMEM, "out of memory");
    dev->buffers = list;
    buf = calloc(1, sizeof(*buf));
    if (!buf)
        return error_set(err, ENOMEM, "out of memory");
    buf->device = dev;
    buf->bytes = bytes;
    *ret_buffer = buf;
    return 0;
}

static int finish_buffer(struct device *dev, int r, struct buffer *buf, struct buffer **ret_buffer)
{
    if (r < 0) {
        free(buf);
        return r;
    }
    dev->buffers[dev->n_buffers++] = buf;
    *ret_buffer = buf;
    return 0;
}

int buffer_create(struct device *dev, uint64_t bytes, unsigned usage, struct buffer **ret_buffer,
                  struct error *err)
{
    struct buffer *buf = NULL;
    int r = prepare_buffer(dev, bytes, &buf, err);

    if (r < 0)
        return r;
    return finish_buffer(dev, dev->ops->buffer_create(dev, buf, usage, err), buf, ret_buffer);
}

int buffer_import(struct device *dev, const struct memory_import *mem, struct buffer **ret_buffer,
                  struct error *err)
{
    struct buffer *buf = NULL;
    int r;

    if (!dev->ops->buffer_import)
        return error_set(err, EOPNOTSUPP, "%s cannot map foreign memory", dev->info.name);
    if ((uint64_t)(uintptr_t)mem->host % 4096 || mem->bytes % 4096)
        return error_set(err, EINVAL, "memory to import must be whole pages of 4 KiB");
    r = prepare_buffer(dev, mem->bytes, &buf, err);
    if (r < 0)
        return r;
    buf->is_imported = true;
    return finish_buffer(dev, dev->ops->buffer_import(dev, buf, mem, err), buf, ret_buffer);
}

void buffer_destroy(struct buffer *buf)
{
    struct device *dev;

    if (!buf)
        return;
    dev = buf->device;
    for (size_t i = 0; i < dev->n_buffers; i++) {
        if (dev->buffers[i] == buf) {
            dev->buffers[i] = dev->buffers[--dev->n_buffers];
            break;
        }
    }
    dev->ops->buffer_destroy(dev, buf);
    free(buf);
}

int program_create(struct device *dev, const struct dispatch *list, size_t n,
                   struct program **ret_program, struct error *err)
{
    if (!n)
        return error_set(err, EINVAL, "a program must hold at least one dispatch");
    for (size_t i = 0; i < n; i++) {
        int r = device_check_dispatch(dev, i, &list[i], err);

        if (r < 0)
            return r;
    }
    return dev->ops->program_create(dev, list, n, ret_program, err);
}

void program_destroy(struct program *p)
{
    if (p)
        p->device->ops->program_destroy(p);
}

int device_submit(struct device *dev, struct program *p, uint64_t *ret_ticket, struct error *err)
{
    return dev->ops->submit(dev, p, ret_ticket, err);
}

int device_wait(struct device *dev, uint64_t ticket, uint64_t timeout_ns, struct error *err)
{
    return dev->ops->wait(dev, ticket, timeout_ns, err);
}
