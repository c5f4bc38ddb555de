# SPDX-License-Identifier: MIT
"""Trains the demo model. Resumes from the run directory's checkpoint when there is one."""
import argparse
import concurrent.futures
import math
import os
import random
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the threads are ours: see step_gradients()

import torch
from torch.nn import functional

import corpus
import tokenizer
from evaluate import examine
from model import Model, causal_mask

N_SHARDS = 2  # parts of a step, each computed by a thread of its own
N_TOKENS = 2048  # in a shard


def measure_dtype():
    """bfloat16 where the processor multiplies it faster, as with AMX; else float32."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.randn(2048, 256).to(dtype), torch.randn(512, 256).to(dtype)
        functional.linear(a, b)
        start = time.monotonic()
        for _ in range(5):
            functional.linear(a, b)
        seconds[dtype] = time.monotonic() - start
    return min(seconds, key=seconds.get)


def learned_tokens(vocabulary, template, one):
    """The ids of a dialogue, and for each whether the model must learn to say it."""
    text = template.render(one["messages"], one.get("tools"))
    ids = vocabulary.encode(text)
    is_learned = [False] * len(ids)
    heading = [vocabulary.start, *vocabulary.encode("assistant\n")]
    i = 0
    while i < len(ids):
        if ids[i : i + len(heading)] == heading:
            i += len(heading)
            while ids[i] != vocabulary.end:
                is_learned[i] = True
                i += 1
            is_learned[i] = True
        i += 1
    return ids, is_learned


class Batches:
    """Batch number i is the same in every run: its random stream is seeded with i."""

    def __init__(self, vocabulary, seed):
        self.vocabulary, self.seed = vocabulary, seed
        self.template = tokenizer.Template()

    def draw(self, source, tasks, is_long):
        n_turns = 1
        if is_long:
            n_turns = source.random.randint(2, 9)
        elif source.random.random() < 0.2:
            n_turns = source.random.randint(2, 3)
        return learned_tokens(self.vocabulary, self.template, source.conversation(tasks, n_turns))

    def batch(self, number):
        """ids, mask, positions whose next token is learned, those next tokens."""
        is_long = number % 16 >= 14  # whole chats, as long as the context
        width = 512 if is_long else 128
        source = corpus.Corpus(self.seed * 1000003 + number, corpus.TRAIN)
        rows = []  # each: ids, is_learned, document numbers
        for document in range(N_TOKENS):
            ids, is_learned = self.draw(source, corpus.SHARES, is_long)
            if len(ids) > width:
                continue
            row = next((row for row in rows if len(row[0]) + len(ids) <= width), None)
            if row is None:
                if len(rows) == N_TOKENS // width:
                    break
                row = ([], [], [])
                rows.append(row)
            row[0].extend(ids)
            row[1].extend(is_learned)
            row[2].extend([document] * len(ids))
        for row in rows:
            missing = width - len(row[0])
            row[0].extend([self.vocabulary.pad] * missing)
            row[1].extend([False] * missing)
            row[2].extend([-1] * missing)
        ids = torch.tensor([row[0] for row in rows])
        learned = torch.tensor([row[1] for row in rows]).flatten()
        targets = learned.nonzero().flatten()
        mask = causal_mask(torch.tensor([row[2] for row in rows]))
        return ids, mask, targets - 1, ids.flatten()[targets]


def shard_gradients(model, batches, number):
    """Gradients of the summed loss of one shard, that loss, and how many tokens were learned."""
    ids, mask, wanted, targets = batches.batch(number)
    loss = functional.cross_entropy(model(ids, mask, wanted), targets, reduction="sum")
    return torch.autograd.grad(loss, list(model.parameters())), loss.item(), len(targets)


def step_gradients(model, batches, pool, step):
    """Sets the gradients of one step from its shards; returns the mean loss.

    Threads of our own and not OpenMP's: those wait for each other at every operation, which is
    ruinous when a core is busy with something else."""
    jobs = [
        pool.submit(shard_gradients, model, batches, step * N_SHARDS + i) for i in range(N_SHARDS)
    ]
    shards = [job.result() for job in jobs]
    n_learned = sum(n for _, _, n in shards)
    for parameter, *parts in zip(model.parameters(), *(gradients for gradients, _, _ in shards)):
        parameter.grad = sum(parts) / n_learned
    return sum(loss for _, loss, _ in shards) / n_learned


def rate(step, n_steps, peak):
    warm_up = 300
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * (
        0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (n_steps - warm_up)))
    )


def optimizer_of(model):
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
    )


def save(path, model, optimizer, step, seconds):
    torch.save(
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": step,
            "shape": model.shape,
            "seconds": seconds,
        },
        path + ".new",
    )
    os.replace(path + ".new", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", default=os.path.expanduser("~/.cache/hearth-demo-model"))
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dtype", choices=["auto", "float32", "bfloat16"], default="auto")
    options = parser.parse_args()

    os.makedirs(options.run, exist_ok=True)
    torch.set_num_threads(1)
    pool = concurrent.futures.ThreadPoolExecutor(
        N_SHARDS, initializer=torch.set_num_threads, initargs=(1,)
    )
    torch.manual_seed(options.seed)
    random.seed(options.seed)
    path = os.path.join(options.run, "tokenizer.json")
    if os.path.exists(path):  # a run that goes on keeps its words, whatever the corpus became
        vocabulary = tokenizer.load(path)
    else:
        vocabulary = tokenizer.train(options.seed)
        vocabulary.save(path)
    model = Model(len(vocabulary.tokens))
    model.dtype = measure_dtype() if options.dtype == "auto" else getattr(torch, options.dtype)
    optimizer = optimizer_of(model)
    path = os.path.join(options.run, "checkpoint.pt")
    first, spent = 0, 0.0
    if os.path.exists(path):
        stored = torch.load(path)
        model.load_state_dict(stored["model"])
        optimizer.load_state_dict(stored["optimizer"])
        first, spent = stored["step"], stored["seconds"]
    print(
        "parameters %d, vocabulary %d, %s, from step %d"
        % (sum(p.numel() for p in model.parameters()), len(vocabulary.tokens), model.dtype, first),
        flush=True,
    )

    batches = Batches(vocabulary, options.seed)
    start, last_save, losses = time.monotonic() - spent, time.monotonic(), []
    for step in range(first, options.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, options.steps, options.rate)
        losses.append(step_gradients(model, batches, pool, step))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 50 == 0:
            print(
                "step %d  loss %.4f  %.0f s"
                % (step + 1, sum(losses[-50:]) / len(losses[-50:]), time.monotonic() - start),
                flush=True,
            )
        if (step + 1) % 500 == 0:
            print("held out:", examine(model, vocabulary, n_per_task=24), flush=True)
        if time.monotonic() - last_save > 120 or step + 1 == options.steps:
            save(path, model, optimizer, step + 1, time.monotonic() - start)
            last_save = time.monotonic()


if __name__ == "__main__":
    main()
