/* SPDX-License-Identifier: MIT */
/*
 * Who runs next. Pure policy over plain numbers: no clock, no thread, no device, so that it can be
 * simulated. The owner tells it what arrived and what each entry still has to feed, asks for the
 * next step, and says what became of it.
 *
 * Steps are of two kinds, because they are computed by different kernels: one token or a few of
 * each of many sessions that generate, or chunks of prompts. Where both wait they take turns, so a
 * stream's pause is bounded by one chunk, and a prompt's wait by one token of everybody.
 *
 * Within a kind users take turns by deficit round-robin over tokens (Shreedhar & Varghese 1995),
 * each a part of a chunk, however short that is. The entries of a user are in rotation, but a
 * prompt of which little is left is computed to its end. Background entries come after all others,
 * unless they have waited for SCHEDULER_AGE steps.
 */
#ifndef HEARTH_ENGINE_SCHEDULER_H
#define HEARTH_ENGINE_SCHEDULER_H

#include "base/list.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SCHEDULER_AGE 256u

struct scheduler_user;

struct scheduler_entry {
    struct list link; /* of the user's entries; who was served last is last */
    struct list all;  /* scheduler.entries, oldest first */
    struct scheduler_user *user;
    /* kept by the owner: */
    uid_t uid;          /* before it is added */
    bool is_background; /* before it is added */
    bool is_whole;      /* before it is added: all that is pending is fed at once, if need be alone
                           in a longer chunk */
    uint32_t n_blocks;  /* cache blocks it holds */
    uint32_t n_freed;   /* of these, what would come free; before scheduler_victim() */
    uint64_t return_ns; /* what it would take to have again what they hold; likewise */
    uint32_t n_pending; /* tokens to feed before the next one can be sampled */
    bool is_generated;  /* these were generated, and are not of a prompt */
    bool is_paused;
    bool is_reading;  /* what it begins with is being read back */
    bool is_blocked;  /* the cache was full; cleared when someone gives blocks back */
    bool has_yielded; /* it was once a victim */
    /* the scheduler's own: */
    uint64_t waits_since; /* step at which it was last served, or added */
    uint32_t n_chosen;    /* of the choice being made */
};

struct scheduler {
    struct list entries; /* all, oldest first */
    struct list users;   /* those with entries; whose turn it is comes first */
    struct list others;  /* users without, kept for their next request */
    uint32_t n_others;
    uint64_t n_steps;
    bool was_prompt;              /* the last step was a chunk of prompts */
    uint32_t batch_tokens;        /* most tokens of a chunk; may be changed at any time */
    uint32_t shared_batch_tokens; /* the same while somebody generates, or others_generate */
    bool others_generate;         /* kept by the owner: on the same device, of another scheduler */
    uint32_t few_tokens;          /* most tokens of a step that generates */
};

struct scheduler_choice {
    struct scheduler_entry *entry;
    uint32_t n_tokens; /* to feed now, 1..n_pending */
};

void scheduler_init(struct scheduler *s, uint32_t batch_tokens, uint32_t few_tokens);
void scheduler_finish(struct scheduler *s); /* entries that are left are forgotten */

/* -ENOMEM. e->uid and e->is_background are set. */
int scheduler_add(struct scheduler *s, struct scheduler_entry *e);
void scheduler_remove(struct scheduler *s, struct scheduler_entry *e);
/* Shares of the users' turns: a user of weight 2 gets twice the tokens of one of weight 1, which is
 * everybody's at first. 1 to 1000. -ENOMEM. */
int scheduler_set_weight(struct scheduler *s, uid_t uid, uint32_t weight);

/* Whether anybody can run who generates. */
bool scheduler_generates(const struct scheduler *s);
/* The same of anybody who is not background, or has waited for long. */
bool scheduler_is_urgent(const struct scheduler *s);
/* All that can run are passed over, as by a step of somebody else: they have waited for one more.
 */
void scheduler_pass_over(struct scheduler *s);

/* Blocks came free, or their holder can be made to give them up: entries that waited for them may
 * try again. */
void scheduler_unblock(struct scheduler *s);

/* The members of the next step, at most `most`: all of them generate, or none. 0 when nobody can
 * run. Takes them as served; who was not after all is told with scheduler_take_back. */
size_t scheduler_next(struct scheduler *s, struct scheduler_choice *ret_choices, size_t most);
/* Of a choice only n_used tokens were computed. */
void scheduler_take_back(const struct scheduler_choice *c, uint32_t n_used);

/* Who should give up its cache blocks so that `e` can go on: background entries first, then that of
 * which the least has to be done again for each block that comes free, of equals the youngest, of
 * those that hold any; NULL: nobody else does. Nobody gives way to younger ones twice, or who keeps
 * asking would keep others from ever ending, and no other to background, unless it is paused. Where
 * nobody has to, e itself. The owner sets the entry's has_yielded. among_own: of the same user's
 * only. */
struct scheduler_entry *scheduler_victim(struct scheduler *s, struct scheduler_entry *e,
                                         bool among_own);
/* Whether e, which has to give way to itself, may wait with what it holds: somebody else runs who
 * will give blocks back, or take them from e then. Else e gives them up, and others try again. */
bool scheduler_may_wait(const struct scheduler *s, const struct scheduler_entry *e, bool among_own);
/* Of all users that have entries. */
uint64_t scheduler_weight(const struct scheduler *s);
/* Blocks that all entries of its user hold. */
uint64_t scheduler_user_blocks(const struct scheduler_entry *e);

#endif
