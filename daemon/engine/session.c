/* SPDX-License-Identifier: MIT */
#include "engine/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPT_REST_TOKENS = 2 };

static int create_table(struct device *dev, uint32_t max_tokens, struct block_table *t,
                        struct error *err)
{
    uint64_t bytes = kv_blocks_for(max_tokens) * sizeof(uint32_t);

    t->blocks = calloc(1, bytes);
    if (!t->blocks)
        return error_set(err, ENOMEM, "out of memory");
    return buffer_create(dev, bytes, BUFFER_HOST, &t->shown, err);
}

int session_create(struct kv_cache *kv, struct state_slots *states, struct device *dev,
                   uint32_t max_tokens, struct session **ret_session, struct error *err)
{
    struct session *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return error_set(err, ENOMEM, "out of memory");
    s->kv = kv;
    s->states = states;
    s->slot = STATE_NO_SLOT;
    s->max_tokens = max_tokens;
    r = create_table(dev, max_tokens, &s->table, err);
    if (r == 0 && kv->windows)
        r = create_table(dev, max_tokens, &s->windows, err);
    if (r == 0)
        r = buffer_create(dev, (uint64_t)max_tokens * sizeof(uint32_t), BUFFER_HOST | BUFFER_READ,
                          &s->tokens, err);
    if (r < 0) {
        session_destroy(s);
        return r;
    }
    s->history = s->tokens->host;
    *ret_session = s;
    return 0;
}

void session_destroy(struct session *s)
{
    if (!s)
        return;
    session_truncate(s, 0);
    buffer_destroy(s->table.shown);
    buffer_destroy(s->windows.shown);
    buffer_destroy(s->tokens);
    free(s->table.blocks);
    free(s->windows.blocks);
    free(s);
}

static void set_entry(struct block_table *t, uint32_t i, uint32_t block)
{
    t->blocks[i] = block;
    ((uint32_t *)t->shown->host)[i] = block;
}

int session_reserve(struct session *s, uint32_t n_tokens)
{
    while (s->n_blocks < kv_blocks_for(n_tokens)) {
        uint32_t block, window;
        int r = kv_cache_take(s->kv, &block);

        if (r < 0)
            return r;
        if (s->kv->windows) {
            r = kv_cache_take_window(s->kv, &window);
            if (r < 0) {
                kv_cache_unref(s->kv, block);
                return r;
            }
            set_entry(&s->windows, s->n_blocks, window);
        }
        set_entry(&s->table, s->n_blocks++, block);
    }
    /* behind the blocks: who holds a slot holds blocks, by which others find who can give way */
    if (s->states && s->slot == STATE_NO_SLOT)
        return state_slots_take(s->states, &s->slot);
    return 0;
}

void session_slide(struct session *s, uint32_t n_done)
{
    if (!s->kv->windows)
        return;
    for (uint32_t end = kv_cache_first_seen(s->kv, n_done); s->first_window < end;
         s->first_window++) {
        window_blocks_unref(s->kv->windows, s->windows.blocks[s->first_window]);
        set_entry(&s->windows, s->first_window, WINDOW_NONE);
    }
}

/* Gives back the last block. */
static void drop_block(struct session *s)
{
    s->n_blocks--;
    if (s->kv->windows && s->n_blocks >= s->first_window)
        window_blocks_unref(s->kv->windows, s->windows.blocks[s->n_blocks]);
    kv_cache_unref(s->kv, s->table.blocks[s->n_blocks]);
}

static void give_back_slot(struct session *s)
{
    if (s->slot == STATE_NO_SLOT)
        return;
    state_slots_give(s->states, s->slot);
    s->slot = STATE_NO_SLOT;
}

/* Of the first n blocks, those up to the last after which there is a checkpoint. */
static uint32_t until_checkpoint(const struct session *s, uint32_t n)
{
    while (n && !state_slots_use(s->states, s->table.blocks[n - 1]))
        n--;
    return n;
}

/* Takes the state back to a checkpoint at or before position n; returns where that is, 0 for the
 * beginning. */
static uint32_t roll_back(const struct session *s, uint32_t n_tokens)
{
    uint32_t n = n_tokens / KV_BLOCK_TOKENS;

    n = until_checkpoint(s, n < s->n_shared ? n : s->n_shared);
    if (!n || state_slots_restore(s->states, s->slot, s->table.blocks[n - 1]) < 0)
        return 0;
    return n * KV_BLOCK_TOKENS;
}

void session_truncate(struct session *s, uint32_t n_tokens)
{
    uint32_t n_full;

    if (s->states && n_tokens < s->n_past)
        n_tokens = roll_back(s, n_tokens);
    if (!n_tokens)
        give_back_slot(s);
    n_full = n_tokens / KV_BLOCK_TOKENS;
    if (n_full < s->n_shared) {
        n_tokens = n_full * KV_BLOCK_TOKENS;
        s->n_shared = n_full;
    }
    if (s->kv->windows && kv_cache_first_seen(s->kv, n_tokens) < s->first_window)
        n_tokens = s->n_shared = 0;
    while (s->n_blocks > kv_blocks_for(n_tokens))
        drop_block(s);
    if (s->first_window > s->n_blocks)
        s->first_window = s->n_blocks;
    if (s->n_past > n_tokens)
        s->n_past = n_tokens;
    if (s->n_history > n_tokens)
        s->n_history = n_tokens;
}

/* The block before the i-th of the session. */
static uint32_t parent_of(const struct session *s, uint32_t i)
{
    return i ? s->table.blocks[i - 1] : PREFIX_ROOT;
}

/* After how many of the first n blocks windowed layers find all that they look at. */
static uint32_t most_seen(const struct session *s, uint32_t n)
{
    struct kv_seen seen = {0};

    for (uint32_t i = 0; i < n; i++)
        kv_cache_see(s->kv, &seen, kv_cache_has_window(s->kv, s->table.blocks[i]));
    return seen.most;
}

/* Of the blocks that were found, keeps those that windowed layers can go on from. */
static uint32_t take_windows(struct session *s, uint32_t n)
{
    uint32_t best = most_seen(s, n);

    while (n > best)
        kv_cache_unref(s->kv, s->table.blocks[--n]);
    s->first_window = kv_cache_first_seen(s->kv, n * KV_BLOCK_TOKENS);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t window = window_blocks_of(s->kv->windows, s->table.blocks[i]);

        set_entry(&s->windows, i, i < s->first_window ? WINDOW_NONE : window);
        if (i >= s->first_window)
            window_blocks_hold(s->kv->windows, s->table.blocks[i]);
    }
    return n;
}

/* Brings the session's slot to the state after the last of the first n blocks after which there is
 * a checkpoint; returns how many blocks come before. */
static uint32_t restore_state(struct session *s, uint32_t n)
{
    n = until_checkpoint(s, n);
    return n && state_slots_take_at(s->states, s->table.blocks[n - 1], &s->slot) == 0 ? n : 0;
}

/* Of the blocks that were found, keeps those that a state can go on from. */
static uint32_t take_state(struct session *s, uint32_t n)
{
    uint32_t best = restore_state(s, n);

    while (n > best)
        kv_cache_unref(s->kv, s->table.blocks[--n]);
    return n;
}

void session_set_common(struct session *s, uint32_t n_tokens)
{
    s->n_common = n_tokens;
}

/* Whose block i is, if it is shared. */
static uid_t owner_of(const struct session *s, uid_t uid, uint32_t i)
{
    return i < s->n_common / KV_BLOCK_TOKENS ? PREFIX_COMMON : uid;
}

/* How many blocks may be shared: a user whose number stands for everybody has none of its own. */
static uint32_t most_shared(const struct session *s, uid_t uid, uint32_t n_blocks)
{
    uint32_t n_common = s->n_common / KV_BLOCK_TOKENS;

    return uid == PREFIX_COMMON && n_common < n_blocks ? n_common : n_blocks;
}

uint32_t session_most_prefix(const struct session *s, uid_t uid, uint32_t n_tokens,
                             uint32_t *ret_common)
{
    uint32_t most = n_tokens < s->max_tokens ? n_tokens : s->max_tokens;

    most = most > PROMPT_REST_TOKENS ? (most - PROMPT_REST_TOKENS) / KV_BLOCK_TOKENS : 0;
    *ret_common = s->n_common / KV_BLOCK_TOKENS;
    return most_shared(s, uid, most);
}

uint32_t session_take_prefix(struct session *s, uid_t uid, const uint32_t *tokens,
                             uint32_t n_tokens)
{
    uint32_t n_common, most = session_most_prefix(s, uid, n_tokens, &n_common), i = 0, block;

    session_truncate(s, 0); /* what a step that failed has reserved */
    while (i < most && kv_cache_take_shared(s->kv, owner_of(s, uid, i), parent_of(s, i),
                                            tokens + i * KV_BLOCK_TOKENS, &block))
        set_entry(&s->table, i++, block);
    s->checkpoints[0] = i * KV_BLOCK_TOKENS;
    s->checkpoints[1] = most * KV_BLOCK_TOKENS;
    s->checkpoints[2] = n_common * KV_BLOCK_TOKENS;
    if (s->kv->windows)
        i = take_windows(s, i);
    if (s->states)
        i = take_state(s, i);
    s->n_blocks = s->n_shared = i;
    s->n_past = s->n_history = i * KV_BLOCK_TOKENS;
    memcpy(s->history, tokens, s->n_history * sizeof(*tokens));
    return s->n_past;
}

uint32_t session_until_checkpoint(const struct session *s, uint32_t n_tokens)
{
    for (size_t i = 0; s->states && i < sizeof(s->checkpoints) / sizeof(s->checkpoints[0]); i++)
        if (s->checkpoints[i] > s->n_past && s->checkpoints[i] - s->n_past < n_tokens)
            n_tokens = s->checkpoints[i] - s->n_past;
    return n_tokens;
}

static void keep_state(const struct session *s)
{
    uint32_t n = s->n_past / KV_BLOCK_TOKENS;
    bool is_due = false;

    for (size_t i = 0; i < sizeof(s->checkpoints) / sizeof(s->checkpoints[0]); i++)
        is_due |= s->n_past == s->checkpoints[i];

    if (s->states && n && is_due && s->n_shared == n && s->slot != STATE_NO_SLOT)
        state_slots_keep(s->states, s->slot, s->table.blocks[n - 1]);
}

static void share_blocks(struct session *s, uid_t uid, uint32_t n_done)
{
    uint32_t most = most_shared(s, uid, n_done / KV_BLOCK_TOKENS);

    while (s->n_shared < most) {
        uint32_t i = s->n_shared, block = s->table.blocks[i];

        if (!kv_cache_share(s->kv, owner_of(s, uid, i), parent_of(s, i),
                            s->history + i * KV_BLOCK_TOKENS, &block))
            return;
        set_entry(&s->table, i, block);
        if (s->kv->windows && i >= s->first_window) {
            uint32_t window = s->windows.blocks[i];

            kv_cache_share_window(s->kv, block, &window);
            set_entry(&s->windows, i, window);
        }
        s->n_shared++;
    }
}

void session_share_prefix(struct session *s, uid_t uid, uint32_t n_done)
{
    share_blocks(s, uid, n_done);
    if (n_done == s->n_past)
        keep_state(s);
}

int session_copy_state(struct session *to, const struct session *from, struct error *err)
{
    if (!from->states || from->slot == STATE_NO_SLOT)
        return 0;
    if (to->slot == STATE_NO_SLOT && state_slots_take(to->states, &to->slot) < 0)
        return -ENOSPC;
    return state_slots_copy(to->states, from->slot, to->slot, err);
}

uint32_t session_n_own_blocks(const struct session *s)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->n_blocks; i++)
        n += s->kv->ref_counts[s->table.blocks[i]] == 1;
    return n;
}

uint64_t session_block_table_address(const struct session *s)
{
    return s->table.shown->address;
}

uint64_t session_window_table_address(const struct session *s)
{
    return (s->windows.shown ? s->windows.shown : s->table.shown)->address;
}

uint64_t session_history_address(const struct session *s)
{
    return s->tokens->address;
}
