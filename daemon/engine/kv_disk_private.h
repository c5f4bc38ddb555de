/* SPDX-License-Identifier: MIT */
/* Inside the disk tier only: kv_disk.c is called by any thread, kv_disk_thread.c is the one that
 * waits for the drive. */
#ifndef HEARTH_ENGINE_KV_DISK_PRIVATE_H
#define HEARTH_ENGINE_KV_DISK_PRIVATE_H

#include "base/clock.h"
#include "engine/kv_cost.h"
#include "engine/kv_disk.h"
#include "engine/kv_files.h"

#include <pthread.h>
#include <time.h>

#define SECOND_NS 1000000000ull

struct kv_disk {
    struct kv_disk_config config;
    char *path;
    int root_fd;
    pthread_t thread;
    bool has_thread;

    pthread_mutex_t lock; /* all below */
    pthread_cond_t work, done;
    bool is_stopping;
    bool is_waking, has_ended; /* the thread calls config.wake(); it touches nothing any more */
    bool is_left;              /* nobody waits for the thread any more: it frees this */
    struct list reads, writes;
    struct kv_job *running;
    struct kv_files files;
    struct kv_disk_stats stats;
    struct kv_drive drive;
    uint64_t paused_until_ns; /* 0: writing is not paused */
    bool is_ending;           /* the process is */
    uint64_t flush_until_ns;  /* 0: nobody flushed yet */
};

static inline int64_t kv_disk_now_unix_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * (int64_t)SECOND_NS + now.tv_nsec;
}

static inline struct timespec kv_disk_timespec(uint64_t ns)
{
    return (struct timespec){(time_t)(ns / SECOND_NS), (long)(ns % SECOND_NS)};
}

/* The thread: of a struct kv_disk, which it frees if it is left. */
void *kv_disk_run(void *disk);
void kv_disk_free(struct kv_disk *d);
/* Nobody takes the job back. */
void kv_job_release(struct kv_job *job);

#endif
