# SPDX-License-Identifier: MIT
"""Files that must be refused, each made from a good one, and what the sentence must name."""
import os

from ggufedit import F32, STR, U32, Model, Tensor

F64_TYPE, I32_TYPE = 28, 26


def unknown_architecture(m):
    m.keys["general.architecture"] = (STR, "gallimaufry")
    return ["gallimaufry", "llama"]


def no_architecture(m):
    del m.keys["general.architecture"]
    return ["general.architecture"]


def missing_key(m):
    del m.keys["llama.attention.head_count"]
    return ["llama.attention.head_count"]


def missing_real(m):
    del m.keys["llama.attention.layer_norm_rms_epsilon"]
    return ["llama.attention.layer_norm_rms_epsilon"]


def key_of_wrong_type(m):
    m.keys["llama.block_count"] = (STR, "three")
    return ["llama.block_count"]


def zero_heads(m):
    m.keys["llama.attention.head_count"] = (U32, 0)
    return ["llama.attention.head_count"]


def heads_that_do_not_divide(m):
    m.keys["llama.attention.head_count_kv"] = (U32, 4)
    return ["head_count_kv", "6", "4"]


def odd_rope(m):
    m.keys["llama.rope.dimension_count"] = (U32, 79)
    return ["llama.rope.dimension_count", "79"]


def unknown_scaling(m):
    m.keys["llama.rope.scaling.type"] = (STR, "longrope")
    return ["llama.rope.scaling.type", "longrope"]


def bad_base(m):
    m.keys["llama.rope.freq_base"] = (F32, float("nan"))
    return ["llama.rope.freq_base"]


def unknown_pooling(m):
    m.keys["llama.pooling_type"] = (U32, 4)
    return ["llama.pooling_type", "rank"]


def missing_tensor(m):
    m.tensors.remove(m.tensor("blk.1.ffn_gate.weight"))
    return ["blk.1.ffn_gate.weight", "missing"]


def missing_embedding(m):
    m.tensors.remove(m.tensor("token_embd.weight"))
    return ["token_embd.weight", "missing"]


def unknown_tensor(m):
    m.tensors.append(Tensor("blk.0.attn_sinks.weight", [6], 0, b"\0" * 24))
    return ["blk.0.attn_sinks.weight"]


def tensor_of_a_layer_too_many(m):
    t = m.tensor("blk.2.attn_norm.weight")
    m.tensors.append(Tensor("blk.3.attn_norm.weight", t.shape, t.kind, t.data))
    return ["blk.3.attn_norm.weight"]


def wrong_shape(m):
    t = m.tensor("blk.2.attn_k.weight")
    t.shape = [t.shape[0], t.shape[1] // 2]
    t.data = t.data[:len(t.data) // 2]
    return ["blk.2.attn_k.weight", "120", "240"]


def transposed(m):
    m.tensor("blk.0.ffn_up.weight").shape.reverse()
    return ["blk.0.ffn_up.weight", "[736, 288"]


def unsupported_type(m):
    t = m.tensor("blk.0.attn_output.weight")
    t.kind, t.data = F64_TYPE, t.data * 4
    return ["blk.0.attn_output.weight", "F64"]


def norm_of_wrong_type(m):
    t = m.tensor("blk.0.attn_norm.weight")
    t.kind = I32_TYPE
    return ["blk.0.attn_norm.weight", "I32"]


def layers_beyond_the_tensors(m):
    m.keys["llama.block_count"] = (U32, 2000000)
    return ["block_count", "2000000"]


def vocabulary_longer_than_the_table(m):
    element, tokens = m.keys["tokenizer.ggml.tokens"][1]
    m.keys["tokenizer.ggml.tokens"] = (m.keys["tokenizer.ggml.tokens"][0], (element, tokens + [b"more"]))
    return ["tokenizer.ggml.tokens", "612", "611"]


def no_tokenizer(m):
    del m.keys["tokenizer.ggml.model"]
    return ["tokenizer.ggml.model"]


EDITS = [unknown_architecture, no_architecture, missing_key, missing_real, key_of_wrong_type, zero_heads,
         heads_that_do_not_divide, odd_rope, unknown_scaling, unknown_pooling, bad_base, missing_tensor, missing_embedding,
         unknown_tensor, tensor_of_a_layer_too_many, wrong_shape, transposed, unsupported_type,
         norm_of_wrong_type, layers_beyond_the_tensors, vocabulary_longer_than_the_table, no_tokenizer]


def truncated(good, path):
    with open(good, "rb") as f:
        data = f.read()
    with open(path, "wb") as f:
        f.write(data[:len(data) * 2 // 3])
    return ["refused.gguf"]


def not_a_model(good, path):
    with open(path, "wb") as f:
        f.write(b"this is a letter to a friend\n" * 40)
    return ["refused.gguf", "GGUF"]


def nothing_there(good, path):
    return ["refused.gguf", "No such file"]


def a_directory(good, path):
    os.mkdir(path)
    return ["refused.gguf"]


def an_empty_file(good, path):
    open(path, "wb").close()
    return ["refused.gguf"]


def of_edit(edit):
    def make(good, path):
        m = Model(good)
        words = edit(m)
        m.write(path)
        return words
    return make


def all_refusals():
    """(name, function(good file, path to write) -> what the sentence must name)."""
    named = [(e.__name__.replace("_", "-"), of_edit(e)) for e in EDITS]
    return named + [(f.__name__.replace("_", "-"), f) for f in
                    (truncated, not_a_model, nothing_there, a_directory, an_empty_file)]
