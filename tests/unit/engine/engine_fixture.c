/* SPDX-License-Identifier: MIT */
#include "engine_fixture.h"

#include "base/clock.h"
#include "harness.h"

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAIT_NS 60000000000ull

const char *fixture_model(void)
{
    static char absolute[PATH_MAX];
    const char *path = harness_source("models/demo/hearth-demo-q8_0.gguf");

    if (access(path, R_OK) < 0)
        path = harness_shared("data/weights/stories260K/stories260K-Q8_0.gguf");
    return path ? realpath(path, absolute) : NULL;
}

struct engine *fixture_engine(uint32_t context_tokens)
{
    return fixture_engine_sharing(context_tokens, 100);
}

struct engine *fixture_engine_sharing(uint32_t context_tokens, uint32_t prefix_percent)
{
    struct engine_config config = {.device = "cpu:2",
                                   .context_tokens = context_tokens,
                                   .kv_bytes = 1,
                                   .prefix_percent = prefix_percent,
                                   .numa_node = -1};

    return fixture_engine_with(&config);
}

struct engine *fixture_engine_with(const struct engine_config *config)
{
    struct engine *e = NULL;
    struct error err = {0};

    if (!fixture_model())
        SKIP("no model: neither in the tree nor in the shared data");
    if (engine_create(config, &e, &err) < 0)
        fail_msg("%s", err.text);
    return e;
}

const struct engine_model_info *fixture_info(struct engine *e, const char *model)
{
    const struct engine_model_info *info = NULL;

    assert_int_equal(engine_find_model(e, model, &info, NULL), 0);
    return info;
}

void fixture_wait_idle(struct engine *e, const char *model)
{
    for (int i = 0; i < 60000 && !fixture_info(e, model)->is_idle; i++)
        fixture_idle(e, 1);
    assert_true(fixture_info(e, model)->is_idle);
}

void fixture_copy_model(char ret_path[64])
{
    size_t len;
    char *data = harness_read_file(fixture_model(), &len);
    int fd;

    strcpy(ret_path, "/tmp/hearth-copy-XXXXXX.gguf");
    fd = mkstemps(ret_path, 5);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    close(fd);
    free(data);
}

/* Whether something came. */
static bool dispatch_for(struct engine *e, int milliseconds)
{
    struct pollfd p = {.fd = engine_event_fd(e), .events = POLLIN};
    bool came = poll(&p, 1, milliseconds) > 0;

    if (came)
        engine_dispatch(e);
    return came;
}

void fixture_wait(struct engine *e, const bool *flag)
{
    uint64_t last_ns = clock_now_ns();

    while (!*flag) {
        if (dispatch_for(e, 100))
            last_ns = clock_now_ns();
        else if (clock_now_ns() - last_ns > WAIT_NS)
            fail_msg("nothing came for a minute");
    }
}

void fixture_idle(struct engine *e, int milliseconds)
{
    uint64_t end_ns = clock_now_ns() + (uint64_t)milliseconds * 1000000u;

    while (clock_now_ns() < end_ns)
        dispatch_for(e, 10);
}

/* ---- requests ---- */

static void on_start(void *user, uint32_t prompt_tokens)
{
    struct ask *a = user;

    assert_false(a->has_started);
    a->has_started = true;
    a->prompt_tokens = prompt_tokens;
}

static void on_token(void *user, const struct engine_token *token)
{
    struct ask *a = user;

    assert_false(a->is_done);
    strbuf_add(&a->text, token->text, token->text_len);
    if (token->id >= 0) {
        assert_true(a->n_ids < ANSWER_TOKENS_MOST);
        if (!a->n_ids) {
            a->n_top = token->n_top;
            memcpy(a->top, token->top, token->n_top * sizeof(*a->top));
        }
        a->logprobs[a->n_ids] = token->logprob;
        a->ids[a->n_ids++] = token->id;
    }
    if (a->hook)
        a->hook(a);
}

static void on_done(void *user, const struct engine_result *result)
{
    struct ask *a = user;

    a->n_done++;
    a->is_done = true;
    a->result = *result;
    if (result->error)
        a->error = *result->error;
    if (result->stop_string)
        snprintf(a->stop_string, sizeof(a->stop_string), "%s", result->stop_string);
}

void ask_init(struct ask *a, struct engine *e, const char *text)
{
    memset(a, 0, sizeof(*a));
    a->engine = e;
    a->uid = 1000;
    strbuf_init(&a->text, 0);
    a->prompt = (struct engine_prompt){
        .text = text, .text_len = text ? strlen(text) : 0, .add_special = true};
    engine_sampling_defaults(&a->params.sampling);
    a->params.sampling.temperature = 0;
    a->params.max_tokens = 8;
    a->params.top_logprobs = -1;
    a->params.ignore_eos = true;
}

void ask_finish(struct ask *a)
{
    strbuf_finish(&a->text);
}

int ask_try(struct ask *a, struct error *err)
{
    static const struct engine_events events = {on_start, on_token, on_done};
    struct engine_caller caller = {.uid = a->uid, .pid = 1};

    return engine_generate(a->engine, a->model ? a->model : fixture_model(), &a->prompt, &a->params,
                           &caller, &events, a, &a->request, err);
}

void ask_begin(struct ask *a)
{
    struct error err = {0};

    if (ask_try(a, &err) < 0)
        fail_msg("%s", err.text);
}

void ask_wait(struct ask *a)
{
    fixture_wait(a->engine, &a->is_done);
    assert_int_equal(a->n_done, 1);
}

void ask_run(struct ask *a)
{
    ask_begin(a);
    ask_wait(a);
}

void assert_answers_as(struct engine *e, const char *model, const char *text,
                       const struct ask *want)
{
    struct ask a;

    ask_init(&a, e, text);
    a.model = model;
    ask_run(&a);
    assert_int_equal(a.result.finish, ENGINE_FINISH_LENGTH);
    assert_int_equal(a.n_ids, want->n_ids);
    assert_memory_equal(a.ids, want->ids, want->n_ids * sizeof(want->ids[0]));
    ask_finish(&a);
}

/* ---- loads ---- */

static void on_progress(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
    struct load_wait *w = user;

    assert_true(done_bytes >= w->done_bytes && done_bytes <= total_bytes);
    w->done_bytes = done_bytes;
    w->total_bytes = total_bytes;
}

static void on_loaded(void *user, const struct error *err)
{
    struct load_wait *w = user;

    w->is_done = true;
    w->n_done++;
    w->error = *err;
}

const struct engine_load_events fixture_load_events = {on_progress, on_loaded};

int fixture_load(struct engine *e, const char *name, struct error *ret_err)
{
    struct load_wait w = {0};
    int r = engine_load(e, name, &fixture_load_events, &w, NULL, ret_err);

    if (r < 0)
        return r;
    fixture_wait(e, &w.is_done);
    if (ret_err)
        *ret_err = w.error;
    return w.error.code;
}
