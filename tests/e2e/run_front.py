#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The front of the daemon: figures, `hearth top`, users' limits, several models.  -l lists, -t GLOB chooses."""
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import exposition
from harness import BUILD, HEARTH, MODEL, NAME, PATIENCE, ROOT, Daemon, equal, has, run

LONG = {"messages": [{"role": "user", "content": "What is Hearth?"}], "temperature": 2, "max_tokens": 400, "ignore_eos": True}
# more than the connection takes, so that it runs until somebody reads on
UNREAD = {**LONG, "logprobs": True, "top_logprobs": 20}


def metrics_follow_the_exposition_format():
    d = Daemon()
    d.text("What is Hearth?")
    families = exposition.parse(d.get("/metrics")[2].decode())
    for name in ("time_to_first_token_seconds", "time_between_tokens_seconds", "queue_seconds", "batch_streams"):
        assert families["hearth_" + name][("hearth_%s_count" % name, ())] > 0, name
    uid = ('uid="%d"' % os.getuid(),)
    equal(families["hearth_user_generations_total"][("hearth_user_generations_total", uid)], 1)
    assert families["hearth_user_completion_tokens_total"][("hearth_user_completion_tokens_total", uid)] > 0
    d.stop()


def malformed_expositions_are_found():
    good = '# HELP a_total x\n# TYPE a_total counter\na_total{b="c"} 1\n'
    equal(len(exposition.parse(good)), 1)
    for bad in (good[:-1], good.replace("counter", "gauge"), good + 'a_total{b="c"} 2\n', good.replace("} 1", "} x1"),
                good.replace("# HELP a_total x\n", ""), good.replace('"c"', '"c'), good.replace("1", "-1"),
                '# HELP h x\n# TYPE h histogram\nh_bucket{le="1"} 5\nh_bucket{le="+Inf"} 4\nh_sum 1\nh_count 4\n',
                '# HELP h x\n# TYPE h histogram\nh_bucket{le="1"} 5\nh_bucket{le="+Inf"} 6\nh_sum 1\nh_count 5\n'):
        try:
            exposition.parse(bad)
        except (AssertionError, ValueError):
            continue
        raise AssertionError("nothing is wrong with %r?" % bad)


def take_pieces(events, n):
    """Reads on until the stream has brought so many pieces of text. It begins before anything is computed, and a
    step's figures are told after its token, but before the next one's."""
    while n:
        n -= bool(next(events)["choices"][0]["delta"].get("content"))


def top_tells_who_uses_what():
    d = Daemon()
    events = d.stream(UNREAD)
    take_pieces(events, 2)
    code, out, _ = d.hearth("top", "--once", "--json")
    equal(code, 0)
    picture = json.loads(out)
    session = picture["sessions"][0]
    equal((session["uid"], session["pid"], session["model"]), (os.getuid(), os.getpid(), NAME))
    with open("/proc/self/comm") as f:
        equal(session["command"], f.read().strip())
    equal(picture["running"], 1)
    assert picture["models"][0]["device_seconds"] > 0, picture
    code, out, _ = d.hearth("top", "--once")
    equal(code, 0)
    has(out, "1 running", str(os.getpid()), NAME[:14])
    events.close()
    equal(d.hearth("top", "--once", "--delay", "0")[0], 2)
    d.stop()
    equal(d.hearth("top", "--once")[0], 3)


def top_leaves_the_terminal_as_it_was():
    d = Daemon()
    events = d.stream(LONG)
    next(events)
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(side)
    p = subprocess.Popen([HEARTH, "top", "--socket", d.socket, "--delay", "0.1"], stdin=side, stdout=side, stderr=side)
    text = b""
    while text.count(b"hearth: ") < 3:
        assert select.select([main], [], [], 60)[0], text
        text += os.read(main, 65536)
    p.send_signal(signal.SIGINT)
    equal(p.wait(60), 0)
    while select.select([main], [], [], 0)[0]:
        text += os.read(main, 65536)
    assert text.startswith(b"\x1b[?1049h"), text[:40]
    assert text.endswith(b"\x1b[?25h\x1b[?1049l"), text[-40:]
    equal(termios.tcgetattr(side), before)
    for line in text.replace(b"\x1b[K", b"").replace(b"\x1b[H", b"\n").replace(b"\x1b[J", b"\n").split(b"\n"):
        assert len(line.replace(b"\x1b[?1049h\x1b[?25l", b"").strip(b"\r")) <= 80, line
    has(text.decode(), "USER", str(os.getpid()))
    events.close()
    os.close(main)
    os.close(side)
    d.stop()


def top_fits_its_columns_and_ends_by_a_key():
    d = Daemon(model_dir=False)
    name = "a-model-whose-name-is-far-too-long-for-a-column-of-it"
    shutil.copy(MODEL, os.path.join(d.models, name + ".gguf"))
    events = d.stream({**UNREAD, "model": name})
    next(events)
    for columns, key in ((80, b"q"), (120, b"Q"), (80, b"\x03")):
        main, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        before = termios.tcgetattr(side)
        p = subprocess.Popen([HEARTH, "top", "--socket", d.socket, "--delay", "60"], stdin=side, stdout=side, stderr=side,
                             start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        text = b""
        while b"\x1b[J" not in text:
            assert select.select([main], [], [], 60)[0], text
            text += os.read(main, 65536)
        os.write(main, b"x")                # any other key brings the next picture
        while text.count(b"\x1b[J") < 2:
            assert select.select([main], [], [], 60)[0], text
            text += os.read(main, 65536)
        os.write(main, key)
        equal(p.wait(60), 0)
        equal(termios.tcgetattr(side), before)
        lines = text.replace(b"\x1b[K", b"").replace(b"\x1b[H", b"\n").decode().splitlines()
        head = [line for line in lines if line.startswith("USER")][0]
        assert head.endswith("   AGE") and len(head) <= columns, head
        row = [line for line in lines if "prompt" in line or "answer" in line][0]
        equal(len(row), len(head))
        has(row, "a-model-wh")
        has([line for line in lines if line.startswith("a-model-")][0], ", KV ")
        assert re.search("KV .*iB/.*iB$", [line for line in lines if line.startswith("a-model-")][0]), lines
        os.close(main)
        os.close(side)
    events.close()
    d.stop()


def a_terminal_gets_no_line_for_each_request():
    for asked, want in (((), 0), (("--access-log", "yes"), 1)):
        main, side = pty.openpty()
        d = Daemon(*asked, log=side)
        os.close(side)
        equal(d.get("/v1/models")[0], 200)
        d.stop()
        text = b""
        try:
            while data := os.read(main, 65536):
                text += data
        except OSError:
            pass
        has(text.decode(), "serving " + d.socket)
        equal(min(text.count(b"GET /v1/models"), 1), want, text)
        os.close(main)


def models_answer_side_by_side_and_one_is_unloaded():
    d = Daemon()
    shutil.copy(MODEL, os.path.join(d.models, "second.gguf"))
    want = d.text("What is Hearth?")
    equal(d.text("What is Hearth?", model="second"), want)
    streams = [d.stream(LONG), d.stream({**LONG, "model": "second"})]
    for s in streams:
        next(s)
    equal(d.post("/hearth/v1/unload", {"model": "second"})[0], 200)
    rest = list(streams[1])
    has(json.dumps(rest[-1]), "error")
    equal(list(streams[0])[-1]["choices"][0]["finish_reason"], "length")
    equal(d.text("What is Hearth?"), want)
    seconds = {m["name"]: m["device_seconds"] for m in json.loads(d.get("/hearth/v1/sessions")[2])["models"]}
    equal(list(seconds), [NAME])
    d.stop()


MIB = 1 << 20
LARGE = 64 * MIB        # of a model's file, most of it of no use


class FullMachine:
    """A daemon on a machine that has as much memory as is said, with models one, two and three, which take LARGE each."""

    def __init__(self):
        self.memory = tempfile.NamedTemporaryFile("w")
        self.d = Daemon("--device", "cpu", model_dir=False, env={
            "LD_PRELOAD": os.path.join(BUILD, "tests/e2e/libsmall_machine.so"), "SMALL_MACHINE": self.memory.name})
        for name in "one", "two", "three":
            path = os.path.join(self.d.models, name + ".gguf")
            shutil.copy(MODEL, path)
            os.truncate(path, LARGE)

    def used(self):
        with open("/proc/%d/statm" % self.d.process.pid) as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def leave(self, free):
        """So many bytes are free from now on."""
        self.memory.seek(0)
        self.memory.write("%d" % (self.used() + free))
        self.memory.flush()

    def loaded(self):
        return {m["name"] for m in json.loads(self.d.get("/hearth/v1/models")[2])["models"] if m["state"] == "ready"}

    def stop(self):
        equal(self.d.stop(), 0)


def a_load_on_a_full_machine_takes_the_place_of_an_idle_model_and_of_a_pinned_one_last():
    m = FullMachine()
    equal(m.d.hearth("load", "--pin", "one")[0], 0)
    want = m.d.text("What is Hearth?", model="two")
    m.leave(LARGE // 2)
    equal(m.d.text("What is Hearth?", model="three"), want)     # one was used before two, and is pinned
    equal(m.loaded(), {"one", "three"})
    equal(m.d.text("What is Hearth?", model="two"), want)
    equal(m.loaded(), {"one", "two"})
    equal(m.d.hearth("load", "three")[0], 0)
    equal(m.loaded(), {"one", "three"})
    events = m.d.stream({**UNREAD, "model": "three"})
    next(events)
    equal(m.d.text("What is Hearth?", model="two"), want)       # nothing else is left to take
    equal(m.loaded(), {"two", "three"})
    equal(list(events)[-1]["choices"][0]["finish_reason"], "length")
    m.stop()


def a_load_that_has_no_place_is_refused_with_the_sum_and_disturbs_nobody():
    m = FullMachine()
    streams = [m.d.stream({**UNREAD, "model": name}) for name in ("one", "two")]
    for s in streams:
        next(s)
    m.leave(LARGE // 2)
    code, _, err = m.d.hearth("load", "three")
    print("# " + err.strip())
    equal(code, 4)
    has(err, "three: ", "Unload a model, or choose a smaller one")
    need, weights, cache, free, taken = (float(n) for n in re.search(
        r"([\d.]+) GiB of memory are needed \(weights ([\d.]+), cache ([\d.]+)\) but ([\d.]+) are free and ([\d.]+) could",
        err).groups())
    # the file of 64 MiB; at most the half of it that was left, as those at work touch more; nothing of theirs
    equal((weights, taken), (0.06, 0.0))
    assert 0 < free <= 0.03, free
    assert abs(need - weights - cache) < 0.011, err
    for name in "one", "two":
        holds = float(re.search(r"\b%s ([\d.]+) GiB \(1 request\)" % name, err)[1])
        assert weights <= holds <= need + 0.011, err
    status, answer = m.d.post("/v1/chat/completions", {"model": "three", "messages": [{"role": "user", "content": "2"}]})
    has(json.dumps(answer), "GiB of memory are needed")
    equal((status, m.loaded()), (503, {"one", "two"}))
    for s in streams:
        equal(list(s)[-1]["choices"][0]["finish_reason"], "length")
    equal(m.d.hearth("load", "three")[0], 0)
    m.stop()


def loads_that_come_together_where_one_fits_take_no_more_than_there_is():
    m = FullMachine()
    before = m.used()
    m.leave(LARGE * 3 // 2)
    codes = {}
    loads = [threading.Thread(target=lambda name=name: codes.update({name: m.d.hearth("load", name)})) for name in ("one", "two")]
    for t in loads:
        t.start()
    most = 0
    while any(t.is_alive() for t in loads):
        most = max(most, m.used())
        time.sleep(0.001)
    assert most - before < LARGE * 3 // 2, most - before
    # who came second was told, or came when the first was in nobody's use any more, and took its place
    assert m.loaded() < {"one", "two"} and m.loaded(), m.loaded()
    for name, (code, _, err) in codes.items():
        assert code == 0 or (code == 4 and "in use: " in err), (name, code, err)
    m.stop()


def spent_tokens_come_back_after_as_long_as_was_said():
    d = Daemon("--user", "* tokens-per-minute=6000")
    body = {**LONG, "model": NAME, "max_tokens": 400}
    for _ in range(40):
        status, headers, data = d.request("POST", "/v1/chat/completions", body)
        if status != 200:
            break
    equal(status, 429)
    equal(json.loads(data)["error"]["code"], "rate_limit_exceeded")
    time.sleep(int(headers["Retry-After"]))
    equal(d.post("/v1/chat/completions", {**body, "max_tokens": 1})[0], 200)
    d.stop()


def what_users_may_have_changes_while_they_are_served():
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as conf:
        def configure(text):
            conf.seek(0)
            conf.truncate()
            conf.write(text)
            conf.flush()

        configure("user = %d requests=1\nqueue-limit = 5\n" % os.getuid())
        d = Daemon("--config", conf.name)
        body = {**LONG, "model": NAME, "max_tokens": 1}
        events = d.stream(LONG)
        next(events)
        equal(d.post("/v1/chat/completions", body)[0], 429)
        configure("user = %d requests=2\nqueue-limit = 6\n" % os.getuid())
        d.process.send_signal(signal.SIGHUP)
        d.wait_log("settings read again")
        equal(d.post("/v1/chat/completions", body)[0], 200)
        has(d.read_log(), "taken up at the next start only: queue-limit\n")
        configure("user = %d requests=none\n" % os.getuid())
        d.process.send_signal(signal.SIGHUP)
        d.wait_log("the settings stay as they were")
        equal(d.post("/v1/chat/completions", body)[0], 200)
        equal(list(events)[-1]["choices"][0]["finish_reason"], "length")    # nothing of this disturbed the stream
        d.stop()


def demo_with(make):
    """What `make demo` prints, its status and its log, where installing and building are these shell commands."""
    with tempfile.TemporaryDirectory() as d:
        for name, text in (("make", make), ("dpkg-query", "echo installed")):
            with open(os.path.join(d, name), "w") as f:
                f.write("#!/bin/sh\n%s\n" % text)
                os.fchmod(f.fileno(), 0o755)
        env = {**os.environ, "PATH": d + ":" + os.environ["PATH"], "BUILD": BUILD, "MODEL": "", "PROMPT": "", "DEVICE": ""}
        p = subprocess.run([os.path.join(ROOT, "scripts", "demo")], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           text=True, timeout=60 * PATIENCE)
    with open(os.path.join(BUILD, "demo.log")) as f:
        return p.returncode, p.stdout, f.read()


def the_demo_says_what_it_does_in_a_few_lines():
    status, out, log = demo_with("seq 400; seq 400 >&2")
    equal(status, 0, out)
    before, after = out.split("> What is Hearth?\n")
    assert len(before.splitlines()) <= 4 and len(out.splitlines()) < 30, out
    assert after.startswith("Hearth is a local AI service for Linux."), out
    equal(log.split(), [str(i) for i in range(1, 401)] * 2)


def a_demo_that_cannot_be_built_shows_the_end_and_names_the_log():
    status, out, log = demo_with("seq 400; echo it is broken >&2; exit 2")
    equal(status, 1)
    has(out, "it is broken\ndemo: this failed; all it said is in %s\n" % os.path.join(os.path.realpath(BUILD), "demo.log"))
    assert len(out.splitlines()) < 30 and "What is" not in out, out
    equal(log.split("\n")[0], "1")


if __name__ == "__main__":
    run([metrics_follow_the_exposition_format, malformed_expositions_are_found, top_tells_who_uses_what,
         top_leaves_the_terminal_as_it_was, top_fits_its_columns_and_ends_by_a_key, a_terminal_gets_no_line_for_each_request,
         models_answer_side_by_side_and_one_is_unloaded,
         a_load_on_a_full_machine_takes_the_place_of_an_idle_model_and_of_a_pinned_one_last,
         a_load_that_has_no_place_is_refused_with_the_sum_and_disturbs_nobody,
         loads_that_come_together_where_one_fits_take_no_more_than_there_is,
         spent_tokens_come_back_after_as_long_as_was_said, what_users_may_have_changes_while_they_are_served,
         the_demo_says_what_it_does_in_a_few_lines, a_demo_that_cannot_be_built_shows_the_end_and_names_the_log])
