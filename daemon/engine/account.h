/* SPDX-License-Identifier: MIT */
/*
 * What the engine keeps of each user that asks: how much of theirs runs and waits, what they may
 * have, and the tokens they may still compute this minute. Bookkeeping over a clock that is handed
 * in; it starts and ends no request itself. Owner thread.
 *
 * Tokens of a minute are a bucket: it holds as many as a minute brings, fills evenly, and pays for
 * what was computed. Who has spent it asks in vain until it holds a token again; what runs goes on
 * and may leave it in debt.
 */
#ifndef HEARTH_ENGINE_ACCOUNT_H
#define HEARTH_ENGINE_ACCOUNT_H

#include "base/error.h"
#include "base/list.h"
#include "engine/engine.h"

/* How often something ends while there is something that can. */
struct rhythm {
    uint64_t since_ns;    /* the last end, or the begin of what is busy; 0: idle */
    uint64_t interval_ns; /* between two ends, learnt; 0: nothing known */
};

struct account {
    struct list link; /* accounts.list; who ended a request last is last */
    uid_t uid;
    struct engine_user_rule limits; /* 0: no limit; the weight is at least 1 */
    struct list held;               /* engine_request.link: wait for a stream of their own */
    uint32_t n_requests;            /* that have not ended, cancelled ones included */
    uint32_t n_asking;              /* of these, not cancelled */
    uint32_t n_waiting;             /* of these, not begun */
    uint32_t n_streams[2];          /* [engine_class]: let through to their model, and not ended */
    double tokens;                  /* in the bucket; below 0: a debt */
    uint64_t filled_ns;             /* as of then */
    struct rhythm ends;
    struct engine_user_stats stats;
};

struct accounts {
    struct list list;
    uint32_t n;
    struct engine_user_rule *rules; /* [n_rules], copies */
    size_t n_rules;
    struct engine_user_rule others; /* for whom no rule names */
    uint32_t user_limit;            /* requests of a user where no rule says otherwise */
};

/* user_limit: requests of a user for whom no rule says otherwise. -ENOMEM. */
int accounts_init(struct accounts *a, const struct engine_user_rule *rules, size_t n_rules,
                  uint32_t user_limit, struct error *err);
/* Other rules, for the accounts there are, too. A bucket that shrinks keeps what fits, one that
 * grows fills from where it is; a debt stays, and goes only with the limit. -ENOMEM: nothing has
 * changed. */
int accounts_set_rules(struct accounts *a, const struct engine_user_rule *rules, size_t n_rules,
                       uint64_t now_ns, struct error *err);
void accounts_finish(struct accounts *a); /* also of an all-zero struct */

/* The user's account, made when there is none; NULL when out of memory. It stays as long as it has
 * requests. */
struct account *accounts_need(struct accounts *a, uid_t uid, uint64_t now_ns);
struct account *accounts_find(const struct accounts *a, uid_t uid); /* NULL: never asked */

/* Whether a request with n answers, each of which counts as one, may be taken: 0, -EUSERS (too
 * many, or too many waiting), -EINVAL (more than a user may ever have), -EDQUOT (the tokens of this
 * minute are spent). A refusal is counted. */
int account_check(struct account *c, uint32_t n, uint64_t now_ns, struct error *err);
/* Seconds after which asking again makes sense, at least 1: exact for tokens, as ends came lately
 * for requests. code: what account_check said. */
uint32_t account_retry_seconds(struct account *c, int code, uint64_t now_ns);
/* Computed for the user. */
void account_charge(struct account *c, uint64_t n_prompt, uint64_t n_completion, uint64_t now_ns);
/* Whether a further request of the class may go to its model now: background ones take no place
 * from the user's interactive ones, which may so run beside as many of those. */
bool account_has_stream(const struct account *c, enum engine_class class);

/* Begins to count, if it does not yet. */
void rhythm_begin(struct rhythm *r, uint64_t now_ns);
/* Something ended; is_busy: more can. */
void rhythm_end(struct rhythm *r, bool is_busy, uint64_t now_ns);
uint32_t rhythm_seconds(const struct rhythm *r); /* 1..600, rounded up */

#endif
