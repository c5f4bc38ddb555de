#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The front of the daemon: figures, `hearth top`, users' limits, several models.  -l lists, -t GLOB chooses."""
import fcntl
import json
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import exposition
from harness import HEARTH, MODEL, NAME, Daemon, equal, has, run

LONG = {"messages": [{"role": "user", "content": "What is Hearth?"}], "temperature": 2, "max_tokens": 400, "ignore_eos": True}


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


def top_tells_who_uses_what():
    d = Daemon()
    # more than the connection takes, so that it runs until somebody reads on
    events = d.stream({**LONG, "logprobs": True, "top_logprobs": 20})
    next(events)
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


if __name__ == "__main__":
    run([metrics_follow_the_exposition_format, malformed_expositions_are_found, top_tells_who_uses_what,
         top_leaves_the_terminal_as_it_was, models_answer_side_by_side_and_one_is_unloaded,
         spent_tokens_come_back_after_as_long_as_was_said, what_users_may_have_changes_while_they_are_served])
