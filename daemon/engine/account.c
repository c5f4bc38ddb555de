/* SPDX-License-Identifier: MIT */
#include "engine/account.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS 1000000000ull

enum {
    ACCOUNTS_KEPT = 1024, /* without requests and debts, for their figures */
    RETRY_SECONDS_MOST = 600,
};

/* ---- rules ---- */

static uint64_t or_else(uint64_t value, uint64_t otherwise)
{
    return value ? value : otherwise;
}

/* What a rule leaves open is as for all others. */
static struct engine_user_rule complete(const struct engine_user_rule *rule,
                                        const struct engine_user_rule *others)
{
    return (struct engine_user_rule){
        .uid = rule->uid,
        .weight = (uint32_t)or_else(rule->weight, others->weight),
        .requests = (uint32_t)or_else(rule->requests, others->requests),
        .streams = (uint32_t)or_else(rule->streams, others->streams),
        .waiting = (uint32_t)or_else(rule->waiting, others->waiting),
        .kv_bytes = or_else(rule->kv_bytes, others->kv_bytes),
        .tokens_per_minute = or_else(rule->tokens_per_minute, others->tokens_per_minute),
        .class = rule->has_class ? rule->class : others->class,
        .has_class = true,
    };
}

static void fill(struct account *c, uint64_t now_ns)
{
    double most = (double)c->limits.tokens_per_minute;
    double seconds = (double)(now_ns - c->filled_ns) * 1e-9;

    c->tokens = fmin(most, c->tokens + seconds * most / 60);
    c->filled_ns = now_ns;
}

/* Puts the rules in place of those there are, which it frees; accounts are not looked at. */
static int replace_rules(struct accounts *a, const struct engine_user_rule *rules, size_t n_rules,
                         struct error *err)
{
    const struct engine_user_rule built_in = {.weight = 1, .requests = a->user_limit};
    struct engine_user_rule *copies = calloc(n_rules + 1, sizeof(*copies));

    if (!copies)
        return error_set(err, ENOMEM, "out of memory");
    free(a->rules);
    a->rules = copies;
    a->n_rules = 0;
    a->others = built_in;
    for (size_t i = 0; i < n_rules; i++)
        if (rules[i].is_of_others)
            a->others = complete(&rules[i], &built_in);
    for (size_t i = 0; i < n_rules; i++)
        if (!rules[i].is_of_others)
            a->rules[a->n_rules++] = complete(&rules[i], &a->others);
    return 0;
}

int accounts_init(struct accounts *a, const struct engine_user_rule *rules, size_t n_rules,
                  uint32_t user_limit, struct error *err)
{
    *a = (struct accounts){.user_limit = user_limit};
    list_init(&a->list);
    return replace_rules(a, rules, n_rules, err);
}

static const struct engine_user_rule *rule_of(const struct accounts *a, uid_t uid)
{
    for (size_t i = 0; i < a->n_rules; i++)
        if (a->rules[i].uid == uid)
            return &a->rules[i];
    return &a->others;
}

int accounts_set_rules(struct accounts *a, const struct engine_user_rule *rules, size_t n_rules,
                       uint64_t now_ns, struct error *err)
{
    int r = replace_rules(a, rules, n_rules, err);

    if (r < 0)
        return r;
    list_for_each (c, &a->list, struct account, link) {
        bool had_limit = c->limits.tokens_per_minute > 0;

        fill(c, now_ns); /* what had come until now, by the old limit */
        c->limits = *rule_of(a, c->uid);
        if (!had_limit || !c->limits.tokens_per_minute)
            c->tokens = (double)c->limits.tokens_per_minute;
        fill(c, now_ns);
    }
    return 0;
}

void accounts_finish(struct accounts *a)
{
    if (a->list.next)
        list_for_each_safe (c, &a->list, struct account, link)
            free(c);
    free(a->rules);
    *a = (struct accounts){0};
    list_init(&a->list);
}

/* ---- the accounts ---- */

struct account *accounts_find(const struct accounts *a, uid_t uid)
{
    list_for_each (c, &a->list, struct account, link)
        if (c->uid == uid)
            return c;
    return NULL;
}

/* Forgets one who has nothing to lose by it but figures. */
static void forget_one(struct accounts *a, uint64_t now_ns)
{
    list_for_each_safe (c, &a->list, struct account, link) {
        fill(c, now_ns);
        if (c->n_requests || c->tokens < (double)c->limits.tokens_per_minute)
            continue;
        list_remove(&c->link);
        free(c);
        a->n--;
        return;
    }
}

struct account *accounts_need(struct accounts *a, uid_t uid, uint64_t now_ns)
{
    struct account *c = accounts_find(a, uid);

    if (c)
        return c;
    if (a->n >= ACCOUNTS_KEPT)
        forget_one(a, now_ns);
    c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->uid = uid;
    c->limits = *rule_of(a, uid);
    list_init(&c->held);
    c->tokens = (double)c->limits.tokens_per_minute;
    c->filled_ns = now_ns;
    c->stats.uid = uid;
    list_push_back(&a->list, &c->link);
    a->n++;
    return c;
}

int account_check(struct account *c, uint32_t n, uint64_t now_ns, struct error *err)
{
    const struct engine_user_rule *most = &c->limits;
    int code = 0;

    fill(c, now_ns);
    if (most->requests && n > most->requests)
        code = error_set(err, EINVAL, "%u answers count as so many requests; a user may have %u", n,
                         most->requests);
    else if (most->requests && c->n_asking + n > most->requests)
        code = error_set(err, EUSERS,
                         "%u requests of this user are running or waiting, as many as one may "
                         "have: try again when one has ended",
                         most->requests);
    else if (most->waiting && c->n_waiting >= most->waiting)
        code = error_set(err, EUSERS,
                         "%u requests of this user are waiting, as many as one may have: try again "
                         "when one has begun",
                         most->waiting);
    else if (most->tokens_per_minute && c->tokens < 1)
        code = error_set(
            err, EDQUOT, "this user's %llu tokens of a minute are spent: try again in %u s",
            (unsigned long long)most->tokens_per_minute, account_retry_seconds(c, -EDQUOT, now_ns));
    c->stats.refused_total += code < 0;
    return code;
}

uint32_t account_retry_seconds(struct account *c, int code, uint64_t now_ns)
{
    double seconds;

    if (code != -EDQUOT)
        return rhythm_seconds(&c->ends);
    fill(c, now_ns);
    if (c->tokens >= 1)
        return 1;
    seconds = ceil((1 - c->tokens) * 60 / (double)c->limits.tokens_per_minute);
    return seconds < 1 ? 1 : seconds < UINT32_MAX ? (uint32_t)seconds : UINT32_MAX;
}

void account_charge(struct account *c, uint64_t n_prompt, uint64_t n_completion, uint64_t now_ns)
{
    c->stats.prompt_tokens_total += n_prompt;
    c->stats.completion_tokens_total += n_completion;
    if (!c->limits.tokens_per_minute)
        return;
    fill(c, now_ns);
    c->tokens -= (double)(n_prompt + n_completion);
}

bool account_has_stream(const struct account *c, enum engine_class class)
{
    uint32_t n = c->n_streams[ENGINE_INTERACTIVE];

    if (class == ENGINE_BACKGROUND)
        n += c->n_streams[ENGINE_BACKGROUND];
    return !c->limits.streams || n < c->limits.streams;
}

/* ---- rhythm ---- */

void rhythm_begin(struct rhythm *r, uint64_t now_ns)
{
    if (!r->since_ns)
        r->since_ns = now_ns;
}

void rhythm_end(struct rhythm *r, bool is_busy, uint64_t now_ns)
{
    uint64_t interval_ns = now_ns - r->since_ns;

    if (r->since_ns)
        r->interval_ns = r->interval_ns ? (3 * r->interval_ns + interval_ns) / 4 : interval_ns;
    r->since_ns = is_busy ? now_ns : 0;
}

uint32_t rhythm_seconds(const struct rhythm *r)
{
    uint64_t seconds = (r->interval_ns + SECOND_NS - 1) / SECOND_NS;

    return seconds < 1 ? 1 : seconds < RETRY_SECONDS_MOST ? (uint32_t)seconds : RETRY_SECONDS_MOST;
}
