/* SPDX-License-Identifier: MIT */
/* Steps to calls: a replay of the calls that knows nothing of how places are chosen. */
#include "harness.h"
#include "model_fixture.h"

#include "device/device_backend.h"
#include "model/graph.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- the replay ---- */

/* What lies somewhere in the workspace: a value in one form, as of its n-th writing. */
struct content {
    uint64_t begin, end;
    enum value value;
    enum activation_type form;
    unsigned version;
};

enum {
    CONTENTS_MOST = (VALUE_COUNT + 3) * ACT_TYPE_COUNT * 4,
    PARTS = VALUE_COUNT, /* what an attention in ranges leaves: no value of the model's */
    ROWS,                /* a router's choices by experts, likewise */
    PRODUCT,             /* that is scaled before it is added */
    REPLAYED_COUNT,
    RANGES = 7,
};

struct replay {
    const struct model *model;
    const struct graph *graph;
    const struct graph_config *cfg;
    struct content list[CONTENTS_MOST];
    size_t n;
    unsigned versions[REPLAYED_COUNT];
    enum value product_of; /* what it is added to */
    uint32_t layer;        /* of the call that is replayed */
};

static uint64_t value_bytes(const struct replay *r, enum value v, enum activation_type form)
{
    const uint32_t *dim = model_dims(r->model, r->layer);
    uint64_t rows;

    if (v == (enum value)PARTS)
        return 4ull * r->cfg->max_tokens * dim[DIM_HEADS] * RANGES * (2 + dim[DIM_HEAD_V]);
    if (v == (enum value)ROWS)
        return expert_rows_bytes(dim[DIM_EXPERTS], dim[DIM_EXPERTS_USED], r->cfg->max_tokens);
    if (v == (enum value)PRODUCT)
        v = r->product_of;
    rows = value_rows(v) == ROWS_TOKENS ? r->cfg->max_tokens : r->cfg->max_outputs;
    return rows * activation_bytes(form, value_width(r->model, r->layer, v));
}

static void overwrite(struct replay *r, uint64_t at, enum value v, enum activation_type form)
{
    uint64_t end = at + value_bytes(r, v, form);
    size_t kept = 0;

    assert_true(end <= r->graph->workspace_bytes);
    for (size_t i = 0; i < r->n; i++)
        if (r->list[i].end <= at || r->list[i].begin >= end)
            r->list[kept++] = r->list[i];
    r->n = kept;
    if (form == ACT_F32)
        r->versions[v]++;
    assert_true(r->n < CONTENTS_MOST);
    r->list[r->n++] = (struct content){at, end, v, form, r->versions[v]};
}

/* The value must lie there whole, in this form, and as it was last written. */
static void assert_lies(const struct replay *r, size_t call, uint64_t at, enum value v,
                        enum activation_type form)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct content *c = &r->list[i];
        if (c->begin != at || c->value != v || c->form != form)
            continue;
        if (c->version != r->versions[v])
            fail_msg("call %zu reads form %d of value %d as it was before its last writing", call,
                     form, v);
        return;
    }
    fail_msg("call %zu reads value %d in form %d where it does not lie", call, v, form);
}

static bool reads_out(const struct node *n)
{
    return n->op == STEP_MATMUL_ADD || n->op == STEP_EXPERT_SUM || n->op == STEP_ROPE ||
           n->op == STEP_ROPE_QUERY || n->op == STEP_HEAD_NORM || n->op == STEP_PLAIN_NORM ||
           n->op == STEP_ADD || n->op == STEP_SOFTCAP || n->op == STEP_COPY_MORE;
}

static bool is_product(enum step_op op)
{
    return op == STEP_MATMUL || op == STEP_MATMUL_ADD || op == STEP_EXPERTS || op == STEP_HEADS;
}

/* Its product, in place or elsewhere until it is added. */
static void replay_scale(struct replay *r, size_t i)
{
    const struct call *c = &r->graph->calls[i];
    const struct node *n = c->node;
    bool is_apart = n->op == STEP_MATMUL_ADD;

    assert_ptr_equal(r->graph->calls[i - 1].node, n);
    assert_non_null(n->weight->scale);
    assert_int_equal(c->in_bytes != 0, is_apart);
    assert_lies(r, i, c->out, n->out, ACT_F32);
    if (n->in2)
        assert_lies(r, i, c->in2, n->in2, ACT_F32);
    if (is_apart)
        assert_lies(r, i, c->in, (enum value)PRODUCT, ACT_F32);
    overwrite(r, c->out, n->out, ACT_F32);
    if (is_apart)
        assert_lies(r, i, c->in, (enum value)PRODUCT, ACT_F32);
    if (n->in2)
        assert_lies(r, i, c->in2, n->in2, ACT_F32);
}

static void replay_call(struct replay *r, size_t i)
{
    const struct call *c = &r->graph->calls[i];
    const struct node *n = c->node;
    enum value out;

    r->layer = n->layer;
    if (c->kind == CALL_QUANTIZE) {
        assert_lies(r, i, c->in, n->in, ACT_F32);
        overwrite(r, c->out, n->in, c->activation);
        return;
    }
    if (c->kind == CALL_EXPERT_ROWS) {
        assert_lies(r, i, c->in, VALUE_CHOICES, ACT_F32);
        overwrite(r, c->out, (enum value)ROWS, ACT_F32);
        assert_lies(r, i, c->in, VALUE_CHOICES, ACT_F32);
        return;
    }
    if (c->kind == CALL_COMBINE) {
        assert_int_equal(n->op, STEP_ATTENTION);
        assert_lies(r, i, c->in, (enum value)PARTS, ACT_F32);
        overwrite(r, c->out, n->out, ACT_F32);
        assert_lies(r, i, c->in, (enum value)PARTS, ACT_F32);
        return;
    }
    if (c->kind == CALL_SCALE) {
        replay_scale(r, i);
        return;
    }
    out = n->op == STEP_ATTENTION && c->n_splits > 1 ? (enum value)PARTS : n->out;
    if (is_product(n->op) && n->weight->scale) {
        assert_int_equal(r->graph->calls[i + 1].kind, CALL_SCALE);
        out = n->op == STEP_MATMUL_ADD ? (enum value)PRODUCT : out;
        r->product_of = n->out;
    }
    if (n->in)
        assert_lies(r, i, c->in, n->in, c->activation);
    if (n->in2)
        assert_lies(r, i, c->in2, n->in2, ACT_F32);
    if (n->in3)
        assert_lies(r, i, c->in3, n->in3, ACT_F32);
    if (n->op == STEP_EXPERTS && r->cfg->max_tokens > EXPERTS_FEW_ROWS)
        assert_lies(r, i, c->rows, (enum value)ROWS, ACT_F32);
    if (n->out && reads_out(n) && out == n->out)
        assert_lies(r, i, c->out, n->out, ACT_F32);
    if (out)
        overwrite(r, c->out, out, ACT_F32);
    /* what it reads must still be there when it has written, but for work in place */
    if (n->in && n->in != n->out)
        assert_lies(r, i, c->in, n->in, c->activation);
    if (n->in2)
        assert_lies(r, i, c->in2, n->in2, ACT_F32);
    if (n->in3)
        assert_lies(r, i, c->in3, n->in3, ACT_F32);
    if (c->rows_bytes)
        assert_lies(r, i, c->rows, (enum value)ROWS, ACT_F32);
}

static void replay(const struct model *m, const struct device *dev, const struct graph_config *cfg)
{
    struct replay r = {.model = m, .cfg = cfg};
    struct error err = {0};
    struct graph *g;
    int n_writings;

    if (graph_create(m, dev, cfg, &g, &err) < 0)
        fail_msg("%s", err.text);
    r.graph = g;
    for (size_t i = 0; i < g->n_calls; i++)
        replay_call(&r, i);
    assert_lies(&r, g->n_calls, g->result_place,
                cfg->ends_normed ? VALUE_LAST_NORMED : VALUE_LOGITS, ACT_F32);
    assert_int_equal(r.versions[VALUE_LAST_NORMED], 1);
    n_writings = 1 + (m->dims.real[REAL_LOGIT_SOFTCAP] > 0) +
                 (model_weight(m, WEIGHT_OUTPUT, MODEL_GLOBAL)->scale != NULL);
    assert_int_equal(r.versions[VALUE_LOGITS], cfg->ends_normed ? 0 : n_writings);
    graph_destroy(g);
}

/* ---- tests ---- */

static uint32_t few_rows_in_ranges(const struct device *dev, const struct args_attention *a,
                                   uint32_t max_rows)
{
    return max_rows < 20 ? RANGES : 1;
}

static void no_live_value_is_overwritten(void **state)
{
    struct device_ops ops;
    static const char *const archs[] = {
        "llama",   "deepseek2", "qwen2",          "qwen2moe",     "glm4moe",   "qwen3moe",
        "gpt-oss", "gemma2",    "gemma3",         "qwen35",       "qwen35moe", "qwen3next",
        "phi3",    "gemma4",    "gemma4-experts", "gemma4-dense", "llama4"};
    static const enum gguf_type types[] = {GGUF_TYPE_F32, GGUF_TYPE_Q8_0, GGUF_TYPE_Q4_K};
    struct device *dev;

    assert_int_equal(device_create("cpu:1", &dev, NULL), 0);
    ops = *dev->ops;
    ops.attention_splits = few_rows_in_ranges;
    dev->ops = &ops;
    srand(7);
    for (unsigned i = 0; i < 420; i++) {
        struct builder_shape shape = model_fixture_shape(
            archs[i % (sizeof(archs) / sizeof(*archs))], types[(unsigned)rand() % 3]);
        unsigned block = shape.matrix == GGUF_TYPE_Q4_K ? 256 : 32;
        struct graph_config cfg = {.ends_normed = i % 2};
        struct gguf_builder b;
        struct model_fixture f;

        shape.layers = 1 + (unsigned)rand() % 4;
        shape.kv_heads = 1 + (unsigned)rand() % 2;
        shape.heads = shape.kv_heads * (1 + (unsigned)rand() % 3);
        shape.head_dim = shape.matrix == GGUF_TYPE_Q4_K ? 256 : 32u << ((unsigned)rand() % 3);
        shape.embd = block * (1 + (unsigned)rand() % 3);
        shape.ff = block * (1 + (unsigned)rand() % 5);
        shape.is_tied = false;
        cfg.max_tokens = 1 + (unsigned)rand() % 40;
        cfg.max_outputs = 1 + (unsigned)rand() % cfg.max_tokens;
        gguf_builder_transformer(&b, &shape);
        if (i % 3 == 0)
            gguf_builder_scales(&b);
        model_fixture_init(&f, &b);
        replay(f.model, dev, &cfg);
        model_fixture_finish(&f);
    }
    device_destroy(dev);
}

static void quantised_copies_go_when_the_value_changes(void **state)
{
    /* X is read, then added to, then read again, so the first copy is stale */
    static const struct arch_step layer[] = {
        {STEP_MATMUL, VALUE_GATE, VALUE_X, .weight = WEIGHT_FFN_GATE},
        {STEP_MATMUL_ADD, VALUE_X, VALUE_GATE, .weight = WEIGHT_FFN_DOWN},
        {STEP_MATMUL, VALUE_UP, VALUE_X, .weight = WEIGHT_FFN_UP},
        {STEP_GLU, VALUE_GATE, VALUE_GATE, VALUE_UP},
        {STEP_MATMUL_ADD, VALUE_X, VALUE_GATE, .weight = WEIGHT_FFN_DOWN},
        {STEP_END},
    };
    struct builder_shape shape = model_fixture_shape("llama", GGUF_TYPE_Q8_0);
    struct graph_config cfg = {.max_tokens = 5, .max_outputs = 2};
    struct gguf_builder b;
    struct model_fixture f;
    struct device *dev;
    struct arch arch;

    assert_int_equal(device_create("cpu:1", &dev, NULL), 0);
    gguf_builder_transformer(&b, &shape);
    model_fixture_init(&f, &b);
    arch = *f.model->arch;
    arch.kinds[0].steps = layer;
    arch.rule = LAYERS_ALIKE;
    f.model->arch = &arch;
    replay(f.model, dev, &cfg);
    model_fixture_finish(&f);
    device_destroy(dev);
}

static void one_quantised_copy_serves_all_that_read_it(void **state)
{
    struct builder_shape shape = model_fixture_shape("llama", GGUF_TYPE_Q8_0);
    struct graph_config cfg = {.max_tokens = 4, .max_outputs = 1};
    struct gguf_builder b;
    struct model_fixture f;
    struct device *dev;
    struct graph *g;
    size_t n = 0;

    assert_int_equal(device_create("cpu:1", &dev, NULL), 0);
    gguf_builder_transformer(&b, &shape);
    model_fixture_init(&f, &b);
    assert_int_equal(graph_create(f.model, dev, &cfg, &g, NULL), 0);
    for (size_t i = 0; i < g->n_calls; i++)
        n += g->calls[i].kind == CALL_QUANTIZE;
    /* a layer: for q/k/v, the attention's output, gate/up, down; at the end: logits */
    assert_int_equal(n, shape.layers * 4 + 1);
    graph_destroy(g);
    model_fixture_finish(&f);
    device_destroy(dev);
}

static void places_are_used_again(void **state)
{
    struct builder_shape shape = model_fixture_shape("llama", GGUF_TYPE_F32);
    struct graph_config cfg = {.max_tokens = 64, .max_outputs = 1};
    uint64_t bytes[2];
    struct device *dev;

    assert_int_equal(device_create("cpu:1", &dev, NULL), 0);
    for (int i = 0; i < 2; i++) {
        struct gguf_builder b;
        struct model_fixture f;
        struct graph *g;
        shape.layers = i ? 8 : 1;
        gguf_builder_transformer(&b, &shape);
        model_fixture_init(&f, &b);
        assert_int_equal(graph_create(f.model, dev, &cfg, &g, NULL), 0);
        bytes[i] = g->workspace_bytes;
        graph_destroy(g);
        model_fixture_finish(&f);
    }
    assert_int_equal(bytes[0], bytes[1]);
    device_destroy(dev);
}

static void an_attention_in_ranges_is_combined_behind_it(void **state)
{
    struct builder_shape shape = model_fixture_shape("llama", GGUF_TYPE_F16);
    struct graph_config cfg = {.max_tokens = 4, .max_outputs = 1};
    struct device_ops ops;
    struct gguf_builder b;
    struct model_fixture f;
    struct device *dev;
    struct graph *g;
    size_t n = 0;

    assert_int_equal(device_create("cpu:1", &dev, NULL), 0);
    ops = *dev->ops;
    ops.attention_splits = few_rows_in_ranges;
    dev->ops = &ops;
    gguf_builder_transformer(&b, &shape);
    model_fixture_init(&f, &b);
    assert_int_equal(graph_create(f.model, dev, &cfg, &g, NULL), 0);
    for (size_t i = 1; i < g->n_calls; i++) {
        if (g->calls[i].kind != CALL_COMBINE)
            continue;
        assert_int_equal(g->calls[i].n_splits, RANGES);
        assert_ptr_equal(g->calls[i].node, g->calls[i - 1].node);
        assert_int_equal(g->calls[i].in, g->calls[i - 1].out);
        n++;
    }
    assert_int_equal(n, shape.layers);
    graph_destroy(g);
    model_fixture_finish(&f);
    device_destroy(dev);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(no_live_value_is_overwritten),
    cmocka_unit_test(quantised_copies_go_when_the_value_changes),
    cmocka_unit_test(an_attention_in_ranges_is_combined_behind_it),
    cmocka_unit_test(one_quantised_copy_serves_all_that_read_it),
    cmocka_unit_test(places_are_used_again),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
