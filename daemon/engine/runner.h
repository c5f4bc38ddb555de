/* SPDX-License-Identifier: MIT */
/*
 * A loaded model on a device: its weights imported, its cache, its recorded plans. Turns "these
 * sessions go forward by these tokens" into one submission. Belongs to the device thread (or to the
 * only thread of a command that works without the daemon).
 */
#ifndef HEARTH_ENGINE_RUNNER_H
#define HEARTH_ENGINE_RUNNER_H

#include "engine/kv_disk.h"
#include "engine/kv_spill.h"
#include "engine/loaded_model.h"
#include "engine/pooler.h"
#include "engine/session.h"
#include "model/plan.h"

struct runner;

enum { RUNNER_BATCH_TOKENS = 512, RUNNER_SEQS = 16 };

struct runner_config {
    uint32_t context_tokens; /* longest session; at least 1 */
    struct kv_size cache;    /* what the cache holds over all sessions */
    struct kv_size least;    /* goes as well where memory is short; of 0 tokens: nothing does */
    uint64_t prefix_tokens;  /* of these, most that sessions may share with later ones */
    uint32_t batch_tokens;   /* longest step; 0: RUNNER_BATCH_TOKENS */
    uint32_t max_seqs; /* sessions in one step, and with state of fixed size; 0: RUNNER_SEQS */
    struct pool_config pools;
    struct kv_disk *disk; /* where what is shared goes that nobody uses; must outlive it; or NULL */
    bool full_barriers;   /* debug */
};

/* Has the device compile what the index-th of the runner's plans needs, before there is a runner or
 * weights: a moment's work for each, or seconds the first time. -ENOENT past the last. */
int runner_prepare(const struct model *m, struct device *dev, const struct runner_config *cfg,
                   size_t index, struct error *err);

/* lm's pools must be filled. lm and dev must outlive the runner. */
int runner_create(struct loaded_model *lm, struct device *dev, const struct runner_config *cfg,
                  struct runner **ret_runner, struct error *err);
void runner_destroy(struct runner *r); /* NULL is fine; its sessions first */

int runner_session_create(struct runner *r, struct session **ret_session, struct error *err);

/* What one session does in a step. */
struct run_item {
    struct session *session;
    /* n_tokens >= 1 to feed at session->n_past; NULL with n_tokens 1: the token that the session's
     * last step draws, which is still under way or just ended */
    const uint32_t *tokens;
    uint32_t n_tokens;
    /* Sampling settings for the token after the last one, or NULL. history and n_history are filled
     * in here from the session: set n_history to how far the penalties look back. */
    const struct step_sample *sample;
    struct sample_result *ret_result; /* when sample is set */
    /* Of a model that pools, instead of sample, or NULL: which rows it wants, and where they are
     * added when the step has ended; until then it must stay. */
    struct pooler *pooler;
    /* The tokens were generated, one by one, and are fed again: at most the device's exact_rows of
     * them, so that they come out as they did then. */
    bool is_generated;
    /* The tokens are of a prompt, also where there is only one: what is left of it, or all. More
     * than one are taken for a prompt's unless is_generated. */
    bool is_prompt;
};

/* Most steps that may be under way at once: while one runs the next is made ready and queued. */
#define RUNNER_STEPS 2u

/*
 * Starts one step over n items: at most max_seqs, at most batch_tokens in all, each of another
 * session. Returns when it is queued behind the steps under way; the tokens have been read then,
 * and every session has gone forward (n_past, n_history; its last token, where one is drawn, is
 * known from runner_finish on). ret_result must stay until then.
 * -EBUSY: RUNNER_STEPS are under way; -ENOSPC: the cache is full (nothing was started; blocks
 * already taken stay with their sessions); -EINVAL: a limit above is broken or a token is not in
 * the vocabulary; -EIO: the device failed.
 */
int runner_submit(struct runner *r, const struct run_item *items, size_t n, struct error *err);
/* Waits for the oldest step under way and fills in its results; -EIO: the device failed. Then, and
 * when none is under way (0), a session may be destroyed or truncated again. */
int runner_finish(struct runner *r, struct error *err);
uint32_t runner_steps_under_way(const struct runner *r);

/* Both in one; none may be under way before (-EBUSY). */
int runner_step(struct runner *r, const struct run_item *items, size_t n, struct error *err);

/* Feeds the tokens of a text to an empty session of a model that pools and returns its vector,
 * f32[embd], of length 1. -ENOTSUP: the model does not pool. */
int runner_vector(struct runner *r, struct session *s, const uint32_t *tokens, uint32_t n_tokens,
                  float *ret_vector, struct error *err);

/* Feeds tokens to a session and returns the logits after every one of them, f32[n_tokens][vocab].
 * No step may be under way (-EBUSY). */
int runner_logits(struct runner *r, struct session *s, const uint32_t *tokens, uint32_t n_tokens,
                  float *ret_logits, struct error *err);

/* The calls of the step that was started last, and its header; runner's. 0 before the first one. */
size_t runner_last_calls(const struct runner *r, const struct dispatch **ret_list,
                         const struct step_header **ret_header);

const struct kv_cache *runner_kv(const struct runner *r);
/* NULL: nothing of its cache goes to the disk, for want of one or for the reason of the note. */
struct kv_spill *runner_spill(const struct runner *r);
const char *runner_spill_note(const struct runner *r); /* NULL: there is nothing to say */
/* Gives up what the user's earlier sessions left, but for what runs. */
uint64_t runner_forget(struct runner *r, uid_t uid);
/* What its sessions' memory takes: the cache, what of it is on its way to disk or back, and the
 * slots for state of fixed size. */
uint64_t runner_cache_bytes(const struct runner *r);
/* The same of the smallest runner that this configuration allows. */
uint64_t runner_least_cache_bytes(const struct model *m, const struct runner_config *cfg);
/* Weights that the device could not map and holds a copy of. */
uint64_t runner_copied_bytes(const struct runner *r);
/* Most tokens of one step: as configured, or fewer where the device turned out slow. */
uint32_t runner_batch_tokens(const struct runner *r);
/* Bytes of activations and step buffers, and of blocks on their way to the disk. */
uint64_t runner_private_bytes(const struct runner *r);

#endif
