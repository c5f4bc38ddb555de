# SPDX-License-Identifier: MIT
"""Examines the demo model on held-out questions.

  evaluate.py --questions heldout.jsonl     writes the questions and their answers
  evaluate.py                               asks the checkpoint of the run directory
  evaluate.py --server 127.0.0.1:9931       asks a server with the OpenAI API (or Unix socket)
"""
import argparse
import http.client
import json
import os
import socket

import corpus
import tokenizer

N_PER_TASK = {"add": 40, "compare": 40, "reverse": 40, "sort": 40, "hearth": 40}
N_PER_TASK.update({"greeting": 15, "unknown": 25, "tool_call": 55, "tool_missing": 15})


def questions(n_per_task, seed=2):
    """Different held-out questions, drawn by task; what tools make of one is filed by outcome."""
    source = corpus.Corpus(seed, corpus.HELDOUT)
    found = []
    for task, n_wanted in n_per_task.items():
        seen = set()
        for _ in range(20 * n_wanted):
            one = source.dialogue(task)
            asked = next(m["content"] for m in one["messages"] if m["role"] == "user")
            if asked in seen:
                continue
            seen.add(asked)
            question = {"task": one["task"], "messages": one["messages"][:-1]}
            if one.get("tools"):
                question["tools"] = one["tools"]
            found.append({**question, "answer": one["messages"][-1]["content"]})
            if len(seen) == n_wanted:
                break
    return found


class Checkpoint:
    """Answers of the model as trained."""

    def __init__(self, model, vocabulary):
        self.model, self.vocabulary = model, vocabulary
        self.template = tokenizer.Template()

    def answers(self, asked, n_batch=64):
        import model as network

        for first in range(0, len(asked), n_batch):
            prompts = [
                self.vocabulary.encode(
                    self.template.render(one["messages"], one.get("tools"), True)
                )
                for one in asked[first : first + n_batch]
            ]
            for ids in network.answer(self.model, prompts, self.vocabulary.end):
                yield self.vocabulary.decode(ids)


class Server:
    """Answers of a server with the OpenAI API."""

    def __init__(self, address):
        self.address = address

    def connect(self):
        if not self.address.startswith("/"):
            return http.client.HTTPConnection(self.address, timeout=120)
        connection = http.client.HTTPConnection("localhost", timeout=120)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self.address)
        return connection

    def answers(self, asked):
        for one in asked:
            body = {
                "model": "hearth-demo",
                "messages": one["messages"],
                "temperature": 0,
                "max_tokens": 80,
            }
            if one.get("tools"):
                body["tools"] = one["tools"]
            connection = self.connect()
            connection.request(
                "POST",
                "/v1/chat/completions",
                json.dumps(body),
                {"Content-Type": "application/json"},
            )
            reply = json.load(connection.getresponse())
            connection.close()
            if "choices" not in reply:
                yield json.dumps(reply)
                continue
            yield spoken(reply["choices"][0]["message"])


def spoken(message):
    """What the model said, from an answer that may have been taken apart into tool calls."""
    parts = [message["content"]] if message.get("content") else []
    for one in message.get("tool_calls") or []:
        name, arguments = one["function"]["name"], one["function"]["arguments"]
        try:
            parts.append(corpus.call(name, json.loads(arguments)))
        except ValueError:  # a wrong answer may be broken JSON
            parts.append("%s %s" % (name, arguments))
    return "\n".join(parts)


def grade(asked, answers):
    """(right, asked) per task, and the wrong ones."""
    scores, wrong = {}, []
    for one, answer in zip(asked, answers):
        right, total = scores.get(one["task"], (0, 0))
        scores[one["task"]] = (right + (answer == one["answer"]), total + 1)
        if answer != one["answer"]:
            wrong.append((one, answer))
    return scores, wrong


def examine(model, vocabulary, n_per_task):
    """One line with the share of exact answers per task, for the training log."""
    asked = questions({task: n_per_task for task in N_PER_TASK}, seed=3)
    scores, _ = grade(asked, Checkpoint(model, vocabulary).answers(asked))
    return "  ".join("%s %d/%d" % (task, *score) for task, score in scores.items())


def load_checkpoint(run):
    import torch

    from model import Model

    vocabulary = tokenizer.load(os.path.join(run, "tokenizer.json"))
    stored = torch.load(os.path.join(run, "checkpoint.pt"))
    model = Model(len(vocabulary.tokens), stored["shape"])
    model.load_state_dict(stored["model"])
    return Checkpoint(model, vocabulary)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--run", default=os.path.expanduser("~/.cache/hearth-demo-model"))
    parser.add_argument("--questions", metavar="FILE")
    parser.add_argument("--server", metavar="ADDRESS")
    parser.add_argument("--times", type=int, default=1, help="ask so many times as many questions")
    parser.add_argument("--wrong", action="store_true", help="show the wrong answers")
    options = parser.parse_args()

    asked = questions({task: n * options.times for task, n in N_PER_TASK.items()})
    if options.questions:
        with open(options.questions, "w") as file:
            for one in asked:
                file.write(json.dumps(one, ensure_ascii=False) + "\n")
        return
    subject = Server(options.server) if options.server else load_checkpoint(options.run)
    scores, wrong = grade(asked, subject.answers(asked))
    for task, (right, total) in scores.items():
        print("%-14s %4d of %4d  %5.1f %%" % (task, right, total, 100 * right / total))
    for one, answer in wrong if options.wrong else []:
        print(
            one["task"],
            repr(one["messages"][-1]["content"]),
            "\n   wanted",
            repr(one["answer"]),
            "\n   got   ",
            repr(answer),
        )


if __name__ == "__main__":
    main()
