/* SPDX-License-Identifier: MIT */
/* /v1/embeddings: what is asked. */
#include "server/api.h"
#include "server/embedding.h"
#include "server/params.h"

#include <stdlib.h>
#include <string.h>

enum { INPUTS_MOST = 2048, DIMENSIONS_MOST = 1 << 20 };

static int read_ids(struct embedding_input *input, const json_t *array, struct api_error *err)
{
    const json_t *item;
    size_t i;

    input->ids = calloc(json_array_size(array), sizeof(*input->ids));
    if (!input->ids)
        return fields_fail(err, 503, NULL, NULL, "there is no memory for this request now");
    json_array_foreach(array, i, item)
    {
        json_int_t id = json_integer_value(item);

        if (!json_is_integer(item) || id < 0 || id > INT32_MAX)
            return fields_fail(err, 400, "input", "invalid_value",
                               "item %zu of a list in 'input' is no token id", i);
        input->ids[i] = (int32_t)id;
    }
    input->n_ids = json_array_size(array);
    return 0;
}

/* A string, or a list of token ids. */
static int read_input(struct embedding_input *input, const json_t *value, struct api_error *err)
{
    if (json_is_array(value) && json_array_size(value))
        return read_ids(input, value, err);
    if (json_is_string(value) && json_string_length(value)) {
        input->text = json_string_value(value);
        input->text_len = json_string_length(value);
        return 0;
    }
    if (json_is_string(value) || json_is_array(value))
        return fields_fail(err, 400, "input", "invalid_value",
                           "'input' is empty, or one of its texts or lists is");
    return fields_fail(err, 400, "input", "invalid_type",
                       "'input' must be a string, an array of token ids, or an array of those, not "
                       "%s",
                       fields_type_name(value));
}

/* One of these, or a list of them. */
static int read_inputs(struct embedding_order *order, const json_t *object, struct api_error *err)
{
    json_t *input = fields_get(object, "input");
    const json_t *first = json_array_get(input, 0);
    bool is_list = json_is_array(input) && first && !json_is_number(first);
    size_t n = is_list ? json_array_size(input) : 1;

    if (!input)
        return fields_fail(err, 400, "input", "missing_required_parameter", "'input' is missing");
    if (n > INPUTS_MOST)
        return fields_fail(err, 400, "input", "invalid_value",
                           "'input' holds %zu texts: at most %d are taken at once", n, INPUTS_MOST);
    order->inputs = calloc(n, sizeof(*order->inputs));
    if (!order->inputs)
        return fields_fail(err, 503, NULL, NULL, "there is no memory for this request now");
    order->n = n;
    for (size_t i = 0; i < n; i++)
        if (read_input(&order->inputs[i], is_list ? json_array_get(input, i) : input, err) < 0)
            return -1;
    return 0;
}

static int read_form(struct embedding_order *order, const json_t *object, struct api_error *err)
{
    const json_t *asked = fields_get(object, "dimensions");
    const char *format = "float";
    uint64_t dimensions = 0;

    if (fields_string(object, "encoding_format", &format, err) < 0 ||
        fields_uint(object, "dimensions", DIMENSIONS_MOST, &dimensions, err) < 0)
        return -1;
    if (asked && !dimensions)
        return fields_fail(err, 400, "dimensions", "invalid_value",
                           "'dimensions' must be at least 1");
    order->dimensions = (uint32_t)dimensions;
    order->is_base64 = strcmp(format, "base64") == 0;
    if (!order->is_base64 && strcmp(format, "float") != 0)
        return fields_fail(err, 400, "encoding_format", "invalid_value",
                           "'encoding_format' is float or base64, not \"%.40s\"", format);
    return 0;
}

static int embed(struct exchange *x, json_t *object, struct api_error *err)
{
    struct embedding_order order = {.object = json_incref(object)};
    const char *model = NULL;
    int rc = fields_string(object, "model", &model, err);

    if (rc == 0)
        rc = fields_number(object, "timeout", 0.001, 1e6, &order.timeout_seconds, err);
    if (rc == 0)
        rc = params_read_class(object, &order.class, err);
    if (rc == 0)
        rc = read_form(&order, object, err);
    if (rc == 0)
        rc = read_inputs(&order, object, err);
    if (rc == 0)
        rc = api_pick_model(x, model, &model, err);
    if (rc == 0)
        return embedding_start(x, model, &order, err);
    embedding_order_finish(&order);
    return rc;
}

void api_embeddings(struct exchange *x, const char *tail)
{
    struct api_error err;
    json_t *object;
    int rc = api_read_object(x, &object, &err);

    if (rc == 0) {
        rc = embed(x, object, &err);
        json_decref(object);
    }
    if (rc < 0)
        exchange_fail(x, &err);
}
