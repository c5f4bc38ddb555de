# SPDX-License-Identifier: MIT
"""Writes a checkpoint as a GGUF v3 file: matrices Q8_0 (or F32), norms F32."""
import argparse
import os
import struct

import numpy
import torch

import tokenizer
from model import Model

HERE = os.path.dirname(os.path.abspath(__file__))
ALIGNMENT = 32
F32, Q8_0 = 0, 8
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


KINDS = {  # Python's side of GGUF's value types: type number, packer
    "u32": (4, lambda value: struct.pack("<I", value)),
    "i32": (5, lambda value: struct.pack("<i", value)),
    "f32": (6, lambda value: struct.pack("<f", value)),
    "bool": (7, lambda value: struct.pack("<?", value)),
    "text": (8, text),
}


def pair(key, kind, value):
    """One metadata pair; a list becomes an array of the kind."""
    number, pack = KINDS[kind]
    if isinstance(value, list):
        body = struct.pack("<IIQ", 9, number, len(value)) + b"".join(map(pack, value))
    else:
        body = struct.pack("<I", number) + pack(value)
    return text(key) + body


def quantized(matrix):
    """Q8_0: along the input dimension, blocks of a float16 scale and 32 int8."""
    blocks = matrix.astype(numpy.float32).reshape(-1, 32)
    scale = numpy.abs(blocks).max(axis=1) / numpy.float32(127)
    inverse = numpy.where(scale > 0, 1 / numpy.where(scale > 0, scale, 1), 0)[:, None]
    values = blocks * inverse
    values = numpy.trunc(values + numpy.copysign(numpy.float32(0.5), values)).astype(numpy.int8)
    packed = numpy.zeros(len(blocks), dtype=[("scale", "<f2"), ("values", "i1", 32)])
    packed["scale"], packed["values"] = scale.astype(numpy.float16), values
    return packed.tobytes()


def metadata(shape, vocabulary, template):
    def kind_of(token):
        if token in tokenizer.CONTROL:
            return CONTROL
        return USER_DEFINED if token in tokenizer.SPECIAL else NORMAL

    n_head_size = shape["n_embd"] // shape["n_head"]
    return [
        ("general.architecture", "text", "llama"),
        ("general.name", "text", "Hearth demo"),
        (
            "general.description",
            "text",
            "Adds, compares, spells backwards, sorts three words, calls tools",
        ),
        ("general.license", "text", "MIT"),
        ("general.file_type", "u32", 7),
        ("general.quantization_version", "u32", 2),
        ("general.alignment", "u32", ALIGNMENT),
        ("llama.context_length", "u32", shape["n_context"]),
        ("llama.embedding_length", "u32", shape["n_embd"]),
        ("llama.block_count", "u32", shape["n_layer"]),
        ("llama.feed_forward_length", "u32", shape["n_ff"]),
        ("llama.attention.head_count", "u32", shape["n_head"]),
        ("llama.attention.head_count_kv", "u32", shape["n_head_kv"]),
        ("llama.attention.layer_norm_rms_epsilon", "f32", shape["eps"]),
        ("llama.rope.dimension_count", "u32", n_head_size),
        ("llama.rope.freq_base", "f32", shape["rope_base"]),
        ("llama.vocab_size", "u32", len(vocabulary.tokens)),
        ("tokenizer.ggml.model", "text", "gpt2"),
        ("tokenizer.ggml.pre", "text", "llama-bpe"),
        ("tokenizer.ggml.tokens", "text", vocabulary.tokens),
        ("tokenizer.ggml.token_type", "i32", [kind_of(token) for token in vocabulary.tokens]),
        ("tokenizer.ggml.merges", "text", [" ".join(merge) for merge in vocabulary.merges]),
        ("tokenizer.ggml.bos_token_id", "u32", vocabulary.pad),
        ("tokenizer.ggml.eos_token_id", "u32", vocabulary.end),
        ("tokenizer.ggml.eot_token_id", "u32", vocabulary.end),
        ("tokenizer.ggml.padding_token_id", "u32", vocabulary.pad),
        ("tokenizer.ggml.add_bos_token", "bool", False),
        ("tokenizer.ggml.add_eos_token", "bool", False),
        ("tokenizer.ggml.add_space_prefix", "bool", False),
        ("tokenizer.chat_template", "text", template),
    ]


def gguf_names(state):
    """Our parameters under GGUF's names, the embedding first."""
    for name, tensor in state.items():
        name = name + ("" if name.endswith(".weight") else ".weight")
        yield name, tensor.float().numpy()


def write(path, pairs, tensors, is_quantized):
    directory, data, offset = b"", [], 0
    for name, values in tensors:
        kind = Q8_0 if is_quantized and values.ndim == 2 else F32
        body = quantized(values) if kind == Q8_0 else values.astype("<f4").tobytes()
        directory += text(name) + struct.pack("<I", values.ndim)
        directory += struct.pack("<%dQ" % values.ndim, *reversed(values.shape))
        directory += struct.pack("<IQ", kind, offset)
        body += bytes(-len(body) % ALIGNMENT)
        data.append(body)
        offset += len(body)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(data), len(pairs))
    header += b"".join(pair(*one) for one in pairs) + directory
    with open(path, "wb") as file:
        file.write(header + bytes(-len(header) % ALIGNMENT) + b"".join(data))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", default=os.path.expanduser("~/.cache/hearth-demo-model"))
    parser.add_argument("--out", default=os.path.join(HERE, "hearth-demo-q8_0.gguf"))
    parser.add_argument("--f32", action="store_true", help="do not quantise")
    options = parser.parse_args()

    vocabulary = tokenizer.load(os.path.join(options.run, "tokenizer.json"))
    stored = torch.load(os.path.join(options.run, "checkpoint.pt"))
    model = Model(len(vocabulary.tokens), stored["shape"])
    model.load_state_dict(stored["model"])
    pairs = metadata(model.shape, vocabulary, tokenizer.Template().source)
    if options.f32:
        pairs = [
            (key, kind, 0 if key == "general.file_type" else value) for key, kind, value in pairs
        ]
    write(options.out, pairs, list(gguf_names(model.state_dict())), not options.f32)
    print("%s: step %d, %d bytes" % (options.out, stored["step"], os.path.getsize(options.out)))


if __name__ == "__main__":
    main()
