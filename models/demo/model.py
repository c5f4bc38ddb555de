# SPDX-License-Identifier: MIT
"""The Llama architecture, small, as GGUF's `llama` runs it.

Rotary pairs are neighbours (2i, 2i+1), which is the order GGUF's llama weights are in, so that the
export permutes nothing. Master weights are float32; `dtype` is what the products are computed in.
"""
import math

import torch
from torch import nn
from torch.nn import functional

SHAPE = {
    "n_layer": 6,
    "n_embd": 128,
    "n_head": 4,
    "n_head_kv": 2,
    "n_ff": 384,
    "n_context": 512,
    "rope_base": 10000.0,
    "eps": 1e-5,
}


def normalized(x, eps, dtype):
    """RMS normalisation. Its weights are folded into the matrix that follows: see weighted()."""
    return (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)).to(dtype)


def weighted(norm, *matrices, dtype):
    return (torch.cat(matrices) * norm).to(dtype)


def matrix(n_out, n_in, scale=1.0):
    return nn.Parameter(torch.randn(n_out, n_in) * (scale * 0.7 / math.sqrt(n_in)))


class Layer(nn.Module):
    def __init__(self, shape):
        super().__init__()
        size, n_ff = shape["n_embd"], shape["n_ff"]
        self.eps = shape["eps"]
        self.n_head, self.n_head_kv = shape["n_head"], shape["n_head_kv"]
        self.n_head_size = size // self.n_head
        n_kv = self.n_head_kv * self.n_head_size
        last = 1 / math.sqrt(2 * shape["n_layer"])  # keeps the residual stream's variance near one
        self.attn_norm, self.ffn_norm = nn.Parameter(torch.ones(size)), nn.Parameter(
            torch.ones(size)
        )
        self.attn_q, self.attn_k, self.attn_v = (
            matrix(size, size),
            matrix(n_kv, size),
            matrix(n_kv, size),
        )
        self.attn_output = matrix(size, size, last)
        self.ffn_gate, self.ffn_up = matrix(n_ff, size), matrix(n_ff, size)
        self.ffn_down = matrix(size, n_ff, last)

    def attend(self, x, turns, mask):
        """turns: [context, query and key heads, half a head], queries' scaled for the scores."""
        n_rows, n_tokens, _ = x.shape
        dtype = x.dtype
        weight = weighted(self.attn_norm, self.attn_q, self.attn_k, self.attn_v, dtype=dtype)
        heads = functional.linear(x, weight).view(n_rows, n_tokens, -1, self.n_head_size)
        n_rotated = self.n_head + self.n_head_kv
        pairs = heads[:, :, :n_rotated].float().view(n_rows, n_tokens, n_rotated, -1, 2)
        rotated = torch.view_as_real(torch.view_as_complex(pairs) * turns[:n_tokens])
        rotated = rotated.flatten(-2).to(dtype).transpose(1, 2)
        q, k = rotated[:, : self.n_head], rotated[:, self.n_head :]
        v = heads[:, :, n_rotated:].transpose(1, 2)
        # Query heads of one group share their k and v: lay them one below the other.
        group = self.n_head // self.n_head_kv
        q = q.reshape(n_rows * self.n_head_kv, group * n_tokens, self.n_head_size)
        k = k.reshape(n_rows * self.n_head_kv, n_tokens, self.n_head_size)
        v = v.reshape(n_rows * self.n_head_kv, n_tokens, self.n_head_size)
        scores = torch.bmm(q, k.transpose(1, 2)).view(n_rows, self.n_head, n_tokens, n_tokens)
        scores += mask
        weights = torch.softmax(scores, -1)
        out = torch.bmm(weights.view(n_rows * self.n_head_kv, group * n_tokens, n_tokens), v)
        out = out.view(n_rows, self.n_head, n_tokens, self.n_head_size).transpose(1, 2).flatten(2)
        return functional.linear(out, self.attn_output.to(dtype))

    def forward(self, x, turns, mask):
        dtype = mask.dtype
        x = x + self.attend(normalized(x, self.eps, dtype), turns, mask)
        weight = weighted(self.ffn_norm, self.ffn_gate, self.ffn_up, dtype=dtype)
        gate, up = functional.linear(normalized(x, self.eps, dtype), weight).chunk(2, -1)
        return x + functional.linear(functional.silu(gate) * up, self.ffn_down.to(dtype))


class Model(nn.Module):
    """Embeddings are tied: the output matrix is token_embd."""

    def __init__(self, n_vocab, shape=None):
        super().__init__()
        self.shape = shape = dict(shape or SHAPE)
        self.token_embd = nn.Parameter(torch.randn(n_vocab, shape["n_embd"]) * 0.06)
        self.blk = nn.ModuleList(Layer(shape) for _ in range(shape["n_layer"]))
        self.output_norm = nn.Parameter(torch.ones(shape["n_embd"]))
        half = shape["n_embd"] // shape["n_head"] // 2
        speed = shape["rope_base"] ** (-torch.arange(half, dtype=torch.float32) / half)
        angle = torch.arange(shape["n_context"], dtype=torch.float32)[:, None] * speed
        scale = torch.ones(shape["n_head"] + shape["n_head_kv"])
        scale[: shape["n_head"]] = (2 * half) ** -0.5
        self.turns = torch.polar(
            scale[None, :, None].expand(len(angle), -1, half).contiguous(),
            angle[:, None].expand(-1, len(scale), -1).contiguous(),
        )
        self.dtype = torch.float32

    def forward(self, ids, mask, wanted):
        """Logits at the positions `wanted` (indices into the flattened ids)."""
        mask = mask.to(self.dtype)
        x = functional.embedding(ids, self.token_embd)
        for layer in self.blk:
            x = layer(x, self.turns, mask)
        x = normalized(x.flatten(0, 1)[wanted], self.shape["eps"], self.dtype)
        return functional.linear(
            x, weighted(self.output_norm, self.token_embd, dtype=self.dtype)
        ).float()


def causal_mask(documents):
    """Added to the scores: 0 where a token may look (its own document, not ahead), else -inf.

    documents: number of the dialogue each token belongs to, [rows, tokens]."""
    n_tokens = documents.shape[1]
    same = documents[:, :, None] == documents[:, None, :]
    seen = same & torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril()
    return torch.zeros(seen.shape).masked_fill_(~seen, float("-inf"))[:, None]


@torch.no_grad()
def answer(model, prompts, stop, n_most=64):
    """Greedy continuations of token lists. No cache: whole prompts again for every token."""
    done = [None] * len(prompts)
    sequences = [list(prompt) for prompt in prompts]
    for _ in range(n_most):
        open_ones = [i for i in range(len(prompts)) if done[i] is None]
        if not open_ones:
            break
        width = max(len(sequences[i]) for i in open_ones)
        ids = torch.tensor([sequences[i] + [stop] * (width - len(sequences[i])) for i in open_ones])
        wanted = torch.tensor(
            [row * width + len(sequences[i]) - 1 for row, i in enumerate(open_ones)]
        )
        best = model(ids, causal_mask(torch.zeros_like(ids[:1])), wanted).argmax(-1).tolist()
        for i, token in zip(open_ones, best):
            if token == stop:
                done[i] = sequences[i][len(prompts[i]) :]
            else:
                sequences[i].append(token)
    return [
        done[i] if done[i] is not None else sequences[i][len(prompts[i]) :]
        for i in range(len(prompts))
    ]
