/* SPDX-License-Identifier: MIT */
#include "server/api.h"
#include "server/chat.h"
#include "server/completion.h"
#include "server/jsonout.h"
#include "server/server_impl.h"

#include <stdlib.h>
#include <string.h>

/* ---- completions ---- */

/* What the prompt field came to; ids is freed with it. */
struct prompt {
    struct engine_prompt engine;
    int32_t *ids;
};

static int read_ids(struct prompt *p, const json_t *array, struct api_error *err)
{
    const json_t *item;
    size_t i;

    p->ids = calloc(json_array_size(array) + 1, sizeof(*p->ids));
    if (!p->ids)
        return fields_fail(err, 503, NULL, NULL, "there is no memory for this request now");
    json_array_foreach(array, i, item)
    {
        json_int_t id = json_integer_value(item);

        if (!json_is_integer(item) || id < 0 || id > INT32_MAX)
            return fields_fail(err, 400, "prompt", "invalid_value",
                               "item %zu of 'prompt' is no token id", i);
        p->ids[i] = (int32_t)id;
    }
    p->engine.ids = p->ids;
    p->engine.n_ids = json_array_size(array);
    return 0;
}

/* A string, a list of token ids, or a list of exactly one of those. */
static int read_prompt(struct prompt *p, const json_t *object, struct api_error *err)
{
    json_t *prompt = fields_get(object, "prompt"), *first;

    *p = (struct prompt){.engine.add_special = true};
    if (!prompt)
        return fields_fail(err, 400, "prompt", "missing_required_parameter", "'prompt' is missing");
    first = json_array_get(prompt, 0);
    if (json_is_string(first) || json_is_array(first)) {
        if (json_array_size(prompt) > 1)
            return fields_fail(err, 400, "prompt", "unsupported_value",
                               "'prompt' holds %zu prompts: send one request for each",
                               json_array_size(prompt));
        prompt = first;
    }
    if (json_is_array(prompt) && json_array_size(prompt))
        return read_ids(p, prompt, err);
    if (json_is_string(prompt) && json_string_length(prompt)) {
        p->engine.text = json_string_value(prompt);
        p->engine.text_len = json_string_length(prompt);
        return fields_bool(object, "add_special", &p->engine.add_special, err);
    }
    if (json_is_string(prompt) || json_is_array(prompt))
        return fields_fail(err, 400, "prompt", "invalid_value", "'prompt' is empty");
    return fields_fail(err, 400, "prompt", "invalid_type",
                       "'prompt' must be a string or an array of token ids, not %s",
                       fields_type_name(prompt));
}

static int complete(struct exchange *x, const json_t *object, struct api_error *err)
{
    struct params params;
    struct prompt prompt;
    const char *model;
    int rc = params_init(&params, object, false, err);

    if (rc < 0)
        return rc;
    rc = read_prompt(&prompt, object, err);
    if (rc == 0)
        rc = api_pick_model(x, params.model, &model, err);
    if (rc == 0)
        rc = completion_start(x, model, &prompt.engine, &params, false, NULL, err);
    free(prompt.ids);
    params_finish(&params);
    return rc;
}

static int chat(struct exchange *x, const json_t *object, struct api_error *err)
{
    struct params params;
    struct engine_prompt prompt = {0};
    json_t *view = NULL;
    const char *model;
    int rc = params_init(&params, object, true, err);

    if (rc < 0)
        return rc;
    rc = chat_build(object, &view, err);
    if (rc == 0)
        rc = api_pick_model(x, params.model, &model, err);
    if (rc == 0) {
        prompt.chat = view;
        rc =
            completion_start(x, model, &prompt, &params, true, json_object_get(view, "tools"), err);
    }
    json_decref(view);
    params_finish(&params);
    return rc;
}

static void handle(struct exchange *x,
                   int (*answer)(struct exchange *, const json_t *, struct api_error *))
{
    struct api_error err;
    json_t *object;
    int rc = api_read_object(x, &object, &err);

    if (rc == 0) {
        rc = answer(x, object, &err);
        json_decref(object);
    }
    if (rc < 0)
        exchange_fail(x, &err);
}

void api_chat_completions(struct exchange *x, const char *tail)
{
    handle(x, chat);
}

void api_completions(struct exchange *x, const char *tail)
{
    handle(x, complete);
}

/* ---- models ---- */

static void write_model(struct strbuf *out, const struct engine_model_info *m)
{
    strbuf_add_char(out, '{');
    jsonout_key_string(out, "id", m->name);
    jsonout_key_string(out, "object", "model");
    jsonout_key_uint(out, "created", m->modified_unix);
    jsonout_key_string(out, "owned_by", "local");
    strbuf_add_char(out, '}');
}

void api_models(struct exchange *x, const char *tail)
{
    const struct engine_model_info *models = NULL;
    struct strbuf *out = exchange_scratch(x);
    size_t n = 0;

    if (engine_models(x->server->engine, &models, &n) < 0)
        n = 0;
    strbuf_add_str(out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < n; i++) {
        jsonout_element(out);
        write_model(out, &models[i]);
    }
    strbuf_add_str(out, "]}\n");
    exchange_reply_json(x, out);
}

void api_model(struct exchange *x, const char *tail)
{
    const struct engine_model_info *info;
    struct strbuf *out = exchange_scratch(x);
    struct api_error err;
    struct error why;
    int rc = api_check_name(x, tail, &err);

    if (rc == 0 && engine_find_model(x->server->engine, tail, &info, &why) < 0)
        rc = api_engine_error(x, &why, "model", &err);
    if (rc < 0) {
        exchange_fail(x, &err);
        return;
    }
    write_model(out, info);
    strbuf_add_char(out, '\n');
    exchange_reply_json(x, out);
}
