/* SPDX-License-Identifier: MIT */
#include "losing_device.h"

#include "device/device_backend.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

struct losing losing;

static const struct device_ops *cpu_ops;

void losing_reset(void)
{
    losing.n_calls = losing.lose_in = losing.lose_each = losing.n_most = 0;
    losing.n_lost = losing.n_created = losing.n_refused = losing.n_imports = losing.delay_us =
        losing.n_prepared = losing.prepare_us = 0;
    losing.room_bytes = losing.imported_bytes = 0;
    losing.is_held = losing.is_waiting = false;
}

/* Counts an operation; whether it can be done. */
static bool works(struct device *dev)
{
    losing.n_calls++;
    if (!device_is_lost(dev) && losing.lose_in && --losing.lose_in == 0) {
        dev->is_lost = true;
        losing.lose_in = ++losing.n_lost == losing.n_most ? 0 : losing.lose_each;
    }
    return !device_is_lost(dev);
}

static int lost(struct error *err)
{
    return error_set(err, EIO, "the device is lost");
}

static int losing_create(struct device *dev, struct buffer *buf, unsigned usage, struct error *err)
{
    return works(dev) ? cpu_ops->buffer_create(dev, buf, usage, err) : lost(err);
}

static int losing_import(struct device *dev, struct buffer *buf, const struct memory_import *mem,
                         struct error *err)
{
    int r;

    if (!works(dev))
        return lost(err);
    if (losing.room_bytes && losing.imported_bytes + mem->bytes > losing.room_bytes)
        return error_set(err, ENOMEM, "the device is full");
    r = cpu_ops->buffer_import(dev, buf, mem, err);
    if (r == 0) {
        losing.n_imports++;
        losing.imported_bytes += mem->bytes;
    }
    return r;
}

static void losing_destroy(struct device *dev, struct buffer *buf)
{
    if (buf->is_imported)
        losing.imported_bytes -= buf->bytes;
    cpu_ops->buffer_destroy(dev, buf);
}

static int losing_record(struct device *dev, const struct dispatch *list, size_t n,
                         struct program **ret_program, struct error *err)
{
    return works(dev) ? cpu_ops->program_create(dev, list, n, ret_program, err) : lost(err);
}

static int losing_submit(struct device *dev, struct program *p, uint64_t *ret_ticket,
                         struct error *err)
{
    return works(dev) ? cpu_ops->submit(dev, p, ret_ticket, err) : lost(err);
}

static int losing_prepare(struct device *dev, const struct dispatch *list, size_t n,
                          struct error *err)
{
    losing.n_prepared++;
    usleep(losing.prepare_us);
    return device_is_lost(dev) ? lost(err) : 0;
}

/* What was submitted has run, and still nobody may use what came of it. */
static int losing_wait(struct device *dev, uint64_t ticket, uint64_t timeout_ns, struct error *err)
{
    int r = cpu_ops->wait(dev, ticket, timeout_ns, err);

    usleep(losing.delay_us);
    while (losing.is_held) {
        losing.is_waiting = true;
        usleep(1000);
    }
    losing.is_waiting = false;
    return works(dev) ? r : lost(err);
}

int __real_device_create(const char *config, struct device **ret_device, struct error *err);
int __wrap_device_create(const char *config, struct device **ret_device, struct error *err);

int __wrap_device_create(const char *config, struct device **ret_device, struct error *err)
{
    static struct device_ops ops;
    int r;

    if (strncmp(config, "losing", strlen("losing")) != 0)
        return __real_device_create(config, ret_device, err);
    if (losing.n_refused) {
        losing.n_refused--;
        return error_set(err, ENODEV, "there is no such device any more");
    }
    r = __real_device_create("cpu:2", ret_device, err);
    if (r < 0)
        return r;
    losing.n_created++;
    cpu_ops = (*ret_device)->ops;
    ops = *cpu_ops;
    ops.buffer_create = losing_create;
    ops.buffer_import = losing_import;
    ops.buffer_destroy = losing_destroy;
    ops.program_create = losing_record;
    ops.prepare = losing_prepare;
    ops.submit = losing_submit;
    ops.wait = losing_wait;
    (*ret_device)->ops = &ops;
    return 0;
}
