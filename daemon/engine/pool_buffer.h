/* SPDX-License-Identifier: MIT */
/* Where pools and devices meet: a window of a pool as a buffer of a device. Device thread. */
#ifndef HEARTH_ENGINE_POOL_BUFFER_H
#define HEARTH_ENGINE_POOL_BUFFER_H

#include "device/device.h"
#include "pool/pool.h"

/*
 * As a dma-buf where pool and device have that in common, else by its address; what the device can
 * map in neither way it holds a copy of, and is_imported says so. offset and bytes in large pages;
 * is_writable: the CPU is to write it while the device has it. The pool must outlive the buffer.
 */
int pool_buffer_import(struct device *dev, const struct pool *pool, uint64_t offset, uint64_t bytes,
                       bool is_writable, struct buffer **ret_buffer, struct error *err);

/* Sets what of the configuration depends on the device: which kind of pool, and how it is used.
 * advice (may be NULL, at least 1024 bytes): what would be better, sentences; "" for the best. */
void pool_config_for_device(struct pool_config *config, const struct device_info *info,
                            char text[80], char advice[1024]);

#endif
