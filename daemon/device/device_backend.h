/* SPDX-License-Identifier: MIT */
/*
 * What a back end implements. device.c validates, then calls these; back ends trust their
 * arguments.
 */
#ifndef HEARTH_DEVICE_DEVICE_BACKEND_H
#define HEARTH_DEVICE_DEVICE_BACKEND_H

#include "device/device.h"

#include <stdatomic.h>

struct device_ops {
    /* Waits for what runs and frees everything; also the half-built device of a failed create. */
    void (*destroy)(struct device *dev);

    int (*activation_for)(const struct device *dev, enum gguf_type type, uint32_t n_cols,
                          uint32_t max_rows);

    /* NULL: 1 always. */
    uint32_t (*attention_splits)(const struct device *dev, const struct args_attention *a,
                                 uint32_t max_rows);

    /* As device_free_bytes; NULL: no limit of its own. */
    uint64_t (*free_bytes)(struct device *dev);

    /* Fills *buf, whose `device` and `bytes` are set. */
    int (*buffer_create)(struct device *dev, struct buffer *buf, unsigned usage, struct error *err);
    /* As buffer_create over foreign memory. NULL: the device cannot import. */
    int (*buffer_import)(struct device *dev, struct buffer *buf, const struct memory_import *mem,
                         struct error *err);
    void (*buffer_destroy)(struct device *dev, struct buffer *buf);

    /* list is valid; it stays the caller's. The back end allocates a struct that begins with
     * struct program. */
    int (*program_create)(struct device *dev, const struct dispatch *list, size_t n,
                          struct program **ret_program, struct error *err);
    void (*program_destroy)(struct program *p);
    /* NULL: it is of no use to it. */
    void (*program_show_step)(struct program *p, const struct step_header *header);
    /* NULL: no clock. */
    uint64_t (*program_busy_ns)(const struct program *p);

    /* As device_prepare and device_get_pipelines; NULL: nothing is compiled. */
    int (*prepare)(struct device *dev, const struct dispatch *list, size_t n, struct error *err);
    void (*get_pipelines)(const struct device *dev, struct device_pipelines *ret_pipelines);

    int (*submit)(struct device *dev, struct program *p, uint64_t *ret_ticket, struct error *err);
    /* Any thread. */
    int (*wait)(struct device *dev, uint64_t ticket, uint64_t timeout_ns, struct error *err);
};

/* The back end's device begins with this; it sets ops and info, the rest is device.c's. */
struct device {
    const struct device_ops *ops;
    struct device_info info;
    struct buffer **buffers; /* live, n_buffers of them */
    size_t n_buffers;
    uint32_t advised_rows; /* the back end's; 0: no limit below max_rows */
    atomic_bool is_lost;   /* the back end's, set once */
};

struct program {
    struct device *device;
};

/* One dispatch against the live buffers of the device; -EINVAL with a sentence. */
int device_check_dispatch(const struct device *dev, size_t index, const struct dispatch *d,
                          struct error *err);

/* Whether the kernel shows a GPU at all. */
bool device_has_gpu_node(void);

/* Back ends. options: what follows "cpu:" in the configuration, or "". */
int cpu_device_create(const char *options, struct device **ret_device, struct error *err);
#ifdef HAVE_VULKAN
int vk_device_create(const char *options, struct device **ret_device, struct error *err);
/* Adds the Vulkan devices to *list (n in it), which may move. 0 with a sentence in *err where a GPU
 * there is none to take. */
int vk_device_list(struct device_entry **list, size_t *n, struct error *err);
#endif

#endif
