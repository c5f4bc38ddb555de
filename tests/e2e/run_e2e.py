#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The daemon and the command as a user meets them, with the demo model.  -l lists, -t GLOB chooses."""
import collections
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import termios
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import BUILD, HEARTH, HEARTHD, MODEL, NAME, PATIENCE, ROOT, Daemon, Skip, UnixConnection, equal, has, run

_daemon = None


def daemon():
    """One daemon that most tests share; each must leave it well."""
    global _daemon
    if _daemon is None or _daemon.process.poll() is not None:
        _daemon = Daemon()
    return _daemon


def still_well(d):
    equal(d.text("What is 12 + 34?"), "12 + 34 = 46.")


# ---- embeddings ----

def pooled(d, pooling="mean"):
    """The demo model told to make vectors, in the daemon's directory: its name."""
    sys.path.insert(0, os.path.join(ROOT, "tests", "parity"))
    import ggufedit
    name = "demo-" + pooling
    path = os.path.join(d.models, name + ".gguf")
    if not os.path.exists(path):
        m = ggufedit.Model(MODEL)
        m.keys["llama.pooling_type"] = (ggufedit.U32, {"mean": 1, "cls": 2, "last": 3}[pooling])
        m.write(path)
    return name


def embeddings(d, fields):
    status, answer = d.post("/v1/embeddings", fields)
    equal(status, 200, answer)
    return [item["embedding"] for item in answer["data"]], answer


def near(a, b, most=1e-2):
    assert len(a) == len(b) and sum((x - y) ** 2 for x, y in zip(a, b)) < most ** 2, (a[:4], b[:4])


def texts_become_vectors_in_their_order():
    d = daemon()
    texts = ["What is %d + %d?" % (i, 2 * i) for i in range(40)]
    for pooling in ("mean", "last"):
        model = pooled(d, pooling)
        together, answer = embeddings(d, {"model": model, "input": texts})
        equal([item["index"] for item in answer["data"]], list(range(40)))
        for i in (0, 17, 39):
            (alone,), one = embeddings(d, {"model": model, "input": texts[i]})
            near(alone, together[i])
            assert abs(sum(x * x for x in alone) - 1) < 1e-4
        assert answer["usage"]["prompt_tokens"] > 39 * one["usage"]["prompt_tokens"] / 2
        # tokens are taken as they are: the same as the text's, with what the model adds to it
        ids = d.post("/tokenize", {"model": model, "content": texts[39], "add_special": True})[1]["tokens"]
        (of_ids,), _ = embeddings(d, {"model": model, "input": ids})
        near(of_ids, together[39])
        (short,), _ = embeddings(d, {"model": model, "input": ids, "dimensions": 8})
        scale = sum(x * x for x in of_ids[:8]) ** 0.5
        near(short, [x / scale for x in of_ids[:8]])
        status, answer = d.post("/v1/embeddings", {"model": model, "input": ["x", "word " * 3000]})
        equal((status, answer["error"]["code"]), (400, "context_length_exceeded"), answer)
        has(answer["error"]["message"], "input 1: ")
    still_well(d)


def a_bidirectional_model_sees_every_text_whole():
    """The demo model's numbers as BERT's: what its vectors mean counts for nothing, that they depend on the text alone does."""
    try:
        pooled(daemon())
        import embedders
        import ggufedit
    except ImportError as e:
        raise Skip("numpy is missing: %s" % e)
    d = Daemon(model_dir=False)
    m = ggufedit.Model(MODEL)
    embedders.bert(m)
    m.write(os.path.join(d.models, "encoder.gguf"))
    m.keys["bert.pooling_type"] = (ggufedit.U32, 2)
    m.write(os.path.join(d.models, "encoder-cls.gguf"))
    texts = ["the quick fox " * (1 + i % 23) + "and my dog" for i in range(60)]
    together, _ = embeddings(d, {"model": "encoder", "input": texts})
    for i in (0, 22, 59):
        (alone,), _ = embeddings(d, {"model": "encoder", "input": texts[i]})
        near(alone, together[i])
    # the first row of all tells what comes behind it
    (dog, fox), _ = embeddings(d, {"model": "encoder-cls", "input": ["the quick dog", "the quick fox"]})
    difference = sum((x - y) ** 2 for x, y in zip(dog, fox))
    print("# squared difference %g" % difference)
    assert difference > 1e-5
    status, answer = d.post("/v1/embeddings", {"model": "encoder", "input": "fox " * 600})
    equal((status, answer["error"]["code"]), (400, "context_length_exceeded"), answer)
    status, answer = d.post("/v1/completions", {"model": "encoder", "prompt": "fox"})
    equal(status, 400)
    has(answer["error"]["message"], "embedding model", "bert.pooling_type")


def models_refuse_what_they_are_not_for():
    d = daemon()
    status, answer = d.post("/v1/embeddings", {"model": NAME, "input": "x"})
    equal(status, 400)
    has(answer["error"]["message"], "llama.pooling_type", "embedding model")
    status, answer = d.post("/v1/chat/completions", {"model": pooled(d), "messages": [{"role": "user", "content": "Hello"}]})
    equal(status, 400)
    has(answer["error"]["message"], "embedding model", "mean")


# ---- answers ----

def demo_model_answers_held_out_questions():
    d = daemon()
    right, total = collections.Counter(), collections.Counter()
    path = os.path.join(os.path.dirname(MODEL), "heldout.jsonl")
    wrong = []
    for line in open(path):
        q = json.loads(line)
        message = d.chat(q["messages"], max_tokens=120, **({"tools": q["tools"]} if q.get("tools") else {}))["choices"][0]["message"]
        total[q["task"]] += 1
        if q["answer"].startswith("<tool_call>"):
            want = json.loads(q["answer"].removeprefix("<tool_call>").removesuffix("</tool_call>"))
            calls = message.get("tool_calls") or [{"function": {"name": None, "arguments": "{}"}}]
            got = {"name": calls[0]["function"]["name"], "arguments": json.loads(calls[0]["function"]["arguments"])}
        else:
            want, got = q["answer"], message.get("content")
        if got == want:
            right[q["task"]] += 1
        else:
            wrong.append("%s: %r -> %r, want %r" % (q["task"], q["messages"][-1]["content"], got, want))
    for task, n in total.items():
        print("# %s: %d of %d" % (task, right[task], n))
    # what the model is for must be right; the rest (what to say when it cannot help) mostly
    least = collections.defaultdict(lambda: 0.6, dict.fromkeys(("add", "compare", "reverse", "sort", "hearth", "tool_call"), 0.95))
    bad = [t for t, n in total.items() if right[t] < least[t] * n]
    assert not bad and len(total) >= 6, "too few right: %s\n%s" % (bad, "\n".join(wrong[:20]))


def greedy_answers_are_the_same_every_time():
    d = daemon()
    equal(len({d.text("What is Hearth?") for _ in range(3)}), 1)


def streamed_text_equals_whole_text():
    d = daemon()
    pieces = [e["choices"][0]["delta"].get("content") or "" for e in d.stream({"messages": [{"role": "user", "content": "What is Hearth?"}]})
              if e.get("choices")]
    equal("".join(pieces), d.text("What is Hearth?"))
    assert len([p for p in pieces if p]) > 5, pieces


def many_clients_at_once_are_all_answered_right():
    d = daemon()
    answers = {}

    def ask(a, b):
        answers[a, b] = d.text("What is %d + %d?" % (a, b))

    threads = [threading.Thread(target=ask, args=(10 + i, 20 + 2 * i)) for i in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    alone = {k: d.text("What is %d + %d?" % k) for k in answers}
    equal(answers, alone)
    equal(len(answers), 16)


def a_chat_seen_before_is_not_computed_again():
    d = Daemon()
    words = "What is Hearth? " * 20

    def ask(messages):
        answer = d.chat(messages, max_tokens=24)
        return answer["choices"][0]["message"]["content"], answer["usage"]

    def cached(usage):
        return usage["prompt_tokens_details"]["cached_tokens"]

    text, usage = ask(words)
    equal(cached(usage), 0)
    again, usage = ask(words)
    equal(again, text)
    assert 0 < cached(usage) < usage["prompt_tokens"], usage
    assert usage["prompt_tokens"] - cached(usage) < 34, usage       # all but the last block and what follows it
    _, longer = ask([{"role": "user", "content": words}, {"role": "assistant", "content": text},
                     {"role": "user", "content": "What is 12 + 34?"}])
    assert longer["prompt_tokens"] > usage["prompt_tokens"] and cached(longer) >= cached(usage), longer
    metrics = d.get("/metrics")[2].decode()
    equal(re.search(r"^hearth_prompt_tokens_cached_total (\d+)$", metrics, re.M).group(1), str(cached(usage) + cached(longer)))
    equal([re.search(r"^hearth_prompts_%s (\d+)$" % n, metrics, re.M).group(1) for n in ("total", "cached_total")], ["3", "2"])
    assert int(re.search(r"^hearth_model_prefix_bytes\S* (\d+)$", metrics, re.M).group(1)) > 0, metrics
    has(d.hearth("status")[1], "hold earlier requests' beginnings, lost at a restart", "% of them computed for an earlier request")


def several_answers_are_those_of_their_seeds_and_the_prompt_is_computed_once():
    words = "What is Hearth? " * 20
    asked = {"max_tokens": 12, "temperature": 1.5, "seed": 5}

    for kv_type in ("f16", "q8_0"):
        d = Daemon("--kv-type", kv_type)
        answer = d.chat(words, n=4, **asked)
        n_prompt = answer["usage"]["prompt_tokens"]
        equal([c["index"] for c in answer["choices"]], [0, 1, 2, 3])
        texts = [c["message"]["content"] for c in answer["choices"]]
        assert len(set(texts)) > 1, texts
        computed = int(re.search(r"^hearth_prompt_tokens_total (\d+)$", d.get("/metrics")[2].decode(), re.M).group(1))
        assert n_prompt <= computed < n_prompt + 3 * 34, (n_prompt, computed)   # what its full blocks leave over, for each further one
        equal(texts, [d.chat(words, **{**asked, "seed": 5 + i})["choices"][0]["message"]["content"] for i in range(4)])
        streamed = {}
        for chunk in d.stream({"messages": [{"role": "user", "content": words}], "n": 3, **asked}):
            for c in chunk["choices"]:
                streamed[c["index"]] = streamed.get(c["index"], "") + c["delta"].get("content", "")
        equal([streamed[i] for i in range(3)], texts[:3])
        # a branch: the conversation goes on from one of its answers, and from another
        for text in texts[:2]:
            branch = d.chat([{"role": "user", "content": words}, {"role": "assistant", "content": text},
                                            {"role": "user", "content": "What is 12 + 34?"}], max_tokens=4)
            assert branch["usage"]["prompt_tokens_details"]["cached_tokens"] >= n_prompt - 34, branch["usage"]
        d.stop()


def a_system_prompt_that_is_everybodys_is_computed_for_all_users_once():
    if os.geteuid() != 0:
        raise Skip("needs root to become another user")
    rules = "Answer kindly, and in the words of the one who asks. " * 12
    path = os.path.join(tempfile.mkdtemp(prefix="hearth-rules-"), "rules.txt")
    with open(path, "w") as f:
        f.write(rules + "\n")
    d = Daemon("--shared-prompt", path)
    os.chmod(d.dir, 0o755)
    os.chmod(d.socket, 0o666)

    def cached(system, question, uid):
        body = {"model": NAME, "max_tokens": 2, "messages": [{"role": "system", "content": system}, {"role": "user", "content": question}]}
        p = subprocess.run(["setpriv", "--reuid=%d" % uid, "--clear-groups", "curl", "-s", "--unix-socket", d.socket,
                            "http://h/v1/chat/completions", "-d", json.dumps(body)], capture_output=True, text=True, timeout=60)
        usage = json.loads(p.stdout)["usage"]
        return usage["prompt_tokens_details"]["cached_tokens"], usage["prompt_tokens"]

    question = "What is 12 + 34? " * 12
    equal(cached(rules, question, 65534)[0], 0)
    own, n = cached(rules, question, 65534)
    assert own >= n - 34, (own, n)
    others, n = cached(rules, question, 65533)
    assert 32 <= others < n - 34 and others % 32 == 0, (others, n)   # the rules, and nothing of what was asked
    equal(cached(rules, "Is Hearth warm?", 65532)[0], others)
    # a prompt that nobody marked
    equal([cached(rules[1:], question, uid)[0] for uid in (65534, 65533)], [0, 0])
    still_well(d)


def a_cache_of_q8_0_holds_as_many_tokens_in_17_32nds_of_the_memory():
    sizes, texts = {}, {}
    for kv_type in ("f16", "q8_0"):
        d = Daemon("--device", "cpu", "--kv-type", kv_type)
        texts[kv_type] = d.text("What is 12 + 34?")
        sizes[kv_type] = json.loads(d.get("/hearth/v1/status")[2])["models"][0]["kv_bytes"]
    has(texts["q8_0"], "46")
    equal(texts["q8_0"], texts["f16"])
    equal(sizes["q8_0"] * 32, sizes["f16"] * 17)


# ---- the command ----

def run_streams_an_answer():
    code, out, err = daemon().hearth("run", "--temperature", "0", "--stats", NAME, "What is 12 + 34?")
    equal((code, out), (0, "12 + 34 = 46.\n"), err)
    has(err, "tokens/s")


def run_reads_the_prompt_from_standard_input():
    equal(daemon().hearth("run", "--temperature", "0", NAME, stdin=b"What is 12 + 34?\n")[:2], (0, "12 + 34 = 46.\n"))


def run_takes_a_path():
    equal(daemon().hearth("run", "--temperature", "0", MODEL, "What is 12 + 34?")[:2], (0, "12 + 34 = 46.\n"))


def ls_ps_and_status_tell_of_the_model():
    d = daemon()
    equal(d.hearth("load", NAME)[0], 0)
    has(d.hearth("ls")[1], NAME, "ready")
    has(d.hearth("ps")[1], NAME, "ready", "Q8_0")
    models = json.loads(d.hearth("ps", "--json")[1])
    equal([m["name"] for m in models], [NAME])
    has(d.hearth("status")[1], "cpu", NAME)
    status = json.loads(d.hearth("status", "--json")[1])
    equal(status["pid"], d.process.pid)
    if not os.path.exists("/dev/hearth"):
        has(status["weights_in"], "memory of the daemon")
        assert any("modprobe hearth" in lack for lack in status["lacks"]), status["lacks"]
        has(d.hearth("status")[1], "weights   in anonymous memory of the daemon", "modprobe hearth")


def unload_and_load_again():
    d = Daemon()
    equal(d.hearth("load", NAME)[0], 0)
    equal(d.hearth("unload", NAME)[0], 0)
    for _ in range(100):
        if "ready" not in d.hearth("ls")[1]:
            break
        time.sleep(0.05)
    equal(d.hearth("ps", "--json")[1].strip(), "[]")
    code, _, err = d.hearth("unload", NAME)
    equal(code, 4)
    has(err, "not loaded")
    still_well(d)
    equal(d.stop(), 0)


def tokenize_and_decode_are_inverse():
    d = daemon()
    text = 'Spell "table" backwards. äöü €'
    code, ids, err = d.hearth("tokenize", MODEL, stdin=text.encode())
    equal(code, 0, err)
    equal(d.hearth("tokenize", "--decode", MODEL, stdin=ids.encode())[1], text)
    d.hearth("load", NAME)
    status, answer = d.post("/tokenize", {"model": NAME, "content": text})
    equal(status, 200, answer)
    equal(answer["tokens"], [int(i) for i in ids.split()])


def wrong_arguments_exit_2_and_no_daemon_exits_3():
    d = daemon()
    equal(d.hearth()[0], 2)
    equal(d.hearth("fly")[0], 2)
    equal(d.hearth("run")[0], 2)
    equal(d.hearth("run", "--seed", "x", NAME, "hello")[0], 2)
    code, _, err = d.hearth("ls", "--socket", d.socket + "-none")
    equal(code, 3)
    has(err, "no daemon answers on")
    equal(d.hearth("--help")[0], 0)
    has(d.hearth("--version")[1], "hearth ")


class Terminal:
    """A program on a pseudo terminal."""

    def __init__(self, args, env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(env)
            os.execv(args[0], args)
        self.seen = ""

    def until(self, pattern, timeout=60):
        end = time.time() + timeout
        while not re.search(pattern, self.seen):
            left = end - time.time()
            assert left > 0, "waited for %r, saw %r" % (pattern, self.seen[-500:])
            if select.select([self.fd], [], [], left)[0]:
                try:
                    data = os.read(self.fd, 65536)
                except OSError:
                    data = b""
                assert data, "ended before %r, saw %r" % (pattern, self.seen[-500:])
                self.seen += data.decode(errors="replace")
        self.seen = self.seen[re.search(pattern, self.seen).end():]

    def send(self, text):
        os.write(self.fd, text.encode())

    def send_line(self, text, timeout=60):
        """Once it reads by the key: before, the terminal itself shows what is typed, and a Ctrl-C throws it away."""
        end = time.time() + timeout
        while termios.tcgetattr(self.fd)[3] & termios.ICANON:
            assert time.time() < end, "it reads no keys"
            time.sleep(0.01)
        self.send(text + "\n")


def chat_goes_on_after_ctrl_c():
    d = Daemon()
    t = Terminal([HEARTH, "chat", "--temperature", "2", "--top-k", "0", "--top-p", "1", "--min-p", "0", NAME],
                 {"HEARTH_SOCKET": d.socket, "HOME": d.dir, "XDG_STATE_HOME": d.dir + "/state", "TERM": "xterm"})
    t.until("> ")
    t.send_line("Hello")
    t.until("(?s)Hello.*\n.*[a-zA-Z0-9]")
    t.send("\x03")
    t.until("> ")
    t.send_line("Grüße, 日本語")
    t.until("(?s)日本語.*\n.*> ")
    t.send_line("/bye")
    equal(os.waitstatus_to_exitcode(os.waitpid(t.pid, 0)[1]), 0)
    history = d.dir + "/state/hearth/history"
    has(open(history, encoding="utf-8").read(), "Hello", "Gr")
    equal(os.stat(history).st_mode & 0o077, 0, "others may not read the history")
    equal(d.stop(), 0)


def chat_says_how_to_go_on_when_the_context_is_full():
    d = Daemon("--context", "128")
    line = "What is Hearth?\n"
    p = subprocess.run([HEARTH, "chat", "--temperature", "0", NAME], input=line * 12 + "/clear\n" + line, capture_output=True, text=True,
                       timeout=60 * PATIENCE, env={**os.environ, "HEARTH_SOCKET": d.socket})
    has(p.stderr, "the context holds 128 with the answer", "; /clear begins anew\n")
    equal(p.stdout.splitlines()[-1], d.text(line.strip()))


def chat_goes_on_after_the_daemon_was_restarted():
    d = Daemon()
    first, second = "What is Hearth?", "What is 12 + 34?"
    said = [{"role": "user", "content": first}, {"role": "assistant", "content": d.text(first)}, {"role": "user", "content": second}]
    want = d.chat(said)
    p = subprocess.Popen([HEARTH, "chat", "--temperature", "0", "--stats", NAME], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, env={**os.environ, "HEARTH_SOCKET": d.socket})
    p.stdin.write(first + "\n")
    p.stdin.flush()
    equal(p.stdout.readline(), said[1]["content"] + "\n")
    p.stderr.readline()
    d.stop()
    p.stdin.write(second + "\n")
    p.stdin.flush()
    has(p.stderr.readline(), "(the daemon on %s has ended" % d.socket)
    d.start()
    out, err = p.communicate(timeout=60 * PATIENCE)
    equal((p.returncode, out), (0, want["choices"][0]["message"]["content"] + "\n"), err)
    has(err, "%d prompt tokens" % want["usage"]["prompt_tokens"])   # the conversation, not the question alone
    equal(len(err.splitlines()), 1, err)
    d.stop()


# ---- bad input ----

def bad_model_files_are_refused_by_a_sentence():
    d = daemon()
    good = open(MODEL, "rb").read()
    cases = {"empty.gguf": b"", "text.gguf": b"hello, I am no model\n" * 10, "cut.gguf": good[:len(good) // 2], "head.gguf": good[:1000],
             "zeros.gguf": bytes(100000)}
    for name, data in cases.items():
        path = os.path.join(d.models, name)
        with open(path, "wb") as f:
            f.write(data)
        code, _, err = d.hearth("load", path)
        os.unlink(path)
        equal(code, 4, (name, err))
        has(err, name)
        assert len(err) > len(path) + 20, err
    code, _, err = d.hearth("load", "/nonexistent/model.gguf")
    equal(code, 4)
    has(err, "/nonexistent/model.gguf", "No such file")
    code, _, err = d.hearth("load", d.models)
    equal(code, 4, err)
    has(err, "directory")
    still_well(d)


def model_that_may_not_be_read_is_refused():
    d = daemon()
    path = os.path.join(d.models, "private.gguf")
    if os.geteuid() == 0:
        raise Skip("root may read everything")
    with open(path, "wb") as f:
        f.write(open(MODEL, "rb").read())
    os.chmod(path, 0)
    code, _, err = d.hearth("load", path)
    os.unlink(path)
    equal(code, 4)
    has(err, "Permission denied")


def model_larger_than_memory_is_refused():
    d = daemon()
    path = os.path.join(d.models, "huge.gguf")
    with open(path, "wb") as f:
        f.write(open(MODEL, "rb").read())
        f.truncate(4 << 40)     # a sparse file: four tebibytes
    code, _, err = d.hearth("load", path)
    os.unlink(path)
    equal(code, 1 if code == 1 else 4, err)
    has(err, "huge.gguf")
    still_well(d)


def a_pin_is_kept_until_the_model_is_unloaded():
    d = daemon()

    def is_pinned():
        return [m["is_pinned"] for m in json.loads(d.hearth("status", "--json")[1])["models"] if m["name"] == NAME]

    equal(d.hearth("load", "--pin", NAME)[0], 0)
    equal(is_pinned(), [True])
    has(d.hearth("status")[1], ", pinned")
    has(d.hearth("ps")[1], "ready, pinned")
    equal(d.hearth("load", NAME)[0], 0)
    equal(is_pinned(), [True])
    equal(d.hearth("unload", NAME)[0], 0)
    equal(d.hearth("load", NAME)[0], 0)
    equal(is_pinned(), [False])
    equal(d.hearth("ps", "--pin")[0], 2)
    still_well(d)


def path_from_another_user_is_forbidden():
    d = daemon()
    if os.geteuid() != 0:
        raise Skip("needs root to become another user")
    os.chmod(d.dir, 0o755)
    os.chmod(d.socket, 0o666)
    p = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", "curl", "-s", "--unix-socket", d.socket, "http://h/hearth/v1/load",
                        "-d", json.dumps({"model": "/etc/shadow"})], capture_output=True, text=True, timeout=60)
    equal(json.loads(p.stdout)["error"]["code"], "path_not_allowed")
    still_well(d)


def unknown_model_lists_near_names():
    status, answer = daemon().post("/v1/chat/completions", {"model": "hearth-dem", "messages": [{"role": "user", "content": "Hi"}]})
    equal(status, 404)
    has(answer["error"]["message"], NAME)


def prompts_that_cannot_be_answered():
    d = daemon()
    equal(d.post("/tokenize", {"model": NAME, "content": "a" * 1100000})[0], 413)
    status, answer = d.post("/v1/completions", {"model": NAME, "prompt": ""})
    equal(status, 400, answer)
    has(answer["error"]["message"], "empty")
    status, answer = d.post("/v1/chat/completions", {"model": NAME, "messages": [{"role": "user", "content": "word " * 100000}]})
    equal(status, 400)
    equal(answer["error"]["code"], "context_length_exceeded")
    status, answer = d.post("/v1/chat/completions", {"model": NAME, "messages": []})
    equal(status, 400, answer)
    still_well(d)


def bad_bodies_are_400_with_the_field():
    d = daemon()
    ok = {"model": NAME, "messages": [{"role": "user", "content": "Hi"}]}
    for field, value in [("temperature", "hot"), ("max_tokens", -7), ("max_tokens", 1.5), ("top_p", 2), ("stop", 7), ("stream", "yes"),
                         ("messages", "hello"), ("model", 5), ("seed", "x"), ("n", 0), ("logit_bias", [1])]:
        status, answer = d.post("/v1/chat/completions", {**ok, field: value})
        equal(status, 400, (field, value, answer))
        equal(answer["error"]["param"].split("[")[0].split(".")[0], field, answer)
    for body in [b"", b"{", b"[1,2", b'{"model": }', b"\xff\xfe", b'{"a": "\xff"}', b"nul", b'{"model":"x"} trailing']:
        status, _, data = d.request("POST", "/v1/chat/completions", body)
        equal(status, 400, (body, data))
    equal(d.post("/v1/chat/completions", {**ok, "frobnicate": {"x": 1}, "max_tokens": 2})[0], 200)
    still_well(d)


def wrong_paths_and_methods():
    d = daemon()
    equal(d.get("/v1/nothing")[0], 404)
    status, headers, _ = d.get("/v1/chat/completions")
    equal(status, 405)
    has(headers.get("Allow", ""), "POST")
    equal(d.request("GET", "/v1/models/none")[0], 404)


def raw(d, data, wait=5):
    """What comes back for bytes sent as they are."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(wait)
    s.connect(d.socket)
    s.sendall(data)
    out = b""
    try:
        while chunk := s.recv(65536):
            out += chunk
    except socket.timeout:
        pass
    s.close()
    return out


def broken_http_disturbs_nobody():
    d = daemon()
    has(raw(d, b"GARBAGE\r\n\r\n").decode(errors="replace"), " 400 ")
    has(raw(d, b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").decode(), " 400 ")
    has(raw(d, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 100000).decode(errors="replace"), " 431 ")
    raw(d, b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{", wait=0.3)   # half a request
    has(raw(d, b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n").decode(), " 413 ")
    still_well(d)


def pipelined_requests_are_answered_in_order():
    d = daemon()
    out = raw(d, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" + b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n" +
              b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").decode()
    equal(re.findall(r"HTTP/1\.1 (\d+)", out), ["200", "404", "200"])


def client_that_leaves_frees_its_place():
    d = daemon()
    for _ in range(5):
        events = d.stream({"messages": [{"role": "user", "content": "What is Hearth?"}], "temperature": 2, "max_tokens": 400})
        next(events)
        events.close()
    still_well(d)
    for _ in range(100):
        if json.loads(d.hearth("status", "--json")[1])["requests_running"] == 0:
            return
        time.sleep(0.1)
    raise AssertionError("a request still runs for a client that left")


# ---- the daemon's life ----

def user_with_too_many_requests_is_told_to_wait():
    d = Daemon("--device", "cpu", "--user-limit", "1")
    events = d.stream({"messages": [{"role": "user", "content": "What is Hearth?"}], "temperature": 2, "max_tokens": 400})
    next(events)
    status, headers, data = d.request("POST", "/v1/chat/completions", {"model": NAME, "messages": [{"role": "user", "content": "2"}]})
    equal(status, 429)
    equal(headers["Retry-After"], "1")
    equal(json.loads(data)["error"]["code"], "user_limit")
    events.close()      # leaving makes room
    for _ in range(100):
        status, _ = d.post("/v1/chat/completions", {"model": NAME, "max_tokens": 2, "messages": [{"role": "user", "content": "2"}]})
        if status == 200:
            break
        time.sleep(0.05)
    equal(status, 200)
    d.stop()


def sigterm_lets_running_answers_finish():
    d = Daemon()
    whole = d.text("What is Hearth?")
    events = d.stream({"messages": [{"role": "user", "content": "What is Hearth?"}]})
    first = next(events)
    d.process.send_signal(signal.SIGTERM)
    text = "".join(e["choices"][0]["delta"].get("content") or "" for e in [first, *events] if e.get("choices"))
    equal(text, whole)
    equal(d.process.wait(60), 0)
    assert not os.path.exists(d.socket), "the socket is left behind"


def sigterm_during_a_load_tells_whoever_waits_for_it():
    d = Daemon("--drain-seconds", "0")
    path = os.path.join(d.models, "large.gguf")
    with open(path, "wb") as f:
        f.write(open(MODEL, "rb").read())
        f.truncate(3 << 30)     # which takes longer than the requests take to come
    asked = []
    chat = threading.Thread(target=lambda: asked.append(d.request("POST", "/v1/chat/completions", {
        "model": "large", "messages": [{"role": "user", "content": "2"}]})))
    chat.start()
    load = subprocess.Popen([HEARTH, "load", "large"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env={**os.environ, "HEARTH_SOCKET": d.socket})
    for _ in range(2000):       # until both have come, and this one, too, which is answered
        body = json.loads(d.get("/hearth/v1/status")[2])
        if body["connections"] >= 3 and body["requests_waiting"]:
            break
    equal(d.stop(), 0)
    chat.join()
    status, headers, data = asked[0]
    equal(status, 503, data)
    has(headers, "Retry-After")
    has(data.decode(), "the service is stopping")
    _, err = load.communicate(timeout=60)
    equal(load.returncode, 4, err)
    has(err.decode(), "the service is stopping")


def killed_daemon_leaves_nothing_in_the_way():
    d = Daemon()
    d.stop(signal.SIGKILL)
    assert os.path.exists(d.socket)
    d.start()
    still_well(d)
    equal(d.stop(), 0)


def second_daemon_on_a_socket_is_refused():
    d = daemon()
    p = subprocess.run(d.args, capture_output=True, timeout=60)
    assert p.returncode != 0
    has(p.stderr.decode(), d.socket)
    still_well(d)


def new_files_are_found_and_deleted_ones_forgotten():
    d = daemon()
    path = os.path.join(d.models, "second.gguf")
    os.symlink(MODEL, path)
    has(d.hearth("ls")[1], "second")
    equal(d.hearth("run", "--temperature", "0", "second", "What is 12 + 34?")[1], "12 + 34 = 46.\n")
    d.hearth("unload", "second")
    os.unlink(path)
    for _ in range(100):
        if "second" not in d.hearth("ls")[1]:
            return
        time.sleep(0.05)
    raise AssertionError("still listed")


def unload_while_streaming_ends_the_stream():
    d = Daemon()
    events = d.stream({"messages": [{"role": "user", "content": "What is Hearth?"}], "temperature": 2, "max_tokens": 400})
    next(events)
    equal(d.hearth("unload", NAME)[0], 0)
    list(events)
    still_well(d)
    equal(d.stop(), 0)


def metrics_are_prometheus_text():
    d = daemon()
    still_well(d)
    status, headers, data = d.get("/metrics")
    equal(status, 200)
    has(headers["Content-Type"], "text/plain")
    for line in data.decode().splitlines():
        assert re.match(r'^(#.*|[a-z_]+(\{[^}]*\})? [-+0-9.eEinfNa]+)$', line), line


def log_has_requests_and_never_prompts():
    d = Daemon()
    answer = d.text("What is Hearth?")
    equal(d.stop(), 0)
    log = d.read_log()
    has(log, "/v1/chat/completions", "uid=%d" % os.getuid())
    assert len(answer) > 20 and answer[:20] not in log and "What is" not in log, log


def help_and_wrong_flags_of_the_daemon():
    p = subprocess.run([HEARTHD, "--help"], capture_output=True, text=True, timeout=20)
    equal(p.returncode, 0)
    has(p.stdout, "--socket", "--model-dir")
    p = subprocess.run([HEARTHD, "--nonsense"], capture_output=True, text=True, timeout=20)
    equal(p.returncode, 2)
    p = subprocess.run([HEARTHD, "--socket", "/nonexistent/dir/s"], capture_output=True, text=True, timeout=20)
    assert p.returncode != 0
    has(p.stderr, "/nonexistent/dir")
    p = subprocess.run([HEARTHD, "--socket", "/tmp/hearth-e2e-never", "--device", "abacus"], capture_output=True, text=True, timeout=20)
    assert p.returncode != 0
    has(p.stderr, "abacus")
    with tempfile.NamedTemporaryFile() as f:
        f.write(b"\xff\xfe of no text")
        f.flush()
        for path, why in [(f.name, "no text in UTF-8"), ("/dev/null", "no text"), ("/nowhere/rules", "No such file"), ("/dev/zero", "longer than 256 KiB")]:
            p = subprocess.run([HEARTHD, "--socket", "/tmp/hearth-e2e-never", "--shared-prompt", path], capture_output=True, text=True, timeout=20)
            assert p.returncode != 0, path
            has(p.stderr, path, why)


def openai_client_passes():
    from harness import ROOT, SHARED  # noqa: F401
    here = os.path.join(ROOT, "tests", "openai")
    cache = os.environ.get("HEARTH_CACHE", os.path.expanduser("~/.cache/hearth"))
    where = os.path.join(cache, "openai-client")
    os.makedirs(where, exist_ok=True)
    for f in ("package.json", "test.mjs"):
        with open(os.path.join(where, f), "w") as to:
            to.write(open(os.path.join(here, f)).read())
    if not os.path.isdir(os.path.join(where, "node_modules", "openai")):
        try:
            p = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent"], cwd=where, capture_output=True, text=True, timeout=300)
        except FileNotFoundError:
            raise Skip("npm is not installed")
        if p.returncode:
            raise Skip("npm cannot fetch the client: " + p.stderr.strip().replace("\n", " ")[:200])
    d = daemon()
    p = subprocess.run(["node", "test.mjs", d.socket, NAME, pooled(d)], cwd=where, capture_output=True, text=True, timeout=300)
    for line in p.stdout.splitlines():
        print("# " + line)
    equal(p.returncode, 0, p.stdout[-3000:] + p.stderr[-1000:])


def a_model_without_a_template_is_given_chatml_and_says_so():
    sys.path.insert(0, os.path.join(ROOT, "tests", "parity"))
    import ggufedit
    d = Daemon()
    m = ggufedit.Model(MODEL)
    del m.keys["tokenizer.chat_template"]
    m.write(os.path.join(d.models, "plain.gguf"))
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 12 + 34?"}]
    answer = d.chat(messages, model="plain", max_tokens=8, ignore_eos=True)
    text = "".join("<|im_start|>%s\n%s<|im_end|>\n" % (m["role"], m["content"]) for m in messages) + "<|im_start|>assistant\n"
    ids = d.post("/tokenize", {"model": "plain", "content": text, "add_special": True})[1]["tokens"]
    equal(answer["usage"]["prompt_tokens"], len(ids))
    status, same = d.post("/v1/completions", {"model": "plain", "prompt": ids, "temperature": 0, "max_tokens": 8, "ignore_eos": True})
    equal(status, 200, same)
    equal(answer["choices"][0]["message"]["content"].strip(), same["choices"][0]["text"].strip())
    has(d.read_log(), "plain has no chat template: chats with it are written as ChatML")
    d.stop()


TESTS = [
    demo_model_answers_held_out_questions, greedy_answers_are_the_same_every_time, streamed_text_equals_whole_text,
    many_clients_at_once_are_all_answered_right, a_chat_seen_before_is_not_computed_again,
    several_answers_are_those_of_their_seeds_and_the_prompt_is_computed_once,
    a_system_prompt_that_is_everybodys_is_computed_for_all_users_once,
    a_cache_of_q8_0_holds_as_many_tokens_in_17_32nds_of_the_memory, run_streams_an_answer, run_reads_the_prompt_from_standard_input, run_takes_a_path,
    ls_ps_and_status_tell_of_the_model, unload_and_load_again, tokenize_and_decode_are_inverse,
    a_model_without_a_template_is_given_chatml_and_says_so,
    wrong_arguments_exit_2_and_no_daemon_exits_3, chat_goes_on_after_ctrl_c, chat_says_how_to_go_on_when_the_context_is_full,
    chat_goes_on_after_the_daemon_was_restarted, bad_model_files_are_refused_by_a_sentence,
    path_from_another_user_is_forbidden, model_that_may_not_be_read_is_refused,
    a_pin_is_kept_until_the_model_is_unloaded, model_larger_than_memory_is_refused, unknown_model_lists_near_names,
    prompts_that_cannot_be_answered, bad_bodies_are_400_with_the_field, wrong_paths_and_methods, broken_http_disturbs_nobody,
    pipelined_requests_are_answered_in_order, client_that_leaves_frees_its_place, user_with_too_many_requests_is_told_to_wait, sigterm_lets_running_answers_finish,
    sigterm_during_a_load_tells_whoever_waits_for_it,
    killed_daemon_leaves_nothing_in_the_way, second_daemon_on_a_socket_is_refused, new_files_are_found_and_deleted_ones_forgotten,
    unload_while_streaming_ends_the_stream, metrics_are_prometheus_text, log_has_requests_and_never_prompts,
    help_and_wrong_flags_of_the_daemon, texts_become_vectors_in_their_order, a_bidirectional_model_sees_every_text_whole, models_refuse_what_they_are_not_for, openai_client_passes,
]

if __name__ == "__main__":
    run(TESTS)
