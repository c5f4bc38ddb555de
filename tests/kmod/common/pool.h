/* SPDX-License-Identifier: MIT */
/*
 * uapi/hearth.h as functions, for the test programs. All return 0 or what the call gives, and a
 * negative errno on failure. A pool's key is made of a number, so that tests can name pools.
 */
#ifndef COMMON_POOL_H
#define COMMON_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "uapi/hearth.h"

#define LARGE_BYTES (2UL << 20)
#define LARGE_PAGES(bytes) ((bytes) / LARGE_BYTES)

/* /dev/hearth, opened once per process that asks. */
int pool_device(void);

/* ioctl() with errno turned round. */
int pool_ioctl(int fd, unsigned long command, void *argument);

void pool_key(uint8_t key[HEARTH_KEY_BYTES], uint64_t number);

/* What a plain creation has: any node, mode 0600, no key. */
struct hearth_create pool_create_request(uint64_t size_bytes, uint32_t flags);
int pool_create(uint64_t size_bytes, uint32_t flags);
int pool_create_keyed(uint64_t size_bytes, uint32_t flags, uint64_t number, uint32_t mode);

int pool_open(uint64_t number, uint32_t uid, uint32_t flags);
int pool_destroy(uint64_t number, uint32_t uid);
int pool_query(struct hearth_query *ret_query);
int pool_adopt(int memfd);

int pool_info(int fd, struct hearth_info *ret_info);
int pool_allocate(int fd);
int pool_seal(int fd);
int pool_idle(int fd);
int pool_activate(int fd);
int pool_memfd(int fd);
int pool_export(int fd, uint64_t offset, uint64_t length, uint32_t flags);

/* Maps shared. MAP_FAILED with errno. */
void *pool_map(int fd, size_t bytes, int prot);

/* A pool of one owner uid that HEARTH_LIST tells of. False if it tells of none with that id. */
bool pool_is_listed(uint64_t id);

/* The bytes of test data: word @index of a buffer or of /data/weights. */
static inline uint64_t pattern_word(uint64_t index)
{
	return index * 0x9E3779B97F4A7C15ULL;
}

void pattern_fill(void *buffer, size_t bytes, uint64_t first_index);

/* The first index that is wrong, or -1. */
int64_t pattern_check(const void *buffer, size_t bytes, uint64_t first_index);

/* True if every byte is zero. */
bool is_zero(const void *buffer, size_t bytes);

/* Asks the kernel to run every shrinker, ours among them. */
void reclaim_slabs(void);

#endif
