/* SPDX-License-Identifier: MIT */
/* Recorded plans: barriers where data flows, and the same logits however a batch is composed. */
#include "accesses.h"
#include "harness.h"
#include "model_fixture.h"
#include "spy.h"

#include "model/plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CONTEXT = 96, SEQS = 3, KV_BLOCKS = SEQS * CONTEXT / KV_BLOCK_TOKENS };

/* ---- order ---- */

/* Every two that depend on each other have a barrier between them, and none is without cause. */
static void assert_ordered(const struct spy *s, uint32_t max_tokens, size_t *ret_n_barriers)
{
    size_t since = 0, n_barriers = 0;

    for (size_t i = 0; i < s->n; i++) {
        bool has_cause = false;
        for (size_t k = since; k < i; k++)
            has_cause |= accesses_depend(&s->list[k], &s->list[i], max_tokens);
        if (has_cause && !s->list[i].barrier)
            fail_msg("dispatch %zu (%s %s) needs what runs beside it", i,
                     kernel_op_name(s->list[i].op), s->list[i].label);
        if (s->list[i].barrier && !has_cause)
            fail_msg("dispatch %zu (%s %s) waits for nothing", i, kernel_op_name(s->list[i].op),
                     s->list[i].label);
        if (s->list[i].barrier)
            since = i;
        n_barriers += s->list[i].barrier;
    }
    *ret_n_barriers = n_barriers;
}

/* ---- a model on a device ---- */

struct bench {
    struct model_fixture f;
    struct device *dev;
    struct buffer *weights, *cache, *states, *workspace, *tables;
    struct kv_layer kv[4];
    struct layer_state layer_states[4];
};

static void make_cache(struct bench *b)
{
    uint64_t token = model_kv_bytes_per_token(b->f.model, KV_F16), at;

    assert_int_equal(
        buffer_create(b->dev, KV_BLOCKS * KV_BLOCK_TOKENS * token, BUFFER_HOST, &b->cache, NULL),
        0);
    at = b->cache->address;
    for (uint32_t i = 0; i < b->f.model->dims.dim[DIM_LAYERS]; i++) {
        const uint32_t *dim = model_dims(b->f.model, i);
        uint64_t block =
            (uint64_t)KV_BLOCK_TOKENS * (dim[DIM_K] + dim[DIM_V] + dim[DIM_INDEXER_HEAD]) * 2;

        if (!model_stores_kv(b->f.model, i))
            continue;
        assert_true(i < sizeof(b->kv) / sizeof(b->kv[0]));
        b->kv[i] = (struct kv_layer){
            .base = at,
            .block_bytes = block,
            .n_kv_heads = dim[DIM_KV_HEADS],
            .n_channels_k = dim[DIM_HEAD_K],
            .n_channels_v = dim[DIM_HEAD_V],
            .n_blocks = KV_BLOCKS,
        };
        at += KV_BLOCKS * block;
    }
}

/* One slot for each sequence; garbage in them, as sequences begin with zeros at position 0. */
static void make_states(struct bench *b)
{
    const struct model *m = b->f.model;
    uint64_t slot = model_state_bytes(m), at;

    if (!slot)
        return;
    assert_int_equal(
        buffer_create(b->dev, m->dims.dim[DIM_LAYERS] * SEQS * slot, BUFFER_HOST, &b->states, NULL),
        0);
    for (uint32_t i = 0; i < m->dims.dim[DIM_LAYERS]; i++) {
        struct seq_state conv = {.slot_bytes = slot, .n_slots = SEQS};
        struct seq_state delta = conv;

        at = b->states->address + i * SEQS * slot;
        conv.base = at;
        delta.base = at + model_conv_state_bytes(m, i);
        b->layer_states[i] = (struct layer_state){conv, delta};
    }
}

static void bench_init_built(struct bench *b, struct device *dev,
                             const struct gguf_builder *builder, const struct plan_config *largest)
{
    uint64_t bytes;

    *b = (struct bench){.dev = dev};
    model_fixture_init(&b->f, builder);
    assert_int_equal(buffer_create(dev, b->f.file_bytes, BUFFER_HOST, &b->weights, NULL), 0);
    memcpy(b->weights->host, b->f.file, b->f.file_bytes);
    for (size_t i = 0; i < gguf_n_tensors(b->f.gguf); i++) {
        const struct gguf_tensor *t = gguf_tensor(b->f.gguf, i);
        model_set_address(b->f.model, t, b->weights->address + t->offset);
    }
    make_cache(b);
    make_states(b);
    assert_int_equal(plan_workspace_bytes(b->f.model, dev, largest, &bytes, NULL), 0);
    assert_int_equal(buffer_create(dev, bytes, BUFFER_HOST, &b->workspace, NULL), 0);
    assert_int_equal(
        buffer_create(dev, KV_BLOCKS * sizeof(uint32_t), BUFFER_HOST, &b->tables, NULL), 0);
}

static void bench_init(struct bench *b, struct device *dev, const struct builder_shape *shape,
                       const struct plan_config *largest)
{
    struct gguf_builder builder;

    gguf_builder_transformer(&builder, shape);
    bench_init_built(b, dev, &builder, largest);
}

static void bench_finish(struct bench *b)
{
    buffer_destroy(b->tables);
    buffer_destroy(b->workspace);
    buffer_destroy(b->cache);
    buffer_destroy(b->states);
    buffer_destroy(b->weights);
    model_fixture_finish(&b->f);
}

static struct plan *record(struct bench *b, const struct plan_config *cfg)
{
    struct plan_config with_states = *cfg;
    struct error err = {0};
    struct plan *p = NULL;

    with_states.states = b->states ? b->layer_states : NULL;
    if (plan_create(b->f.model, b->dev, b->kv, b->workspace, &with_states, &p, &err) < 0)
        fail_msg("%s", err.text);
    return p;
}

/* ---- barriers ---- */

static void barriers_stand_where_data_flows_and_nowhere_else(void **state)
{
    static const char *const archs[] = {"gpt-oss", "qwen2moe", "deepseek2",     "deepseek32",
                                        "glm4moe", "gemma2",   "qwen3next",     "phi3",
                                        "llama4",  "gemma4",   "gemma4-experts"};

    for (unsigned i = 0; i < 16 * sizeof(archs) / sizeof(*archs); i++) {
        struct spy *spy = spy_create();
        struct builder_shape shape =
            model_fixture_shape(archs[i / 16], i & 4 ? GGUF_TYPE_Q8_0 : GGUF_TYPE_F16);
        struct gguf_builder builder;
        struct plan_config cfg = {
            .max_tokens = i & 1 ? 7 : 32,
            .max_outputs = 3,
            .max_seqs = SEQS,
            .has_sampler = i % 3 == 0,
            .host_logits = i % 3 == 1,
            .host_normed = i % 3 == 2,
        };
        struct bench b;
        struct plan *p;
        size_t n_barriers;

        shape.layers = 4;
        gguf_builder_transformer(&builder, &shape);
        if (i & 8)
            gguf_builder_scales(&builder);
        bench_init_built(&b, &spy->device, &builder, &cfg);
        p = record(&b, &cfg);
        assert_ordered(spy, cfg.max_tokens, &n_barriers);
        assert_int_equal(p->n_barriers, n_barriers);
        assert_int_equal(p->n_calls, spy->n);
        assert_true(n_barriers < spy->n); /* q, k and v run side by side */
        plan_destroy(p);
        cfg.full_barriers = true;
        p = record(&b, &cfg);
        for (size_t k = 0; k < spy->n; k++)
            assert_true(spy->list[k].barrier);
        plan_destroy(p);
        bench_finish(&b);
        device_destroy(&spy->device);
    }
}

/* Every other layer of gpt-oss, from the first on, sees a window; all have sinks, which belong to
 * whatever ends an attention. */
static void windows_and_sinks_are_of_the_layers_that_have_them(void **state)
{
    struct spy *spy = spy_create();
    struct builder_shape shape = model_fixture_shape("gpt-oss", GGUF_TYPE_F16);
    struct plan_config cfg = {.max_tokens = 7, .max_outputs = 1, .max_seqs = SEQS};
    uint32_t layer = 0;
    struct bench b;

    shape.layers = 4;
    bench_init(&b, &spy->device, &shape, &cfg);
    plan_destroy(record(&b, &cfg));
    for (size_t i = 0; i + 1 < spy->n; i++) {
        const struct args_attention *a = &spy->list[i].args.attention;
        const struct args_attention_combine *c = &spy->list[i + 1].args.attention_combine;

        if (spy->list[i].op != KERNEL_ATTENTION)
            continue;
        assert_int_equal(a->window, layer % 2 ? 0 : 11);
        assert_int_equal(c->window, a->window);
        assert_int_equal(a->sinks, 0);
        assert_int_equal(c->sinks, model_weight(b.f.model, WEIGHT_ATTN_SINKS, layer)->address);
        layer++;
    }
    assert_int_equal(layer, 4);
    bench_finish(&b);
    device_destroy(&spy->device);
}

/* Whether a product is scaled behind it, and only there gets its bias and is added. */
static void assert_scaled(const struct dispatch *product, const struct weight_ref *weight,
                          uint64_t bias, bool adds)
{
    const struct args_matmul *m = &product->args.matmul;
    const struct args_scale *s = &product[1].args.scale;

    assert_int_equal(m->weight, weight->address);
    assert_int_equal(m->bias, 0);
    assert_int_equal(m->accumulate, 0);
    assert_int_equal(product[1].op, KERNEL_SCALE);
    assert_string_equal(product[1].label, weight->scale->name);
    assert_int_equal(s->scale, weight->scale_address);
    assert_int_equal(s->x, m->out);
    assert_int_equal(s->x != s->out, adds);
    assert_int_equal(s->accumulate, adds);
    assert_int_equal(s->bias, bias);
    assert_int_equal(s->n_cols, m->n_rows);
    assert_int_equal(s->choices, 0);
}

static void products_are_scaled_before_their_biases_are_added(void **state)
{
    struct spy *spy = spy_create();
    struct builder_shape shape = model_fixture_shape("qwen2moe", GGUF_TYPE_F16);
    struct plan_config cfg = {.max_tokens = 5, .max_outputs = 2, .max_seqs = SEQS};
    size_t n_products = 0, n_scaled = 0, n_seen = 0;
    struct gguf_builder builder;
    struct bench b;

    gguf_builder_transformer(&builder, &shape);
    gguf_builder_scales(&builder);
    bench_init_built(&b, &spy->device, &builder, &cfg);
    plan_destroy(record(&b, &cfg));
    for (size_t i = 0; i < spy->n; i++) {
        const struct dispatch *d = &spy->list[i];
        const struct weight_ref *q = model_weight(b.f.model, WEIGHT_ATTN_Q, 1);
        const struct weight_ref *out = model_weight(b.f.model, WEIGHT_ATTN_OUT, 0);
        const struct weight_ref *up = model_weight(b.f.model, WEIGHT_EXPERTS_UP, 1);

        n_products += d->op == KERNEL_MATMUL || d->op == KERNEL_MATMUL_EXPERTS;
        n_scaled += d->op == KERNEL_SCALE;
        if (!strcmp(d->label, "blk.1.attn_q.weight") && ++n_seen)
            assert_scaled(d, q, model_weight(b.f.model, WEIGHT_ATTN_Q_BIAS, 1)->address, false);
        if (!strcmp(d->label, "blk.0.attn_output.weight") && ++n_seen)
            assert_scaled(d, out, 0, true);
        if (!strcmp(d->label, "blk.1.ffn_up_exps.scale") && ++n_seen) {
            assert_int_equal(d->args.scale.scale, up->scale_address);
            assert_int_equal(d->args.scale.n_experts, BUILDER_EXPERTS);
            assert_int_equal(d->args.scale.n_used, BUILDER_EXPERTS_USED);
            assert_int_equal(d->args.scale.choices, d[-1].args.matmul_experts.choices);
            assert_true(d->args.scale.choices != 0);
        }
    }
    assert_int_equal(n_seen, 3);
    assert_int_equal(n_scaled, n_products - shape.layers); /* the shared router is a vector */
    bench_finish(&b);
    device_destroy(&spy->device);
}

/* Every third layer, as the file has it, sees all and rotates by the scaled base, the others a
 * window and by the local one; scores and logits are capped, embeddings scaled. */
static void gemma_layers_differ_in_window_and_rope(void **state)
{
    struct spy *spy = spy_create();
    struct builder_shape shape = model_fixture_shape("gemma3", GGUF_TYPE_F16);
    struct plan_config cfg = {.max_tokens = 7, .max_outputs = 1, .max_seqs = SEQS};
    uint32_t layer = 0, n_ropes = 0;
    struct bench b;

    shape.layers = 4;
    bench_init(&b, &spy->device, &shape, &cfg);
    plan_destroy(record(&b, &cfg));
    for (size_t i = 0; i < spy->n; i++) {
        const struct dispatch *d = &spy->list[i];
        bool is_global = layer == 2;

        if (d->op == KERNEL_EMBED)
            assert_true(d->args.embed.scale == sqrtf(96.0f));
        if (d->op == KERNEL_ROPE) {
            assert_true(d->args.rope.base == (is_global ? 1e6f : 10000.0f));
            assert_true(d->args.rope.freq_scale == (is_global ? 0.125f : 1.0f));
            n_ropes++;
        }
        if (d->op == KERNEL_ATTENTION) {
            assert_int_equal(d->args.attention.window, is_global ? 0 : 11);
            assert_true(d->args.attention.scale == 1.0f / sqrtf(32.0f));
            layer++;
        }
        if (d->op == KERNEL_SOFTCAP)
            assert_true(d->args.softcap.cap == 20.0f);
    }
    assert_int_equal(layer, 4);
    assert_int_equal(n_ropes, 8);
    assert_int_equal(spy->list[spy->n - 1].op, KERNEL_SOFTCAP);
    bench_finish(&b);
    device_destroy(&spy->device);
}

/* Two weights in one tensor are read apart; sessions longer than the first context have their own
 * divisors. */
static void phi_reads_parts_of_tensors_and_the_divisors_of_its_context(void **state)
{
    struct spy *spy = spy_create();
    struct builder_shape shape = model_fixture_shape("phi3", GGUF_TYPE_F16);
    struct plan_config cfg = {.max_tokens = 7, .max_outputs = 1, .max_seqs = SEQS};
    struct gguf_builder builder;
    uint64_t qkv[3], n_qkv = 0;
    struct bench b;

    shape.layers = 1;
    gguf_builder_transformer(&builder, &shape);
    gguf_builder_tensor(&builder, "rope_factors_long.weight", GGUF_TYPE_F32, 16, 0);
    gguf_builder_tensor(&builder, "rope_factors_short.weight", GGUF_TYPE_F32, 16, 0);
    gguf_builder_u32(&builder, "phi3.rope.scaling.original_context_length", 512);
    bench_init_built(&b, &spy->device, &builder, &cfg);
    for (cfg.context_tokens = 512; cfg.context_tokens <= 513; cfg.context_tokens++) {
        uint64_t factors = model_rope_factors(b.f.model, 0, cfg.context_tokens)->address;
        size_t n_ropes = 0;

        plan_destroy(record(&b, &cfg));
        n_qkv = 0;
        for (size_t i = 0; i < spy->n; i++) {
            const struct dispatch *d = &spy->list[i];

            if (d->op == KERNEL_MATMUL && n_qkv < 3) {
                assert_int_equal(d->args.matmul.n_rows, n_qkv ? 64 : 192);
                qkv[n_qkv++] = d->args.matmul.weight;
            }
            if (d->op == KERNEL_ROPE) {
                assert_int_equal(d->args.rope.factors, factors);
                n_ropes++;
            }
        }
        assert_int_equal(n_ropes, 2);
        assert_int_equal(qkv[1] - qkv[0], 192 * 96 * 2);
        assert_int_equal(qkv[2] - qkv[1], 64 * 96 * 2);
    }
    bench_finish(&b);
    device_destroy(&spy->device);
}

/* Records a model whose layers of the first kind have these steps, and looks at the order. */
static void assert_steps_ordered(const char *name, const struct arch_step *steps)
{
    struct spy *spy = spy_create();
    struct builder_shape shape = model_fixture_shape(name, GGUF_TYPE_F16);
    struct plan_config cfg = {.max_tokens = 8, .max_outputs = 2, .max_seqs = SEQS};
    struct arch arch;
    struct bench b;
    size_t n_barriers;

    bench_init(&b, &spy->device, &shape, &cfg);
    arch = *b.f.model->arch;
    arch.kinds[0].steps = steps;
    b.f.model->arch = &arch;
    buffer_destroy(b.workspace); /* made for the other steps */
    assert_int_equal(buffer_create(&spy->device, 1 << 20, BUFFER_HOST, &b.workspace, NULL), 0);
    plan_destroy(record(&b, &cfg));
    assert_ordered(spy, cfg.max_tokens, &n_barriers);
    bench_finish(&b);
    device_destroy(&spy->device);
}

static void barriers_do_not_hang_on_where_values_lie(void **state)
{
    /* Every value outlives its neighbours, so that no reuse of a place brings a barrier by chance:
     * the cache alone orders attention, and the last step writes what the one before it reads. */
    static const struct arch_step layer[] = {
        {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_ATTN_NORM},
        {STEP_MATMUL, VALUE_Q, VALUE_NORMED, .weight = WEIGHT_ATTN_Q},
        {STEP_MATMUL, VALUE_K, VALUE_NORMED, .weight = WEIGHT_ATTN_K},
        {STEP_MATMUL, VALUE_V, VALUE_NORMED, .weight = WEIGHT_ATTN_V},
        {STEP_ROPE_QUERY, VALUE_Q, VALUE_Q, .weight = WEIGHT_ROPE_FACTORS},
        {STEP_ROPE, VALUE_K, VALUE_K, .weight = WEIGHT_ROPE_FACTORS},
        {STEP_KV_STORE, .in = VALUE_K, .in2 = VALUE_V},
        {STEP_ATTENTION, VALUE_ATT, VALUE_Q},
        {STEP_KV_STORE, .in = VALUE_K, .in2 = VALUE_V},
        {STEP_MATMUL_ADD, VALUE_X, VALUE_ATT, .weight = WEIGHT_ATTN_OUT},
        {STEP_MATMUL, VALUE_GATE, VALUE_X, .weight = WEIGHT_FFN_GATE},
        {STEP_MATMUL_ADD, VALUE_X, VALUE_Q, .weight = WEIGHT_ATTN_OUT},
        {STEP_MATMUL_ADD, VALUE_X, VALUE_GATE, .weight = WEIGHT_FFN_DOWN},
        {STEP_END},
    };

    assert_steps_ordered("llama", layer);
}

/* The betas alone are written between the barrier before the copy and the delta rule. */
static void the_third_input_of_a_step_is_waited_for(void **state)
{
    static const struct arch_step layer[] = {
        {STEP_NORM, VALUE_NORMED, VALUE_X, .weight = WEIGHT_ATTN_NORM},
        {STEP_MATMUL, VALUE_DELTA_IN, VALUE_NORMED, .weight = WEIGHT_DELTA_QKV},
        {STEP_MATMUL, VALUE_DELTA_ALPHA, VALUE_NORMED, .weight = WEIGHT_DELTA_ALPHA},
        {STEP_SHORT_CONV, VALUE_DELTA_QKV, VALUE_DELTA_IN, .weight = WEIGHT_DELTA_CONV},
        {STEP_COPY, VALUE_DELTA_V, VALUE_DELTA_QKV,
         .part = {DIM_ONE, DIM_DELTA_V, DIM_ZERO, DIM_ZERO}},
        {STEP_MATMUL, VALUE_DELTA_BETA, VALUE_NORMED, .weight = WEIGHT_DELTA_BETA},
        {STEP_DELTA_NET, VALUE_DELTA_OUT, VALUE_DELTA_QKV, VALUE_DELTA_ALPHA, WEIGHT_DELTA_A,
         WEIGHT_DELTA_DT_BIAS, .in3 = VALUE_DELTA_BETA},
        {STEP_MATMUL_ADD, VALUE_X, VALUE_DELTA_OUT, .weight = WEIGHT_DELTA_OUT},
        {STEP_MATMUL_ADD, VALUE_X, VALUE_DELTA_V, .weight = WEIGHT_DELTA_OUT},
        {STEP_MATMUL, VALUE_DELTA_GATE, VALUE_NORMED, .weight = WEIGHT_DELTA_GATE},
        {STEP_MATMUL_ADD, VALUE_X, VALUE_DELTA_GATE, .weight = WEIGHT_DELTA_OUT},
        {STEP_END},
    };

    assert_steps_ordered("qwen35", layer);
}

/* ---- batches ---- */

enum { TOKENS = 70 };

/* One sequence of a run: its tokens and what came of each. */
struct timeline {
    uint32_t tokens[TOKENS], n_past, n;
    float *logits; /* [n][vocab] */
};

/* Some rows of each sequence into one step. */
static void step(struct bench *b, struct plan *p, struct timeline *lines, const uint32_t *n_rows)
{
    uint32_t n_vocab = b->f.model->dims.dim[DIM_VOCAB], row = 0;
    uint32_t *tables = b->tables->host;
    uint64_t ticket;

    for (uint32_t s = 0; s < SEQS; s++) {
        /* each sequence's blocks, backwards and interleaved */
        for (uint32_t k = 0; k < KV_BLOCKS / SEQS; k++)
            tables[s * (KV_BLOCKS / SEQS) + k] = KV_BLOCKS - 1 - (k * SEQS + s);
        p->step.seqs[s] = (struct step_seq){
            .block_table = b->tables->address + s * (KV_BLOCKS / SEQS) * sizeof(uint32_t),
            .n_blocks = KV_BLOCKS / SEQS,
            .slot = SEQS - 1 - s,
        };
        p->step.window_seqs[s] = p->step.seqs[s];
        for (uint32_t i = 0; i < n_rows[s]; i++, row++) {
            p->step.tokens[row] = (struct step_token){
                .token = lines[s].tokens[lines[s].n_past + i],
                .position = lines[s].n_past + i,
                .seq = s,
            };
            p->step.output_rows[row] = row;
        }
    }
    plan_set_header(p, (struct step_header){row, row, SEQS, 0});
    assert_int_equal(device_submit(b->dev, p->program, &ticket, NULL), 0);
    assert_int_equal(device_wait(b->dev, ticket, UINT64_MAX / 2, NULL), 0);
    row = 0;
    for (uint32_t s = 0; s < SEQS; s++) {
        memcpy(lines[s].logits + (size_t)lines[s].n_past * n_vocab,
               p->step.logits + (size_t)row * n_vocab, n_rows[s] * n_vocab * sizeof(float));
        lines[s].n_past += n_rows[s];
        row += n_rows[s];
    }
}

/* Feeds all sequences to their end in steps of random composition (seed 0: one after the other,
 * each in one step). */
static void run_all(struct bench *b, struct plan *p, struct timeline *lines, unsigned seed)
{
    memset(b->cache->host, 0xff, b->cache->bytes); /* NaNs where nothing was stored */
    if (b->states)
        memset(b->states->host, 0xff, b->states->bytes);
    srand(seed);
    for (uint32_t s = 0; s < SEQS; s++)
        lines[s].n_past = 0;
    for (uint32_t s = 0; !seed && s < SEQS; s++) {
        uint32_t n_rows[SEQS] = {0};
        n_rows[s] = lines[s].n;
        step(b, p, lines, n_rows);
    }
    while (seed) {
        uint32_t n_rows[SEQS], left = p->config.max_tokens, n = 0;
        for (uint32_t s = 0; s < SEQS; s++) {
            uint32_t most = lines[s].n - lines[s].n_past;
            n_rows[s] = (uint32_t)rand() % (1 + (most < left ? most : left));
            left -= n_rows[s];
            n += n_rows[s];
        }
        if (n)
            step(b, p, lines, n_rows);
        if (lines[0].n_past == lines[0].n && lines[1].n_past == lines[1].n &&
            lines[2].n_past == lines[2].n)
            break;
    }
}

static double difference(const struct timeline *got, const struct timeline *want, uint32_t n_vocab)
{
    double error = 0, sum = 0;

    for (size_t i = 0; i < (size_t)got->n * n_vocab; i++) {
        double d = (double)got->logits[i] - (double)want->logits[i];
        error += d * d;
        sum += (double)want->logits[i] * (double)want->logits[i];
    }
    return error / sum;
}

static void make_lines(struct timeline *lines, uint32_t n_vocab)
{
    static const uint32_t lengths[SEQS] = {TOKENS, 33, 48};

    for (uint32_t s = 0; s < SEQS; s++) {
        lines[s] = (struct timeline){.n = lengths[s]};
        lines[s].logits = calloc((size_t)TOKENS * n_vocab, sizeof(float));
        assert_non_null(lines[s].logits);
        for (uint32_t i = 0; i < lengths[s]; i++)
            lines[s].tokens[i] = (i * 37 + s * 11) % n_vocab;
    }
}

static void free_lines(struct timeline *lines)
{
    for (uint32_t s = 0; s < SEQS; s++)
        free(lines[s].logits);
}

static const struct plan_config batch_config = {
    .max_tokens = TOKENS, .max_outputs = TOKENS, .max_seqs = SEQS, .host_logits = true};

static uint32_t always_in_ranges(const struct device *dev, const struct args_attention *a,
                                 uint32_t max_rows)
{
    return 3;
}

/* Runs a check for each architecture, each in one of the types and every other one with attention
 * in ranges. */
static void for_each_model(void (*check)(struct bench *b))
{
    static const char *const archs[] = {"llama",   "deepseek2",      "qwen2",     "qwen3",
                                        "gpt-oss", "qwen3moe",       "gemma2",    "gemma3",
                                        "qwen35",  "qwen3next",      "phi3",      "llama4",
                                        "gemma4",  "gemma4-experts", "deepseek32"};
    static const enum gguf_type types[] = {GGUF_TYPE_F16, GGUF_TYPE_Q8_0, GGUF_TYPE_Q4_0};

    for (size_t i = 0; i < sizeof(archs) / sizeof(*archs); i++) {
        struct builder_shape shape = model_fixture_shape(archs[i], types[i % 3]);
        struct device_ops ops;
        struct device *dev;
        struct bench b;
        assert_int_equal(device_create("cpu:2", &dev, NULL), 0);
        ops = *dev->ops;
        ops.attention_splits = i % 2 ? always_in_ranges : NULL;
        dev->ops = &ops;
        bench_init(&b, dev, &shape, &batch_config);
        check(&b);
        bench_finish(&b);
        device_destroy(dev);
    }
}

static void check_barriers(struct bench *b)
{
    uint32_t n_vocab = b->f.model->dims.dim[DIM_VOCAB];
    struct plan_config full = batch_config;
    struct timeline few[SEQS], all[SEQS];
    struct plan *p = record(b, &batch_config), *q;

    full.full_barriers = true;
    q = record(b, &full);
    make_lines(few, n_vocab);
    make_lines(all, n_vocab);
    for (unsigned seed = 1; seed < 3; seed++) {
        run_all(b, p, few, seed);
        run_all(b, q, all, seed);
        for (uint32_t s = 0; s < SEQS; s++)
            assert_memory_equal(few[s].logits, all[s].logits, few[s].n * n_vocab * sizeof(float));
    }
    free_lines(few);
    free_lines(all);
    plan_destroy(p);
    plan_destroy(q);
}

static void a_barrier_before_every_kernel_changes_no_bit(void **state)
{
    for_each_model(check_barriers);
}

static void check_compositions(struct bench *b)
{
    uint32_t n_vocab = b->f.model->dims.dim[DIM_VOCAB];
    struct timeline alone[SEQS], mixed[SEQS];
    struct plan *p = record(b, &batch_config);

    make_lines(alone, n_vocab);
    make_lines(mixed, n_vocab);
    run_all(b, p, alone, 0);
    for (unsigned seed = 1; seed < 4; seed++) {
        run_all(b, p, mixed, seed);
        for (uint32_t s = 0; s < SEQS; s++) {
            double d = difference(&mixed[s], &alone[s], n_vocab);
            if (!(d < 1e-10))
                fail_msg("seed %u, sequence %u: nmse %g", seed, s, d);
        }
    }
    free_lines(alone);
    free_lines(mixed);
    plan_destroy(p);
}

static void sequences_are_the_same_in_any_company(void **state)
{
    for_each_model(check_compositions);
}

/* The table that Gemma 4's layers are told from, in pieces that lie apart, the later ones first;
 * where it was there are rows that show. */
static void a_table_in_pieces_is_looked_up_as_if_it_were_whole(void **state)
{
    struct builder_shape shape = model_fixture_shape("gemma4", GGUF_TYPE_F16);
    struct timeline whole[SEQS], cut[SEQS];
    const struct gguf_tensor *t;
    struct weight_piece *pieces;
    struct buffer *apart;
    struct device *dev;
    struct plan *p;
    struct bench b;
    uint64_t row_bytes, end;
    uint32_t n_vocab;
    size_t n;

    assert_int_equal(device_create("cpu:2", &dev, NULL), 0);
    bench_init(&b, dev, &shape, &batch_config);
    n_vocab = b.f.model->dims.dim[DIM_VOCAB];
    t = gguf_find_tensor(b.f.gguf, "per_layer_token_embd.weight");
    row_bytes = gguf_type_row_bytes(t->type, t->shape[0]);
    make_lines(whole, n_vocab);
    make_lines(cut, n_vocab);
    p = record(&b, &batch_config);
    run_all(&b, p, whole, 1);
    plan_destroy(p);

    assert_int_equal(model_cut(b.f.model, 50 * row_bytes + 3, NULL), 0);
    assert_null(model_pieces(b.f.model, gguf_find_tensor(b.f.gguf, "blk.0.attn_q.weight"), &n));
    pieces = model_pieces(b.f.model, t, &n);
    assert_int_equal(n, 3);
    assert_int_equal(pieces[2].first_row + pieces[2].n_rows, n_vocab);
    assert_int_equal(buffer_create(dev, t->bytes, BUFFER_HOST, &apart, NULL), 0);
    end = t->bytes;
    for (size_t i = 0; i < n; i++) {
        uint64_t bytes = pieces[i].n_rows * row_bytes;

        end -= bytes;
        memcpy((char *)apart->host + end,
               (char *)b.weights->host + t->offset + pieces[i].first_row * row_bytes, bytes);
        pieces[i].address = apart->address + end;
    }
    memset((char *)b.weights->host + t->offset, 0x7b, t->bytes);
    p = record(&b, &batch_config);
    run_all(&b, p, cut, 1);
    for (uint32_t s = 0; s < SEQS; s++)
        assert_memory_equal(cut[s].logits, whole[s].logits, whole[s].n * n_vocab * sizeof(float));
    plan_destroy(p);
    free_lines(whole);
    free_lines(cut);
    buffer_destroy(apart);
    bench_finish(&b);
    device_destroy(dev);
}

static void plan_refuses_a_workspace_that_is_too_small(void **state)
{
    struct builder_shape shape = model_fixture_shape("llama", GGUF_TYPE_F16);
    struct plan_config small = batch_config;
    struct error err = {0};
    struct plan *p = NULL;
    struct device *dev;
    struct bench b;

    small.max_tokens = small.max_outputs = 4;
    assert_int_equal(device_create("cpu:1", &dev, NULL), 0);
    bench_init(&b, dev, &shape, &small);
    assert_int_equal(plan_create(b.f.model, dev, b.kv, b.workspace, &batch_config, &p, &err), -22);
    assert_null(p);
    assert_non_null(strstr(err.text, "workspace"));
    bench_finish(&b);
    device_destroy(dev);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(barriers_stand_where_data_flows_and_nowhere_else),
    cmocka_unit_test(windows_and_sinks_are_of_the_layers_that_have_them),
    cmocka_unit_test(gemma_layers_differ_in_window_and_rope),
    cmocka_unit_test(products_are_scaled_before_their_biases_are_added),
    cmocka_unit_test(phi_reads_parts_of_tensors_and_the_divisors_of_its_context),
    cmocka_unit_test(barriers_do_not_hang_on_where_values_lie),
    cmocka_unit_test(the_third_input_of_a_step_is_waited_for),
    cmocka_unit_test(a_barrier_before_every_kernel_changes_no_bit),
    cmocka_unit_test(sequences_are_the_same_in_any_company),
    cmocka_unit_test(a_table_in_pieces_is_looked_up_as_if_it_were_whole),
    cmocka_unit_test(plan_refuses_a_workspace_that_is_too_small),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
