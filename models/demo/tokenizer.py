# SPDX-License-Identifier: MIT
"""The demo model's vocabulary: byte-level BPE under llama-bpe's pre-tokenizer.

Letters and digits have no merges, so a word that the vocabulary does not know whole falls into its
letters and the model can spell it. The words of the phrasings themselves (" backwards", "What") are
whole tokens, found by llama-bpe's rule that a known pre-token is taken as it is and not merged.
Merges are trained on punctuation and white space only.
"""
import collections
import functools
import json
import os
import re

import jinja2

from corpus import HERE, SHARES, TRAIN, WORDS, Corpus

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"]
CONTROL = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}
LETTER = r"[^\W\d_]"
PRETOKEN = re.compile(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|(?:[^\r\n\w]|_)?" + LETTER + r"+|\d{1,3}|"
    r" ?(?:[^\s\w]|_)+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_alphabet():
    """GPT-2's printable stand-in for each byte."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {byte: chr(byte) for byte in shown}
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(256 + len(table) - len(shown))
    return table


ALPHABET = byte_alphabet()
BYTES = {letter: byte for byte, letter in ALPHABET.items()}


def spelled(text):
    return "".join(ALPHABET[byte] for byte in text.encode())


def merge(parts, pair):
    """Joins every occurrence of the pair, left to right."""
    joined, i = [], 0
    while i < len(parts):
        if tuple(parts[i : i + 2]) == pair:
            joined.append(parts[i] + parts[i + 1])
            i += 2
        else:
            joined.append(parts[i])
            i += 1
    return joined


class Tokenizer:
    def __init__(self, tokens, merges):
        self.tokens = tokens
        self.merges = [tuple(pair) for pair in merges]
        self.ids = {token: i for i, token in enumerate(tokens)}
        self.ranks = {pair: i for i, pair in enumerate(self.merges)}
        self.special = re.compile("(" + "|".join(re.escape(token) for token in SPECIAL) + ")")
        self.pretoken_ids = functools.lru_cache(maxsize=65536)(self.pretoken_ids)
        self.start, self.end = self.ids["<|im_start|>"], self.ids["<|im_end|>"]
        self.pad = self.ids["<|endoftext|>"]

    def pretoken_ids(self, text):
        text = spelled(text)
        if text in self.ids:
            return [self.ids[text]]
        parts = list(text)
        while len(parts) > 1:
            pair = min(zip(parts, parts[1:]), key=lambda pair: self.ranks.get(pair, 1 << 30))
            if pair not in self.ranks:
                break
            parts = merge(parts, pair)
        return [self.ids[part] for part in parts]

    def encode(self, text):
        ids = []
        for piece in self.special.split(text):
            if piece in SPECIAL:
                ids.append(self.ids[piece])
            else:
                for pretoken in PRETOKEN.findall(piece):
                    ids += self.pretoken_ids(pretoken)
        return ids

    def decode(self, ids):
        data = b""
        for i in ids:
            token = self.tokens[i]
            data += token.encode() if token in SPECIAL else bytes(BYTES[letter] for letter in token)
        return data.decode(errors="replace")

    def save(self, path):
        with open(path, "w") as file:
            json.dump({"tokens": self.tokens, "merges": self.merges}, file)


def load(path):
    with open(path) as file:
        stored = json.load(file)
    return Tokenizer(stored["tokens"], stored["merges"])


class Template:
    """The chat template, set up as Hugging Face does it."""

    def __init__(self):
        with open(os.path.join(HERE, "template.jinja")) as file:
            self.source = file.read().split("\n", 1)[1].rstrip("\n")  # without the licence line
        environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
        environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
        self.template = environment.from_string(self.source)

    def render(self, messages, tools=None, add_generation_prompt=False):
        return self.template.render(
            messages=messages, tools=tools, add_generation_prompt=add_generation_prompt
        )


class Blank(Corpus):
    """The training corpus with numbers in place of all words that are to be spelled."""

    def accept(self, key):
        return super().accept(key) if key.startswith(("phrase/", "unknown/")) else True

    def word(self):
        return str(self.random.randint(0, 999))

    letters = city = app = familiar = word


def train_merges(counts, n_least):
    """Byte-pair merges of the given pre-tokens, until no pair occurs n_least times."""
    words = {text: list(spelled(text)) for text in counts}
    merges = []
    while True:
        pairs = collections.Counter()
        for text, parts in words.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += counts[text]
        pair, count = max(pairs.items(), key=lambda item: (item[1], item[0]), default=(None, 0))
        if count < n_least:
            return merges
        merges.append(pair)
        words = {text: merge(parts, pair) for text, parts in words.items()}


def train(seed, n_dialogues=30000, n_least=15):
    """The vocabulary of the corpus: bytes, merged punctuation, whole words, special tokens."""
    corpus, template = Blank(seed, TRAIN), Template()
    counts = collections.Counter()
    tasks = [task for task in SHARES if task != "tool_missing"]  # it has no words of its own
    special = re.compile("|".join(re.escape(token) for token in SPECIAL))
    for _ in range(n_dialogues):
        one = corpus.dialogue(corpus.random.choice(tasks))
        text = template.render(one["messages"], one.get("tools"))
        for piece in special.split(text):
            counts.update(PRETOKEN.findall(piece))
    counts = {text: n for text, n in counts.items() if text.isascii()}
    marks = {text: n for text, n in counts.items() if not re.search(r"[a-zA-Z0-9]", text)}
    merges = train_merges(marks, n_dialogues // 100)
    words = sorted(
        (
            text
            for text, n in counts.items()
            if re.search("[a-zA-Z]{2}| [aI]$|^[AI]$|[^a-zA-Z]{1,2}[ab]$", text)
            and n >= n_least
            and text.strip().lower() not in WORDS
        ),
        key=lambda text: (-counts[text], text),
    )
    tokens = [ALPHABET[byte] for byte in range(256)]
    tokens += [left + right for left, right in merges]
    tokens += [spelled(text) for text in words if spelled(text) not in tokens]
    return Tokenizer(tokens + SPECIAL, merges)


if __name__ == "__main__":
    made = train(1)
    print(len(made.tokens), "tokens,", len(made.merges), "merges")
    print(" ".join(made.tokens[256:]))
    print(len(made.tokens))
