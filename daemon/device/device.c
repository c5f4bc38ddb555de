/* SPDX-License-Identifier: MIT */
#include "device/device.h"
#include "device/device_backend.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef HAVE_VULKAN
static int vk_device_create(const char *options, struct device **ret_device, struct error *err)
{
    return error_set(err, ENOTSUP, "this hearth was built without Vulkan");
}

static int vk_device_list(struct device_entry **list, size_t *n, struct error *err)
{
    return error_set(err, ENOTSUP, "this hearth was built without Vulkan");
}
#endif

bool device_has_gpu_node(void)
{
    static const char *const nodes[] = {"/dev/nvidiactl", "/dev/dxg"};
    DIR *dir = opendir("/dev/dri");
    bool found = false;

    for (const struct dirent *e; dir && !found && (e = readdir(dir));)
        found = !strncmp(e->d_name, "renderD", 7);
    if (dir)
        closedir(dir);
    for (size_t i = 0; i < sizeof(nodes) / sizeof(*nodes); i++)
        found |= access(nodes[i], F_OK) == 0;
    return found;
}

/* The one that device_list marks. It has no options. */
static int create_auto(const char *options, struct device **ret_device, struct error *err)
{
    char config[sizeof(((struct device_entry *)0)->config)] = "cpu";
    struct device_entry *list = NULL;
    struct error first = {0};
    size_t n = 0;
    int r;

    /* Without a GPU, asking Vulkan would only load its drivers, with all their memory, to be told
     * of those that compute on the CPU. */
    if (device_has_gpu_node() && device_list(&list, &n, &first) == 0)
        for (size_t i = 0; i < n; i++)
            if (list[i].is_auto)
                memcpy(config, list[i].config, sizeof(config));
    free(list);
    if (!strcmp(config, "cpu")) {
        r = cpu_device_create("", ret_device, err);
        if (r == 0 && first.text[0])
            snprintf((*ret_device)->info.note, sizeof((*ret_device)->info.note),
                     "there is a GPU but it is not used: %.150s", first.text);
        return r;
    }
    r = vk_device_create(config + strlen("vulkan:"), ret_device, &first);
    if (r == 0)
        return 0;
    r = cpu_device_create("", ret_device, err);
    if (r == 0)
        snprintf((*ret_device)->info.note, sizeof((*ret_device)->info.note),
                 "%s cannot be used: %.140s", config, first.text);
    return r;
}

static const struct kind {
    const char *name;
    int (*create)(const char *options, struct device **ret_device, struct error *err);
    bool has_options; /* behind a colon */
} kinds[] = {
    {"auto", create_auto, false},
    {"cpu", cpu_device_create, true},
    {"vulkan", vk_device_create, true},
};

/* The kind that a configuration of n characters names, "" naming auto; *ret_options is what stands
 * behind its colon. NULL when there is none. */
static const struct kind *find_kind(const char *config, size_t n, const char **ret_options)
{
    *ret_options = "";
    if (!n)
        return &kinds[0];
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        size_t len = strlen(kinds[i].name);

        if (n < len || strncmp(config, kinds[i].name, len) != 0)
            continue;
        if (n == len)
            return &kinds[i];
        if (kinds[i].has_options && config[len] == ':') {
            *ret_options = config + len + 1;
            return &kinds[i];
        }
    }
    return NULL;
}

static int unknown_device(const char *config, struct error *err)
{
    return error_set(err, EINVAL,
                     "no device is called '%s': use auto, cpu, cpu:THREADS, vulkan or vulkan:N "
                     "(`hearth devices` lists them)",
                     config);
}

static int create_one(const char *config, struct device **ret_device, struct error *err)
{
    const char *options;
    const struct kind *kind = find_kind(config, strlen(config), &options);

    return kind ? kind->create(options, ret_device, err) : unknown_device(config, err);
}

int device_create(const char *config, struct device **ret_device, struct error *err)
{
    struct error first = {0}, e = {0};
    const char *options;
    char one[64];
    int r = -EINVAL;

    if (!config)
        config = "auto";
    /* a slip in a fallback is told now, not on the day it is needed */
    for (const char *p = config; *p; p += strcspn(p, ",") + (p[strcspn(p, ",")] == ','))
        if (!find_kind(p, strcspn(p, ","), &options))
            return unknown_device(p, err);
    for (const char *p = config;; p++) {
        size_t n = strcspn(p, ",");

        snprintf(one, sizeof(one), "%.*s", (int)(n < sizeof(one) ? n : sizeof(one) - 1), p);
        r = create_one(one, ret_device, &e);
        if (r == 0 || !first.code)
            first = r == 0 ? first : e;
        p += n;
        if (r == 0 || !*p)
            break;
    }
    if (r == 0 && first.code)
        snprintf((*ret_device)->info.note, sizeof((*ret_device)->info.note), "%.190s", first.text);
    if (r < 0 && err)
        *err = first;
    return r;
}

int device_list(struct device_entry **ret_list, size_t *ret_n, struct error *note)
{
    struct device_entry *list = calloc(1, sizeof(*list));
    size_t n = 1;
    struct device *cpu;
    bool has_gpu = false;

    if (!list)
        return error_set(note, ENOMEM, "out of memory");
    snprintf(list[0].config, sizeof(list[0].config), "cpu");
    list[0].kind = "CPU";
    if (cpu_device_create("", &cpu, NULL) == 0) {
        snprintf(list[0].name, sizeof(list[0].name), "%s", cpu->info.name);
        list[0].memory_bytes = cpu->info.memory_bytes;
        device_destroy(cpu);
    }
    vk_device_list(&list, &n, note);
    for (size_t i = 1; i < n; i++)
        has_gpu |= list[i].is_auto;
    list[0].is_auto = !has_gpu;
    snprintf(list[0].why, sizeof(list[0].why), "%s",
             has_gpu ? "a GPU is there" : "no usable GPU is there");
    *ret_list = list;
    *ret_n = n;
    return 0;
}

int device_config_cpu(const char *config, char *ret_config, size_t config_bytes)
{
    for (const char *p = config ? config : "auto";; p++) {
        size_t n = strcspn(p, ",");
        const char *options;
        const struct kind *kind = find_kind(p, n, &options);
        const char *found = !kind                               ? NULL
                            : kind->create == create_auto       ? "cpu"
                            : kind->create == cpu_device_create ? p
                                                                : NULL;

        if (found) {
            n = found == p ? n : strlen(found);
            if (n >= config_bytes)
                return -ENAMETOOLONG;
            memcpy(ret_config, found, n);
            ret_config[n] = '\0';
            return 0;
        }
        p += n;
        if (!*p)
            return -ENOENT;
    }
}

uint64_t device_free_bytes(struct device *dev)
{
    return dev->ops->free_bytes ? dev->ops->free_bytes(dev) : UINT64_MAX;
}

bool device_is_lost(const struct device *dev)
{
    return atomic_load(&dev->is_lost);
}

uint32_t device_advised_rows(const struct device *dev)
{
    return dev->advised_rows ? dev->advised_rows : dev->info.max_rows;
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

uint32_t device_attention_splits(const struct device *dev, const struct args_attention *a,
                                 uint32_t max_rows)
{
    return dev->ops->attention_splits ? dev->ops->attention_splits(dev, a, max_rows) : 1;
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

int device_prepare(struct device *dev, const struct dispatch *list, size_t n, struct error *err)
{
    return dev->ops->prepare ? dev->ops->prepare(dev, list, n, err) : 0;
}

void device_get_pipelines(const struct device *dev, struct device_pipelines *ret_pipelines)
{
    *ret_pipelines = (struct device_pipelines){0};
    if (dev->ops->get_pipelines)
        dev->ops->get_pipelines(dev, ret_pipelines);
}

void program_destroy(struct program *p)
{
    if (p)
        p->device->ops->program_destroy(p);
}

void program_show_step(struct program *p, const struct step_header *header)
{
    if (p->device->ops->program_show_step)
        p->device->ops->program_show_step(p, header);
}

uint64_t program_busy_ns(const struct program *p)
{
    const struct device_ops *ops = p->device->ops;

    return ops->program_busy_ns ? ops->program_busy_ns(p) : 0;
}

int device_submit(struct device *dev, struct program *p, uint64_t *ret_ticket, struct error *err)
{
    return dev->ops->submit(dev, p, ret_ticket, err);
}

int device_wait(struct device *dev, uint64_t ticket, uint64_t timeout_ns, struct error *err)
{
    return dev->ops->wait(dev, ticket, timeout_ns, err);
}
