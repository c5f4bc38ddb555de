/* SPDX-License-Identifier: MIT */
/* Drives a whole engine from one thread: requests whose answers are collected, loads that are
 * waited for. Every wait gives up after a minute and fails the test. */
#ifndef HEARTH_TESTS_ENGINE_ENGINE_FIXTURE_H
#define HEARTH_TESTS_ENGINE_ENGINE_FIXTURE_H

#include "base/strbuf.h"
#include "engine/engine.h"

enum { ANSWER_TOKENS_MOST = 1024 };

/* One request and what came of it. */
struct ask {
    struct engine *engine;
    struct engine_request *request;
    const char *model; /* NULL: the one that all tests use */
    struct engine_prompt prompt;
    struct engine_params params;
    uid_t uid; /* who asks */
    /* called in on_token; may cancel or pause */
    void (*hook)(struct ask *a);

    struct strbuf text;
    int32_t ids[ANSWER_TOKENS_MOST];
    float logprobs[ANSWER_TOKENS_MOST];
    struct engine_top top[20]; /* of the first token */
    size_t n_top, n_ids;
    uint32_t prompt_tokens;
    bool has_started, is_done;
    unsigned n_done; /* calls of on_done */
    struct engine_result result;
    struct error error;
    char stop_string[32];
};

/* The model all tests use: the one in the tree, else a small one of the shared data; NULL when
 * neither is there. Static buffer. */
const char *fixture_model(void);

/* An engine over the cpu device, with a cache of one context. context_tokens as in engine_config.
 */
struct engine *fixture_engine(uint32_t context_tokens);
/* The same, and prefixes of earlier requests may take this share of the cache (above: all). */
struct engine *fixture_engine_sharing(uint32_t context_tokens, uint32_t prefix_percent);
/* As configured. Skips the test where there is no model. */
struct engine *fixture_engine_with(const struct engine_config *config);

const struct engine_model_info *fixture_info(struct engine *e, const char *model);
void fixture_wait_idle(struct engine *e, const char *model);
/* A second model: a copy of the file, for the caller to unlink. */
void fixture_copy_model(char ret_path[64]);

/* Greedy, eight tokens, going on past end tokens. */
void ask_init(struct ask *a, struct engine *e, const char *text);
void ask_finish(struct ask *a);
/* Puts the question; the test fails when it is refused at once. */
void ask_begin(struct ask *a);
/* The same, and returns what the engine says. */
int ask_try(struct ask *a, struct error *err);
/* Dispatches until it is done. */
void ask_wait(struct ask *a);
/* begin and wait */
void ask_run(struct ask *a);
/* The model gives the same answer to the same question, asked anew with nothing else said. */
void assert_answers_as(struct engine *e, const char *model, const char *text,
                       const struct ask *want);

/* Dispatches until *flag, whatever sets it. */
void fixture_wait(struct engine *e, const bool *flag);
/* Dispatches what has come and what comes in this time. */
void fixture_idle(struct engine *e, int milliseconds);

/* The end of a load. */
struct load_wait {
    bool is_done;
    unsigned n_done;
    struct error error;
    uint64_t done_bytes, total_bytes;
};
extern const struct engine_load_events fixture_load_events; /* user: struct load_wait */
/* Loads and waits; returns the code. */
int fixture_load(struct engine *e, const char *name, struct error *ret_err);

#endif
