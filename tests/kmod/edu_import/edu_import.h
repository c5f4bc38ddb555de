/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the test programs ask of edu_import: to attach a dma-buf to QEMU's edu device, and to let
 * that device move one block of it.
 */
#ifndef EDU_IMPORT_H
#define EDU_IMPORT_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * struct edu_import - one import; it lives until its /dev/edu_import fd is closed
 * @fd: dma-buf
 * @nents: out: entries of the mapped scatter list
 * @total_bytes: out: bytes the mapped entries cover
 * @longest_bytes: out: the longest entry
 * @map_ns: out: what dma_buf_map_attachment took
 */
struct edu_import {
	__s32 fd;
	__u32 nents;
	__u64 total_bytes;
	__u64 longest_bytes;
	__u64 map_ns;
};

#define EDU_BLOCK_BYTES 2048
#define EDU_TO_MEMORY 1

/**
 * struct edu_move - the device reads or writes one block of the import
 * @offset: byte offset into the dma-buf, a multiple of EDU_BLOCK_BYTES
 * @buffer: address of EDU_BLOCK_BYTES of the caller's
 * @flags: 0: the device reads the block and the bytes it got go to @buffer;
 *	   EDU_TO_MEMORY: the device writes the bytes of @buffer to the block
 * @pad: zero
 */
struct edu_move {
	__u64 offset;
	__u64 buffer;
	__u32 flags;
	__u32 pad;
};

#define EDU_IOC_IMPORT _IOWR('E', 1, struct edu_import)
#define EDU_IOC_MOVE _IOW('E', 2, struct edu_move)

#endif
