/* SPDX-License-Identifier: MIT */
#include "engine/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPT_REST_TOKENS = 2 };

int session_create(struct kv_cache *kv, struct state_slots *states, struct device *dev,
                   uint32_t max_tokens, struct session **ret_session, struct error *err)
{
    struct session *s = calloc(1, sizeof(*s));
    uint64_t table_bytes = kv_blocks_for(max_tokens) * sizeof(uint32_t);
    int r;

    if (!s)
        return error_set(err, ENOMEM, "out of memory");
    s->kv = kv;
    s->states = states;
    s->slot = STATE_NO_SLOT;
    s->max_tokens = max_tokens;
    s->block_table = calloc(1, table_bytes);
    r = s->block_table ? 0 : error_set(err, ENOMEM, "out of memory");
    if (r == 0)
        r = buffer_create(dev, table_bytes, BUFFER_HOST, &s->table, err);
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
    buffer_destroy(s->table);
    buffer_destroy(s->tokens);
    free(s->block_table);
    free(s);
}

/* Tells the device entry i of the block table. */
static void show_entry(struct session *s, uint32_t i)
{
    ((uint32_t *)s->table->host)[i] = s->block_table[i];
}

int session_reserve(struct session *s, uint32_t n_tokens)
{
    if (s->states && s->slot == STATE_NO_SLOT && state_slots_take(s->states, &s->slot) < 0)
        return -ENOSPC;
    while (s->n_blocks < kv_blocks_for(n_tokens)) {
        int r = kv_cache_take(s->kv, &s->block_table[s->n_blocks]);
        if (r < 0)
            return r;
        show_entry(s, s->n_blocks++);
    }
    return 0;
}

void session_truncate(struct session *s, uint32_t n_tokens)
{
    uint32_t n_full;

    if (s->states && n_tokens < s->n_past)
        n_tokens = 0;
    if (!n_tokens && s->slot != STATE_NO_SLOT) {
        state_slots_give(s->states, s->slot);
        s->slot = STATE_NO_SLOT;
    }
    n_full = n_tokens / KV_BLOCK_TOKENS;
    if (n_full < s->n_shared) {
        n_tokens = n_full * KV_BLOCK_TOKENS;
        s->n_shared = n_full;
    }
    while (s->n_blocks > kv_blocks_for(n_tokens))
        kv_cache_unref(s->kv, s->block_table[--s->n_blocks]);
    if (s->n_past > n_tokens)
        s->n_past = n_tokens;
    if (s->n_history > n_tokens)
        s->n_history = n_tokens;
}

/* The block before the i-th of the session. */
static uint32_t parent_of(const struct session *s, uint32_t i)
{
    return i ? s->block_table[i - 1] : PREFIX_ROOT;
}

uint32_t session_take_prefix(struct session *s, uid_t uid, const uint32_t *tokens,
                             uint32_t n_tokens)
{
    uint32_t most = n_tokens < s->max_tokens ? n_tokens : s->max_tokens, i = 0;

    session_truncate(s, 0); /* what a step that failed has reserved */
    if (s->states)
        return 0; /* there are keys and values of the prefix, but not the state after it */
    most = most > PROMPT_REST_TOKENS ? (most - PROMPT_REST_TOKENS) / KV_BLOCK_TOKENS : 0;
    while (i < most && kv_cache_take_shared(s->kv, uid, parent_of(s, i),
                                            tokens + i * KV_BLOCK_TOKENS, &s->block_table[i]))
        show_entry(s, i++);
    s->n_blocks = s->n_shared = i;
    s->n_past = s->n_history = i * KV_BLOCK_TOKENS;
    memcpy(s->history, tokens, s->n_history * sizeof(*tokens));
    return s->n_past;
}

void session_share_prefix(struct session *s, uid_t uid, uint32_t n_done)
{
    if (s->states)
        return;
    while (s->n_shared < n_done / KV_BLOCK_TOKENS &&
           kv_cache_share(s->kv, uid, parent_of(s, s->n_shared),
                          s->history + s->n_shared * KV_BLOCK_TOKENS, &s->block_table[s->n_shared]))
        show_entry(s, s->n_shared++);
}

uint64_t session_block_table_address(const struct session *s)
{
    return s->table->address;
}

uint64_t session_history_address(const struct session *s)
{
    return s->tokens->address;
}
