/* SPDX-License-Identifier: MIT */
#include "spy.h"

#include "harness.h"

#include <stdlib.h>
#include <string.h>

static void spy_destroy(struct device *dev)
{
    free(((struct spy *)dev)->list);
    free(dev);
}

static int spy_activation(const struct device *dev, enum gguf_type type, uint32_t n_cols,
                          uint32_t max_rows)
{
    return type == GGUF_TYPE_Q8_0 ? ACT_Q8_32 : ACT_F32;
}

static int spy_buffer_create(struct device *dev, struct buffer *buf, unsigned usage,
                             struct error *err)
{
    buf->host = calloc(1, buf->bytes);
    buf->address = (uint64_t)(uintptr_t)buf->host;
    return buf->host ? 0 : error_set(err, 12, "out of memory");
}

static void spy_buffer_destroy(struct device *dev, struct buffer *buf)
{
    free(buf->host);
}

static int spy_program_create(struct device *dev, const struct dispatch *list, size_t n,
                              struct program **ret_program, struct error *err)
{
    struct spy *s = (struct spy *)dev;

    free(s->list);
    s->list = malloc(n * sizeof(*list));
    assert_non_null(s->list);
    memcpy(s->list, list, n * sizeof(*list));
    s->n = n;
    s->program.device = dev;
    *ret_program = &s->program;
    return 0;
}

static void spy_program_destroy(struct program *p) {}

static uint32_t few_rows_in_ranges(const struct device *dev, const struct args_attention *a,
                                   uint32_t max_rows)
{
    return max_rows < 20 ? 5 : 1;
}

static const struct device_ops spy_ops = {
    .destroy = spy_destroy,
    .activation_for = spy_activation,
    .attention_splits = few_rows_in_ranges,
    .buffer_create = spy_buffer_create,
    .buffer_destroy = spy_buffer_destroy,
    .program_create = spy_program_create,
    .program_destroy = spy_program_destroy,
};

struct spy *spy_create(void)
{
    struct spy *spy = calloc(1, sizeof(*spy));

    assert_non_null(spy);
    spy->device.ops = &spy_ops;
    spy->device.info.max_rows = 4096;
    return spy;
}
