/* SPDX-License-Identifier: MIT */
#include "engine/kv_spill_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { LOOKS_MOST = 64 /* of one step: each is a look into the disk's index */ };

/* The disk's thread calls it too, after the end of the spill. */
static void release_job(struct kv_job *job)
{
    struct spill_job *j = container_of(job, struct spill_job, job);

    free(j->job.record.data);
    free(j);
}

static struct spill_job *create_job(uint64_t bytes)
{
    struct spill_job *j = calloc(1, sizeof(*j));

    if (!j)
        return NULL;
    j->job.release = release_job;
    j->job.record.data = malloc(bytes);
    if (j->job.record.data)
        return j;
    release_job(&j->job);
    return NULL;
}

int kv_spill_create(struct kv_cache *kv, struct kv_disk *disk, const struct pool_key *contents,
                    struct kv_spill **ret_spill)
{
    struct kv_spill *s = calloc(1, sizeof(*s));
    bool has_memory = s != NULL;

    if (!s)
        return -ENOMEM;
    s->kv = kv;
    s->disk = disk;
    s->contents = *contents;
    s->block_bytes = kv_cache_content_bytes(kv, false);
    s->window_bytes = kv->windows ? kv_cache_content_bytes(kv, true) : 0;
    kv_disk_client_init(&s->client);
    list_init(&s->restores);
    if (!s->block_bytes || (kv->windows && !s->window_bytes)) {
        kv_spill_destroy(s);
        return -ENOTSUP;
    }
    if (kv_file_bytes(s->block_bytes, s->window_bytes) > kv_disk_most_bytes(disk)) {
        kv_spill_destroy(s);
        return -EFBIG;
    }
    s->blocks = calloc(kv->n_blocks, sizeof(*s->blocks));
    s->links = calloc(kv->n_blocks, sizeof(*s->links));
    s->path = calloc(kv->n_blocks, sizeof(*s->path));
    has_memory = s->blocks && s->links && s->path;
    index_list_init(&s->waiting, s->links);
    for (size_t i = 0; i < SPILL_JOBS; i++) {
        s->jobs[i] = create_job(s->block_bytes + s->window_bytes);
        has_memory = has_memory && s->jobs[i];
    }
    if (!has_memory) {
        kv_spill_destroy(s);
        return -ENOMEM;
    }
    kv->spill = s;
    for (uint32_t i = 0; i < kv->n_blocks; i++)
        if (prefix_cache_has(kv->prefixes, i))
            kv_spill_offer(s, i);
    *ret_spill = s;
    return 0;
}

struct spill_job *kv_spill_free_job(struct kv_spill *s)
{
    for (size_t i = 0; i < SPILL_JOBS; i++)
        if (!s->jobs[i]->is_busy)
            return s->jobs[i];
    return NULL;
}

/* ---- keys ---- */

void kv_spill_next_key(const struct pool_key *parent, uid_t uid, const uint32_t *tokens,
                       struct pool_key *ret)
{
    uint32_t words[1 + KV_BLOCK_TOKENS] = {uid};

    memcpy(words + 1, tokens, KV_BLOCK_TOKENS * sizeof(*tokens));
    pool_key_derive(parent, "block", words, sizeof(words), ret);
}

static uint32_t parent_of(const struct kv_spill *s, uint32_t block)
{
    uint32_t parent;
    uid_t uid;

    prefix_cache_get(s->kv->prefixes, block, &uid, &parent);
    return parent;
}

/* From the first block of its chain that has none yet down to this one. */
static const struct pool_key *key_of(struct kv_spill *s, uint32_t block)
{
    uint32_t n = 0, at = block;

    while (at != PREFIX_ROOT && !s->blocks[at].key.hex[0]) {
        s->path[n++] = at;
        at = parent_of(s, at);
    }
    while (n--) {
        const struct pool_key *before = at == PREFIX_ROOT ? &s->contents : &s->blocks[at].key;
        uint32_t parent;
        const uint32_t *tokens;
        uid_t uid;

        at = s->path[n];
        tokens = prefix_cache_get(s->kv->prefixes, at, &uid, &parent);
        kv_spill_next_key(before, uid, tokens, &s->blocks[at].key);
        s->blocks[at].last_common = uid == PREFIX_COMMON    ? at
                                    : parent == PREFIX_ROOT ? PREFIX_ROOT
                                                            : s->blocks[parent].last_common;
    }
    return &s->blocks[block].key;
}

bool kv_spill_finds(const struct kv_spill *s, const struct pool_key *key, uint64_t *ret_bytes)
{
    return kv_disk_has(s->disk, key, ret_bytes) &&
           (*ret_bytes == kv_file_bytes(s->block_bytes, s->window_bytes) ||
            *ret_bytes == kv_file_bytes(s->block_bytes, 0));
}

/* Whether all that is known of the block is on disk. */
static bool is_on_disk(struct kv_spill *s, uint32_t block)
{
    uint64_t bytes;

    return kv_spill_finds(s, key_of(s, block), &bytes) &&
           (!kv_cache_has_window(s->kv, block) ||
            bytes == kv_file_bytes(s->block_bytes, s->window_bytes));
}

/* ---- what waits ---- */

void kv_spill_offer(struct kv_spill *s, uint32_t block)
{
    if (!s)
        return;
    s->blocks[block].is_refused = false;
    if (s->blocks[block].is_waiting)
        return;
    s->blocks[block].is_waiting = true;
    index_list_push(&s->waiting, block);
}

static void withdraw(struct kv_spill *s, uint32_t block)
{
    if (s->blocks[block].is_waiting)
        index_list_remove(&s->waiting, block);
    s->blocks[block].is_waiting = false;
}

void kv_spill_forget(struct kv_spill *s, uint32_t block)
{
    if (!s)
        return;
    withdraw(s, block);
    s->blocks[block] = (struct spilled){0};
    for (size_t i = 0; i < SPILL_JOBS; i++)
        if (s->jobs[i]->is_busy && s->jobs[i]->block == block)
            s->jobs[i]->block = INDEX_NONE;
}

uint32_t kv_spill_n_waiting(const struct kv_spill *s)
{
    return s->waiting.n;
}

uint32_t kv_spill_n_on_disk(struct kv_spill *s, const uint32_t *blocks, uint32_t n,
                            uint64_t *ret_bytes)
{
    uint64_t bytes;
    uint32_t i;

    *ret_bytes = 0;
    for (i = 0; i < n && kv_spill_finds(s, key_of(s, blocks[i]), &bytes); i++)
        *ret_bytes += bytes;
    return i;
}

static uint64_t bytes_of(uint64_t n_blocks, uint64_t block_bytes)
{
    return SPILL_JOBS * block_bytes +
           n_blocks * (sizeof(struct spilled) + sizeof(struct index_link) + sizeof(uint32_t));
}

uint64_t kv_spill_bytes(const struct kv_spill *s)
{
    return s ? bytes_of(s->kv->n_blocks, s->block_bytes + s->window_bytes) : 0;
}

uint64_t kv_spill_bytes_for(const struct model *m, const struct kv_size *size)
{
    return bytes_of(kv_blocks_for(size->tokens),
                    kv_size_block_bytes(m, size, false) + kv_size_block_bytes(m, size, true));
}

/* ---- writes ---- */

/* Whether the block may be written only after the one that it follows. */
static bool has_to_wait(struct kv_spill *s, uint32_t parent)
{
    return parent != PREFIX_ROOT && !s->blocks[parent].is_written_now &&
           (!s->blocks[parent].key.hex[0] || !is_on_disk(s, parent));
}

/* Before all that wait. Those of a chain are offered from its end on: so each of them is passed
 * once on the way up, and its turn comes on the way down. */
static void offer_first(struct kv_spill *s, uint32_t block)
{
    withdraw(s, block);
    s->blocks[block].is_waiting = true;
    index_list_push_first(&s->waiting, block);
}

static void begin_write(struct kv_spill *s, struct spill_job *j, uint32_t block)
{
    struct kv_record *r = &j->job.record;
    uint32_t parent, common;
    const uint32_t *tokens = prefix_cache_get(s->kv->prefixes, block, &r->uid, &parent);

    withdraw(s, block);
    r->key = *key_of(s, block);
    memcpy(r->tokens, tokens, sizeof(r->tokens));
    r->block_bytes = s->block_bytes;
    r->window_bytes = 0;
    kv_cache_read(s->kv, block, false, r->data);
    if (kv_cache_has_window(s->kv, block)) {
        r->window_bytes = s->window_bytes;
        kv_cache_read(s->kv, window_blocks_of(s->kv->windows, block), true,
                      (char *)r->data + s->block_bytes);
    }
    j->job.parent = parent != PREFIX_ROOT ? s->blocks[parent].key : (struct pool_key){""};
    common = parent != PREFIX_ROOT ? s->blocks[parent].last_common : PREFIX_ROOT;
    j->job.common = common != PREFIX_ROOT ? s->blocks[common].key : (struct pool_key){""};
    j->job.kind = KV_JOB_WRITE;
    j->block = block;
    j->restore = NULL;
    j->is_busy = true;
    s->blocks[block].is_written_now = true;
    kv_disk_start(s->disk, &s->client, &j->job);
}

static uint32_t n_writes(const struct kv_spill *s)
{
    uint32_t n = 0;

    for (size_t i = 0; i < SPILL_JOBS; i++)
        n += s->jobs[i]->is_busy && s->jobs[i]->job.kind == KV_JOB_WRITE;
    return n;
}

/* True: it may go on at once. */
static bool begin_writes(struct kv_spill *s, uint32_t most)
{
    for (unsigned n = 0; n < LOOKS_MOST && s->waiting.n; n++) {
        uint32_t block = s->waiting.first, parent = parent_of(s, block);
        struct spill_job *j = kv_spill_free_job(s);

        if (parent != PREFIX_ROOT && s->blocks[parent].is_refused) {
            withdraw(s, block);
            s->blocks[block].is_refused = true;
            continue;
        }
        if (has_to_wait(s, parent)) {
            offer_first(s, parent);
            continue;
        }
        if (s->blocks[block].is_written_now || is_on_disk(s, block)) {
            withdraw(s, block);
            continue;
        }
        if (!most || !j || n_writes(s) >= SPILL_WRITES || !kv_disk_takes_writes(s->disk))
            return false;
        begin_write(s, j, block);
        most--;
    }
    return s->waiting.n > 0;
}

static void end_write(struct kv_spill *s, const struct spill_job *j)
{
    if (j->block == INDEX_NONE)
        return;
    s->blocks[j->block].is_written_now = false;
    s->blocks[j->block].is_refused = j->job.result == -E2BIG;
    if (j->job.result == -E2BIG)
        return;
    if (j->job.result < 0 && j->job.result != -ECANCELED)
        kv_spill_offer(s, j->block); /* when the drive takes writes again */
}

/* ---- the step ---- */

static void end_job(struct kv_spill *s, struct kv_job *job)
{
    struct spill_job *j = container_of(job, struct spill_job, job);

    j->is_busy = false;
    if (job->kind == KV_JOB_WRITE)
        end_write(s, j);
    else if (j->restore)
        kv_restore_take(j->restore, j);
}

bool kv_spill_step(struct kv_spill *s, uint32_t most_writes)
{
    struct kv_job *job;

    while ((job = kv_disk_take_done(s->disk, &s->client)))
        end_job(s, job);
    kv_restore_ask_all(s);
    return begin_writes(s, most_writes);
}

/* What is waiting would be computed again by the next process. */
static void flush(struct kv_spill *s)
{
    struct kv_job *job;
    uint64_t most_ns;

    while ((most_ns = kv_disk_flush_ns(s->disk))) {
        begin_writes(s, SPILL_WRITES);
        job = kv_disk_wait_done(s->disk, &s->client, most_ns);
        if (!job && !s->waiting.n)
            return;
        if (!job && !kv_disk_takes_writes(s->disk))
            return;
        if (job)
            end_job(s, job);
    }
}

void kv_spill_destroy(struct kv_spill *s)
{
    if (!s)
        return;
    if (s->kv->spill == s) {
        flush(s);
        s->kv->spill = NULL;
    }
    for (size_t i = 0; i < SPILL_JOBS; i++)
        if (s->jobs[i] && !s->jobs[i]->is_busy)
            release_job(&s->jobs[i]->job);
    kv_disk_client_finish(s->disk, &s->client); /* the others are the disk's from now on */
    free(s->blocks);
    free(s->links);
    free(s->path);
    free(s);
}
