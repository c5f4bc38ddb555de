/* SPDX-License-Identifier: MIT */
/*
 * Who runs next. Pure policy over plain numbers: no clock, no thread, no device, so that it can be
 * simulated. The worker tells it what arrived, what each entry still has to feed, and asks for the
 * next step.
 *
 * Policy of this version: first come, first served; the oldest entry that can run runs alone until
 * it is done; a paused entry is passed over and keeps its place.
 */
#ifndef HEARTH_ENGINE_SCHEDULER_H
#define HEARTH_ENGINE_SCHEDULER_H

#include "base/list.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct scheduler_entry {
    struct list link; /* scheduler.entries */
    uid_t uid;
    uint32_t n_blocks;  /* cache blocks it holds; kept by the owner */
    uint32_t n_pending; /* tokens to feed before the next one can be sampled; kept by the owner */
    bool is_paused;     /* kept by the owner */
    bool is_blocked;    /* the cache was full; cleared when someone gives blocks back */
};

struct scheduler {
    struct list entries;   /* oldest first */
    uint32_t batch_tokens; /* most tokens of one step */
};

struct scheduler_choice {
    struct scheduler_entry *entry;
    uint32_t n_tokens; /* to feed now, 1..n_pending */
};

void scheduler_init(struct scheduler *s, uint32_t batch_tokens);
void scheduler_add(struct scheduler *s, struct scheduler_entry *e);
void scheduler_remove(struct scheduler *s, struct scheduler_entry *e);
/* Blocks came free, or their holder can be made to give them up: entries that waited for them may
 * try again. */
void scheduler_unblock(struct scheduler *s);
/* The members of the next step; 0 when nobody can run. */
size_t scheduler_next(struct scheduler *s, struct scheduler_choice *ret_choices, size_t most);
/* Who should give up its cache blocks so that `e` can go on: the youngest other entry that holds
 * any, or NULL. */
struct scheduler_entry *scheduler_victim(struct scheduler *s, const struct scheduler_entry *e);

#endif
