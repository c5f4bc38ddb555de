# SPDX-License-Identifier: MIT
"""Models that make vectors of texts, compared by these."""
import struct

from cases import SHAPES, Adder, Case
from ggufedit import ARR, BOOL, F32, I32, STR, U8, U32

SHAPES.update({
    # as many key heads as query heads, whose channels are the stream's
    "encoder-narrow": (2, 120, 172, 4, 4, 30, 523),
    "encoder80": (3, 480, 736, 6, 6, 80, 611),
    "encoder-blocks": (3, 256, 768, 4, 4, 64, 640),
})
WORDS = ("hello", "there", "my", "friend", "the", "quick", "brown", "fox", "jump", "over", "dog", "and", "as", "it", "is")


def pooling(number):
    """A model that makes one vector of a text: 1 mean, 2 cls, 3 last."""
    def edit(m):
        m.keys[m.keys["general.architecture"][1].decode() + ".pooling_type"] = (U32, number)
    return edit


def pieces(m):
    """BERT's tokenizer: its special tokens where they always are, letters that begin a word and that
    go on with it, punctuation, some words."""
    n = len(m.keys["tokenizer.ggml.tokens"][1][1])
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    tokens = ["[PAD]"] + ["[unused%d]" % i for i in range(99)] + ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens += ["\u2581" + t for t in letters + [",", "."] + list(WORDS)] + letters + ["er", "zy"]
    tokens += ["\u2581word%d" % i for i in range(n - len(tokens))]
    m.keys = {k: v for k, v in m.keys.items() if not k.startswith("tokenizer.")}
    m.keys["tokenizer.ggml.model"] = (STR, "bert")
    m.keys["tokenizer.ggml.tokens"] = (ARR, (STR, tokens))
    m.keys["tokenizer.ggml.token_type"] = (ARR, (I32, [3 if t.startswith("[") else 1 for t in tokens]))
    for name, i in (("unknown", 100), ("bos", 101), ("cls", 101), ("sep" + "erator", 102), ("padding", 0), ("mask", 103)):
        m.keys["tokenizer.ggml.%s_token_id" % name] = (U32, i)
    m.keys["tokenizer.ggml.token_type_count"] = (U32, 2)


def double_array(rules):
    """SentencePiece's compiled normaliser: {what is replaced: replacement} as bytes."""
    units, texts, taken = [0] * 8192, b"", {0}
    values = {}
    for old, new in rules.items():
        values[old.encode()] = len(texts)
        texts += new.encode() + b"\0"

    def add(at, prefix):
        after = sorted({old[len(prefix)] if len(old) > len(prefix) else 0 for old in values if old.startswith(prefix)})
        base = next(b for b in range(1, len(units) - 256) if not any(b ^ c in taken for c in after))
        taken.update(base ^ c for c in after)
        units[at] |= (at ^ base) << 10 | (256 if 0 in after else 0)
        for c in after:
            units[base ^ c] = c if c else 1 << 31 | values[prefix]
        for c in filter(None, after):
            add(base ^ c, prefix + bytes([c]))

    add(0, b"")
    return struct.pack("<%dI" % (1 + len(units)), 4 * len(units), *units) + texts


def likely_pieces(m):
    """XLM-RoBERTa's tokenizer: tokens with scores, text in small letters and without commas."""
    n = len(m.keys["tokenizer.ggml.tokens"][1][1])
    letters = [chr(c) for c in range(ord("a"), ord("y") + 1)]    # z is unknown
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "\u2581", "."] + letters + ["\u2581" + w for w in WORDS]
    tokens += ["er", "ow", "ick", "the", "\u2581ju", "mps", "\u2581la", "lets"]
    tokens += ["\u2581word%d" % i for i in range(n - len(tokens))]
    rules = {chr(c): chr(c + 32) for c in range(ord("A"), ord("Z") + 1)} | {",": "", ", ": "  ", "\u00e9": "e"}
    charsmap = double_array(rules)
    m.keys = {k: v for k, v in m.keys.items() if not k.startswith("tokenizer.")}
    m.keys["tokenizer.ggml.model"] = (STR, "t5")
    m.keys["tokenizer.ggml.tokens"] = (ARR, (STR, tokens))
    m.keys["tokenizer.ggml.scores"] = (ARR, (F32, [0.0] * 4 + [-3 - (i * 7 % 31) / 3 for i in range(n - 4)]))
    m.keys["tokenizer.ggml.token_type"] = (ARR, (I32, [3, 3, 3, 2] + [1] * (n - 4)))
    m.keys["tokenizer.ggml.precompiled_charsmap"] = (ARR, (U8, list(charsmap)))
    for name, i in (("unknown", 3), ("bos", 0), ("eos", 2), ("sep" + "erator", 2), ("padding", 1)):
        m.keys["tokenizer.ggml.%s_token_id" % name] = (U32, i)
    for name in ("add_bos_token", "add_eos_token", "add_space_prefix", "remove_extra_whitespaces"):
        m.keys["tokenizer.ggml." + name] = (BOOL, True)
    m.keys["tokenizer.ggml.token_type_count"] = (U32, 1)


RENAMED = (("output_norm.", "token_embd_norm."), (".attn_norm.", ".attn_output_norm."), (".ffn_norm.", ".layer_output_norm."))


def encoder(m, new, keeps_rope):
    """A llama file as an encoder: norms with biases behind each part, no output matrix."""
    add = Adder(m, "llama", new)
    embd = m.keys[new + ".embedding_length"][1]
    del m.keys[new + ".attention.layer_norm_rms_epsilon"]
    m.keys = {k: v for k, v in m.keys.items() if keeps_rope or ".rope." not in k}
    m.keys[new + ".attention.layer_norm_epsilon"] = (F32, 1e-5)
    m.keys[new + ".attention.causal"] = (BOOL, False)
    m.keys[new + ".context_length"] = (U32, 512)
    m.keys[new + ".pooling_type"] = (U32, 1)
    pieces(m)
    m.tensors = [t for t in m.tensors if t.name != "output.weight"]
    for t in list(m.tensors):
        for old, name in RENAMED:
            if t.name.startswith(old) or old in t.name and old[0] == ".":
                t.name = t.name.replace(old, name)
                add(t.name.replace(".weight", ".bias"), [embd], 0.2)
    add("token_types.weight", [embd, 2], 0.5)
    return add


def bert(m):
    """Learnt positions, biases everywhere, no gate."""
    add = encoder(m, "bert", False)
    add("position_embd.weight", [m.keys["bert.embedding_length"][1], 512], 0.5)
    m.tensors = [t for t in m.tensors if not t.name.endswith("ffn_gate.weight")]
    for t in list(m.tensors):
        if t.name.endswith(("attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_output.weight", "ffn_up.weight", "ffn_down.weight")):
            add(t.name.replace(".weight", ".bias"), [t.shape[1]], 0.3)


def bert_cls(m):
    """As bge, without a table of token types."""
    bert(m)
    m.keys["bert.pooling_type"] = (U32, 2)
    m.tensors = [t for t in m.tensors if t.name != "token_types.weight"]


def xlm_roberta(m):
    """As bge-m3: one token type."""
    bert_cls(m)
    likely_pieces(m)
    Adder(m, "bert", "bert")("token_types.weight", [m.keys["bert.embedding_length"][1], 1], 0.5)


def nomic(m):
    """Rotated positions, a gate, one tensor for queries, keys and values."""
    encoder(m, "nomic-bert", True)
    m.keys["nomic-bert.rope.freq_base"] = (F32, 1000.0)
    for t in list(m.tensors):
        if t.name.endswith("attn_q.weight"):
            parts = [m.tensor(t.name.replace("attn_q", "attn_" + c)) for c in "qkv"]
            t.name, t.shape = t.name.replace("attn_q", "attn_qkv"), [t.shape[0], sum(p.shape[1] for p in parts)]
            t.data = b"".join(p.data for p in parts)
            m.tensors = [other for other in m.tensors if other not in parts[1:]]


def unigram_case():
    return Case("xlm-roberta", "llama", "encoder-narrow", "f32", edit=xlm_roberta)


def embedding_cases():
    cases = [Case("qwen3-embedding", "qwen3", shape, kind, edit=pooling(3)) for shape in ("gqa7", "heads80") for kind in ("f32", "f16")]
    cases += [Case("qwen3-embedding", "qwen3", "blocks128", kind, edit=pooling(3)) for kind in ("Q8_0", "Q4_K_M", "IQ4_XS")]
    cases += [Case("qwen3-mean", "qwen3", "heads80", "f32", edit=pooling(1)), Case("qwen3-cls", "qwen3", "heads80", "f32", edit=pooling(2))]
    for family, edit in (("bert", bert), ("nomic-bert", nomic)):
        cases += [Case(family, "llama", shape, kind, edit=edit) for shape in ("encoder-narrow", "encoder80") for kind in ("f32", "f16")]
        cases += [Case(family, "llama", "encoder-blocks", kind, edit=edit) for kind in ("Q8_0", "Q4_K_M", "IQ4_XS")]
    cases += [Case("bert-cls", "llama", "encoder80", "f32", edit=bert_cls)]
    return cases
