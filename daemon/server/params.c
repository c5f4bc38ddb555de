/* SPDX-License-Identifier: MIT */
#include "server/params.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int read_stop(struct params *p, const json_t *object, struct api_error *err)
{
    json_t *stop = fields_get(object, "stop"), *item;
    size_t i, n = json_is_array(stop) ? json_array_size(stop) : stop ? 1 : 0;

    if (n > PARAMS_MAX_STOP)
        return fields_fail(err, 400, "stop", "invalid_value", "'stop' may hold %d strings, not %zu",
                           PARAMS_MAX_STOP, n);
    for (i = 0; i < n; i++) {
        item = json_is_array(stop) ? json_array_get(stop, i) : stop;
        if (!json_is_string(item))
            return fields_fail(err, 400, "stop", "invalid_type",
                               "'stop' must be a string or an array of strings, not %s",
                               fields_type_name(item));
        if (strlen(json_string_value(item)) != json_string_length(item))
            return fields_fail(err, 400, "stop", "invalid_value", "'stop' holds a NUL character");
        if (json_string_length(item))
            p->stop[p->engine.n_stop++] = json_string_value(item);
    }
    p->engine.stop = p->stop;
    return 0;
}

static int read_bias(struct params *p, const json_t *object, struct api_error *err)
{
    json_t *map = fields_get(object, "logit_bias"), *value;
    const char *key;

    if (!map)
        return 0;
    if (!json_is_object(map))
        return fields_fail(err, 400, "logit_bias", "invalid_type",
                           "'logit_bias' must be an object of token ids and numbers, not %s",
                           fields_type_name(map));
    if (json_object_size(map) > PARAMS_MAX_BIAS)
        return fields_fail(err, 400, "logit_bias", "invalid_value",
                           "'logit_bias' may hold %d tokens", PARAMS_MAX_BIAS);
    p->bias = calloc(json_object_size(map) + 1, sizeof(*p->bias));
    if (!p->bias)
        return fields_fail(err, 503, NULL, NULL, "there is no memory for this request now");
    json_object_foreach(map, key, value)
    {
        char *end;
        long id;

        errno = 0;
        id = strtol(key, &end, 10);
        if (*key < '0' || *key > '9' || *end || errno || id > INT32_MAX)
            return fields_fail(err, 400, "logit_bias", "invalid_value",
                               "'logit_bias' has the key \"%.40s\", which is no token id", key);
        if (!json_is_number(value) || !(json_number_value(value) >= -100) ||
            json_number_value(value) > 100)
            return fields_fail(err, 400, "logit_bias", "invalid_value",
                               "'logit_bias' of token %ld must be a number from -100 to 100", id);
        p->bias[p->engine.n_bias++] =
            (struct engine_bias){(int32_t)id, (float)json_number_value(value)};
    }
    p->engine.bias = p->bias;
    return 0;
}

static int read_logprobs(struct params *p, const json_t *object, bool is_chat,
                         struct api_error *err)
{
    uint64_t top = 0;
    bool wanted = false;

    p->engine.top_logprobs = -1;
    if (!is_chat && !json_is_boolean(json_object_get(object, "logprobs"))) {
        wanted = fields_get(object, "logprobs");
        if (fields_uint(object, "logprobs", 20, &top, err) < 0)
            return -1;
    } else {
        if (fields_bool(object, "logprobs", &wanted, err) < 0 ||
            fields_uint(object, "top_logprobs", 20, &top, err) < 0)
            return -1;
        if (top && !wanted)
            return fields_fail(err, 400, "top_logprobs", "invalid_value",
                               "'top_logprobs' needs 'logprobs' to be true");
    }
    if (wanted)
        p->engine.top_logprobs = (int)top;
    return 0;
}

static int read_sampling(struct engine_sampling *s, const json_t *object, struct api_error *err)
{
    json_t *seed = fields_get(object, "seed");
    uint64_t top_k = s->top_k, last_n = s->repeat_last_n;

    if (fields_number(object, "temperature", 0, 100, &s->temperature, err) < 0 ||
        fields_number(object, "top_p", 0, 1, &s->top_p, err) < 0 ||
        fields_number(object, "min_p", 0, 1, &s->min_p, err) < 0 ||
        fields_number(object, "repeat_penalty", 0.01, 100, &s->repeat_penalty, err) < 0 ||
        fields_number(object, "frequency_penalty", -2, 2, &s->frequency_penalty, err) < 0 ||
        fields_number(object, "presence_penalty", -2, 2, &s->presence_penalty, err) < 0 ||
        fields_uint(object, "repeat_last_n", UINT32_MAX, &last_n, err) < 0)
        return -1;
    /* llama.cpp's clients send -1 for "off" */
    if (json_is_integer(fields_get(object, "top_k")) &&
        json_integer_value(fields_get(object, "top_k")) == -1)
        top_k = 0;
    else if (fields_uint(object, "top_k", UINT32_MAX, &top_k, err) < 0)
        return -1;
    s->top_k = (uint32_t)top_k;
    s->repeat_last_n = (uint32_t)last_n;
    if (seed && !json_is_integer(seed))
        return fields_fail(err, 400, "seed", "invalid_type", "'seed' must be an integer, not %s",
                           fields_type_name(seed));
    /* OpenAI's seeds are signed; -1 is what others send for "any" */
    if (seed && json_integer_value(seed) != -1) {
        s->seed = (uint64_t)json_integer_value(seed);
        s->has_seed = true;
    }
    return 0;
}

/* What would change the answer and is not done here must not be ignored in silence. */
static int refuse_unsupported(const json_t *object, struct api_error *err)
{
    json_t *format = fields_get(object, "response_format"), *type;
    bool echo = false;

    if (fields_bool(object, "echo", &echo, err) < 0)
        return -1;
    if (echo)
        return fields_fail(err, 400, "echo", "unsupported_value", "'echo' is not supported");
    if (fields_get(object, "suffix"))
        return fields_fail(err, 400, "suffix", "unsupported_value", "'suffix' is not supported");
    if (!format)
        return 0;
    type = fields_get(format, "type");
    if (!json_is_string(type) || strcmp(json_string_value(type), "text") != 0)
        return fields_fail(err, 400, "response_format", "unsupported_value",
                           "'response_format' must be {\"type\": \"text\"}");
    return 0;
}

/* How many answers: all that are made are told. */
static int read_choices(struct params *p, const json_t *object, struct api_error *err)
{
    uint64_t n = 1, best_of;

    if (fields_uint(object, "n", UINT32_MAX, &n, err) < 0)
        return -1;
    best_of = n;
    if (fields_uint(object, "best_of", UINT32_MAX, &best_of, err) < 0)
        return -1;
    if (!n || n > PARAMS_MAX_CHOICES)
        return fields_fail(err, 400, "n", "invalid_value", "'n' must lie between 1 and %d",
                           PARAMS_MAX_CHOICES);
    if (best_of != n)
        return fields_fail(err, 400, "best_of", "unsupported_value",
                           "'best_of' must be what 'n' is: every answer that is made is told");
    p->n_choices = p->engine.n_answers = (unsigned)n;
    return 0;
}

static int read_stream(struct params *p, const json_t *object, struct api_error *err)
{
    json_t *options = fields_get(object, "stream_options");

    if (fields_bool(object, "stream", &p->is_stream, err) < 0)
        return -1;
    if (options && !json_is_object(options))
        return fields_fail(err, 400, "stream_options", "invalid_type",
                           "'stream_options' must be an object, not %s", fields_type_name(options));
    return options ? fields_bool(options, "include_usage", &p->includes_usage, err) : 0;
}

int params_read_class(const json_t *object, enum engine_class *class, struct api_error *err)
{
    const char *tier = NULL;

    if (fields_string(object, "service_tier", &tier, err) < 0)
        return -1;
    if (tier && strcmp(tier, "flex") == 0)
        *class = ENGINE_BACKGROUND;
    else if (tier && strcmp(tier, "auto") != 0 && strcmp(tier, "default") != 0 &&
             strcmp(tier, "priority") != 0)
        return fields_fail(err, 400, "service_tier", "invalid_value",
                           "'service_tier' is auto, default, priority or flex, not \"%.40s\"",
                           tier);
    return 0;
}

int params_init(struct params *p, const json_t *object, bool is_chat, struct api_error *err)
{
    uint64_t max_tokens = 0;
    json_t *limit;
    const char *limit_name = "max_completion_tokens";

    *p = (struct params){0};
    engine_sampling_defaults(&p->engine.sampling);
    limit = fields_get(object, limit_name);
    if (!limit)
        limit = fields_get(object, limit_name = "max_tokens");
    /* -1 is what some clients send for "no limit" */
    if (!(json_is_integer(limit) && json_integer_value(limit) == -1) &&
        fields_uint(object, limit_name, UINT32_MAX, &max_tokens, err) < 0)
        return -1;
    if (json_is_integer(limit) && json_integer_value(limit) == 0)
        return fields_fail(err, 400, limit_name, "invalid_value", "'%s' must be at least 1",
                           limit_name);
    p->engine.max_tokens = (uint32_t)max_tokens;
    if (fields_string(object, "model", &p->model, err) < 0 || read_stream(p, object, err) < 0 ||
        fields_bool(object, "ignore_eos", &p->engine.ignore_eos, err) < 0 ||
        fields_number(object, "timeout", 0.001, 1e6, &p->timeout_seconds, err) < 0 ||
        params_read_class(object, &p->engine.class, err) < 0 ||
        read_sampling(&p->engine.sampling, object, err) < 0 || read_stop(p, object, err) < 0 ||
        read_logprobs(p, object, is_chat, err) < 0 || read_choices(p, object, err) < 0 ||
        refuse_unsupported(object, err) < 0 || read_bias(p, object, err) < 0) {
        params_finish(p);
        return -1;
    }
    return 0;
}

void params_finish(struct params *p)
{
    free(p->bias);
    p->bias = NULL;
}
