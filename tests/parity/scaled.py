# SPDX-License-Identifier: MIT
"""Models as they are made of NVFP4 checkpoints: beside a weight X.weight stands X.scale, a factor of the
whole matrix or of each expert, and X.input_scale, which is of no account to the result."""
import numpy as np

from cases import Case, experts
from ggufedit import Tensor

F32_TYPE = 0
KIND = "NVFP4"
ATTENTION = ("attn_q", "attn_k", "attn_v", "attn_output")
# What the peer multiplies by the factors of in every family below. It reads more than that.
ENDS = ATTENTION + ("attn_qkv", "attn_gate", "ffn_gate", "ffn_up", "ffn_down", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps",
                    "ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp", "ssm_out", "ssm_alpha", "ssm_beta")
# The others that models multiply by.
MORE_ENDS = ("output", "attn_q_a", "attn_q_b", "attn_kv_a_mqa", "attn_k_b", "attn_v_b", "ffn_gate_inp", "ffn_gate_up_exps", "ssm_in",
             "ssm_ba", "inp_gate", "proj", "per_layer_model_proj")


def scale(m, ends):
    """Factors between 1/16 and 1/1024, divided out of the weights: whoever leaves one out is far off."""
    rng, names = np.random.default_rng(5), {t.name for t in m.tensors}
    for t in list(m.tensors):
        stem = t.name.removesuffix(".weight")
        # Gemma 4's experts have such a factor in any type
        if stem.split(".")[-1] not in ends or t.kind != F32_TYPE or stem + ".scale" in names:
            continue
        n = t.shape[2] if len(t.shape) > 2 else 1
        factors = (2.0 ** rng.uniform(-10, -4, n)).astype("<f4")
        planes = np.frombuffer(t.data, "<f4", int(np.prod(t.shape))).reshape(n, -1)
        t.data = (planes / factors[:, None]).astype("<f4").tobytes()
        m.tensors.append(Tensor(stem + ".scale", [n], F32_TYPE, factors.tobytes()))
        m.tensors.append(Tensor(stem + ".input_scale", [n], F32_TYPE, (factors / 7).astype("<f4").tobytes()))


def scales(m):
    scale(m, ENDS)


def scales_of_attention(m):
    scale(m, ATTENTION)


def all_scales(m):
    scale(m, ENDS + MORE_ENDS)


def scales_and_output(m):
    """Of an output's the peer knows where that is NVFP4."""
    scale(m, ENDS + ("output",))


class ScaledCase(Case):
    """In a type that the peer makes no whole files of."""

    def __init__(self, *args):
        super().__init__(*args)
        self.is_quantised = self.kind == KIND
        if self.is_quantised:
            self.others = (("weight", "nvfp4"),)


def scaled_cases():
    """f32 weights say that every factor is at its place, NVFP4 that they are those of such files."""
    return [
        ScaledCase("qwen3", "qwen3", "blocks128", KIND),
        ScaledCase("llama-scales", "llama", "heads80", "f32", (), scales),
        ScaledCase("llama-scales", "llama", "blocks", KIND, (), scales_and_output),
        # factors come before biases
        ScaledCase("qwen2-scales", "qwen2", "square-gqa7", "f32", (), scales_of_attention),
        ScaledCase("qwen3-scales", "qwen3", "gqa7", "f32", (), scales),
        ScaledCase("qwen3-scales", "qwen3", "blocks128", KIND, (), scales_and_output),
        ScaledCase("qwen3moe-scales", "qwen3moe", "gqa7", "f32", experts(37, 5, 96), scales),
        ScaledCase("qwen3moe-scales", "qwen3moe", "blocks128", KIND, experts(6, 6, 512), scales_and_output),
        ScaledCase("qwen35-scales", "qwen35", "delta80", "f32", (), scales),
        ScaledCase("qwen35-scales", "qwen35", "delta-blocks", KIND, (), scales_and_output),
        ScaledCase("qwen35moe-scales", "qwen35moe", "delta-odd", "f32", experts(7, 3, 50), scales),
    ]


# Of these the peer reads factors and leaves them out: compared with the same weights without any.
ALONE = ("qwen2/square-gqa7/f32", "qwen2moe/square-gqa7/f32", "phi3/square-gqa7/f32", "qwen3next/delta-odd/f32", "deepseek2/narrow/f32",
         "gpt-oss/gqa7/f32", "glm4moe/narrow/f32", "llama4/narrow13/f32", "gemma4-26b/narrow6/f32", "gemma4-e2b/narrow6/f32")
