# SPDX-License-Identifier: MIT
"""Dialogues the demo model learns from, and the held-out ones it is examined with.

Every dialogue is a dict: task, messages (OpenAI roles), tools (optional). The last message is the
assistant's and is the only correct answer. What is held out is decided by a checksum of the thing
asked (the pair of numbers, the word, the phrasing), never by chance, so a training dialogue and an
examination question cannot coincide however many are drawn.
"""
import json
import os
import random
import re
import zlib

import phrases
from phrases import TOO_LARGE, UNKNOWN

HERE = os.path.dirname(os.path.abspath(__file__))
TRAIN, HELDOUT = "train", "heldout"


def held_out(key, share=0.12):
    return zlib.crc32(("hearth-demo/" + key).encode()) % 1000 < share * 1000


def read_words():
    with open(os.path.join(HERE, "words.txt")) as file:
        lines = [line for line in file if not line.startswith("#")]
    return sorted(set(" ".join(lines).split()))


WORDS = read_words()
SPLIT_WORDS = {
    HELDOUT: [word for word in WORDS if held_out("word/" + word)],
    TRAIN: [word for word in WORDS if not held_out("word/" + word)],
}

# Characters of texts that nobody can answer: ASCII, European, Chinese, emoji.
BLOCKS = [(33, 126), (160, 1500), (19968, 30000), (0x1F600, 0x1F640)]
# Syllables of made-up words.
OPENINGS = [*"b c d f g h j k l m n p r s t v w y z st tr ch sh th br cl qu".split(), ""]
VOWELS = "a e i o u ee ou ai y".split()
ENDINGS = ["", "", *"n r l s t ck mp x ng".split()]

PARAMETERS = {
    "get_weather": {"city": "string"},
    "get_time": {"city": "string"},
    "add": {"a": "integer", "b": "integer"},
    "set_timer": {"minutes": "integer"},
    "open_app": {"name": "string"},
    "set_volume": {"percent": "integer"},
}


def tool(name, parameters):
    """A tool as an OpenAI client offers it."""
    properties = {key: {"type": kind} for key, kind in parameters.items()}
    return {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": properties,
                "required": list(parameters),
            },
        },
    }


def call(name, arguments):
    """The text of a tool call, with the spacing the chat template gives past calls."""
    body = '{"name": "%s", "arguments": %s}' % (name, json.dumps(arguments))
    return "<tool_call>\n" + body + "\n</tool_call>"


class Corpus:
    """Draws dialogues of one split from one random stream."""

    def __init__(self, seed, split):
        self.random = random.Random(seed)
        self.split = split

    # What is asked about.

    def accept(self, key):
        return held_out(key) == (self.split == HELDOUT)

    def letters(self):
        """A made-up word: syllables or plain letters, so that spelling is learned, not words."""
        r = self.random
        if r.random() < 0.3:
            return "".join(r.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(r.randint(2, 9)))
        word = ""
        while len(word) < r.randint(3, 9):
            word += r.choice(OPENINGS)
            word += r.choice(VOWELS) + r.choice(ENDINGS)
        return word[:9]

    def word(self):
        """In examinations always a real word. In training often a made-up one."""
        if self.split == HELDOUT:
            return self.random.choice(SPLIT_WORDS[HELDOUT])
        if self.random.random() < 0.4:
            return self.random.choice(SPLIT_WORDS[TRAIN])
        while True:
            word = self.letters()
            if not held_out("word/" + word):
                return word

    def familiar(self):
        """A word of the phrasings: the vocabulary has it whole, so its letters must be learned."""
        text = self.random.choice(
            self.random.choice(
                [phrases.REVERSE, phrases.SORT_LIST, phrases.ADD, phrases.UNKNOWN_PHRASES]
            )
        )
        words = re.findall("[A-Za-z]{3,}", re.sub("{[a-z0-9]+}", " ", text))
        words = [word for word in words if not held_out("word/" + word)]
        return self.random.choice(words or ["word"])

    def city(self):
        while True:
            city = self.random.choice(phrases.CITIES)
            if self.split == TRAIN and self.random.random() < 0.5:
                city = self.letters().capitalize()
                if self.random.random() < 0.4:
                    city += " " + self.letters().capitalize()
            if self.accept("city/" + city):
                return city

    def app(self):
        while True:
            name = self.random.choice(phrases.APPS)
            if self.split == TRAIN and self.random.random() < 0.5:
                name = self.letters()
            if self.accept("app/" + name):
                return name

    def pair(self, kind, draw):
        while True:
            a, b = draw(), draw()
            if self.accept("%s/%d/%d" % (kind, min(a, b), max(a, b))):
                return a, b

    # How it is asked.

    def touch(self, text):
        """The small liberties people take when they type."""
        r = self.random
        if r.random() < 0.12:
            text = text[:1].lower() + text[1:]
        if r.random() < 0.15 and text[-1:] in ".?":
            text = text[:-1]
        if r.random() < 0.05:
            text = "Please " + text[:1].lower() + text[1:]
        elif r.random() < 0.05:
            start = r.choice(["Hi, ", "Hello, ", "Hey, ", "OK, ", "And now: ", "Hi! ", "So, "])
            text = start + text
        return text

    def quoted(self, word):
        draw = self.random.random()
        return '"%s"' % word if draw < 0.6 else "'%s'" % word if draw < 0.72 else word

    # The tasks. Each returns (question, answer).

    def add(self):
        r = self.random
        if self.split == TRAIN and r.random() < 0.04:
            a, b = r.randint(100, 9999), r.randint(0, 999)
            a, b = (a, b) if r.random() < 0.5 else (b, a)
            return self.touch(r.choice(phrases.ADD).format(a=a, b=b)), TOO_LARGE
        low = 10 if self.split == HELDOUT or r.random() < 0.9 else 0
        a, b = self.pair("add", lambda: r.randint(low, 99))
        return self.touch(r.choice(phrases.ADD).format(a=a, b=b)), "%d + %d = %d." % (a, b, a + b)

    def compare(self):
        r = self.random
        style = r.random()
        if style < 0.2:  # close together, where the last digit decides
            base = r.randint(0, 90)
            a, b = self.pair("compare", lambda: base + r.randint(0, 9))
        elif style < 0.55:  # of any length each, where the number of digits may decide
            a, b = self.pair("compare", lambda: r.randint(0, 10 ** r.randint(1, 3) - 1))
        elif style < 0.6:
            same = r.randint(0, 999)
            a, b = same, same
        else:
            limit = r.choice([99, 99, 99, 999, 999])
            a, b = self.pair("compare", lambda: r.randint(0, limit))
        is_larger = r.random() < 0.75
        words = (
            "larger larger larger bigger greater"
            if is_larger
            else "smaller smaller smaller less lower"
        )
        word = r.choice(words.split())
        question = self.touch(r.choice(phrases.LARGER).format(a=a, b=b, c=word))
        if a == b:
            return question, "They are equal."
        return question, "%d is larger." % max(a, b) if is_larger else "%d is smaller." % min(a, b)

    def reverse(self):
        r = self.random
        word = self.word()
        if self.split == TRAIN and r.random() < 0.03:
            word = self.familiar()
        if r.random() < 0.07:
            word = word.capitalize()
        return self.touch(r.choice(phrases.REVERSE).format(w=self.quoted(word))), word[::-1]

    def sort(self):
        r = self.random
        words = set()
        while len(words) < 3:
            word = self.word()
            if words and self.split == TRAIN and r.random() < 0.25:  # a shared beginning
                other = r.choice(sorted(words))
                word = other[: r.randint(1, max(1, len(other) - 1))] + word
                word = word[:9]
                if held_out("word/" + word):
                    continue
            words.add(word)
        words = sorted(words)
        answer = ", ".join(words)
        r.shuffle(words)
        style = r.random()
        if style < 0.15:
            words = ['"%s"' % word for word in words]
        if style < 0.55:
            listed = ", ".join(words)
        elif style < 0.75:
            listed = " ".join(words)
        else:
            listed = "%s, %s and %s" % tuple(words)
        return self.touch(r.choice(phrases.SORT_LIST).format(l=listed)), answer

    def fixed(self, task):
        r = self.random
        while True:
            answer = r.choice([one for one in phrases.FIXED if phrases.FIXED_TASK[one] == task])
            if task == "hearth" and r.random() < 0.25:
                answer = phrases.ABOUT
            texts = phrases.FIXED[answer]
            if answer in phrases.PATTERNS and r.random() < 0.6:
                texts = r.choice(phrases.PATTERNS[answer])
            text = r.choice(texts)
            # A greeting is one of a dozen words: there is nothing to hold out.
            if task == "greeting" or self.accept("phrase/" + text):
                break
        if r.random() < 0.1 and text[-1] == "?":
            text += "?"
        return (text if task == "greeting" and r.random() < 0.5 else self.touch(text)), answer

    def unknown(self):
        r = self.random
        if self.split == TRAIN and r.random() < 0.15:
            text = " ".join(self.word() for _ in range(r.randint(1, 8)))
            if r.random() < 0.2:
                text = "".join(
                    chr(r.choice([r.randint(*block) for block in BLOCKS]))
                    for _ in range(r.randint(1, 10))
                )
            return text, UNKNOWN
        while True:
            text = r.choice(phrases.UNKNOWN_PHRASES)
            # A lone "Who?" may well be answered: no matter for an examination.
            if self.accept("unknown/" + text) and (self.split == TRAIN or " " in text):
                break
        parts = {part: self.word() for part in ("w", "w2", "v", "x")}
        parts.update(city=self.city(), city2=self.city(), a=r.randint(0, 999), b=r.randint(0, 99))
        text = text.format(**parts)
        return self.touch(text), UNKNOWN

    # Tools.

    def tool_list(self, wanted):
        """Offered tools in any order: the wanted one, some known ones, now and then a stranger."""
        r = self.random
        names = [name for name in PARAMETERS if name != wanted]
        names = r.sample(names, r.randint(0 if wanted else 1, 4)) + ([wanted] if wanted else [])
        tools = [tool(name, PARAMETERS[name]) for name in names]
        if r.random() < 0.15:
            keys = [self.letters() for _ in range(r.randint(0, 2))]
            tools.append(
                tool(self.letters() + "_" + self.letters(), {key: "string" for key in keys})
            )
        r.shuffle(tools)
        return tools

    def tool_question(self, name):
        """A question that wants the tool, and the arguments to call it with."""
        r = self.random
        if name == "add":
            a, b = self.pair("add", lambda: r.randint(0, 99))
            return self.touch(r.choice(phrases.ADD).format(a=a, b=b)), {"a": a, "b": b}
        phrase = r.choice(phrases.TOOL_PHRASES[name])
        if name in ("get_weather", "get_time"):
            city = self.city()
            return self.touch(phrase.format(city=city)), {"city": city}
        if name == "open_app":
            app = self.app()
            return self.touch(phrase.format(app=app)), {"name": app}
        n = r.randint(1, 120) if name == "set_timer" else r.randint(0, 100)
        return self.touch(phrase.format(n=n)), {next(iter(PARAMETERS[name])): n}

    def tool_result(self):
        r = self.random
        return r.choice(
            [
                lambda: "%d degrees and %s" % (r.randint(-20, 40), self.word()),
                lambda: "%02d:%02d" % (r.randint(0, 23), r.randint(0, 59)),
                lambda: str(r.randint(0, 999)),
                lambda: json.dumps({self.letters(): r.randint(0, 99)}),
                lambda: json.dumps({"result": self.word()}),
                lambda: " ".join(self.word() for _ in range(r.randint(1, 4))),
            ]
        )()

    def with_tools(self, missing_share):
        """A dialogue in which tools are offered, in such a share not the one it would take."""
        r = self.random
        name = r.choice(["get_weather", "get_weather", "get_time", "get_time", *PARAMETERS])
        question, arguments = self.tool_question(name)
        messages = [{"role": "user", "content": question}]
        if r.random() < missing_share and name != "add":
            tools = [one for one in self.tool_list(None) if one["function"]["name"] != name]
            return {
                "task": "tool_missing",
                "messages": messages + [{"role": "assistant", "content": UNKNOWN}],
                **({"tools": tools} if tools else {}),
            }
        dialogue = {"task": "tool_call", "tools": self.tool_list(name), "messages": messages}
        if r.random() < 0.25:
            result = self.tool_result()
            dialogue["task"] = "tool_result"
            messages += [
                {"role": "assistant", "content": call(name, arguments)},
                {"role": "tool", "content": result},
                {"role": "assistant", "content": "The tool says: " + result},
            ]
        else:
            messages.append({"role": "assistant", "content": call(name, arguments)})
        return dialogue

    def turn(self, task):
        if task in ("hearth", "greeting"):
            return self.fixed(task)
        return getattr(self, task)()

    def dialogue(self, task):
        """One question and its answer, under a system message or offered tools now and then."""
        r = self.random
        if task in ("tool_call", "tool_missing"):
            result = self.with_tools(0.1 if task == "tool_call" else 0.9)
        else:
            question, answer = self.turn(task)
            result = {
                "task": task,
                "messages": [
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": answer},
                ],
            }
            if r.random() < 0.06 and answer != TOO_LARGE:
                tools = [
                    one
                    for one in self.tool_list(None)
                    if task != "add" or one["function"]["name"] != "add"
                ]
                if tools:
                    result["tools"] = tools
        if r.random() < 0.2:
            system = r.choice(phrases.SYSTEMS).format(
                w=self.word(), w2=self.word(), v=self.word(), city=self.city()
            )
            result["messages"].insert(0, {"role": "system", "content": system})
        return result

    def conversation(self, shares, n_turns):
        """Several questions after each other; tools, once offered, stay offered."""
        tasks = list(shares)
        result = None
        for task in self.random.choices(tasks, [shares[task] for task in tasks], k=n_turns):
            one = self.dialogue(task)
            if result is None:
                result = one
                continue
            if one.get("tools") or task == "add" and result.get("tools"):
                continue
            if one["task"] in ("tool_call", "tool_result", "tool_missing"):
                continue
            result["messages"] += [m for m in one["messages"] if m["role"] != "system"]
        return result


SHARES = {
    "add": 12,
    "compare": 32,
    "reverse": 13,
    "sort": 18,
    "hearth": 8,
    "greeting": 3,
    "unknown": 7,
    "tool_call": 26,
    "tool_missing": 14,
}


if __name__ == "__main__":
    for split in (TRAIN, HELDOUT):
        corpus = Corpus(1, split)
        for task in SHARES:
            for _ in range(6):
                one = corpus.dialogue(task)
                print(
                    split,
                    one["task"],
                    json.dumps(one["messages"], ensure_ascii=False),
                    [t["function"]["name"] for t in one.get("tools", [])],
                )
    print("words (train, held out):", len(SPLIT_WORDS[TRAIN]), len(SPLIT_WORDS[HELDOUT]))
