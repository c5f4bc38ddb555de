/* SPDX-License-Identifier: MIT */
#include "engine/scheduler.h"

#include <errno.h>
#include <stdlib.h>

enum {
    /* Tokens a user of weight 1 may take in its turn, at most. A prompt that needs no more is a
     * short one. */
    TURN_TOKENS = 128,
    TURNS = 4,       /* in a chunk, at least */
    USERS_KEPT = 64, /* without requests, for their weights */
};

struct scheduler_user {
    struct list link;    /* scheduler.users or others */
    struct list entries; /* of scheduler_entry.link */
    uid_t uid;
    uint32_t weight;
    int64_t credit; /* prompt tokens it may still take */
    int64_t turn;   /* what its turn was given */
    bool has_turn;  /* which may go on over several chunks */
};

void scheduler_init(struct scheduler *s, uint32_t batch_tokens, uint32_t few_tokens)
{
    *s = (struct scheduler){.batch_tokens = batch_tokens,
                            .shared_batch_tokens = batch_tokens,
                            .few_tokens = few_tokens};
    list_init(&s->entries);
    list_init(&s->users);
    list_init(&s->others);
}

void scheduler_finish(struct scheduler *s)
{
    list_for_each_safe (u, &s->users, struct scheduler_user, link)
        free(u);
    list_for_each_safe (u, &s->others, struct scheduler_user, link)
        free(u);
}

/* ---- users ---- */

static struct scheduler_user *find_user(const struct scheduler *s, uid_t uid)
{
    list_for_each (u, &s->users, struct scheduler_user, link)
        if (u->uid == uid)
            return u;
    list_for_each (u, &s->others, struct scheduler_user, link)
        if (u->uid == uid)
            return u;
    return NULL;
}

/* A user without entries is last among the others; one too many of weight 1 is forgotten. */
static void retire(struct scheduler *s, struct scheduler_user *u)
{
    list_remove(&u->link);
    list_push_back(&s->others, &u->link);
    u->credit = 0;
    u->has_turn = false;
    if (++s->n_others <= USERS_KEPT)
        return;
    list_for_each_safe (it, &s->others, struct scheduler_user, link) {
        if (it->weight != 1)
            continue;
        list_remove(&it->link);
        free(it);
        s->n_others--;
        return;
    }
}

static struct scheduler_user *need_user(struct scheduler *s, uid_t uid)
{
    struct scheduler_user *u = find_user(s, uid);

    if (u)
        return u;
    u = calloc(1, sizeof(*u));
    if (!u)
        return NULL;
    u->uid = uid;
    u->weight = 1;
    list_init(&u->entries);
    list_init(&u->link);
    retire(s, u);
    return u;
}

int scheduler_set_weight(struct scheduler *s, uid_t uid, uint32_t weight)
{
    struct scheduler_user *u = need_user(s, uid);

    if (!u)
        return -ENOMEM;
    u->weight = weight;
    return 0;
}

/* ---- entries ---- */

int scheduler_add(struct scheduler *s, struct scheduler_entry *e)
{
    struct scheduler_user *u = need_user(s, e->uid);

    if (!u)
        return -ENOMEM;
    if (list_empty(&u->entries)) {
        list_remove(&u->link);
        list_push_back(&s->users, &u->link);
        s->n_others--;
    }
    e->user = u;
    e->is_blocked = e->has_yielded = false;
    e->waits_since = s->n_steps;
    e->n_chosen = 0;
    list_push_back(&u->entries, &e->link);
    list_push_back(&s->entries, &e->all);
    return 0;
}

void scheduler_remove(struct scheduler *s, struct scheduler_entry *e)
{
    if (!e->user)
        return;
    list_remove(&e->link);
    list_remove(&e->all);
    if (list_empty(&e->user->entries))
        retire(s, e->user);
    e->user = NULL;
    scheduler_unblock(s);
}

void scheduler_unblock(struct scheduler *s)
{
    list_for_each (e, &s->entries, struct scheduler_entry, all)
        e->is_blocked = false;
}

/* ---- the next step ---- */

/* What a step is made of. */
struct kind {
    bool is_generated, is_background;
};

struct making {
    struct scheduler *s;
    struct kind kind;
    uint32_t n_left; /* tokens */
    struct scheduler_choice *choices;
    size_t n, most;
};

static bool is_of(const struct scheduler *s, const struct scheduler_entry *e, struct kind kind)
{
    bool has_aged = s->n_steps - e->waits_since >= SCHEDULER_AGE;

    return !e->is_paused && !e->is_reading && !e->is_blocked && e->n_pending &&
           e->is_generated == kind.is_generated &&
           (e->is_background && !has_aged) == kind.is_background;
}

static bool has_any(const struct scheduler *s, struct kind kind)
{
    list_for_each (e, &s->entries, struct scheduler_entry, all)
        if (is_of(s, e, kind))
            return true;
    return false;
}

bool scheduler_generates(const struct scheduler *s)
{
    return has_any(s, (struct kind){true, false}) || has_any(s, (struct kind){true, true});
}

bool scheduler_is_urgent(const struct scheduler *s)
{
    return has_any(s, (struct kind){true, false}) || has_any(s, (struct kind){false, false});
}

void scheduler_pass_over(struct scheduler *s)
{
    s->n_steps++;
}

/* All of a text, or nothing where it no longer fits: then the chunk ends, and whose turn it is goes
 * on with it in the next one. */
static uint32_t give_whole(struct making *m, struct scheduler_entry *e)
{
    if (m->n && (m->n == m->most || e->n_pending > m->n_left)) {
        m->n_left = 0;
        return 0;
    }
    m->choices[m->n++].entry = e;
    e->n_chosen = e->n_pending;
    m->n_left -= e->n_pending < m->n_left ? e->n_pending : m->n_left;
    return e->n_chosen;
}

/* Gives n tokens of what is left to the entry, at most those it needs. */
static uint32_t give(struct making *m, struct scheduler_entry *e, uint32_t n)
{
    uint32_t needs = e->n_pending - e->n_chosen;

    if (e->is_whole)
        return needs ? give_whole(m, e) : 0;
    n = n < needs ? n : needs;
    n = n < m->n_left ? n : m->n_left;
    if (!n || (!e->n_chosen && m->n == m->most))
        return 0;
    if (!e->n_chosen)
        m->choices[m->n++].entry = e;
    e->n_chosen += n;
    m->n_left -= n;
    return n;
}

/* Whether an entry that was just served stays the first of its user's: a short prompt is computed
 * to its end, while long ones take turns, or all of them would end late. */
static bool keeps_place(const struct making *m, const struct scheduler_entry *e)
{
    uint32_t needs = e->n_pending - e->n_chosen;

    return !m->kind.is_generated && needs && needs <= TURN_TOKENS;
}

/* Gives n tokens to one of the user's entries that can use more, in rotation: how many it took. */
static uint32_t serve_user(struct making *m, struct scheduler_user *u, uint32_t n)
{
    list_for_each (e, &u->entries, struct scheduler_entry, link) {
        uint32_t given = is_of(m->s, e, m->kind) ? give(m, e, n) : 0;

        if (!given)
            continue;
        if (!keeps_place(m, e)) {
            list_remove(&e->link);
            list_push_back(&u->entries, &e->link);
        }
        return given;
    }
    return 0;
}

static void end_turn(struct scheduler *s, struct scheduler_user *u)
{
    list_remove(&u->link);
    list_push_back(&s->users, &u->link);
}

/* Users in turn, one token of one entry each time (a user of weight w: w times). */
static void choose_generated(struct making *m)
{
    bool has_given = true;

    while (has_given && m->n_left) {
        struct list *end = m->s->users.prev;
        bool is_last = false;

        has_given = false;
        while (!is_last && m->n_left) {
            struct scheduler_user *u = container_of(m->s->users.next, struct scheduler_user, link);

            is_last = &u->link == end;
            for (uint32_t i = 0; i < u->weight && m->n_left; i++)
                has_given |= serve_user(m, u, 1) > 0;
            end_turn(m->s, u);
        }
    }
}

/* What a user of weight 1 may take in its turn: of each chunk, however short, there is something
 * for several users, and no turn is longer than a chunk, or who comes with a short prompt would
 * wait for several chunks of another's long one. */
static int64_t turn_tokens(const struct making *m)
{
    uint32_t parts = TURNS, n;

    list_for_each (u, &m->s->users, struct scheduler_user, link)
        parts = u->weight > parts ? u->weight : parts;
    n = m->n_left / parts;
    return n < 1 ? 1 : n < TURN_TOKENS ? n : TURN_TOKENS;
}

/* A turn of so many tokens begins, or goes on; one that began in a longer chunk gets shorter. */
static void begin_turn(struct scheduler_user *u, int64_t n_tokens)
{
    if (!u->has_turn)
        u->credit += n_tokens;
    else if (n_tokens < u->turn && u->credit > 0)
        u->credit = u->credit > u->turn - n_tokens ? u->credit - (u->turn - n_tokens) : 1;
    u->turn = n_tokens;
    u->has_turn = true;
}

/* Users in turn, as much as their credit says; whose turn the end of the chunk cuts short goes on
 * with it in the next one. */
static void choose_prompts(struct making *m)
{
    int64_t turn = turn_tokens(m);
    size_t n_idle = 0, n_users = 0;

    list_for_each (u, &m->s->users, struct scheduler_user, link)
        n_users++;
    while (n_idle < n_users && m->n_left) {
        struct scheduler_user *u = container_of(m->s->users.next, struct scheduler_user, link);
        uint32_t given = 0;
        bool is_in_debt;

        begin_turn(u, turn * u->weight);
        is_in_debt = u->credit <= 0; /* of a whole text that was longer than its turn */
        if (!is_in_debt)
            given = serve_user(m, u, u->credit < UINT32_MAX ? (uint32_t)u->credit : UINT32_MAX);
        u->credit -= given;
        if (!given && (m->n == m->most || !m->n_left) && u->credit > 0)
            return; /* there is no room for another entry: the turn goes on in the next step */
        n_idle = given || is_in_debt ? 0 : n_idle + 1;
        if (!given && u->credit > 0)
            u->credit = 0; /* nothing to spend it on */
        if (u->credit <= 0) {
            u->has_turn = false;
            end_turn(m->s, u);
        }
    }
}

static size_t make(struct scheduler *s, struct kind kind, uint32_t n_tokens,
                   struct scheduler_choice *choices, size_t most)
{
    struct making m = {.s = s, .kind = kind, .n_left = n_tokens, .choices = choices, .most = most};

    if (kind.is_generated)
        choose_generated(&m);
    else
        choose_prompts(&m);
    for (size_t i = 0; i < m.n; i++) {
        choices[i].n_tokens = choices[i].entry->n_chosen;
        choices[i].entry->n_chosen = 0;
        choices[i].entry->waits_since = s->n_steps;
    }
    return m.n;
}

size_t scheduler_next(struct scheduler *s, struct scheduler_choice *ret_choices, size_t most)
{
    for (int background = 0; background < 2 && most; background++) {
        struct kind generate = {true, background}, prompt = {false, background};
        bool generates = has_any(s, generate), prompts = has_any(s, prompt);
        bool is_prompt = prompts && !(generates && s->was_prompt);

        if (!generates && !prompts)
            continue;
        s->n_steps++;
        s->was_prompt = is_prompt;
        return make(s, is_prompt ? prompt : generate,
                    !is_prompt                        ? s->few_tokens
                    : generates || s->others_generate ? s->shared_batch_tokens
                                                      : s->batch_tokens,
                    ret_choices, most);
    }
    return 0;
}

void scheduler_take_back(const struct scheduler_choice *c, uint32_t n_used)
{
    if (c->entry->user && !c->entry->is_generated)
        c->entry->user->credit += (int64_t)c->n_tokens - n_used;
}

/* Whether e may have the blocks of another. */
static bool may_take(const struct scheduler_entry *e, const struct scheduler_entry *other,
                     bool is_younger)
{
    if (!other->n_blocks)
        return false;
    if (other->is_paused)
        return true;
    if (other->is_background != e->is_background)
        return other->is_background;
    return is_younger || !other->has_yielded;
}

/* What has to be done again for each block that comes free is less; where nothing comes free, it is
 * too much. */
static bool is_cheaper(const struct scheduler_entry *a, const struct scheduler_entry *b)
{
    if (!a->n_freed || !b->n_freed)
        return a->n_freed > b->n_freed;
    return (double)a->return_ns * b->n_freed < (double)b->return_ns * a->n_freed;
}

/* Whether a is a better victim than b, which is younger. */
static bool gives_way_before(const struct scheduler_entry *a, const struct scheduler_entry *b)
{
    if (a->is_background != b->is_background)
        return a->is_background;
    return is_cheaper(a, b);
}

struct scheduler_entry *scheduler_victim(struct scheduler *s, struct scheduler_entry *e,
                                         bool among_own)
{
    struct scheduler_entry *best = NULL;
    bool is_younger = true, is_alone = true;

    for (struct list *at = s->entries.prev; at != &s->entries; at = at->prev) {
        struct scheduler_entry *it = container_of(at, struct scheduler_entry, all);

        if (it == e) {
            is_younger = false;
            continue;
        }
        if (among_own && it->user != e->user)
            continue;
        is_alone &= !it->n_blocks;
        if (may_take(e, it, is_younger) && (!best || gives_way_before(it, best)))
            best = it;
    }
    return best || is_alone ? best : e;
}

bool scheduler_may_wait(const struct scheduler *s, const struct scheduler_entry *e, bool among_own)
{
    list_for_each (it, &s->entries, struct scheduler_entry, all)
        if (it != e && it->n_blocks && !it->is_paused && !it->is_blocked &&
            (!among_own || it->user == e->user))
            return true;
    return false;
}

uint64_t scheduler_user_blocks(const struct scheduler_entry *e)
{
    uint64_t n = 0;

    list_for_each (it, &e->user->entries, struct scheduler_entry, link)
        n += it->n_blocks;
    return n;
}

uint64_t scheduler_weight(const struct scheduler *s)
{
    uint64_t weight = 0;

    list_for_each (u, &s->users, struct scheduler_user, link)
        weight += u->weight;
    return weight;
}
