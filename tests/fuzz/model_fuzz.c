/* SPDX-License-Identifier: MIT */
/*
 * What a model file says of itself: whole models of each architecture with keys and tensors changed
 * or gone, through everything that is computed of a header before a byte of weights is read. What
 * was accepted must have a plan, or a sentence that says why not.
 *
 * The first byte picks the model; each six that follow change it: what, where, how, and a number.
 */
#include "model_fixture.h"

#include "engine/footprint.h"
#include "model/model_size.h"
#include "model/plan.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CHANGE_BYTES = 6, CONTEXT = 4096 };

static const char *const archs[] = {
    "llama",          "qwen2",        "qwen3",    "qwen2moe",  "qwen3moe", "gpt-oss",
    "deepseek2",      "glm4moe",      "gemma2",   "gemma3",    "phi3",     "qwen35",
    "qwen35moe",      "qwen3next",    "llama4",   "smollm3",   "olmo2",    "gemma4",
    "gemma4-experts", "gemma4-dense", "seed_oss", "minimax-m2"};
enum { N_ARCHS = sizeof(archs) / sizeof(archs[0]) };

static void build(struct gguf_builder *b, uint8_t choice)
{
    static const enum gguf_type types[] = {GGUF_TYPE_F16, GGUF_TYPE_Q8_0, GGUF_TYPE_F32};
    struct builder_shape shape = model_fixture_shape(archs[choice % N_ARCHS], types[choice % 3]);

    shape.layers = 2 + choice / N_ARCHS % 3;
    gguf_builder_transformer(b, &shape);
}

/* Numbers that break arithmetic, or any. */
static uint32_t number(const uint8_t *how)
{
    static const uint32_t odd[] = {0,   1,    2,        3,        31,       33,         64,
                                   255, 4096, 1u << 16, 1u << 30, 1u << 31, UINT32_MAX, INT32_MAX};
    uint32_t n = how[0] % 16;

    return n < sizeof(odd) / sizeof(odd[0]) ? odd[n] : (uint32_t)how[1] << 8 | how[2];
}

static void change_key(struct gguf_builder *b, struct builder_key *k, const uint8_t *how)
{
    uint32_t value = number(how + 1);

    if (how[0] % 8 == 0)
        k->type = GGUF_VALUE_U32;
    else if (how[0] % 8 == 1)
        k->type = GGUF_VALUE_F32;
    else if (how[0] % 8 == 2) {
        *k = b->keys[--b->n_keys];
        return;
    }
    if (k->type == GGUF_VALUE_ARRAY && how[0] % 2) {
        k->u32 = value % (BUILDER_ARRAY_MOST + 1);
    } else if (k->type == GGUF_VALUE_ARRAY) {
        k->array[how[1] / 16 % BUILDER_ARRAY_MOST] = value;
    } else if (k->type == GGUF_VALUE_STR) {
        if (k->str[0]) /* still a string, of printable characters */
            k->str[how[1] / 16 % strlen(k->str)] = (char)('0' + how[2] % 75);
    } else {
        k->u32 = value;
        memcpy(&k->f32, how[0] & 16 ? how : (const uint8_t *)&value, sizeof(k->f32));
    }
}

static void change_tensor(struct gguf_builder *b, struct builder_tensor *t, const uint8_t *how)
{
    uint32_t value = number(how + 1);

    switch (how[0] % 6) {
    case 0:
        *t = b->tensors[--b->n_tensors];
        break;
    case 1:
        t->cols = value;
        break;
    case 2:
        t->rows = value;
        break;
    case 3:
        t->planes = value % 64;
        break;
    case 4:
        t->type = how[1] % GGUF_TYPE_LIMIT;
        break;
    default: /* of another name: each digit may be another */
        for (char *p = t->name; *p; p++)
            if (*p >= '0' && *p <= '9')
                *p = (char)('0' + how[1] % 10);
    }
}

static void change(struct gguf_builder *b, const uint8_t *how)
{
    if (how[0] % 3 && b->n_keys)
        change_key(b, &b->keys[how[1] % b->n_keys], how + 2);
    else if (b->n_tensors)
        change_tensor(b, &b->tensors[how[1] % b->n_tensors], how + 2);
}

static void check_refusal(int r, const struct error *err)
{
    if (r >= 0 || !err->text[0])
        abort();
}

/* The shapes of a cache and of states, without memory. */
static void shape_caches(const struct model *m, struct kv_layer *kv, struct layer_state *states)
{
    for (uint32_t i = 0; i < m->dims.dim[DIM_LAYERS]; i++) {
        const uint32_t *dim = model_dims(m, i);
        struct seq_state state = {.base = 4096, .slot_bytes = model_state_bytes(m), .n_slots = 4};

        kv[i] = (struct kv_layer){
            .base = 4096,
            .block_bytes = (uint64_t)KV_BLOCK_TOKENS * ((uint64_t)dim[DIM_K] + dim[DIM_V]) * 2,
            .n_kv_heads = dim[DIM_KV_HEADS],
            .n_channels_k = dim[DIM_HEAD_K],
            .n_channels_v = dim[DIM_HEAD_V],
            .n_blocks = 16,
        };
        states[i] = (struct layer_state){state, state};
    }
}

static void plan(const struct model *m)
{
    static struct device *dev;
    size_t n = m->dims.dim[DIM_LAYERS];
    struct kv_layer *kv = calloc(n + 1, sizeof(*kv));
    struct layer_state *states = calloc(n + 1, sizeof(*states));

    if (!kv || !states || (!dev && device_create("cpu:1", &dev, NULL) < 0))
        abort();
    shape_caches(m, kv, states);
    for (uint32_t tokens = 1; tokens <= 64; tokens *= 64) {
        const struct plan_config cfg = {.max_tokens = tokens,
                                        .max_outputs = tokens,
                                        .max_seqs = tokens < 4 ? tokens : 4,
                                        .context_tokens = CONTEXT,
                                        .has_sampler = model_makes_logits(m),
                                        .host_normed = !model_makes_logits(m),
                                        .states = model_state_bytes(m) ? states : NULL};
        struct error err = {0};
        uint64_t bytes;
        int r = plan_workspace_bytes(m, dev, &cfg, &bytes, &err);

        if (r < 0)
            check_refusal(r, &err);
        else if ((r = plan_prepare(m, dev, kv, &cfg, &err)) < 0)
            check_refusal(r, &err);
    }
    free(kv);
    free(states);
}

static void weigh(const struct model *m, uint64_t file_bytes)
{
    static const struct device_room shared = {RESIDENCY_UNLIMITED, true};
    struct model_size size;

    model_size_get(m, &size);
    for (uint32_t type = KV_F16; type <= KV_Q8_0; type++) {
        uint32_t longest = footprint_longest_context(m, &shared, file_bytes, 64ull << 30, type);

        if (longest > m->dims.dim[DIM_CONTEXT])
            abort();
        footprint_most_sequences(m, &shared, file_bytes, 64ull << 30, type, CONTEXT);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct gguf_builder b;
    struct error err = {0};
    struct model *m = NULL;
    struct gguf *g = NULL;
    uint64_t file_bytes;
    size_t len;
    char *header;
    int r;

    if (!size)
        return 0;
    memset(&b, 0, sizeof(b));
    build(&b, data[0]);
    for (size_t at = 1; size - at >= CHANGE_BYTES; at += CHANGE_BYTES)
        change(&b, data + at);
    header = gguf_builder_write_header(&b, &len, &file_bytes);
    if (!header)
        return 0;
    r = gguf_parse(header, len, file_bytes < len ? len : file_bytes, &g, &err);
    if (r == 0)
        r = model_create(g, &m, &err);
    if (r < 0) {
        check_refusal(r, &err);
    } else {
        weigh(m, file_bytes);
        plan(m);
    }
    model_destroy(m);
    gguf_close(g);
    free(header);
    return 0;
}
