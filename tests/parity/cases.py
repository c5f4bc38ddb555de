# SPDX-License-Identifier: MIT
"""What is compared: families of models in shapes that are odd on purpose, in every type."""
import collections

import numpy as np

from ggufedit import ARR, BOOL, F32, I32, STR, U32, Tensor

F16_TYPE = 1
FLOATS = ("f32", "f16", "bf16")
QUANTS = ("Q8_0", "Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K", "IQ4_XS", "MXFP4_MOE")
# What few people keep a whole model in: one family, as the kernels have no part in which it is.
RARE_QUANTS = ("Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K_S", "IQ4_NL", "IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M",
               "IQ1_S", "TQ1_0", "TQ2_0")
# These the peer makes only with a matrix of importance.
WITH_IMPORTANCE = ("IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S")
BLOCKS_OF_32 = ("Q8_0", "Q4_0")

# A shape: layers, embd, ff, heads, kv_heads, head_dim, vocab_size.
SHAPES = {
    # no row is a multiple of 32, so only the plain types can hold it
    "narrow": (2, 100, 172, 4, 2, 30, 523),
    # rows are multiples of 32 but not of 256; heads of 80 channels
    "heads80": (3, 288, 736, 6, 3, 80, 611),
    # no grouping of heads; as many channels of heads as of the stream
    "mha128": (2, 384, 544, 3, 3, 128, 419),
    # seven query heads to each key head, and heads wider than the stream
    "gqa7": (3, 320, 864, 7, 1, 128, 701),
    # the same with as many channels of heads as of the stream, which qwen2 needs
    "square-narrow": (2, 120, 172, 4, 2, 30, 523),
    "square-gqa7": (3, 448, 864, 7, 1, 64, 701),
    # rows are multiples of 256, as the K types need
    "blocks": (2, 512, 768, 8, 2, 64, 1033),
    "blocks128": (3, 256, 1024, 6, 2, 128, 777),
    # what makes the peer take it for DeepSeek V2 Lite is its number of layers
    "lite": (27, 96, 160, 3, 3, 32, 523),
    "deep": (7, 256, 512, 4, 1, 64, 640),
    # two periods of six layers, no row a multiple of 32
    "narrow13": (13, 100, 172, 4, 2, 30, 523),
    "mha-narrow": (2, 100, 172, 4, 4, 30, 523),
    "mha-blocks": (2, 512, 768, 4, 4, 128, 1033),
    "square13": (13, 120, 172, 4, 2, 30, 523),
    # as many layers as the sizes of Gemma that scale scores otherwise
    "narrow46": (46, 60, 92, 4, 2, 22, 523),
    "narrow62": (62, 60, 92, 4, 2, 22, 523),
    "square64": (64, 60, 92, 2, 1, 30, 523),
    # a period of four layers and a part of another; the number of heads is that of a delta rule's values, too
    "delta-odd": (6, 100, 172, 4, 1, 32, 523),
    "delta80": (8, 288, 736, 6, 3, 80, 611),
    "delta-blocks": (5, 256, 512, 8, 2, 128, 777),
    # six layers in two periods of Gemma 4, of which the second shares
    "narrow6": (6, 100, 172, 4, 2, 30, 523),
    "gqa6": (6, 288, 736, 6, 2, 80, 611),
    # little enough for thousands of positions
    "slim": (5, 32, 48, 2, 1, 16, 271),
    "blocks6": (6, 256, 512, 4, 1, 64, 640),
    "square-blocks": (3, 768, 1280, 6, 3, 128, 911),
    "deep-blocks": (9, 512, 768, 8, 2, 64, 811),
    "delta-wide": (6, 512, 768, 4, 1, 128, 523),
    "wide6": (6, 512, 768, 4, 2, 128, 811),
    "mha-blocks64": (3, 256, 512, 4, 4, 64, 523),
}
# Where a family is in one shape of whole blocks, its quantised types are in this one, too.
SECOND_SHAPES = {"blocks": "square-blocks", "blocks128": "blocks", "deep": "deep-blocks", "delta-blocks": "delta-wide",
                 "blocks6": "wide6", "mha-blocks": "mha-blocks64"}
SHAPE_OPTIONS = ("layers", "embd", "ff", "heads", "kv-heads", "head-dim", "vocab-size")


# ---- changes to generated files, for what the generator cannot be asked for ----

def short_yarn(m):
    """YaRN over an original context so short that a hundred tokens cross it several times."""
    m.keys["mistral3.rope.scaling.original_context_length"] = (U32, 24)


def yarn_factors(m):
    short_yarn(m)
    m.keys["mistral3.rope.scaling.yarn_log_multiplier"] = (F32, 0.5)
    m.keys["mistral3.rope.scaling.yarn_beta_fast"] = (F32, 8.0)
    m.keys["mistral3.rope.scaling.factor"] = (F32, 4.0)


def linear_scaling(m):
    m.keys["llama.rope.scaling.type"] = (STR, "linear")
    m.keys["llama.rope.scaling.factor"] = (F32, 4.0)


def yarn(m, arch):
    m.keys[arch + ".rope.scaling.type"] = (STR, "yarn")
    m.keys[arch + ".rope.scaling.factor"] = (F32, 4.0)
    m.keys[arch + ".rope.scaling.original_context_length"] = (U32, 64)


def attention_biases(m):
    """Llama fine-tunes with biases on queries, keys and values."""
    rng = np.random.default_rng(7)
    for t in list(m.tensors):
        if t.name.endswith(("attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_output.weight")):
            bias = rng.normal(0, 0.3, t.shape[1]).astype("<f4")
            m.tensors.append(Tensor(t.name.replace(".weight", ".bias"), [t.shape[1]], 0, bias.tobytes()))


def absent_defaults(m):
    """Without the keys whose values follow from others."""
    for key in ("attention.key_length", "attention.value_length", "rope.dimension_count", "vocab_size"):
        del m.keys["llama." + key]


# ---- mixtures of experts ----

class Adder:
    """Renames a model's architecture; adds tensors of random numbers to it, as f32."""

    def __init__(self, m, old, new):
        self.m, self.rng = m, np.random.default_rng(11)
        m.keys = {k.replace(old + ".", new + "."): v for k, v in m.keys.items()}
        m.keys["general.architecture"] = (STR, new)

    def __call__(self, name, shape, std):
        data = self.rng.normal(0, std, int(np.prod(shape))).astype("<f4")
        self.m.tensors.append(Tensor(name, shape, 0, data.tobytes()))


def qwen2moe(m):
    """A qwen3moe file as qwen2moe: no norms of heads but biases, and an expert that all tokens share."""
    add = Adder(m, "qwen3moe", "qwen2moe")
    width = m.keys["qwen2moe.expert_feed_forward_length"][1] * 2
    m.keys["qwen2moe.expert_shared_feed_forward_length"] = (U32, width)
    m.tensors = [t for t in m.tensors if not t.name.endswith(("attn_q_norm.weight", "attn_k_norm.weight"))]
    for t in list(m.tensors):
        if t.name.endswith(("attn_q.weight", "attn_k.weight", "attn_v.weight")):
            add(t.name.replace(".weight", ".bias"), [t.shape[1]], 0.3)
        if t.name.endswith("attn_q.weight"):
            embd, prefix = t.shape[0], t.name[:-len("attn_q.weight")]
            add(prefix + "ffn_gate_inp_shexp.weight", [embd], embd ** -0.5)
            add(prefix + "ffn_gate_shexp.weight", [embd, width], embd ** -0.5)
            add(prefix + "ffn_up_shexp.weight", [embd, width], embd ** -0.5)
            add(prefix + "ffn_down_shexp.weight", [width, embd], (4 * width) ** -0.5)


def glm4moe(m):
    """A qwen3moe file as glm4moe: a dense layer first, shared experts, a bias for the choice, half of
    each head rotated, and behind the last layer one that predicts further tokens."""
    add = Adder(m, "qwen3moe", "glm4moe")
    key = "glm4moe."
    n_layers, width = m.keys[key + "block_count"][1], m.keys[key + "expert_feed_forward_length"][1]
    embd, ff, n = (m.keys[key + k][1] for k in ("embedding_length", "feed_forward_length", "expert_count"))
    head = m.keys[key + "attention.key_length"][1]
    m.keys[key + "leading_dense_block_count"] = (U32, 1)
    m.keys[key + "expert_shared_count"] = (U32, 2)
    m.keys[key + "expert_gating_func"] = (U32, 2)
    m.keys[key + "expert_weights_norm"] = (BOOL, True)
    m.keys[key + "expert_weights_scale"] = (F32, 1.5)
    m.keys[key + "nextn_predict_layers"] = (U32, 1)
    m.keys[key + "block_count"] = (U32, n_layers + 1)
    m.keys[key + "rope.dimension_count"] = (U32, head // 4 * 2)
    m.tensors = [t for t in m.tensors if not (t.name.startswith("blk.0.") and ("_exps." in t.name or "_inp." in t.name))]
    for t in list(m.tensors):
        t.name = t.name.replace(".ffn_norm.", ".post_attention_norm.")
        if t.name.endswith(("attn_q.weight", "attn_k.weight", "attn_v.weight")):
            add(t.name.replace(".weight", ".bias"), [t.shape[1]], 0.3)
        if t.name.startswith("blk.%d." % (n_layers - 1)):
            copy = Tensor(t.name.replace("blk.%d." % (n_layers - 1), "blk.%d." % n_layers), t.shape, t.kind, t.data)
            m.tensors.append(copy)
    for i in range(n_layers + 1):
        p, suffix, wide = "blk.%d." % i, "_shexp" if i else "", 2 * width if i else ff
        add(p + "ffn_gate%s.weight" % suffix, [embd, wide], embd ** -0.5)
        add(p + "ffn_up%s.weight" % suffix, [embd, wide], embd ** -0.5)
        add(p + "ffn_down%s.weight" % suffix, [wide, embd], (4 * wide) ** -0.5)
        if i:
            add(p + "exp_probs_b.bias", [n], 0.2)
    p = "blk.%d." % n_layers
    for c in "qkv":
        bias = next(t for t in m.tensors if t.name == "blk.0.attn_%s.bias" % c)
        m.tensors = [t for t in m.tensors if t.name != p + "attn_%s.bias" % c]
        add(p + "attn_%s.bias" % c, bias.shape, 0.3)
    add(p + "nextn.eh_proj.weight", [2 * embd, embd], 0.1)
    add(p + "nextn.enorm.weight", [embd], 0.1)
    add(p + "nextn.hnorm.weight", [embd], 0.1)


HEADS = ("attn_k_b", "attn_v_b")


def plain_heads(m):
    """The matrices of single heads as f32: with others the peer stops, or says what is far off, on
    the machines this was tried on. Why is not established (how it lays weights out anew for a CPU,
    perhaps)."""
    for t in m.tensors:
        if any(h in t.name for h in HEADS) and t.kind == F16_TYPE:
            t.kind, t.data = 0, np.frombuffer(t.data, "<f2").astype("<f4").tobytes()


def groups(m):
    """Experts in three groups, of which two are looked at; YaRN over a short context."""
    m.keys["deepseek2.expert_group_count"] = (U32, 3)
    m.keys["deepseek2.expert_group_used_count"] = (U32, 2)
    m.keys["deepseek2.rope.scaling.original_context_length"] = (U32, 24)


# Routers of random weights are often undecided, and rounding then sends a token elsewhere: what is
# chosen is compared in the plain types. Where weights are quantised every expert is used, so that the
# choices are equal by construction, and only the products and their weights are compared.
def experts(n, used, width):
    return ["--experts", str(n), "--experts-used", str(used), "--expert-ff", str(width)]


def top24(m):
    """Attention to few of the positions there are. So many that no choice hangs on how keys are rounded."""
    m.keys["deepseek32.attention.indexer.top_k"] = (U32, 24)


def expert_cases():
    cases = []
    for kind in FLOATS:
        cases += [
            Case("mixtral", "mixtral", "heads80", kind, experts(5, 2, 0)),
            Case("mixtral", "mixtral", "narrow", kind, experts(8, 3, 0)),
            Case("qwen3moe", "qwen3moe", "gqa7", kind, experts(37, 5, 96)),
            Case("qwen3moe", "qwen3moe", "narrow", kind, experts(16, 8, 50)),
        ]
    for kind in ("f32", "f16"):
        cases += [
            Case("qwen2moe", "qwen3moe", "square-gqa7", kind, experts(12, 4, 96), qwen2moe),
            Case("qwen2moe", "qwen3moe", "square-narrow", kind, experts(7, 3, 50), qwen2moe),
        ]
    for kind in ("Q8_0", "Q4_K_M", "IQ4_XS", "Q6_K"):
        cases += [
            Case("mixtral", "mixtral", "blocks", kind, experts(4, 4, 0)),
            Case("qwen3moe", "qwen3moe", "blocks128", kind, experts(6, 6, 512)),
            Case("qwen2moe", "qwen3moe", "blocks", kind, experts(5, 5, 256), qwen2moe),
        ]
    cases += [Case("glm4moe", "qwen3moe", "gqa7", kind, experts(12, 3, 96), glm4moe) for kind in ("f32", "f16")]
    cases += [Case("glm4moe", "qwen3moe", "narrow", kind, experts(7, 2, 50), glm4moe) for kind in ("f32", "f16")]
    cases += [Case("glm4moe", "qwen3moe", "blocks128", kind, experts(4, 4, 256), glm4moe)
              for kind in ("Q8_0", "Q4_K_M", "IQ4_XS")]

    for kind in ("f32", "f16", "Q8_0", "Q4_K_M", "IQ4_XS"):
        used = {"f32": 2, "f16": 2}.get(kind, 5)
        cases.append(Case("deepseek2", "deepseek2", "blocks", kind, experts(5, used, 256), plain_heads))
    for kind in ("f32", "f16", "Q8_0"):
        used = 5 if kind == "Q8_0" else 2
        cases.append(Case("deepseek2-lite", "deepseek2-lite", "lite", kind, experts(5, used, 96), plain_heads))
    cases.append(Case("deepseek2", "deepseek2", "narrow", "f32", experts(9, 3, 50), groups))
    for kind in ("f32", "f16", "Q8_0", "Q4_K_M", "IQ4_XS"):
        used = {"f32": 2, "f16": 2}.get(kind, 5)
        cases.append(Case("deepseek32", "deepseek32", "blocks", kind, experts(5, used, 256), plain_heads))
    cases.append(Case("deepseek32", "deepseek32", "narrow", "f32", experts(9, 3, 50), plain_heads))
    cases.append(Case("deepseek32-top24", "deepseek32", "narrow", "f32", experts(3, 2, 48), top24))

    def gpt_oss(shape, kind, options):
        return Case("gpt-oss", "gpt-oss", shape, kind, options + ["--window", "37"], n_tokens=200)

    cases += [gpt_oss("gqa7", kind, experts(9, 4, 96)) for kind in FLOATS]
    cases += [gpt_oss("narrow", kind, experts(32, 4, 50)) for kind in FLOATS]
    cases += [gpt_oss("blocks128", kind, experts(4, 4, 512)) for kind in ("Q8_0", "Q4_K_M", "IQ4_XS", "MXFP4_MOE")]
    return cases


# ---- Gemma 2 and 3 ----

def gemma2(m):
    """A gemma3 file as gemma2: no norms of heads, one base for all layers, and caps so low that they count."""
    m.keys = {k.replace("gemma3.", "gemma2."): v for k, v in m.keys.items() if "rope.scaling" not in k}
    m.keys["general.architecture"] = (STR, "gemma2")
    m.keys["gemma2.rope.freq_base"] = (F32, 10000.0)
    m.keys["gemma2.attn_logit_softcapping"] = (F32, 2.0)
    m.keys["gemma2.final_logit_softcapping"] = (F32, 3.0)
    m.tensors = [t for t in m.tensors if not t.name.endswith(("attn_q_norm.weight", "attn_k_norm.weight"))]


def gemma2_defaults(m):
    gemma2(m)
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        del m.keys["gemma2." + key]


def gemma2_yarn(m):
    gemma2(m)
    yarn(m, "gemma2")


def gemma3_unwindowed(m):
    del m.keys["gemma3.attention.sliding_window"]


def gemma_cases():
    def gemma(family, shape, kind, edit=None):
        return Case(family, "gemma3", shape, kind, ["--window", "37"], edit, n_tokens=200)

    quants = ("Q8_0", "Q4_K_M", "IQ4_XS", "Q6_K")
    cases = [gemma("gemma3", shape, kind) for shape in ("narrow13", "deep") for kind in FLOATS]
    cases += [gemma("gemma3", "deep", kind) for kind in quants]
    cases += [gemma("gemma3-27b", "narrow62", "f32"), gemma("gemma3-unwindowed", "narrow13", "f32", gemma3_unwindowed)]
    cases += [gemma("gemma2", shape, kind, gemma2) for shape in ("narrow", "heads80") for kind in FLOATS]
    cases += [gemma("gemma2", "blocks128", kind, gemma2) for kind in quants]
    cases += [gemma("gemma2-defaults", "heads80", "f32", gemma2_defaults), gemma("gemma2-27b", "narrow46", "f32", gemma2),
              gemma("gemma2-yarn", "heads80", "f32", gemma2_yarn)]
    return cases


# ---- Qwen3-Next, Qwen 3.5 ----

def next_layer(m):
    """Behind the last layer one that predicts further tokens; it must be accepted and not used."""
    arch = m.keys["general.architecture"][1].decode()
    add = Adder(m, arch, arch)
    n = m.keys[arch + ".block_count"][1]
    m.keys[arch + ".block_count"] = (U32, n + 1)
    m.keys[arch + ".nextn_predict_layers"] = (U32, 1)
    for t in list(m.tensors):
        if t.name.startswith("blk.3."):    # of attention, as such a layer always is
            m.tensors.append(Tensor(t.name.replace("blk.3.", "blk.%d." % n), t.shape, t.kind, t.data))
    embd = m.keys[arch + ".embedding_length"][1]
    p = "blk.%d.nextn." % n
    add(p + "eh_proj.weight", [2 * embd, embd], 0.1)
    for name in ("enorm", "hnorm", "shared_head_norm"):
        add(p + name + ".weight", [embd], 0.1)


def fused_inputs(m):
    """As the first files of Qwen3-Next were: queries, keys, values and gates of each key head in one tensor."""
    key = "qwen3next.ssm."
    heads_k, head_k = m.keys[key + "group_count"][1], m.keys[key + "state_size"][1]
    v = m.keys[key + "inner_size"][1] // heads_k
    for qkv in [t for t in m.tensors if t.name.endswith("attn_qkv.weight")]:
        gate = next(t for t in m.tensors if t.name == qkv.name.replace("attn_qkv", "attn_gate"))
        embd = qkv.shape[0]
        rows = np.frombuffer(qkv.data, "<f4", embd * qkv.shape[1]).reshape(-1, embd)
        z = np.frombuffer(gate.data, "<f4", embd * gate.shape[1]).reshape(heads_k, v, embd)
        q, k = (rows[i * heads_k * head_k:(i + 1) * heads_k * head_k].reshape(heads_k, head_k, embd) for i in range(2))
        values = rows[2 * heads_k * head_k:].reshape(heads_k, v, embd)
        fused = np.concatenate([q, k, values, z], axis=1).reshape(-1, embd)
        m.tensors = [t for t in m.tensors if t is not qkv and t is not gate]
        m.tensors.append(Tensor(qkv.name.replace("attn_qkv", "ssm_in"), [embd, len(fused)], 0, fused.tobytes()))


def delta_cases():
    def delta(family, arch, shape, kind, options=(), edit=None):
        return Case(family, arch, shape, kind, options, edit, n_tokens=200)

    quants = ("Q8_0", "Q4_K_M", "IQ4_XS")
    cases = [delta("qwen35", "qwen35", shape, kind) for shape in ("delta-odd", "delta80") for kind in FLOATS]
    cases += [delta("qwen35", "qwen35", "delta-blocks", kind) for kind in quants]
    for family in ("qwen35moe", "qwen3next"):
        cases += [delta(family, family, "delta-odd", kind, experts(7, 3, 50)) for kind in FLOATS]
        cases += [delta(family, family, "delta80", kind, experts(12, 4, 96)) for kind in FLOATS]
        cases += [delta(family, family, "delta-blocks", kind, experts(4, 4, 256)) for kind in quants]
    cases += [delta("qwen3next-fused", "qwen3next", shape, "f32", experts(7, 3, 50), fused_inputs)
              for shape in ("delta-odd", "delta80")]
    cases += [delta("qwen35-next", "qwen35", "delta-odd", "f32", edit=next_layer),
              delta("qwen35moe-next", "qwen35moe", "delta-odd", "f32", experts(7, 3, 50), next_layer)]
    return cases
# ---- Phi 3 ----

def stack(m, parts, name):
    """The rows of several tensors of each layer, given by the ends of their names, as one tensor."""
    for t in [t for t in m.tensors if t.name.endswith(parts[0])]:
        prefix = t.name[:-len(parts[0])]
        tensors = [m.tensor(prefix + p) for p in parts]
        rows = sum(t.shape[1] for t in tensors)
        m.tensors = [t for t in m.tensors if t not in tensors]
        m.tensors.append(Tensor(prefix + name, [t.shape[0], rows], t.kind, b"".join(t.data for t in tensors)))


def phi3(m):
    """A llama file as phi3: queries, keys and values are one tensor, as gates and what they gate are."""
    Adder(m, "llama", "phi3")
    stack(m, ["attn_q.weight", "attn_k.weight", "attn_v.weight"], "attn_qkv.weight")
    stack(m, ["ffn_gate.weight", "ffn_up.weight"], "ffn_up.weight")


def phi3_divisors(m, first_context):
    """The same with divisors for long and for short contexts, and three quarters of each head rotated."""
    phi3(m)
    n = m.keys["phi3.rope.dimension_count"][1] // 8 * 6
    rng = np.random.default_rng(5)
    m.keys["phi3.rope.dimension_count"] = (U32, n)
    m.keys["phi3.rope.scaling.original_context_length"] = (U32, first_context)
    m.keys["phi3.rope.scaling.attn_factor"] = (F32, 1.19)
    for name, most in ("long", 40), ("short", 2):
        factors = np.sort(rng.uniform(1, most, n // 2)).astype("<f4")
        m.tensors.append(Tensor("rope_factors_%s.weight" % name, [n // 2], 0, factors.tobytes()))


def phi3_long(m):
    phi3_divisors(m, 64)


def phi3_short(m):
    phi3_divisors(m, 4096)


def phi3_cases():
    cases = [Case("phi3", "llama", shape, kind, edit=phi3) for shape in ("square-gqa7", "square-narrow") for kind in FLOATS]
    cases += [Case("phi3", "llama", "blocks", kind, edit=phi3) for kind in ("Q8_0", "Q4_K_M", "IQ4_XS", "Q6_K")]
    cases += [Case("phi3-long", "llama", shape, "f32", edit=phi3_long) for shape in ("square-gqa7", "square-narrow")]
    return cases + [Case("phi3-long", "llama", "blocks", "Q4_K_M", edit=phi3_long),
                    Case("phi3-short", "llama", "square-gqa7", "f16", edit=phi3_short)]


# ---- Gemma 4 ----

def gemma4_dense(m):
    """As the 31B: layers are told nothing besides, none shares; global layers have half the key heads
    and no values but their keys."""
    m.keys["gemma4.embedding_length_per_layer_input"] = (U32, 0)
    m.keys["gemma4.attention.shared_kv_layers"] = (U32, 0)
    swa = m.keys["gemma4.attention.sliding_window_pattern"][1][1]
    n = m.keys["gemma4.attention.head_count_kv"][1]
    m.keys["gemma4.attention.head_count_kv"] = (ARR, (U32, [n if s else n // 2 for s in swa]))
    m.tensors = [t for t in m.tensors if not t.name.startswith("per_layer") and
                 not t.name.endswith((".inp_gate.weight", ".proj.weight", ".post_norm.weight"))]
    for i, windowed in enumerate(swa):
        if not windowed:
            m.tensors = [t for t in m.tensors if t.name != "blk.%d.attn_v.weight" % i]
            k = next(t for t in m.tensors if t.name == "blk.%d.attn_k.weight" % i)
            k.shape = [k.shape[0], k.shape[1] // 2]
            k.data = k.data[:len(k.data) // 2]


def gemma4_wide(m):
    """As the E2B: layers that share have a wider feed-forward part, and no keys of their own."""
    n, shared = (m.keys["gemma4." + k][1] for k in ("block_count", "attention.shared_kv_layers"))
    ff = m.keys["gemma4.feed_forward_length"][1]
    first = n - shared
    m.keys["gemma4.feed_forward_length"] = (ARR, (U32, [ff] * first + [2 * ff] * shared))
    gone = tuple("blk.%d.attn_%s.weight" % (i, c) for i in range(first, n) for c in ("k", "v", "k_norm"))
    m.tensors = [t for t in m.tensors if t.name not in gone]
    for t in m.tensors:
        if t.name.startswith(tuple("blk.%d." % i for i in range(first, n))) and ".ffn_" in t.name and "norm" not in t.name:
            rows = np.frombuffer(t.data, "<u2" if t.kind else "<f4").reshape(t.shape[::-1])
            wide = np.concatenate([rows, rows[:, ::-1]], axis=1 if "down" in t.name else 0)
            t.shape, t.data = list(wide.shape[::-1]), np.ascontiguousarray(wide).tobytes()


def gemma4_calm(m):
    """Scores as large as those of trained models, whose norms of queries make up for that nothing else
    scales them down. With random ones attention sees one position, or by rounding another: keys and
    values are f16 here and f32 at the peer."""
    for t in m.tensors:
        if t.name.endswith("attn_q_norm.weight"):
            t.data = (np.frombuffer(t.data, "<f4") / t.shape[0] ** 0.5).astype("<f4").tobytes()


def gemma4_wide_calm(m):
    gemma4_calm(m)
    gemma4_wide(m)


def gemma4_dense_calm(m):
    gemma4_calm(m)
    gemma4_dense(m)


def gemma4_decided(m):
    """And routers that are decided, so that the one expert they choose is the same."""
    gemma4_calm(m)
    for t in m.tensors:
        if t.name.endswith("ffn_gate_inp.scale"):
            t.data = (np.frombuffer(t.data, "<f4") * 8).astype("<f4").tobytes()


def gemma4_cases():
    def gemma(family, arch, shape, kind, options=(), edit=gemma4_calm):
        return Case(family, arch, shape, kind, ["--window", "37", *options], edit, n_tokens=200)

    quants = ("Q8_0", "Q4_K_M", "IQ4_XS")
    cases = [gemma("gemma4", "gemma4", shape, kind) for shape in ("narrow6", "gqa6") for kind in FLOATS]
    cases += [gemma("gemma4", "gemma4", "blocks6", kind) for kind in quants]
    cases += [gemma("gemma4-steep", "gemma4", "narrow6", "f32", edit=None)]
    cases += [gemma("gemma4-e2b", "gemma4", "narrow6", kind, edit=gemma4_wide_calm) for kind in ("f32", "f16")]
    cases += [gemma("gemma4-31b", "gemma4", shape, kind, edit=gemma4_dense_calm)
              for shape in ("narrow6", "gqa6") for kind in ("f32", "f16")]
    cases += [gemma("gemma4-26b", "gemma4moe", "narrow6", kind, experts(7, 7, 50)) for kind in FLOATS]
    cases += [gemma("gemma4-26b", "gemma4moe", "gqa6", kind, experts(9, 1, 96), gemma4_decided) for kind in FLOATS]
    cases += [gemma("gemma4-26b", "gemma4moe", "blocks6", kind, experts(4, 4, 256)) for kind in quants]
    return cases


# ---- dense families of many kinds ----

def renamed(m, new):
    old = m.keys["general.architecture"][1].decode()
    return Adder(m, old, new)


def ernie4_5(m):
    renamed(m, "ernie4_5")


def smollm3(m):
    renamed(m, "smollm3")


def seed_oss(m):
    """A llama file with biases; the norm of the feed-forward part has another name."""
    attention_biases(m)
    renamed(m, "seed_oss")
    m.tensors = [t for t in m.tensors if not t.name.endswith("attn_output.bias")]
    for t in m.tensors:
        t.name = t.name.replace(".ffn_norm.", ".post_attention_norm.")


def post_norms(m, add):
    width = m.tensor("output_norm.weight").shape
    for t in list(m.tensors):
        if t.name.endswith("attn_output.weight"):
            prefix = t.name[:-len("attn_output.weight")]
            for name in "post_attention_norm.weight", "post_ffw_norm.weight":
                add(prefix + name, width, 0.5)


def glm4(m):
    """A llama file: branches are normed, gates stand above what they gate, half of each head is rotated."""
    attention_biases(m)
    add = renamed(m, "glm4")
    m.tensors = [t for t in m.tensors if not t.name.endswith("attn_output.bias")]
    post_norms(m, add)
    stack(m, ["ffn_gate.weight", "ffn_up.weight"], "ffn_up.weight")
    m.keys["glm4.rope.dimension_count"] = (U32, m.keys["glm4.attention.key_length"][1] // 4 * 2)


def hunyuan(m):
    renamed(m, "hunyuan-dense")


def wide_norms(m, add):
    """Norms of queries and keys over all their heads."""
    m.tensors = [t for t in m.tensors if not t.name.endswith(("attn_q_norm.weight", "attn_k_norm.weight"))]
    for t in list(m.tensors):
        if t.name.endswith(("attn_q.weight", "attn_k.weight")):
            add(t.name.replace(".weight", "_norm.weight"), [t.shape[1]], 1.0)


def olmo2(m):
    """A qwen3 file: norms behind and not before, of queries and keys over all heads."""
    add = renamed(m, "olmo2")
    m.tensors = [t for t in m.tensors if not t.name.endswith((".attn_norm.weight", ".ffn_norm.weight"))]
    post_norms(m, add)
    wide_norms(m, add)


def olmo3(m):
    """The same with windows in three of four layers, and YaRN in the others."""
    olmo2(m)
    n = m.keys["olmo2.block_count"][1]
    m.keys["olmo2.attention.sliding_window"] = (U32, 37)
    m.keys["olmo2.attention.sliding_window_pattern"] = (ARR, (BOOL, [i % 4 != 3 for i in range(n)]))
    yarn(m, "olmo2")


def qwen3vl(m, new="qwen3vl"):
    renamed(m, new)
    third = (m.keys[new + ".rope.dimension_count"][1] // 2 + 2) // 3
    m.keys[new + ".rope.dimension_sections"] = (ARR, (I32, [third, third, third, 0]))
    m.keys[new + ".n_deepstack_layers"] = (U32, 0)


def qwen3vl_8b(m):
    """The sections of the real ones, which leave out the two slowest pairs but one."""
    qwen3vl(m)
    m.keys["qwen3vl.rope.dimension_sections"] = (ARR, (I32, [24, 20, 20, 0]))
    m.keys["qwen3vl.rope.freq_base"] = (F32, 5e6)


def qwen3vlmoe(m):
    qwen3vl(m, "qwen3vlmoe")


def minimax(m):
    """A qwen3moe file: norms over all heads, a bias for the choice, half of each head rotated."""
    add = renamed(m, "minimax-m2")
    key = "minimax-m2."
    m.keys[key + "feed_forward_length"] = m.keys[key + "expert_feed_forward_length"]
    m.keys[key + "expert_gating_func"] = (U32, 2)
    m.keys[key + "rope.dimension_count"] = (U32, m.keys[key + "attention.key_length"][1] // 4 * 2)
    wide_norms(m, add)
    for t in list(m.tensors):
        if t.name.endswith("ffn_gate_inp.weight"):
            add(t.name.replace("ffn_gate_inp.weight", "exp_probs_b.bias"), [t.shape[1]], 0.2)


def hunyuan_moe(m):
    """A qwen3moe file with an expert that all tokens share."""
    add = renamed(m, "hunyuan-moe")
    width = m.keys["hunyuan-moe.expert_feed_forward_length"][1]
    embd = m.keys["hunyuan-moe.embedding_length"][1]
    m.keys["hunyuan-moe.feed_forward_length"] = (U32, width)
    m.keys["hunyuan-moe.expert_shared_feed_forward_length"] = (U32, width * 2)
    for i in range(m.keys["hunyuan-moe.block_count"][1]):
        p = "blk.%d.ffn_" % i
        add(p + "gate_shexp.weight", [embd, 2 * width], embd ** -0.5)
        add(p + "up_shexp.weight", [embd, 2 * width], embd ** -0.5)
        add(p + "down_shexp.weight", [2 * width, embd], (8 * width) ** -0.5)


def leading_dense(m, new, n_shared):
    """A qwen3moe file whose first layer is dense, with shared experts and a bias for the choice."""
    add = renamed(m, new)
    embd, ff, width, n = (m.keys["%s.%s" % (new, k)][1] for k in
                          ("embedding_length", "feed_forward_length", "expert_feed_forward_length", "expert_count"))
    m.keys[new + ".leading_dense_block_count"] = (U32, 1)
    m.keys[new + ".expert_shared_count"] = (U32, n_shared)
    m.keys[new + ".expert_gating_func"] = (U32, 2)
    m.keys[new + ".expert_weights_norm"] = (BOOL, True)
    m.keys[new + ".expert_weights_scale"] = (F32, 1.5)
    m.tensors = [t for t in m.tensors if not (t.name.startswith("blk.0.") and ("_exps." in t.name or "_inp." in t.name))]
    for i in range(m.keys[new + ".block_count"][1]):
        p, suffix, wide = "blk.%d." % i, "_shexp" if i else "", n_shared * width if i else ff
        add(p + "ffn_gate%s.weight" % suffix, [embd, wide], embd ** -0.5)
        add(p + "ffn_up%s.weight" % suffix, [embd, wide], embd ** -0.5)
        add(p + "ffn_down%s.weight" % suffix, [wide, embd], (4 * wide) ** -0.5)
        if i:
            add(p + "exp_probs_b.bias", [n], 0.2)


def dots1(m):
    leading_dense(m, "dots1", 2)


def bailingmoe2(m):
    """The same with queries, keys and values in one tensor, half of each head rotated, experts in groups."""
    leading_dense(m, "bailingmoe2", 1)
    stack(m, ["attn_q.weight", "attn_k.weight", "attn_v.weight"], "attn_qkv.weight")
    m.keys["bailingmoe2.rope.dimension_count"] = (U32, m.keys["bailingmoe2.attention.key_length"][1] // 4 * 2)
    if m.keys["bailingmoe2.expert_count"][1] % 4 == 0:
        m.keys["bailingmoe2.expert_group_count"] = (U32, 4)
        m.keys["bailingmoe2.expert_group_used_count"] = (U32, 2)


def granite(m):
    """A llama file with four scales."""
    renamed(m, "granite")
    scaled(m, "granite")


def scaled(m, new):
    for key, value in (("logit_scale", 8.0), ("residual_scale", 0.4), ("embedding_scale", 1.5), ("attention.scale", 0.07)):
        m.keys["%s.%s" % (new, key)] = (F32, value)


def granitemoe(m):
    """A mixtral file with the same."""
    renamed(m, "granitemoe")
    scaled(m, "granitemoe")


def granitemoe_shared(m):
    add = renamed(m, "granitemoe")
    scaled(m, "granitemoe")
    key, embd = "granitemoe.", m.keys["granitemoe.embedding_length"][1]
    wide = m.keys[key + "feed_forward_length"][1] * 2
    m.keys[key + "expert_shared_feed_forward_length"] = (U32, wide)
    for i in range(m.keys[key + "block_count"][1]):
        p = "blk.%d.ffn_" % i
        add(p + "gate_shexp.weight", [embd, wide], embd ** -0.5)
        add(p + "up_shexp.weight", [embd, wide], embd ** -0.5)
        add(p + "down_shexp.weight", [wide, embd], (4 * wide) ** -0.5)


def starcoder2(m):
    """A llama file with biases, norms about the mean, and no gate."""
    attention_biases(m)
    add = renamed(m, "starcoder2")
    embd, ff = (m.keys["starcoder2." + k][1] for k in ("embedding_length", "feed_forward_length"))
    del m.keys["starcoder2.attention.layer_norm_rms_epsilon"]
    m.keys["starcoder2.attention.layer_norm_epsilon"] = (F32, 1e-5)
    m.tensors = [t for t in m.tensors if not t.name.endswith("ffn_gate.weight")]
    for t in list(m.tensors):
        if t.name.endswith("norm.weight"):
            add(t.name.replace(".weight", ".bias"), [embd], 0.2)
        if t.name.endswith("ffn_up.weight"):
            add(t.name.replace(".weight", ".bias"), [ff], 0.2)
            add(t.name.replace("ffn_up.weight", "ffn_down.bias"), [embd], 0.2)


def exaone4(m):
    """A qwen3 file whose norms stand behind."""
    add = renamed(m, "exaone4")
    m.tensors = [t for t in m.tensors if not t.name.endswith((".attn_norm.weight", ".ffn_norm.weight"))]
    post_norms(m, add)


def exaone4_32b(m):
    """64 layers, of which each fourth sees all, and is not rotated."""
    exaone4(m)
    n = m.keys["exaone4.block_count"][1]
    m.keys["exaone4.attention.sliding_window"] = (U32, 37)
    m.keys["exaone4.attention.sliding_window_pattern"] = (ARR, (BOOL, [i % 4 != 3 for i in range(n)]))


def ernie4_5_moe(m):
    """A qwen3moe file whose first layer is dense, with shared experts and a bias for a softmax's choice."""
    leading_dense(m, "ernie4_5-moe", 1)
    key = "ernie4_5-moe."
    for gone in ("expert_gating_func", "expert_weights_norm", "expert_weights_scale"):
        m.keys.pop(key + gone)
    m.keys[key + "interleave_moe_layer_step"] = (U32, 1)
    m.keys[key + "expert_shared_feed_forward_length"] = m.keys[key + "expert_feed_forward_length"]
    m.tensors = [t for t in m.tensors if not t.name.endswith(("attn_q_norm.weight", "attn_k_norm.weight"))]


#  family, generator's architecture, what it becomes, shapes in plain types, shape in quantised ones
DENSE_FAMILIES = [
    ("ernie4_5", "llama", ernie4_5, ("gqa7", "narrow"), "blocks128"),
    ("exaone4", "qwen3", exaone4, ("square-gqa7", "square-narrow"), "blocks"),
    ("granite", "llama", granite, ("gqa7", "narrow"), "blocks128"),
    ("starcoder2", "llama", starcoder2, ("square-gqa7", "square-narrow"), "blocks"),
    ("glm4", "llama", glm4, ("square-gqa7", "square-narrow"), "blocks"),
    ("hunyuan-dense", "qwen3", hunyuan, ("gqa7", "heads80"), "blocks128"),
    ("olmo2", "qwen3", olmo2, ("square-gqa7", "square-narrow"), "blocks"),
    ("qwen3vl", "qwen3", qwen3vl, ("gqa7", "heads80"), "blocks128"),
    ("seed_oss", "llama", seed_oss, ("gqa7", "narrow"), "blocks128"),
    ("smollm3", "llama", smollm3, ("deep", "narrow13"), "deep"),
]
#  the same, with shapes in plain types, the experts there where the choice is compared, and where all are used
MOE_FAMILIES = [
    ("bailingmoe2", bailingmoe2, ("square-gqa7", "square-narrow"), (12, 3), 5),
    ("ernie4_5-moe", ernie4_5_moe, ("gqa7", "narrow"), (9, 3), 5),
    # of which the peer takes only those without groups of heads
    ("dots1", dots1, ("mha128", "mha-narrow"), (9, 3), 5),
    ("hunyuan-moe", hunyuan_moe, ("gqa7", "narrow"), (9, 3), 5),
    ("minimax-m2", minimax, ("gqa7", "narrow"), (12, 4), 5),
    ("qwen3vlmoe", qwen3vlmoe, ("gqa7", "narrow"), (16, 5), 5),
]


def family_cases():
    cases, quants = [], ("Q8_0", "Q4_K_M", "IQ4_XS")
    for family, arch, edit, plain, blocks in DENSE_FAMILIES:
        cases += [Case(family, arch, shape, kind, edit=edit) for shape in plain for kind in ("f32", "f16")]
        cases += [Case(family, arch, blocks, kind, edit=edit) for kind in ("bf16",) + quants]
    for family, edit, plain, some, every in MOE_FAMILIES:
        for shape, width in zip(plain, (96, 50)):
            cases += [Case(family, "qwen3moe", shape, kind, experts(*some, width), edit) for kind in ("f32", "f16")]
        blocks = "mha-blocks" if family == "dots1" else "blocks"
        cases += [Case(family, "qwen3moe", blocks, kind, experts(every, every, 256), edit) for kind in quants]
    for family, edit in (("granitemoe", granitemoe), ("granitemoe-shared", granitemoe_shared)):
        cases += [Case(family, "mixtral", "heads80", kind, experts(9, 3, 0), edit) for kind in ("f32", "f16")]
        cases += [Case(family, "mixtral", "blocks", kind, experts(5, 5, 0), edit) for kind in quants]
    cases += [Case("exaone4-32b", "qwen3", "square64", "f32", edit=exaone4_32b, n_tokens=200)]
    return cases + [Case("olmo3", "qwen3", "square13", "f32", edit=olmo3, n_tokens=200),
                    Case("olmo3", "qwen3", "square-gqa7", "Q8_0", edit=olmo3, n_tokens=200),
                    Case("qwen3vl-8b", "qwen3", "gqa7", "f32", edit=qwen3vl_8b)]


# ---- Llama 4 ----

def llama4_thirds(m):
    """Experts in every third layer instead of every second: with and without rotations."""
    def parts(layer):
        return [t for t in m.tensors if t.name.startswith("blk.%d.ffn" % layer) and "ffn_norm" not in t.name]

    dense, sparse = parts(0), parts(1)
    for i in range(m.keys["llama4.block_count"][1]):
        old = parts(i)
        m.tensors = [t for t in m.tensors if t not in old]
        for t in sparse if i % 3 == 2 else dense:
            m.tensors.append(Tensor("blk.%d.%s" % (i, t.name.split(".", 2)[2]), t.shape, t.kind, t.data))
    m.keys["llama4.interleave_moe_layer_step"] = (U32, 3)


def llama4_scaled(m):
    """With the divisors of long contexts, as Scout has them."""
    n = m.keys["llama4.rope.dimension_count"][1] // 2
    factors = np.linspace(1, 16, n).astype("<f4")
    m.tensors.append(Tensor("rope_freqs.weight", [n], 0, factors.tobytes()))


def llama4_long(m):
    m.keys["llama4.context_length"] = (U32, 16384)


def llama4_cases():
    def llama4(family, shape, kind, n_experts, edit=None):
        return Case(family, "llama4", shape, kind, experts(n_experts, 1, 96 if shape != "deep" else 256), edit)

    cases = [llama4("llama4", shape, kind, 7) for shape in ("narrow13", "deep") for kind in FLOATS]
    # one expert, so that the choice is equal
    cases += [llama4("llama4", "deep", kind, 1) for kind in ("Q8_0", "Q4_K_M", "IQ4_XS")]
    return cases + [llama4("llama4-thirds", "narrow13", "f32", 5, llama4_thirds), llama4("llama4-scaled", "deep", "f32", 5, llama4_scaled),
                    llama4("llama4-128", "deep", "f32", 128),
                    # the peer's chunks have 8192 positions whatever the file says
                    Case("llama4-chunks", "llama4", "slim", "f32", experts(3, 1, 48), llama4_long, 8192 + 170)]


class Case:
    """One model, one type. `options` go to the generator, `edit` changes its file afterwards. Quantised, tensors whose
    name holds what `others` names are of the type it gives."""

    def __init__(self, family, arch, shape, kind, options=(), edit=None, n_tokens=120, others=()):
        self.family, self.arch, self.shape, self.kind = family, arch, shape, kind
        self.edit, self.n_tokens, self.extra = edit, n_tokens, tuple(options)
        self.others = tuple((name, "f32") for name in HEADS) if edit is plain_heads else tuple(others)
        self.options = list(options)
        for name, value in zip(SHAPE_OPTIONS, SHAPES[shape]):
            self.options += ["--" + name, str(value)]
        self.name = "%s/%s/%s" % (family, shape, kind)
        self.is_quantised = kind in QUANTS + RARE_QUANTS
        self.vocab_size = SHAPES[shape][-1]

    def second(self):
        return Case(self.family, self.arch, SECOND_SHAPES[self.shape], self.kind, self.extra, self.edit, self.n_tokens, self.others)


# What every family is in, and of the others one.
USUAL_QUANTS = ("Q8_0", "Q4_K_M", "IQ4_XS", "Q6_K")
# What is compared in two shapes; of the rarer types the families' parts are the same.
TWICE = ("Q8_0", "Q4_K_M", "IQ4_XS", "MXFP4_MOE")
#        family, architecture of the generator, shapes in plain types, shape in quantised types, which more
FAMILIES = [
    ("llama", "llama", ("narrow", "heads80", "mha128"), "blocks", "Q4_0"),
    ("llama3", "llama3", ("gqa7", "heads80"), "blocks128", "Q5_K_M"),
    ("mistral3", "mistral3", ("heads80", "mha128"), "blocks", "Q4_0"),
    ("qwen2", "qwen2", ("square-gqa7", "square-narrow"), "blocks", "Q4_0"),
    ("qwen3", "qwen3", ("gqa7", "heads80"), "blocks128", "Q5_K_M"),
]


def all_cases():
    cases = []
    for family, arch, plain, blocks, more in FAMILIES:
        for shape in plain:
            cases += [Case(family, arch, shape, kind) for kind in FLOATS]
        cases += [Case(family, arch, blocks, kind) for kind in ("f16", more) + USUAL_QUANTS]
    for kind in BLOCKS_OF_32:
        cases += [Case("llama", "llama", "heads80", kind), Case("qwen3", "qwen3", "gqa7", kind)]
    cases += [Case("qwen3", "qwen3", "blocks128", kind) for kind in RARE_QUANTS]
    cases += [
        Case("llama", "llama", "deep", "Q4_K_M"),
        Case("llama-linear", "llama", "heads80", "f32", edit=linear_scaling),
        Case("llama-bias", "llama", "gqa7", "f32", edit=attention_biases),
        Case("llama-tied", "llama", "blocks", "Q6_K", options=["--tied"]),
        Case("llama-defaults", "llama", "mha128", "f16", edit=absent_defaults),
        Case("mistral3-yarn24", "mistral3", "heads80", "f32", edit=short_yarn),
        Case("mistral3-yarn24", "mistral3", "blocks", "Q8_0", edit=short_yarn),
        Case("mistral3-factors", "mistral3", "gqa7", "f32", edit=yarn_factors),
        Case("qwen3-yarn", "qwen3", "blocks", "f32", edit=lambda m: yarn(m, "qwen3")),
        # as the mixes called XL and UD: what is looked up and what chooses the token in a truer type
        Case("qwen3-mixed", "qwen3", "blocks128", "Q4_K_M", others=[("token_embd", "q8_0"), ("^output.weight", "q8_0"),
                                                                    ("ffn_down", "iq4_xs"), ("attn_v", "q5_k")]),
        Case("qwen3-mixed", "qwen3", "blocks128", "Q6_K", others=[("token_embd", "bf16"), ("^output.weight", "bf16"),
                                                                  ("blk.0.", "f16"), ("ffn_gate", "q3_k")]),
        Case("qwen2-tied", "qwen2", "blocks", "Q4_K_M", options=["--tied"]),
    ]
    cases += expert_cases() + gemma_cases() + gemma4_cases() + delta_cases() + phi3_cases() + llama4_cases() + family_cases()
    shapes = collections.Counter((c.family, c.kind) for c in cases)
    return cases + [c.second() for c in cases if c.kind in TWICE and shapes[c.family, c.kind] == 1 and c.shape in SECOND_SHAPES]
