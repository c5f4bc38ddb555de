/* SPDX-License-Identifier: MIT */
/*
 * An engine without a model: engine.h on a thread of its own whose answers the prompt scripts. The
 * prompt (or the last message's content) is one of
 *     echo TEXT   TEXT in pieces of at most 3 bytes, whole characters
 *     count N     N tokens "0 ", "1 ", ...
 *     forever     "word " without end
 *     block N     N tokens of 1000 bytes
 *     fail        two tokens, then an I/O error
 *     toolong     refused as longer than the context
 *     wait        never starts
 *     spent       refused: the user's tokens of a minute are spent; 17 s until there are more
 * and of a text whose vector is wanted
 *     vector X    {X, 2X, 2X} / 3
 *     toolong, wait, spent as above
 * Models: "tiny" is ready, "cold" can be loaded, "broken" cannot.
 */
#ifndef HEARTH_TESTS_FAKE_ENGINE_H
#define HEARTH_TESTS_FAKE_ENGINE_H

#include "engine/engine.h"

/* What the engine was last asked, and what it has counted; read under its lock. */
struct fake_seen {
    struct engine_params params;
    struct engine_caller caller;
    char chat[4096];     /* the object for the template, dumped with sorted keys */
    char stop[64];       /* the first one */
    uid_t forgotten_uid; /* whom engine_forget was called for; 0 at start */
    uint32_t n_together; /* most vectors under way at a time */
    uint32_t n_generated, n_forks, n_cancelled, n_pauses, n_tokens, n_running, n_loads;
};
void fake_engine_look(struct engine *e, struct fake_seen *ret_seen);
/* What all models' chat template is, and how it ends prompts; static. NULL and "" at start. */
void fake_engine_set_template(struct engine *e, const char *chat_template, const char *prompt_end);
/* All models say that they are being loaded, and have a third of their bytes after half a second.
 */
void fake_engine_set_loading(struct engine *e);
/* Between two steps; 0 at start. */
void fake_engine_set_delay(struct engine *e, unsigned microseconds);

#endif
