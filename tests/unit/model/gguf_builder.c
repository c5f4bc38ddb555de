/* SPDX-License-Identifier: MIT */
#include "gguf_builder.h"

#include "base/strbuf.h"
#include "gemma4_builder.h"
#include "harness.h"
#include "kernels/ref.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 32 };

/* ---- collecting ---- */

static struct builder_key *key_slot(struct gguf_builder *b, const char *name,
                                    enum gguf_value_type type)
{
    struct builder_key *k = NULL;

    for (size_t i = 0; i < b->n_keys; i++)
        if (!strcmp(b->keys[i].name, name))
            k = &b->keys[i];
    if (!k) {
        assert_true(b->n_keys < BUILDER_KEYS_MOST);
        k = &b->keys[b->n_keys++];
    }
    *k = (struct builder_key){.type = type};
    assert_true((size_t)snprintf(k->name, sizeof(k->name), "%s", name) < sizeof(k->name));
    return k;
}

void gguf_builder_u32(struct gguf_builder *b, const char *key, uint32_t value)
{
    key_slot(b, key, GGUF_VALUE_U32)->u32 = value;
}

void gguf_builder_array(struct gguf_builder *b, const char *key, const uint32_t *values, size_t n)
{
    struct builder_key *k = key_slot(b, key, GGUF_VALUE_ARRAY);

    assert_true(n <= BUILDER_ARRAY_MOST);
    k->u32 = (uint32_t)n;
    memcpy(k->array, values, n * sizeof(*values));
}

void gguf_builder_f32(struct gguf_builder *b, const char *key, float value)
{
    key_slot(b, key, GGUF_VALUE_F32)->f32 = value;
}

void gguf_builder_str(struct gguf_builder *b, const char *key, const char *value)
{
    struct builder_key *k = key_slot(b, key, GGUF_VALUE_STR);

    assert_true((size_t)snprintf(k->str, sizeof(k->str), "%s", value) < sizeof(k->str));
}

struct builder_tensor *gguf_builder_find(struct gguf_builder *b, const char *tensor)
{
    for (size_t i = 0; i < b->n_tensors; i++)
        if (!strcmp(b->tensors[i].name, tensor))
            return &b->tensors[i];
    return NULL;
}

void gguf_builder_tensor(struct gguf_builder *b, const char *name, enum gguf_type type,
                         uint64_t cols, uint64_t rows)
{
    struct builder_tensor *t = gguf_builder_find(b, name);

    if (!t) {
        assert_true(b->n_tensors < BUILDER_TENSORS_MOST);
        t = &b->tensors[b->n_tensors++];
    }
    *t = (struct builder_tensor){.type = type, .cols = cols, .rows = rows};
    assert_true((size_t)snprintf(t->name, sizeof(t->name), "%s", name) < sizeof(t->name));
}

void gguf_builder_drop(struct gguf_builder *b, const char *name)
{
    struct builder_tensor *t = gguf_builder_find(b, name);

    if (t) {
        *t = b->tensors[--b->n_tensors];
        return;
    }
    for (size_t i = 0; i < b->n_keys; i++) {
        if (!strcmp(b->keys[i].name, name)) {
            b->keys[i] = b->keys[--b->n_keys];
            return;
        }
    }
    fail_msg("nothing is called %s", name);
}

/* ---- contents ---- */

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* -1..1 */
static float next_float(uint64_t *state)
{
    return (float)next_random(state) / (float)(1u << 30) - 1.0f;
}

static void put_f16(uint8_t *to, float value)
{
    uint16_t half = ref_f32_to_f16(value);

    memcpy(to, &half, sizeof(half));
}

/* Where the 16-bit scales of a block lie; everything else may be any byte. */
static void set_scales(enum gguf_type type, uint8_t *block, float scale)
{
    switch (type) {
    case GGUF_TYPE_Q8_0:
        put_f16(block, scale / 127);
        break;
    case GGUF_TYPE_Q4_0:
        put_f16(block, scale / 8);
        break;
    case GGUF_TYPE_Q4_K:
        put_f16(block, scale / 512);
        put_f16(block + 2, scale / 64);
        break;
    case GGUF_TYPE_Q6_K:
        put_f16(block + 208, scale / 2048);
        break;
    default:
        break;
    }
}

static void fill_value(const struct builder_tensor *t, uint8_t *to, uint64_t *seed, float scale)
{
    float value = t->rows ? scale * next_float(seed) : 1.0f + 0.2f * next_float(seed);
    uint32_t bits;

    if (strstr(t->name, "ssm_a") && !t->rows) /* a delta rule forgets */
        value = -value;
    memcpy(&bits, &value, sizeof(bits));
    if (t->type == GGUF_TYPE_F32)
        memcpy(to, &bits, 4);
    else if (t->type == GGUF_TYPE_F16)
        put_f16(to, value);
    else if (t->type == GGUF_TYPE_BF16)
        memcpy(to, (uint8_t *)&bits + 2, 2);
}

static void fill(const struct builder_tensor *t, uint8_t *data, uint64_t bytes)
{
    const struct gguf_type_info *info = gguf_type_get_info(t->type);
    float scale = 2.0f / sqrtf((float)t->cols);
    uint64_t seed = 1;

    for (const char *p = t->name; *p; p++)
        seed = seed * 31 + (uint8_t)*p;
    for (uint64_t at = 0; at < bytes; at += info->block_bytes) {
        if (info->block_elements == 1) {
            fill_value(t, data + at, &seed, scale);
            continue;
        }
        for (uint32_t i = 0; i < info->block_bytes; i++)
            data[at + i] = (uint8_t)next_random(&seed);
        set_scales(t->type, data + at, scale);
    }
}

/* ---- writing ---- */

static void put_u32(struct strbuf *s, uint32_t value)
{
    strbuf_add(s, &value, sizeof(value));
}

static void put_u64(struct strbuf *s, uint64_t value)
{
    strbuf_add(s, &value, sizeof(value));
}

static void put_string(struct strbuf *s, const char *text)
{
    put_u64(s, strlen(text));
    strbuf_add_str(s, text);
}

static void pad(struct strbuf *s)
{
    while (s->len % ALIGN)
        strbuf_add_char(s, 0);
}

static uint64_t tensor_bytes(const struct builder_tensor *t)
{
    return gguf_type_row_bytes(t->type, t->cols) * (t->rows ? t->rows : 1) *
           (t->planes ? t->planes : 1);
}

static void put_key(struct strbuf *s, const struct builder_key *k)
{
    put_string(s, k->name);
    put_u32(s, k->type);
    if (k->type == GGUF_VALUE_STR) {
        put_string(s, k->str);
    } else if (k->type == GGUF_VALUE_ARRAY) {
        put_u32(s, GGUF_VALUE_U32);
        put_u64(s, k->u32);
        strbuf_add(s, k->array, k->u32 * sizeof(k->array[0]));
    } else {
        strbuf_add(s, k->type == GGUF_VALUE_U32 ? (const void *)&k->u32 : &k->f32, 4);
    }
}

/* Returns how many bytes of tensors follow. */
static uint64_t put_header(struct strbuf *s, const struct gguf_builder *b)
{
    uint64_t offset = 0;

    strbuf_add(s, "GGUF", 4);
    put_u32(s, 3);
    put_u64(s, b->n_tensors);
    put_u64(s, b->n_keys);
    for (size_t i = 0; i < b->n_keys; i++)
        put_key(s, &b->keys[i]);
    for (size_t i = 0; i < b->n_tensors; i++) {
        const struct builder_tensor *t = &b->tensors[i];
        put_string(s, t->name);
        put_u32(s, t->planes ? 3 : t->rows ? 2 : 1);
        put_u64(s, t->cols);
        if (t->rows)
            put_u64(s, t->rows);
        if (t->planes)
            put_u64(s, t->planes);
        put_u32(s, t->type);
        put_u64(s, offset);
        offset += (tensor_bytes(t) + ALIGN - 1) / ALIGN * ALIGN;
    }
    pad(s);
    return offset;
}

void *gguf_builder_write_header(const struct gguf_builder *b, size_t *ret_len,
                                uint64_t *ret_file_bytes)
{
    struct strbuf s;

    strbuf_init(&s, 0);
    *ret_file_bytes = put_header(&s, b);
    *ret_file_bytes += s.len;
    *ret_len = s.len;
    return strbuf_steal(&s);
}

void *gguf_builder_header(const struct gguf_builder *b, size_t *ret_len, uint64_t *ret_file_bytes)
{
    struct strbuf s;

    strbuf_init(&s, 0);
    put_header(&s, b);
    pad(&s);
    *ret_len = s.len;
    *ret_file_bytes = s.len;
    for (size_t i = 0; i < b->n_tensors; i++)
        *ret_file_bytes += (tensor_bytes(&b->tensors[i]) + ALIGN - 1) / ALIGN * ALIGN;
    return strbuf_steal(&s);
}

void *gguf_builder_write(const struct gguf_builder *b, size_t *ret_len)
{
    struct strbuf s;

    strbuf_init(&s, 0);
    put_header(&s, b);
    for (size_t i = 0; i < b->n_tensors; i++) {
        uint64_t bytes = tensor_bytes(&b->tensors[i]);
        char *to;
        assert_true(bytes > 0);
        pad(&s);
        to = strbuf_reserve(&s, bytes);
        assert_non_null(to);
        fill(&b->tensors[i], (uint8_t *)to, bytes);
        s.len += bytes;
    }
    pad(&s);
    *ret_len = s.len;
    return strbuf_steal(&s);
}

/* ---- a whole model ---- */

struct matrix {
    const char *name;
    uint64_t cols, rows, planes;
};

/* Norms, the biases of all experts and the taps of convolutions: F32. */
static bool is_vector(const struct matrix *m)
{
    return !m->rows || strstr(m->name, ".bias") || strstr(m->name, "conv1d");
}

static void add_matrices(struct gguf_builder *b, const struct builder_shape *s, uint32_t i,
                         const struct matrix *list, size_t n)
{
    char name[64];

    for (const struct matrix *m = list; m < list + n; m++) {
        snprintf(name, sizeof(name), "blk.%u.%s", i, m->name);
        gguf_builder_tensor(b, name, is_vector(m) ? GGUF_TYPE_F32 : s->matrix, m->cols, m->rows);
        gguf_builder_find(b, name)->planes = m->planes;
    }
}

#define ADD_MATRICES(b, s, i, list) add_matrices(b, s, i, list, sizeof(list) / sizeof((list)[0]))

static bool is_gpt_oss(const struct builder_shape *s)
{
    return !strcmp(s->arch, "gpt-oss");
}

static bool is_glm(const struct builder_shape *s)
{
    return !strcmp(s->arch, "glm4moe");
}

static bool is_deepseek(const struct builder_shape *s)
{
    return !strncmp(s->arch, "deepseek", 8);
}

/* Whether attention sees only what an indexer chooses. */
static bool has_indexer(const struct builder_shape *s)
{
    return !strcmp(s->arch, "deepseek32");
}

static bool is_gemma(const struct builder_shape *s)
{
    return !strncmp(s->arch, "gemma", 5);
}

/* Of a delta rule, with attention in every second layer. */
static bool is_delta(const struct builder_shape *s)
{
    return !strncmp(s->arch, "qwen35", 6) || !strcmp(s->arch, "qwen3next");
}

static bool is_fused(const struct builder_shape *s)
{
    return !strcmp(s->arch, "phi3");
}

static bool is_llama4(const struct builder_shape *s)
{
    return !strcmp(s->arch, "llama4");
}

static bool has_experts(const struct builder_shape *s)
{
    size_t n = strlen(s->arch);

    return is_gpt_oss(s) || is_deepseek(s) || is_llama4(s) || !strcmp(s->arch, "qwen3next") ||
           (n > 3 && !strcmp(s->arch + n - 3, "moe"));
}

/* Whether the first layer is dense. */
static bool has_leading(const struct builder_shape *s)
{
    return is_glm(s) || is_deepseek(s);
}

static void feed_forward(struct gguf_builder *b, const struct builder_shape *s, uint32_t i)
{
    const struct matrix dense[] = {
        {"ffn_gate.weight", s->embd, s->ff, 0},
        {"ffn_up.weight", s->embd, s->ff, 0},
        {"ffn_down.weight", s->ff, s->embd, 0},
    };
    const struct matrix fused[] = {
        {"ffn_up.weight", s->embd, 2 * s->ff, 0},
        {"ffn_down.weight", s->ff, s->embd, 0},
    };
    const struct matrix experts[] = {
        {"ffn_gate_inp.weight", s->embd, BUILDER_EXPERTS, 0},
        {"ffn_gate_exps.weight", s->embd, s->ff, BUILDER_EXPERTS},
        {"ffn_up_exps.weight", s->embd, s->ff, BUILDER_EXPERTS},
        {"ffn_down_exps.weight", s->ff, s->embd, BUILDER_EXPERTS},
    };
    const struct matrix shared[] = {
        {"ffn_gate_inp_shexp.weight", s->embd, 0, 0},
        {"ffn_gate_shexp.weight", s->embd, s->ff, 0},
        {"ffn_up_shexp.weight", s->embd, s->ff, 0},
        {"ffn_down_shexp.weight", s->ff, s->embd, 0},
    };

    const struct matrix biases[] = {
        {"ffn_gate_inp.bias", BUILDER_EXPERTS, 0, 0},
        {"ffn_gate_exps.bias", s->ff, BUILDER_EXPERTS, 0},
        {"ffn_up_exps.bias", s->ff, BUILDER_EXPERTS, 0},
        {"ffn_down_exps.bias", s->embd, BUILDER_EXPERTS, 0},
    };

    const struct matrix choice[] = {{"exp_probs_b.bias", BUILDER_EXPERTS, 0, 0}};

    if (has_experts(s) && (i || !has_leading(s)) && (i % 3 == 2 || !is_llama4(s)))
        ADD_MATRICES(b, s, i, experts);
    else if (is_fused(s))
        ADD_MATRICES(b, s, i, fused);
    else
        ADD_MATRICES(b, s, i, dense);
    if (!strcmp(s->arch, "qwen2moe") || (is_delta(s) && has_experts(s)))
        ADD_MATRICES(b, s, i, shared);
    if (is_llama4(s) && i % 3 == 2)
        add_matrices(b, s, i, shared + 1, 3);
    if (i && has_leading(s)) {
        add_matrices(b, s, i, shared + 1, 3);
        ADD_MATRICES(b, s, i, choice);
    }
    if (is_gpt_oss(s))
        ADD_MATRICES(b, s, i, biases);
}

/* All latents are as wide as a head, of which half as many channels again are rotated. */
static void latent_layer(struct gguf_builder *b, const struct builder_shape *s, uint32_t i)
{
    uint32_t head = s->head_dim, rope = head / 2;
    const struct matrix matrices[] = {
        {"attn_norm.weight", s->embd, 0, 0},
        {"attn_q_a.weight", s->embd, head, 0},
        {"attn_q_a_norm.weight", head, 0, 0},
        {"attn_q_b.weight", head, s->heads * (head + rope), 0},
        {"attn_kv_a_mqa.weight", s->embd, head + rope, 0},
        {"attn_kv_a_norm.weight", head, 0, 0},
        {"attn_k_b.weight", head, head, s->heads},
        {"attn_v_b.weight", head, head, s->heads},
        {"attn_output.weight", s->heads * head, s->embd, 0},
        {"ffn_norm.weight", s->embd, 0, 0},
    };

    const struct matrix indexer[] = {
        {"indexer.attn_q_b.weight", head, BUILDER_INDEXER_HEADS * (head / 2), 0},
        {"indexer.attn_k.weight", s->embd, head / 2, 0},
        {"indexer.k_norm.weight", head / 2, 0, 0},
        {"indexer.k_norm.bias", head / 2, 0, 0},
        {"indexer.proj.weight", s->embd, BUILDER_INDEXER_HEADS, 0},
    };

    ADD_MATRICES(b, s, i, matrices);
    if (has_indexer(s))
        ADD_MATRICES(b, s, i, indexer);
    feed_forward(b, s, i);
}

/* A delta rule has as many heads of values and keys as attention has, each as wide. */
static void delta_layer(struct gguf_builder *b, const struct builder_shape *s, uint32_t i)
{
    uint32_t head = s->head_dim, v = s->heads * head, kv = s->kv_heads * head;
    const struct matrix common[] = {
        {"attn_norm.weight", s->embd, 0, 0},
        {"post_attention_norm.weight", s->embd, 0, 0},
    };
    const struct matrix attention[] = {
        {"attn_q.weight", s->embd, 2 * v, 0}, {"attn_k.weight", s->embd, kv, 0},
        {"attn_v.weight", s->embd, kv, 0},    {"attn_output.weight", v, s->embd, 0},
        {"attn_q_norm.weight", head, 0, 0},   {"attn_k_norm.weight", head, 0, 0},
    };
    const struct matrix delta[] = {
        {"attn_qkv.weight", s->embd, 2 * kv + v, 0},
        {"attn_gate.weight", s->embd, v, 0},
        {"ssm_conv1d.weight", 4, 2 * kv + v, 0},
        {"ssm_dt.bias", s->heads, 0, 0},
        {"ssm_a", s->heads, 0, 0},
        {"ssm_norm.weight", head, 0, 0},
        {"ssm_out.weight", v, s->embd, 0},
    };
    const struct matrix gates[] = {
        {"ssm_alpha.weight", s->embd, s->heads, 0},
        {"ssm_beta.weight", s->embd, s->heads, 0},
    };
    const struct matrix both[] = {{"ssm_ba.weight", s->embd, 2 * s->heads, 0}};

    ADD_MATRICES(b, s, i, common);
    feed_forward(b, s, i);
    if (i % 2 || s->layers == 1) {
        ADD_MATRICES(b, s, i, attention);
        return;
    }
    ADD_MATRICES(b, s, i, delta);
    if (!strcmp(s->arch, "qwen3next"))
        ADD_MATRICES(b, s, i, both);
    else
        ADD_MATRICES(b, s, i, gates);
}

static void delta_keys(struct gguf_builder *b, const struct builder_shape *s)
{
    const struct {
        const char *key;
        uint32_t value;
    } keys[] = {
        {"ssm.conv_kernel", 4},
        {"ssm.state_size", s->head_dim},
        {"ssm.group_count", s->kv_heads},
        {"ssm.time_step_rank", s->heads},
        {"ssm.inner_size", s->heads * s->head_dim},
        {"full_attention_interval", s->layers > 1 ? 2 : 1},
        {"rope.dimension_count", s->head_dim / 4},
    };
    char name[64];

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        snprintf(name, sizeof(name), "%s.%s", s->arch, keys[i].key);
        gguf_builder_u32(b, name, keys[i].value);
    }
}

static void latent_keys(struct gguf_builder *b, const struct builder_shape *s)
{
    uint32_t head = s->head_dim, rope = head / 2;
    const struct {
        const char *key;
        uint32_t value;
    } keys[] = {
        {"attention.head_count_kv", 1},
        {"attention.key_length", head + rope},
        {"attention.key_length_mla", head + rope},
        {"attention.value_length_mla", head},
        {"attention.kv_lora_rank", head},
        {"attention.q_lora_rank", head},
        {"rope.dimension_count", rope},
        /* what follows counts only where there is an indexer */
        {"attention.indexer.head_count", BUILDER_INDEXER_HEADS},
        {"attention.indexer.key_length", rope},
        {"attention.indexer.top_k", BUILDER_INDEXER_TOP},
    };
    char name[64];

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) - (has_indexer(s) ? 0 : 3); i++) {
        snprintf(name, sizeof(name), "%s.%s", s->arch, keys[i].key);
        gguf_builder_u32(b, name, keys[i].value);
    }
}

static void layer(struct gguf_builder *b, const struct builder_shape *s, uint32_t i)
{
    uint32_t q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    const struct matrix attention[] = {
        {"attn_norm.weight", s->embd, 0, 0},   {"attn_q.weight", s->embd, q, 0},
        {"attn_k.weight", s->embd, kv, 0},     {"attn_v.weight", s->embd, kv, 0},
        {"attn_output.weight", q, s->embd, 0},
    };
    const struct matrix fused[] = {
        {"attn_norm.weight", s->embd, 0, 0},
        {"attn_qkv.weight", s->embd, q + 2 * kv, 0},
        {"attn_output.weight", q, s->embd, 0},
    };
    const struct matrix norm[] = {
        {is_glm(s) ? "post_attention_norm.weight" : "ffn_norm.weight", s->embd, 0, 0}};
    const struct matrix oss[] = {
        {"post_attention_norm.weight", s->embd, 0, 0},
        {"attn_output.bias", s->embd, 0, 0},
        {"attn_sinks.weight", s->heads, 0, 0},
    };
    bool has_biases = is_gpt_oss(s) || !strncmp(s->arch, "qwen2", 5);
    const struct matrix post_norms[] = {
        {"post_attention_norm.weight", s->embd, 0, 0},
        {"post_ffw_norm.weight", s->embd, 0, 0},
    };
    bool has_head_norms = !strncmp(s->arch, "qwen3", 5) || !strcmp(s->arch, "gemma3");
    char name[64];

    if (is_fused(s))
        ADD_MATRICES(b, s, i, fused);
    else
        ADD_MATRICES(b, s, i, attention);
    if (is_gpt_oss(s))
        ADD_MATRICES(b, s, i, oss);
    else
        ADD_MATRICES(b, s, i, norm);
    if (is_gemma(s))
        ADD_MATRICES(b, s, i, post_norms);
    feed_forward(b, s, i);
    for (const char *c = has_biases ? "qkv" : ""; *c; c++) {
        snprintf(name, sizeof(name), "blk.%u.attn_%c.bias", i, *c);
        gguf_builder_tensor(b, name, GGUF_TYPE_F32, *c == 'q' ? q : kv, 0);
    }
    for (const char *c = has_head_norms ? "qk" : ""; *c; c++) {
        snprintf(name, sizeof(name), "blk.%u.attn_%c_norm.weight", i, *c);
        gguf_builder_tensor(b, name, GGUF_TYPE_F32, s->head_dim, 0);
    }
}

void gguf_builder_transformer(struct gguf_builder *b, const struct builder_shape *s)
{
    const struct {
        const char *key;
        uint32_t value;
    } keys[] = {
        {"block_count", s->layers},
        {"embedding_length", s->embd},
        {"context_length", 2048},
        {"feed_forward_length", s->ff},
        {"attention.head_count", s->heads},
        {"attention.head_count_kv", s->kv_heads},
        {"attention.key_length", s->head_dim},
        {"attention.value_length", s->head_dim},
        {"expert_count", has_experts(s) ? BUILDER_EXPERTS : 0},
        {"expert_used_count", is_llama4(s) ? 1 : BUILDER_EXPERTS_USED},
        {"expert_feed_forward_length", s->ff},
        {"expert_shared_feed_forward_length", s->ff},
        {"attention.sliding_window", 11},
        {"leading_dense_block_count", 1},
        {"expert_shared_count", 1},
    };
    char name[64];

    if (!strncmp(s->arch, "gemma4", 6)) {
        gemma4_build(b, s);
        return;
    }
    *b = (struct gguf_builder){0};
    gguf_builder_str(b, "general.architecture", s->arch);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        snprintf(name, sizeof(name), "%s.%s", s->arch, keys[i].key);
        gguf_builder_u32(b, name, keys[i].value);
    }
    if (is_deepseek(s))
        latent_keys(b, s);
    if (is_llama4(s)) {
        gguf_builder_u32(b, "llama4.interleave_moe_layer_step", 3);
        gguf_builder_u32(b, "llama4.attention.sliding_window_pattern", 2);
        gguf_builder_u32(b, "llama4.attention.chunk_size", BUILDER_CHUNK);
    }
    if (is_delta(s))
        delta_keys(b, s);
    snprintf(name, sizeof(name), "%s.attention.layer_norm_rms_epsilon", s->arch);
    gguf_builder_f32(b, name, 1e-5f);
    if (!strcmp(s->arch, "gemma3")) {
        gguf_builder_u32(b, "gemma3.attention.sliding_window_pattern", 3);
        gguf_builder_f32(b, "gemma3.rope.freq_base", 1e6f);
        gguf_builder_f32(b, "gemma3.rope.scaling.factor", 8.0f);
        gguf_builder_f32(b, "gemma3.final_logit_softcapping", 20.0f);
    }
    gguf_builder_tensor(b, "token_embd.weight", s->embedding, s->embd, s->vocab);
    for (uint32_t i = 0; i < s->layers; i++)
        is_deepseek(s) ? latent_layer(b, s, i)
        : is_delta(s)  ? delta_layer(b, s, i)
                       : layer(b, s, i);
    gguf_builder_tensor(b, "output_norm.weight", GGUF_TYPE_F32, s->embd, 0);
    if (!s->is_tied)
        gguf_builder_tensor(b, "output.weight", s->matrix, s->embd, s->vocab);
}

static bool is_looked_up(const struct builder_tensor *t)
{
    return strstr(t->name, "_embd.") || strstr(t->name, "token_types.") ||
           strstr(t->name, "conv1d.");
}

void gguf_builder_scales(struct gguf_builder *b)
{
    for (size_t i = 0, n = b->n_tensors; i < n; i++) {
        struct builder_tensor *t = &b->tensors[i];
        int stem = (int)(strlen(t->name) - strlen(".weight"));
        char name[64];

        if (!t->rows || stem < 0 || strcmp(t->name + stem, ".weight") || is_looked_up(t))
            continue;
        snprintf(name, sizeof(name), "%.*s.scale", stem, t->name);
        if (!gguf_builder_find(b, name))
            gguf_builder_tensor(b, name, GGUF_TYPE_F32, t->planes ? t->planes : 1, 0);
        snprintf(name, sizeof(name), "%.*s.input_scale", stem, t->name);
        gguf_builder_tensor(b, name, GGUF_TYPE_F32, t->planes ? t->planes : 1, 0);
    }
}
