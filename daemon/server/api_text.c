/* SPDX-License-Identifier: MIT */
/* Text to tokens and back. The model is loaded first if it is not. */
#include "server/api.h"
#include "server/jsonout.h"
#include "server/server_impl.h"

#include <stdlib.h>
#include <string.h>

enum { TOKENIZE_BYTES_MOST = 1 << 20 };

struct job {
    struct exchange *x;
    struct engine_load *load;
    json_t *object;
    char *model;
    int (*run)(struct job *job, struct api_error *err); /* answers, or fails */
};

static void job_destroy(struct job *job)
{
    json_decref(job->object);
    free(job->model);
    free(job);
}

static int tokenize(struct job *job, struct api_error *err)
{
    struct exchange *x = job->x;
    json_t *text = fields_get(job->object, "content");
    bool add_special = false, parse_special = true;
    struct strbuf *out;
    struct error why;
    int32_t *ids;
    size_t n;

    if (fields_bool(job->object, "add_special", &add_special, err) < 0 ||
        fields_bool(job->object, "parse_special", &parse_special, err) < 0)
        return -1;
    /* it is done here, on the loop, where longer texts would hold up everybody's streams */
    if (json_string_length(text) > TOKENIZE_BYTES_MOST)
        return fields_fail(err, 413, "content", NULL,
                           "'content' has %zu bytes; at most %d can be tokenized at once",
                           json_string_length(text), TOKENIZE_BYTES_MOST);
    if (engine_tokenize(x->server->engine, job->model, json_string_value(text),
                        json_string_length(text), add_special, parse_special, &ids, &n, &why) < 0)
        return api_engine_error(x, &why, "content", err);
    out = exchange_scratch(x);
    strbuf_printf(out, "{\"count\":%zu,\"tokens\":[", n);
    for (size_t i = 0; i < n; i++)
        strbuf_printf(out, i ? ",%d" : "%d", (int)ids[i]);
    strbuf_add_str(out, "]}\n");
    free(ids);
    exchange_reply_json(x, out);
    return 0;
}

static int detokenize(struct job *job, struct api_error *err)
{
    struct exchange *x = job->x;
    json_t *tokens = fields_get(job->object, "tokens"), *item;
    int32_t *ids = calloc(json_array_size(tokens) + 1, sizeof(*ids));
    size_t i, len;
    struct strbuf *out;
    struct error why;
    char *text;
    int rc;

    if (!ids)
        return fields_fail(err, 503, NULL, NULL, "there is no memory for this request now");
    json_array_foreach(tokens, i, item)
    {
        json_int_t id = json_integer_value(item);

        if (!json_is_integer(item) || id < 0 || id > INT32_MAX) {
            free(ids);
            return fields_fail(err, 400, "tokens", "invalid_value",
                               "item %zu of 'tokens' is no token id", i);
        }
        ids[i] = (int32_t)id;
    }
    rc = engine_detokenize(x->server->engine, job->model, ids, json_array_size(tokens), &text, &len,
                           &why);
    free(ids);
    if (rc < 0)
        return api_engine_error(x, &why, "tokens", err);
    out = exchange_scratch(x);
    strbuf_add_str(out, "{\"content\":\"");
    jsonout_text(out, text, len);
    strbuf_add_str(out, "\"}\n");
    free(text);
    exchange_reply_json(x, out);
    return 0;
}

static void on_loaded(void *user, const struct error *why)
{
    struct job *job = user;
    struct api_error err;

    job->x->ops = NULL;
    if (why->code < 0) {
        api_engine_error(job->x, why, "model", &err);
        exchange_fail(job->x, &err);
    } else if (job->run(job, &err) < 0) {
        exchange_fail(job->x, &err);
    }
    job_destroy(job);
}

static void on_gone(struct exchange *x)
{
    struct job *job = x->user;

    engine_load_forget(job->load);
    job_destroy(job);
}

static const struct exchange_ops job_ops = {.on_gone = on_gone};

static int check_fields(const json_t *object, bool is_tokenize, struct api_error *err)
{
    const char *name = is_tokenize ? "content" : "tokens";
    json_t *field = fields_get(object, name);

    if (!field)
        return fields_fail(err, 400, name, "missing_required_parameter", "'%s' is missing", name);
    if (is_tokenize ? !json_is_string(field) : !json_is_array(field))
        return fields_fail(err, 400, name, "invalid_type", "'%s' must be %s, not %s", name,
                           is_tokenize ? "a string" : "an array of token ids",
                           fields_type_name(field));
    return 0;
}

static int start(struct job *job, bool is_tokenize, struct api_error *err)
{
    static const struct engine_load_events events = {.on_done = on_loaded};
    const struct engine_model_info *info;
    struct exchange *x = job->x;
    const char *name = NULL;
    struct error why;

    if (api_read_object(x, &job->object, err) < 0 ||
        check_fields(job->object, is_tokenize, err) < 0 ||
        fields_string(job->object, "model", &name, err) < 0 ||
        api_pick_model(x, name, &name, err) < 0)
        return -1;
    job->run = is_tokenize ? tokenize : detokenize;
    job->model = strdup(name);
    if (!job->model)
        return fields_fail(err, 503, NULL, NULL, "there is no memory for this request now");
    if (engine_find_model(x->server->engine, job->model, &info, &why) == 0 &&
        info->state == ENGINE_MODEL_READY) {
        if (job->run(job, err) < 0)
            return -1;
        job_destroy(job);
        return 0;
    }
    if (engine_load(x->server->engine, job->model, &events, job, &job->load, &why) < 0)
        return api_engine_error(x, &why, "model", err);
    x->ops = &job_ops;
    x->user = job;
    return 0;
}

static void handle(struct exchange *x, bool is_tokenize)
{
    struct job *job = calloc(1, sizeof(*job));
    struct api_error err;

    if (!job) {
        fields_fail(&err, 503, NULL, NULL, "there is no memory for this request now");
        exchange_fail(x, &err);
        return;
    }
    job->x = x;
    if (start(job, is_tokenize, &err) < 0) {
        exchange_fail(x, &err);
        job_destroy(job);
    }
}

void api_tokenize(struct exchange *x, const char *tail)
{
    handle(x, true);
}

void api_detokenize(struct exchange *x, const char *tail)
{
    handle(x, false);
}
