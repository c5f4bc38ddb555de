# SPDX-License-Identifier: MIT
"""Models that make vectors of texts, compared by these."""
from cases import Case
from ggufedit import U32


def pooling(number):
    """A model that makes one vector of a text: 1 mean, 2 cls, 3 last."""
    def edit(m):
        m.keys[m.keys["general.architecture"][1].decode() + ".pooling_type"] = (U32, number)
    return edit


def embedding_cases():
    cases = [Case("qwen3-embedding", "qwen3", shape, kind, edit=pooling(3)) for shape in ("gqa7", "heads80") for kind in ("f32", "f16")]
    cases += [Case("qwen3-embedding", "qwen3", "blocks128", kind, edit=pooling(3)) for kind in ("Q8_0", "Q4_K_M", "IQ4_XS")]
    cases += [Case("qwen3-mean", "qwen3", "heads80", "f32", edit=pooling(1)), Case("qwen3-cls", "qwen3", "heads80", "f32", edit=pooling(2))]
    return cases
