/* SPDX-License-Identifier: MIT */
#include "engine/kv_spill_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct kv_restore {
    struct list link; /* kv_spill.restores */
    struct kv_spill *spill;
    uint32_t *tokens, *blocks; /* [chain blocks * KV_BLOCK_TOKENS], [chain blocks] */
    struct pool_key *keys;     /* [chain blocks] */
    bool *has_window;          /* [chain blocks] */
    uint32_t n_blocks;         /* of the chain, then of it what shall be there in the end */
    uint32_t n_common;
    uid_t uid;
    uint32_t n_found;         /* in the cache, at the beginning */
    uint32_t n_held, n_asked; /* blocks[] that are held; blocks that were asked for */
    bool is_over;
};

static uid_t owner_of(const struct kv_restore *r, uint32_t i)
{
    return i < r->n_common ? PREFIX_COMMON : r->uid;
}

static const uint32_t *tokens_of(const struct kv_restore *r, uint32_t i)
{
    return r->tokens + (size_t)i * KV_BLOCK_TOKENS;
}

static uint32_t parent_of(const struct kv_restore *r, uint32_t i)
{
    return i ? r->blocks[i - 1] : PREFIX_ROOT;
}

/* ---- what there is ---- */

static struct kv_restore *create(struct kv_spill *s, const struct kv_chain *c)
{
    struct kv_restore *r = calloc(1, sizeof(*r));
    size_t n = c->n_blocks;

    if (!r)
        return NULL;
    list_init(&r->link);
    r->spill = s;
    r->uid = c->uid;
    r->n_common = c->n_common;
    r->n_blocks = c->n_blocks;
    r->tokens = malloc(n * KV_BLOCK_TOKENS * sizeof(*r->tokens));
    r->blocks = malloc(n * sizeof(*r->blocks));
    r->keys = malloc(n * sizeof(*r->keys));
    r->has_window = calloc(n, sizeof(*r->has_window));
    if (!r->tokens || !r->blocks || !r->keys || !r->has_window) {
        kv_restore_end(r);
        return NULL;
    }
    memcpy(r->tokens, c->tokens, n * KV_BLOCK_TOKENS * sizeof(*r->tokens));
    return r;
}

/* Takes what the cache has of the chain. */
static void take_memory(struct kv_restore *r)
{
    struct kv_cache *kv = r->spill->kv;
    uint32_t block;

    while (r->n_held < r->n_blocks &&
           kv_cache_take_shared(kv, owner_of(r, r->n_held), parent_of(r, r->n_held),
                                tokens_of(r, r->n_held), &block)) {
        r->has_window[r->n_held] = kv_cache_has_window(kv, block);
        r->blocks[r->n_held++] = block;
    }
}

/* How many blocks there are in the cache or, after those, on disk. */
static uint32_t look(struct kv_restore *r)
{
    struct kv_spill *s = r->spill;
    uint64_t whole = kv_file_bytes(s->block_bytes, s->window_bytes), bytes;
    uint32_t i;

    for (i = 0; i < r->n_blocks; i++) {
        kv_spill_next_key(i ? &r->keys[i - 1] : &s->contents, owner_of(r, i), tokens_of(r, i),
                          &r->keys[i]);
        if (i < r->n_held)
            continue;
        if (!kv_spill_finds(s, &r->keys[i], &bytes))
            break;
        r->has_window[i] = bytes == whole;
    }
    return i;
}

/* After how many of the first n blocks windowed layers would find all that they look at. */
static uint32_t most_seen(const struct kv_restore *r, uint32_t n)
{
    const struct kv_cache *kv = r->spill->kv;
    struct kv_seen seen = {0};

    if (!kv->windows)
        return n;
    for (uint32_t i = 0; i < n; i++)
        kv_cache_see(kv, &seen, r->has_window[i]);
    return seen.most;
}

/* Whether what was not asked for yet shall be. */
static bool is_worth_it(const struct kv_restore *r, const struct kv_speeds *speeds)
{
    const struct kv_spill *s = r->spill;
    uint32_t n_without = most_seen(r, r->n_asked);
    struct kv_loss loss = {
        .prompt_tokens = (uint64_t)(r->n_blocks - n_without) * KV_BLOCK_TOKENS,
        .disk_bytes = (r->n_blocks - r->n_asked) * kv_file_bytes(s->block_bytes, s->window_bytes),
    };

    return kv_cost_prefers_reading(speeds, &loss);
}

bool kv_restore_begin(struct kv_spill *s, const struct kv_chain *chain,
                      const struct kv_speeds *speeds, struct kv_restore **ret_restore)
{
    struct kv_restore *r = chain->n_blocks ? create(s, chain) : NULL;
    uint32_t n_there;

    if (!r)
        return false;
    take_memory(r);
    n_there = look(r);
    kv_disk_use(s->disk, r->keys, n_there);
    r->n_blocks = most_seen(r, n_there);
    r->n_asked = r->n_found = r->n_held;
    kv_restore_note_pace(s, speeds->prompt_token_ns);
    if (r->n_blocks <= r->n_held || !is_worth_it(r, speeds)) {
        kv_restore_end(r);
        return false;
    }
    list_push_back(&s->restores, &r->link);
    kv_restore_ask_all(s);
    *ret_restore = r;
    return true;
}

void kv_restore_note_pace(struct kv_spill *s, uint64_t prompt_token_ns)
{
    s->prompt_token_ns = prompt_token_ns;
}

/* ---- reading ---- */

static void ask(struct kv_restore *r, struct spill_job *j)
{
    struct kv_spill *s = r->spill;
    uint32_t i = r->n_asked++;
    struct kv_record *to = &j->job.record;

    to->key = r->keys[i];
    to->uid = owner_of(r, i);
    memcpy(to->tokens, tokens_of(r, i), sizeof(to->tokens));
    to->block_bytes = s->block_bytes;
    to->window_bytes = s->window_bytes;
    j->job.kind = KV_JOB_READ;
    j->block = INDEX_NONE;
    j->restore = r;
    j->is_busy = true;
    kv_disk_start(s->disk, &s->client, &j->job);
}

/* The drive may turn out slower than it seemed, or was not known: then the rest is computed. */
static void end_if_slow(struct kv_restore *r)
{
    struct kv_speeds speeds = {.prompt_token_ns = r->spill->prompt_token_ns};
    struct kv_disk_stats disk;

    if (r->n_held == r->n_found || r->n_asked == r->n_blocks)
        return;
    kv_disk_get_stats(r->spill->disk, &disk);
    speeds.bytes_per_second = disk.bytes_per_second;
    if (!is_worth_it(r, &speeds))
        r->n_blocks = r->n_asked;
}

void kv_restore_ask_all(struct kv_spill *s)
{
    list_for_each (r, &s->restores, struct kv_restore, link)
        end_if_slow(r);
    list_for_each (r, &s->restores, struct kv_restore, link) {
        struct spill_job *j;

        while (!r->is_over && r->n_asked < r->n_blocks && (j = kv_spill_free_job(s)))
            ask(r, j);
    }
}

/* The block of windowed layers that was read with a block. Where there is no room for it, those
 * after it may still do. */
static void put_window(struct kv_cache *kv, uint32_t block, const void *data)
{
    uint32_t window;

    if (kv_cache_take_window(kv, &window) < 0)
        return;
    kv_cache_write(kv, window, true, data);
    kv_cache_share_window(kv, block, &window);
    window_blocks_unref(kv->windows, window);
}

static bool put(struct kv_restore *r, const struct kv_record *from)
{
    struct kv_cache *kv = r->spill->kv;
    uint32_t i = r->n_held, block;

    if (kv_cache_take(kv, &block) < 0)
        return false;
    kv_cache_write(kv, block, false, from->data);
    if (!kv_cache_share(kv, owner_of(r, i), parent_of(r, i), tokens_of(r, i), &block)) {
        kv_cache_unref(kv, block);
        return false;
    }
    r->blocks[r->n_held++] = block;
    if (from->window_bytes)
        put_window(kv, block, (const char *)from->data + from->block_bytes);
    return true;
}

void kv_restore_take(struct kv_restore *r, const struct spill_job *j)
{
    if (!r->is_over && (j->job.result < 0 || !put(r, &j->job.record)))
        r->is_over = true;
}

bool kv_restore_is_over(const struct kv_restore *r)
{
    return r->is_over || r->n_held == r->n_blocks;
}

uint32_t kv_restore_n_read(const struct kv_restore *r)
{
    return r->n_held - r->n_found;
}

void kv_restore_end(struct kv_restore *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < SPILL_JOBS; i++)
        if (r->spill->jobs[i]->restore == r)
            r->spill->jobs[i]->restore = NULL;
    while (r->n_held)
        kv_cache_unref(r->spill->kv, r->blocks[--r->n_held]);
    list_remove(&r->link);
    free(r->tokens);
    free(r->blocks);
    free(r->keys);
    free(r->has_window);
    free(r);
}
