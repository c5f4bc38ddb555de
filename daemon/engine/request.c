/* SPDX-License-Identifier: MIT */
#include "engine/request.h"

#include "base/clock.h"
#include "device/device.h"
#include "engine/engine_private.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void engine_sampling_defaults(struct engine_sampling *s)
{
    *s = (struct engine_sampling){
        .temperature = 0.8f,
        .top_k = 40,
        .top_p = 0.95f,
        .min_p = 0.05f,
        .repeat_penalty = 1.0f,
        .repeat_last_n = 64,
    };
}

static bool in_range(float x, float low, float high)
{
    return isfinite(x) && x >= low && x <= high;
}

static int check_sampling(const struct engine_sampling *s, struct error *err)
{
    if (!in_range(s->temperature, 0, 100))
        return error_set(err, EINVAL, "temperature must lie between 0 and 100");
    if (!in_range(s->top_p, 0, 1) || !in_range(s->min_p, 0, 1))
        return error_set(err, EINVAL, "top_p and min_p must lie between 0 and 1");
    if (!in_range(s->repeat_penalty, 0.01f, 100))
        return error_set(err, EINVAL, "repeat_penalty must lie between 0.01 and 100");
    if (!in_range(s->frequency_penalty, -100, 100) || !in_range(s->presence_penalty, -100, 100))
        return error_set(err, EINVAL, "the penalties must lie between -100 and 100");
    return 0;
}

static int copy_ids(struct engine_request *r, const struct engine_prompt *prompt)
{
    for (size_t i = 0; i < prompt->n_ids; i++) {
        int e = request_add_token(r, (uint32_t)prompt->ids[i]);
        if (e < 0)
            return e;
    }
    return 0;
}

static int copy_prompt(struct engine_request *r, const struct engine_prompt *prompt,
                       struct error *err)
{
    int n_given = (prompt->chat != NULL) + (prompt->text != NULL) + (prompt->ids != NULL);

    if (n_given != 1)
        return error_set(err, EINVAL, "a request needs one of a chat, a text or tokens");
    if (prompt->chat) {
        r->chat = json_deep_copy(prompt->chat);
        if (!r->chat)
            return error_set(err, ENOMEM, "out of memory");
    }
    if (prompt->text) {
        r->text = malloc(prompt->text_len + 1);
        if (!r->text)
            return error_set(err, ENOMEM, "out of memory");
        memcpy(r->text, prompt->text, prompt->text_len);
        r->text[prompt->text_len] = 0;
        r->text_len = prompt->text_len;
        r->add_special = prompt->add_special;
    }
    if (copy_ids(r, prompt) < 0)
        return error_set(err, ENOMEM, "out of memory");
    return 0;
}

static int copy_params(struct engine_request *r, const struct engine_params *params,
                       struct error *err)
{
    char **stop = NULL;
    struct engine_bias *bias = NULL;

    r->params = *params;
    r->params.stop = NULL;
    r->params.n_stop = 0;
    r->params.bias = NULL;
    if (params->n_stop) {
        stop = calloc(params->n_stop, sizeof(*stop));
        if (!stop)
            return error_set(err, ENOMEM, "out of memory");
        r->params.stop = (const char *const *)stop;
        for (size_t i = 0; i < params->n_stop; i++) {
            stop[i] = strdup(params->stop[i]);
            if (!stop[i])
                return error_set(err, ENOMEM, "out of memory");
            r->params.n_stop++;
        }
    }
    if (params->n_bias) {
        bias = calloc(params->n_bias, sizeof(*bias));
        if (!bias)
            return error_set(err, ENOMEM, "out of memory");
        memcpy(bias, params->bias, params->n_bias * sizeof(*bias));
        r->params.bias = bias;
    }
    return 0;
}

int request_create(struct engine *e, const struct engine_prompt *prompt,
                   const struct engine_params *params, const struct engine_caller *caller,
                   const struct engine_events *events, void *user,
                   struct engine_request **ret_request, struct error *err)
{
    struct engine_request *r;
    int code = check_sampling(&params->sampling, err);

    if (code < 0)
        return code;
    r = calloc(1, sizeof(*r));
    if (!r)
        return error_set(err, ENOMEM, "out of memory");
    r->engine = e;
    list_init(&r->link);
    list_init(&r->all);
    r->caller = *caller;
    r->events = *events;
    r->user = user;
    r->queued_ns = clock_now_ns();
    answer_init(&r->answer);
    r->done = event_new(&e->events, EVENT_DONE, r);
    code = r->done ? copy_prompt(r, prompt, err) : error_set(err, ENOMEM, "out of memory");
    if (code == 0)
        code = copy_params(r, params, err);
    if (code < 0) {
        request_destroy(r);
        return code;
    }
    if (!r->params.sampling.has_seed &&
        getrandom(&r->params.sampling.seed, sizeof(r->params.sampling.seed), 0) < 0)
        r->params.sampling.seed = r->queued_ns;
    *ret_request = r;
    return 0;
}

void request_destroy(struct engine_request *r)
{
    if (!r)
        return;
    list_remove(&r->link);
    list_remove(&r->all);
    if (r->done)
        event_recycle(&r->engine->events, r->done);
    json_decref(r->chat);
    free(r->text);
    for (size_t i = 0; i < r->params.n_stop; i++)
        free((void *)(uintptr_t)r->params.stop[i]);
    free((void *)(uintptr_t)r->params.stop);
    free((void *)(uintptr_t)r->params.bias);
    free(r->tokens);
    answer_finish(&r->answer);
    pooler_finish(&r->pooler);
    loaded_model_unref(r->lm);
    free(r);
}

int request_reserve_tokens(struct engine_request *r, uint32_t n)
{
    uint32_t *more;

    if (n <= r->cap_tokens)
        return 0;
    more = realloc(r->tokens, n * sizeof(*more));
    if (!more)
        return -ENOMEM;
    r->tokens = more;
    r->cap_tokens = n;
    return 0;
}

int request_add_token(struct engine_request *r, uint32_t token)
{
    if (r->n_tokens == r->cap_tokens &&
        request_reserve_tokens(r, r->cap_tokens ? r->cap_tokens * 2 : 64) < 0)
        return -ENOMEM;
    r->tokens[r->n_tokens++] = token;
    return 0;
}

void request_finish(struct engine_request *r, enum engine_finish finish)
{
    uint64_t now_ns = clock_now_ns();
    uint64_t started_ns = r->started_ns ? r->started_ns : now_ns;
    uint64_t first_ns = r->first_token_ns ? r->first_token_ns : now_ns;
    /* what ended before it ran has a prompt, as far as it came, and no answer */
    uint32_t n_prompt = r->n_prompt ? r->n_prompt : r->n_tokens;

    if (finish == ENGINE_FINISH_CANCEL && atomic_load(&r->is_expired))
        finish = ENGINE_FINISH_EXPIRED;

    r->result = (struct engine_result){
        .finish = finish,
        .error = finish == ENGINE_FINISH_ERROR ? &r->error : NULL,
        .stop_string = r->answer.stop_string,
        .prompt_tokens = n_prompt,
        .cached_tokens = r->n_cached,
        .completion_tokens = r->n_tokens - n_prompt,
        .seed = r->params.sampling.seed,
        .vector = r->wants_vector && finish == ENGINE_FINISH_STOP ? r->pooler.vector : NULL,
        .n_vector = r->wants_vector && finish == ENGINE_FINISH_STOP ? r->pooler.width : 0,
        .queue_ns = started_ns - r->queued_ns,
        .prefill_ns = first_ns > started_ns ? first_ns - started_ns : 0,
        .decode_ns = now_ns - first_ns,
        .first_token_ns = first_ns - r->queued_ns,
    };
}
