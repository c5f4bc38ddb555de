/* SPDX-License-Identifier: MIT */
/*
 * A device runs recorded programs of kernel calls over memory it was given. This header is the
 * front: it validates (once, for every back end) and calls the back end's ops.
 *
 * Knows kernels and buffers; nothing of models, files or sessions. A device and its objects belong
 * to one thread (the engine's), except device_wait, which any thread may call.
 *
 * Memory is named by address: on a GPU its buffer device address, on the cpu device the host
 * pointer. Arguments of a dispatch hold such addresses; every one must lie in a live buffer.
 */
#ifndef HEARTH_DEVICE_DEVICE_H
#define HEARTH_DEVICE_DEVICE_H

#include "base/error.h"
#include "kernels/kernels.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct device;
struct program;

/* Memory the device can address. `host` is NULL where the CPU cannot reach it. */
struct buffer {
    struct device *device;
    uint64_t address;
    uint64_t bytes;
    void *host;
    bool is_imported; /* the memory is someone else's */
    void *backend;    /* the back end's own */
};

enum buffer_usage {
    BUFFER_DEVICE = 0,    /* scratch the CPU never touches */
    BUFFER_HOST = 1 << 0, /* CPU writes it between submissions; coherent */
    /* With BUFFER_HOST: the CPU reads much of it, too, which memory near a GPU with its own makes
     * slow; such a GPU then reads and writes it over the bus. */
    BUFFER_READ = 1 << 1,
};

/* Memory from elsewhere (a pool window) for the device to map without a copy. */
struct memory_import {
    void *host;     /* host pointer, or NULL when dmabuf_fd is used */
    int dmabuf_fd;  /* -1 when host is used; stays the caller's */
    uint64_t bytes; /* whole pages */
};

struct device_info {
    char name[128];        /* "cpu: 2 threads, AVX-512 VNNI" */
    const char *backend;   /* "cpu", "vulkan" */
    uint64_t memory_bytes; /* what it can address in all, 0 unknown */
    uint32_t max_rows;     /* largest batch a program may be recorded for */
    uint32_t exact_rows;   /* up to so many rows of a program come out as each would alone */
    uint32_t n_threads;    /* cpu only */
    bool is_zero_copy;     /* imports map the same memory; else they copy it */
    bool writes_imports;   /* host memory to import must be mapped writable */
    bool maps_dmabufs;     /* dma-bufs can be imported, and reading them is as fast as own memory */
    char note[192];        /* what a user should know of this choice, a sentence; "" */
};

/* A device that could be chosen. */
struct device_entry {
    char config[32]; /* what device_create takes: "cpu", "vulkan:0" */
    char name[256];  /* "AMD Radeon 8060S" */
    char driver[160];
    const char *kind;      /* "integrated GPU", "CPU" */
    char missing[512];     /* what it lacks to be usable, separated by commas; "" when usable */
    char abilities[256];   /* optional things it has, separated by commas */
    uint64_t memory_bytes; /* 0 unknown */
    bool is_auto;          /* the one "auto" takes */
    char why[192];         /* why it is, or is not, the one that "auto" takes */
};

struct device_ops; /* device_backend.h */

/* config strings come from --device: "cpu", "cpu:4" (threads), "cpu:4:avx2" or "cpu::avx2" (no more
 * of the instruction set than that), "vulkan", "vulkan:N" (as device_list numbers them),
 * "vulkan:N:32" (subgroups of that size only). "auto": a real GPU that has all that is needed, else
 * the cpu. Several separated by commas are tried in turn: "vulkan,cpu" allows to fall back, and the
 * note then says why. Fails with a sentence that names what is missing. */
int device_create(const char *config, struct device **ret_device, struct error *err);
void device_destroy(struct device *dev); /* NULL is fine; all its buffers and programs first */
void device_get_info(const struct device *dev, struct device_info *ret_info);

/* What is left of the memory that the device can address, by the driver's figures, which count
 * every process; UINT64_MAX where it has no limit apart from the machine's, or none that is known.
 */
uint64_t device_free_bytes(struct device *dev);

/* Whether the device was lost (a GPU that was reset, hung or taken out): from then on everything
 * but destroying fails with -EIO, and only a new device helps. Any thread. */
bool device_is_lost(const struct device *dev);

/* The part of a configuration that computes on the CPU, which is never lost: "cpu:4" of
 * "vulkan,cpu:4", "cpu" of "auto". -ENOENT where the configuration does not allow it. */
int device_config_cpu(const char *config, char *ret_config, size_t config_bytes);

/* Every device of the machine, malloc'd; the cpu is the first. note (may be NULL) gets a sentence
 * when there is no Vulkan at all. */
int device_list(struct device_entry **ret_list, size_t *ret_n, struct error *note);

/* Programs of up to so many rows may be computed by other kernels than larger ones: what must not
 * depend on how rows were cut into steps keeps to one side. */
#define DEVICE_FEW_ROWS 16u

/* The most rows a program should be recorded for, so that no submission of it takes too long on
 * this device (drivers reset a GPU that works for seconds on one); learnt from what ran. */
uint32_t device_advised_rows(const struct device *dev);

/* How the device wants the activations of a matmul with this weight type and up to max_rows rows;
 * -1 where it cannot run that type. */
int device_activation_for(const struct device *dev, enum gguf_type type, uint32_t n_cols,
                          uint32_t max_rows);

/* Into how many ranges of positions the device wants an attention of up to max_rows rows to be cut
 * (args_attention.n_splits), so that a long context keeps all of it at work; 1: none. Of a only the
 * shapes count: heads, and the cache's heads, channels and blocks that a sequence may have. */
uint32_t device_attention_splits(const struct device *dev, const struct args_attention *a,
                                 uint32_t max_rows);

/* Zeroed. bytes > 0; aligned to 4 KiB. -ENOMEM when it does not fit. */
int buffer_create(struct device *dev, uint64_t bytes, unsigned usage, struct buffer **ret_buffer,
                  struct error *err);
int buffer_import(struct device *dev, const struct memory_import *mem, struct buffer **ret_buffer,
                  struct error *err);
void buffer_destroy(struct buffer *buf); /* NULL is fine; no program that names it may run again */

/* Records a program. The list is copied. Every dispatch is validated: op and types known, shapes
 * whole blocks, addresses inside live buffers with the extent the shapes imply, alignments kept. */
int program_create(struct device *dev, const struct dispatch *list, size_t n,
                   struct program **ret_program, struct error *err);
void program_destroy(struct program *p);
/* Where the caller keeps a copy of the header that it last wrote into the program's step, from now
 * until the program is destroyed: looked at when the program is submitted, for how much there is to
 * do. Memory of the device itself is not read for that, where reading it is slow. */
void program_show_step(struct program *p, const struct step_header *header);
/* How long the device worked on the program's last run, which has ended, in ns; 0 where it has no
 * clock of its own. */
uint64_t program_busy_ns(const struct program *p);

/* Compiles what programs of such calls need and is not there yet, and records nothing: so that
 * program_create has nothing to wait for. Addresses may be any of the alignment that the real ones
 * will have. As program_create it belongs to the device's thread. */
int device_prepare(struct device *dev, const struct dispatch *list, size_t n, struct error *err);

/* What was compiled for this device. */
struct device_pipelines {
    uint32_t n;          /* there are; 0 where nothing is compiled at run time */
    uint32_t n_compiled; /* of these, not found compiled on disk */
    bool tells_compiled; /* else the driver does not say which, and n_compiled is 0 */
};
void device_get_pipelines(const struct device *dev, struct device_pipelines *ret_pipelines);

/* Starts a program; returns at once with a ticket (tickets of a device grow). Programs run one
 * after the other in the order of submission. */
int device_submit(struct device *dev, struct program *p, uint64_t *ret_ticket, struct error *err);
/* Waits until the ticket is done: 0; -ETIME when timeout_ns passed first (then waiting again is
 * fine); -EIO with a sentence when the device was lost. */
int device_wait(struct device *dev, uint64_t ticket, uint64_t timeout_ns, struct error *err);

#endif
