/* SPDX-License-Identifier: MIT */
/*
 * Where the disk tier's files lie: a directory for each user, by number, and in it a file for each
 * block (kv_file.h), whose time of change tells its last use. Blocking calls, by directory and
 * user; one thread at a time.
 */
#ifndef HEARTH_ENGINE_KV_DIRECTORY_H
#define HEARTH_ENGINE_KV_DIRECTORY_H

#include "base/error.h"
#include "engine/kv_file.h"

#include <stddef.h>

/* Opens the directory and keeps others out of it, making it first if need be. */
int kv_directory_open(const char *path, int *ret_fd, struct error *err);

struct kv_directory_file {
    struct pool_key key;
    uid_t uid;
    uint64_t bytes;
    int64_t used_ns; /* of Unix time, as the file tells it */
};
/* All files, malloc'd, by their names and sizes; what a writer that died left is removed, and so is
 * what is cut short or no block at all. For that only one file of each size is looked into: blocks
 * of a model are equally long, and what is wrong inside is found when it is read. */
/* between (NULL: nothing) is called before each file, and may set users aside. */
void kv_directory_list(int root_fd, void (*between)(void *user), void *user,
                       struct kv_directory_file **ret_files, size_t *ret_n);

/* As kv_file_write() and kv_file_read(), of the record's user; used_ns: what the file shall tell of
 * its last use. */
int kv_directory_write(int root_fd, const struct kv_record *r, int64_t used_ns);
int kv_directory_read(int root_fd, struct kv_record *r);
void kv_directory_remove(int root_fd, uid_t uid, const struct pool_key *key);
/* Nothing of the user is listed or read any more, from this call on and in later processes,
 * whenever this one ends; kv_directory_clean() removes the files. Negative errno: some are left. */
int kv_directory_set_aside(int root_fd, uid_t uid);
/* Removes at most so many files that were set aside. Whether that many could be: there may be more.
 */
bool kv_directory_clean(int root_fd, size_t most);
/* The file was used then. */
void kv_directory_mark(int root_fd, uid_t uid, const struct pool_key *key, int64_t used_ns);

#endif
