/* SPDX-License-Identifier: MIT */
#include "gemma4_builder.h"

#include <stdio.h>
#include <string.h>

struct builder {
    struct gguf_builder *b;
    const struct builder_shape *s;
    bool is_told, has_experts;
};

/* rows 0: a vector of f32; planes 0: two dimensions. */
static void add(const struct builder *m, uint32_t layer, const char *name, uint64_t cols,
                uint64_t rows, uint64_t planes)
{
    char full[64];

    snprintf(full, sizeof(full), "blk.%u.%s", layer, name);
    gguf_builder_tensor(m->b, full, rows ? m->s->matrix : GGUF_TYPE_F32, cols, rows);
    gguf_builder_find(m->b, full)->planes = planes;
}

static void attention(const struct builder *m, uint32_t i, bool is_windowed, bool is_sharing)
{
    const struct builder_shape *s = m->s;
    uint32_t head = is_windowed ? s->head_dim : 2 * s->head_dim;

    add(m, i, "attn_norm.weight", s->embd, 0, 0);
    add(m, i, "attn_q.weight", s->embd, s->heads * head, 0);
    add(m, i, "attn_q_norm.weight", head, 0, 0);
    add(m, i, "attn_output.weight", s->heads * head, s->embd, 0);
    add(m, i, "post_attention_norm.weight", s->embd, 0, 0);
    if (is_sharing)
        return;
    add(m, i, "attn_k.weight", s->embd, s->kv_heads * head, 0);
    add(m, i, "attn_k_norm.weight", head, 0, 0);
    if (is_windowed || m->is_told)
        add(m, i, "attn_v.weight", s->embd, s->kv_heads * head, 0);
}

static void feed_forward(const struct builder *m, uint32_t i)
{
    const struct builder_shape *s = m->s;

    add(m, i, "ffn_norm.weight", s->embd, 0, 0);
    add(m, i, "ffn_gate.weight", s->embd, s->ff, 0);
    add(m, i, "ffn_up.weight", s->embd, s->ff, 0);
    add(m, i, "ffn_down.weight", s->ff, s->embd, 0);
    add(m, i, "post_ffw_norm.weight", s->embd, 0, 0);
    add(m, i, "layer_output_scale.weight", 1, 0, 0);
    if (m->is_told) {
        add(m, i, "inp_gate.weight", s->embd, s->embd, 0);
        add(m, i, "proj.weight", s->embd, s->embd, 0);
        add(m, i, "post_norm.weight", s->embd, 0, 0);
    }
    if (!m->has_experts)
        return;
    add(m, i, "ffn_gate_inp.weight", s->embd, BUILDER_EXPERTS, 0);
    add(m, i, "ffn_gate_inp.scale", s->embd, 0, 0);
    add(m, i, "ffn_gate_up_exps.weight", s->embd, 2ull * s->ff, BUILDER_EXPERTS);
    add(m, i, "ffn_down_exps.weight", s->ff, s->embd, BUILDER_EXPERTS);
    add(m, i, "ffn_down_exps.scale", BUILDER_EXPERTS, 0, 0);
    add(m, i, "pre_ffw_norm_2.weight", s->embd, 0, 0);
    add(m, i, "post_ffw_norm_1.weight", s->embd, 0, 0);
    add(m, i, "post_ffw_norm_2.weight", s->embd, 0, 0);
}

static void keys(const struct builder *m, uint32_t n_shared)
{
    const struct builder_shape *s = m->s;
    const struct {
        const char *key;
        uint32_t value;
    } list[] = {
        {"gemma4.block_count", s->layers},
        {"gemma4.embedding_length", s->embd},
        {"gemma4.context_length", 2048},
        {"gemma4.feed_forward_length", s->ff},
        {"gemma4.attention.head_count", s->heads},
        {"gemma4.attention.head_count_kv", s->kv_heads},
        {"gemma4.attention.key_length", 2 * s->head_dim},
        {"gemma4.attention.value_length", 2 * s->head_dim},
        {"gemma4.attention.key_length_swa", s->head_dim},
        {"gemma4.attention.value_length_swa", s->head_dim},
        {"gemma4.rope.dimension_count", 2 * s->head_dim},
        {"gemma4.rope.dimension_count_swa", s->head_dim},
        {"gemma4.attention.sliding_window", 11},
        {"gemma4.attention.shared_kv_layers", n_shared},
        {"gemma4.embedding_length_per_layer_input", m->is_told ? s->embd : 0},
        {"gemma4.expert_count", m->has_experts ? BUILDER_EXPERTS : 0},
        {"gemma4.expert_used_count", BUILDER_EXPERTS_USED},
        {"gemma4.expert_feed_forward_length", s->ff},
    };

    gguf_builder_str(m->b, "general.architecture", "gemma4");
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
        gguf_builder_u32(m->b, list[i].key, list[i].value);
    gguf_builder_f32(m->b, "gemma4.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_builder_f32(m->b, "gemma4.rope.freq_base", 1e6f);
    gguf_builder_f32(m->b, "gemma4.rope.freq_base_swa", 1e4f);
    gguf_builder_f32(m->b, "gemma4.final_logit_softcapping", 20.0f);
}

void gemma4_build(struct gguf_builder *b, const struct builder_shape *s)
{
    const struct builder m = {
        .b = b,
        .s = s,
        .is_told = !strcmp(s->arch, "gemma4"),
        .has_experts = !strcmp(s->arch, "gemma4-experts"),
    };
    uint32_t n_shared = m.is_told && s->layers >= 4 ? 2 : 0, list[BUILDER_ARRAY_MOST];

    *b = (struct gguf_builder){0};
    keys(&m, n_shared);
    gguf_builder_tensor(b, "token_embd.weight", s->embedding, s->embd, s->vocab);
    gguf_builder_tensor(b, "rope_freqs.weight", GGUF_TYPE_F32, s->head_dim, 0);
    for (uint32_t i = 0; i < s->layers; i++) {
        list[i] = i % 2 == 0;
        attention(&m, i, i % 2 == 0, i >= s->layers - n_shared);
        feed_forward(&m, i);
    }
    gguf_builder_array(b, "gemma4.attention.sliding_window_pattern", list, s->layers);
    gguf_builder_tensor(b, "output_norm.weight", GGUF_TYPE_F32, s->embd, 0);
    if (!m.is_told)
        return;
    gguf_builder_tensor(b, "per_layer_token_embd.weight", s->embedding, s->embd * s->layers,
                        s->vocab);
    gguf_builder_tensor(b, "per_layer_model_proj.weight", s->matrix, s->embd,
                        (uint64_t)s->embd * s->layers);
    gguf_builder_tensor(b, "per_layer_proj_norm.weight", GGUF_TYPE_F32, s->embd, 0);
}
