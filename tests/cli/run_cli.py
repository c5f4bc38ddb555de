#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The command without the demo model: help, exit codes, outputs that cannot be written, odd servers."""
import json
import os
import pty
import socket
import stat
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
from harness import HEARTH, SHARED, Skip, equal, has, run

SMALL = os.path.join(SHARED, "data", "weights", "stories260K", "stories260K-F32.gguf")


def hearth(*args, stdin=b"", stdout=subprocess.PIPE, **env):
    p = subprocess.run([HEARTH, *args], input=stdin, stdout=stdout, stderr=subprocess.PIPE, timeout=120,
                       env={**os.environ, **env})
    return p.returncode, (p.stdout or b"").decode(errors="replace"), p.stderr.decode(errors="replace")


def small_model():
    if not os.path.exists(SMALL):
        raise Skip("the shared test data with stories260K is not there")
    return SMALL


class Server:
    """Answers every request on a socket with the same bytes."""

    def __init__(self, *answers):
        self.dir = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.dir.name, "s")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        self.answers, self.bodies = list(answers), []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        for answer in self.answers:
            c, _ = self.listener.accept()
            data = b""
            while b"\r\n\r\n" not in data:
                data += c.recv(65536)
            head, body = data.split(b"\r\n\r\n", 1)
            want = 0
            for line in head.split(b"\r\n"):
                if line.lower().startswith(b"content-length:"):
                    want = int(line.split(b":")[1])
            while len(body) < want:
                body += c.recv(65536)
            self.bodies.append(body.decode())
            c.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n\r\n" + answer)
            c.close()


def event(text):
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


def help_of_a_command_is_an_answer():
    for command in ("run", "chat", "load", "unload", "ls", "ps", "status", "top", "tokenize", "logits", "bench"):
        code, out, err = hearth(command, "--help")
        equal((code, err), (0, ""), command)
        has(out, "usage: hearth " + command)
    code, out, err = hearth("ls", "--no-such-option")
    equal((code, out), (2, ""))
    has(err, "usage: hearth ls")


def output_that_cannot_be_written_is_a_failure():
    with open("/dev/full", "w") as full:
        code, _, err = hearth("--help", stdout=full)
    equal(code, 1)
    has(err, "standard output")
    with open("/dev/full", "w") as full:
        code, _, err = hearth("tokenize", small_model(), stdin=b"Once", stdout=full)
    equal(code, 1)
    has(err, "standard output")


def numbers_that_are_none_are_refused():
    for option, value in (("--temperature", "nan"), ("--top-p", "inf"), ("--seed", "99999999999999999999"),
                          ("--max-tokens", "1x"), ("--top-k", "")):
        code, _, err = hearth("run", option, value, "m", "hello")
        equal(code, 2, option)
        has(err, option)


def answer_cannot_command_the_terminal():
    bad = "a\x1b]0;owned\x07b\u009b31mc\r\x7fd\u00e9\t\u2713\n"
    s = Server(b'{"done": true}\n', event(bad))
    master, slave = pty.openpty()
    code, _, err = hearth("run", "--socket", s.path, "m", "hello", stdout=slave)
    os.close(slave)
    equal(code, 0, err)
    got = b""
    try:
        while chunk := os.read(master, 4096):
            got += chunk
    except OSError:
        pass
    equal(got.decode().replace("\r\n", "\n"), "a]0;ownedb31mcd\u00e9\t\u2713\n")
    s = Server(b'{"done": true}\n', event(bad))
    code, out, err = hearth("run", "--socket", s.path, "m", "hello")
    equal(code, 0, err)
    has(out, "\x1b]0;owned\x07")


def logits_go_into_a_pipe_and_never_replace_a_device():
    model = small_model()
    with tempfile.TemporaryDirectory() as d:
        pipe, plain = os.path.join(d, "pipe"), os.path.join(d, "plain")
        equal(hearth("logits", model, "--tokens", "1,2,3", "--out", plain)[0], 0)
        os.mkfifo(pipe)
        got = []
        reader = threading.Thread(target=lambda: got.append(open(pipe, "rb").read()), daemon=True)
        reader.start()
        code, _, err = hearth("logits", model, "--tokens", "1,2,3", "--out", pipe)
        equal(code, 0, err)
        reader.join(60)
        assert stat.S_ISFIFO(os.stat(pipe).st_mode)
        equal(got[0], open(plain, "rb").read())
        equal(len(got[0]), 3 * 512 * 4)


def bench_counts_the_parameters_of_small_models():
    code, out, err = hearth("bench", small_model(), "-p", "0", "-n", "1", "-r", "1")
    equal(code, 0, err)
    has(out, "(llama, F32, 292.80 K parameters)")


def text_is_read_from_standard_input_to_its_end():
    text = b"Once upon a time " * 20000
    code, out, err = hearth("tokenize", small_model(), stdin=text)
    equal(code, 0, err)
    code, back, err = hearth("tokenize", small_model(), "--decode", stdin=out.encode())
    equal(code, 0, err)
    equal(back.strip(), text.decode().strip())
    said = Server(b'{"done": true}\n', event("yes"))
    code, out, err = hearth("run", "--socket", said.path, "m", stdin=text)
    equal((code, out), (0, "yes\n"), err)
    has(said.bodies[-1], json.dumps(text.decode().rstrip("\n")))
    equal(hearth("run", "--socket", said.path, "m", stdin=b"\n")[0], 2)


def bad_token_lists_are_refused():
    model = small_model()
    for tokens in ("", "x", "1,-2", "@/nonexistent", "99999999999"):
        equal(hearth("logits", model, "--tokens", tokens, "--out", "/dev/null")[0], 2, tokens)
    code, _, err = hearth("logits", model, "--tokens", "1,99999", "--out", "/dev/null")
    equal(code, 1)
    has(err, "99999 is not in the vocabulary")



def daemon_without_a_runtime_directory_is_found():
    own = "/tmp/hearth-%d" % os.geteuid()
    if os.path.exists(own):
        raise Skip(own + " is in use")
    nothing = {"HEARTH_SOCKET": "", "XDG_RUNTIME_DIR": ""}
    os.mkdir(own, 0o700)
    try:
        has(hearth("ls", **nothing)[2], "/run/hearth/hearth.sock")
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(own + "/hearth.sock")    # nobody listens: what is said names the socket tried
            has(hearth("ls", **nothing)[2], own + "/hearth.sock")
            if os.geteuid() == 0:           # nor is anybody else's directory trusted
                os.chown(own, 12345, 12345)
                has(hearth("ls", **nothing)[2], "/run/hearth/hearth.sock")
    finally:
        if os.path.exists(own + "/hearth.sock"):
            os.unlink(own + "/hearth.sock")
        os.rmdir(own)



def socket_that_is_closed_to_us_is_told_as_such():
    if os.geteuid() == 0:
        raise Skip("root may connect to everything")
    s = Server()
    os.chmod(s.path, 0)
    code, _, err = hearth("ls", "--socket", s.path)
    equal(code, 3)
    has(err, "closed to this user")


def demo_of_root_may_open_the_gpu():
    if os.geteuid() != 0:
        raise Skip("needs root, whose demo gives its rights up")
    demo = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts", "demo")
    with tempfile.TemporaryDirectory() as d:
        for name, text in (("hearthd", 'echo "groups $(id -G)" >&2; exit 1'), ("hearth", "exit 1")):
            with open(os.path.join(d, name), "w") as f:
                f.write("#!/bin/sh\n%s\n" % text)
            os.chmod(f.name, 0o755)
        for number, group in enumerate((54321, 0, 54321)):
            node = os.path.join(d, "renderD%d" % (128 + number))
            open(node, "w").close()
            os.chown(node, 0, group)
        for nodes, groups in ((d, "65534 54321"), ("/nonexistent", "65534")):
            p = subprocess.run([demo], capture_output=True, text=True, timeout=60,
                               env={**os.environ, "BUILD": d, "DRI_DIR": nodes, "MODEL": "", "DEVICE": ""})
            has(p.stderr, "the daemon did not start", "groups %s\n" % groups)


run([help_of_a_command_is_an_answer, output_that_cannot_be_written_is_a_failure, numbers_that_are_none_are_refused,
     answer_cannot_command_the_terminal,
     logits_go_into_a_pipe_and_never_replace_a_device, bad_token_lists_are_refused,
     bench_counts_the_parameters_of_small_models, text_is_read_from_standard_input_to_its_end,
     daemon_without_a_runtime_directory_is_found, socket_that_is_closed_to_us_is_told_as_such,
     demo_of_root_may_open_the_gpu])
