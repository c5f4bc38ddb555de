/* SPDX-License-Identifier: MIT */
/*
 * A file of compiled pipelines in the user's (or service's) cache directory. Private: made with
 * mode 0600 in a directory of mode 0700, read only if it belongs to this user and nobody else may
 * write it. Checked: a damaged one, or one of another driver, is as good as none.
 */
#ifndef HEARTH_DEVICE_VULKAN_VK_CACHE_FILE_H
#define HEARTH_DEVICE_VULKAN_VK_CACHE_FILE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* Path of the file of that name: in $CACHE_DIRECTORY (systemd's), else $XDG_CACHE_HOME/hearth, else
 * ~/.cache/hearth. -ENOENT when there is none of them. */
int vk_cache_file_path(const char *name, char *ret_path, size_t path_bytes);

/* Makes the file's directory if need be; fails with a sentence where it cannot be written in. */
int vk_cache_file_check(const char *path, struct error *err);

/* The content, malloc'd; the file's time of change becomes now, as that of its last use. -ENOENT
 * when there is no file; -EBADMSG when it was damaged (it is then removed); -EPERM when it is not
 * this user's own. */
int vk_cache_file_read(const char *path, void **ret_data, size_t *ret_bytes);

/* Removes this user's files beside it whose names begin alike, up to the first '-': those that
 * nobody has used for the seconds given (of drivers since replaced), and, after an hour, what a
 * process that died was writing. The file itself stays. */
void vk_cache_file_prune(const char *path, uint64_t unused_seconds);

/* Replaces the file in one step. */
int vk_cache_file_write(const char *path, const void *data, size_t bytes, struct error *err);

#endif
