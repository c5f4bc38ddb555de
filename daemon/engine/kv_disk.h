/* SPDX-License-Identifier: MIT */
/*
 * The disk tier of KV caches: a private directory of blocks (kv_file.h) by user and key, within a
 * limit of bytes and of age, and one thread that reads and writes it. Caches hand it jobs and are
 * woken when they are done, so that no step waits for a drive. A drive that is full, read-only or
 * failing costs hits and nothing else: writing pauses for a while then.
 *
 * One process has a directory at a time. Any thread may call; a client's jobs are one thread's.
 */
#ifndef HEARTH_ENGINE_KV_DISK_H
#define HEARTH_ENGINE_KV_DISK_H

#include "base/error.h"
#include "base/list.h"
#include "engine/kv_disk_stats.h"
#include "engine/kv_file.h"

#include <stdbool.h>
#include <stdint.h>

struct kv_disk;

struct kv_disk_config {
    const char *path;         /* made if need be; the caller's alone, or it is refused */
    uint64_t most_bytes;      /* of files; what is in excess goes */
    uint64_t keep_seconds;    /* unused for longer: it goes; 0: no such limit */
    uint64_t pause_ns;        /* of writing, after one that failed; 0: half a minute */
    uint64_t end_ns;          /* for the thread to end in; 0: ten seconds */
    void (*wake)(void *user); /* a job is done, or it writes again; from the thread, may be NULL */
    void *user;
};

/* A cache that uses the tier. Zeroed but for the lists: kv_disk_client_init(). */
struct kv_disk_client {
    struct list done;     /* under the tier's lock */
    uint32_t n_under_way; /* jobs begun and not taken back yet; the client's */
};

enum kv_job_kind { KV_JOB_READ, KV_JOB_WRITE };

/* The client's, and untouchable while it is under way. */
struct kv_job {
    struct list link; /* of a queue, or client->done */
    struct kv_disk_client *client;
    enum kv_job_kind kind;
    struct kv_record record;
    struct pool_key parent; /* of a write: the block that this one follows; "": none */
    struct pool_key
        common; /* of a write: the last of those before it that is everybody's, likewise */
    /* Of a job that is done: 0, or as kv_file_*. Of a write, too: -ECANCELED: its user wants
     * nothing kept; -E2BIG: only what it follows could make room for it; -ESTALE: what it follows
     * is gone.
     */
    int result;
    /* Frees it, with its data; any thread's, when its client ends before it. NULL: it never does */
    void (*release)(struct kv_job *job);
    bool is_void; /* under the lock: its user wants nothing of it kept */
};

/* -EBUSY: another process has the directory; -EPERM: others may look into it. */
int kv_disk_create(const struct kv_disk_config *cfg, struct kv_disk **ret_disk, struct error *err);
/* Ends the thread; its clients first. One that hangs in a drive which does not answer is left to
 * itself, and to the end of the process: it calls nobody any more. NULL is fine. */
void kv_disk_destroy(struct kv_disk *d);

/* Whether the key's block is there; its file's bytes then. Nothing is, at the start, until the
 * directory was looked through; then wake() is called. */
bool kv_disk_has(struct kv_disk *d, const struct pool_key *key, uint64_t *ret_bytes);
/* The blocks of a chain, each following the one before, are used: its end goes before its beginning
 * again. Those that are not there do not count. */
void kv_disk_use(struct kv_disk *d, const struct pool_key *chain, uint32_t n);
/* Files larger than that are never there. */
uint64_t kv_disk_most_bytes(const struct kv_disk *d);
/* Whether writing makes sense now. */
bool kv_disk_takes_writes(struct kv_disk *d);

void kv_disk_client_init(struct kv_disk_client *c);
/* Without waiting for the drive: jobs of the client that have not begun are not done any more, and
 * all that it has not taken back are released, one under way when it is done. */
void kv_disk_client_finish(struct kv_disk *d, struct kv_disk_client *c);
/* Begins a job; reads go before writes. */
void kv_disk_start(struct kv_disk *d, struct kv_disk_client *c, struct kv_job *job);
/* The next one that is done, in the order in which they were begun among reads and among writes;
 * NULL: none. */
struct kv_job *kv_disk_take_done(struct kv_disk *d, struct kv_disk_client *c);
/* The same; waits while any is under way, at most so long. */
struct kv_job *kv_disk_wait_done(struct kv_disk *d, struct kv_disk_client *c, uint64_t most_ns);

/* The process ends: what clients have yet to write may be waited for, by all of them together for
 * two seconds. */
void kv_disk_expect_end(struct kv_disk *d);
/* How long writes may still be waited for; 0: the process goes on, or the time is over. */
uint64_t kv_disk_flush_ns(struct kv_disk *d);

void kv_disk_get_stats(struct kv_disk *d, struct kv_disk_stats *ret_stats);
/* False: not known yet, the directory is being looked through. */
bool kv_disk_user_bytes(struct kv_disk *d, uid_t uid, uint64_t *ret_bytes);
/* Nothing of the user is found from now on, nor by later processes once the drive has answered
 * next, and its files go, soon. *ret_bytes: theirs, as far as they are known. -ENOMEM: nothing has
 * changed. */
int kv_disk_forget(struct kv_disk *d, uid_t uid, uint64_t *ret_bytes);

#endif
