#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The command without the demo model: help, exit codes, outputs that cannot be written, odd servers."""
import json
import os
import pty
import signal
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


class Raw:
    """Takes connections, reads what comes, answers with these bytes, and closes; None: never answers."""

    def __init__(self, answer):
        self.dir = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.dir.name, "s")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        self.answer, self.held = answer, []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            c, _ = self.listener.accept()
            c.recv(65536)
            if self.answer is None:
                self.held.append(c)
            else:
                c.sendall(self.answer)
                c.close()


def a_daemon_that_says_nothing_is_given_up():
    silent = Raw(None)
    for command in (["status"], ["ls"], ["unload", "m"]):
        code, out, err = hearth(*command, HEARTH_SOCKET=silent.path, HEARTH_TIMEOUT="1")
        equal((code, out), (3, ""), command)
        has(err, silent.path, "has not answered for 1 s", "stopped, or stuck")


def who_waits_for_an_answer_is_told_and_can_leave():
    silent = Raw(None)
    p = subprocess.Popen([HEARTH, "run", "m", "hello"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         env={**os.environ, "HEARTH_SOCKET": silent.path, "HEARTH_TIMEOUT": "1"})
    has(p.stderr.readline().decode(), "(waiting: the daemon on " + silent.path, "Ctrl-C gives up)")
    p.send_signal(signal.SIGINT)
    equal(p.wait(60), 130)
    s = Server(b'{"done": true}\n', b": waiting for others\n\n" + event("yes"))
    code, out, err = hearth("run", "--socket", s.path, "m", "hello")
    equal((code, out, err), (0, "yes\n", "(waiting for others; Ctrl-C gives up)\n"))


def what_is_to_be_forgotten_waits_for_a_long_step():
    silent = Raw(None)
    p = subprocess.Popen([HEARTH, "forget"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         env={**os.environ, "HEARTH_SOCKET": silent.path, "HEARTH_TIMEOUT": "1"})
    has(p.stderr.readline().decode(), "(waiting: the daemon on " + silent.path)
    answer = b'{"memory_bytes":2048,"disk_bytes":1024}\n'
    silent.held[0].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
    out, err = p.communicate(timeout=60)
    equal((p.returncode, out.decode(), err), (0, "forgotten: 2.0 KiB of memory, 1.0 KiB on disk\n", b""))
    for answer, code, words in ((b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nyes\n", 1, "is not JSON"),
                                (b'HTTP/1.1 403 Forbidden\r\nContent-Length: 33\r\n\r\n{"error":{"message":"not yours"}}', 1, "not yours")):
        s = Raw(answer)
        r, out, err = hearth("forget", HEARTH_SOCKET=s.path)
        equal((r, out), (code, ""), err)
        has(err, words)


def what_breaks_is_told_by_who_where_and_what_to_do():
    for answer, words in ((b"", "closed the connection"), (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "closed the connection"),
                          (b"220 mail.example ESMTP\r\n", "speaks no HTTP")):
        s = Raw(answer)
        code, out, err = hearth("status", HEARTH_SOCKET=s.path)
        equal((code, out), (1, ""))
        has(err, s.path, words)
    plain = os.path.join(s.dir.name, "plain")
    with open(plain, "w"):
        pass
    code, _, err = hearth("status", HEARTH_SOCKET=plain)
    equal(code, 3)
    has(err, plain + " is no socket")


def an_unload_says_whether_it_is_forced():
    for words, forced in (([], False), (["--force"], True)):
        s = Server(b"{}")
        equal(hearth("unload", *words, "m", HEARTH_SOCKET=s.path)[0], 0)
        equal(json.loads(s.bodies[0]), {"model": "m", "force": forced})


def a_path_that_leads_nowhere_is_no_file():
    for path in ("./nosuch.gguf", "/nonexistent/nosuch", "models/nosuch.gguf"):
        for command in (["run", path, "hello"], ["chat", path], ["load", path]):
            code, out, err = hearth(*command, HEARTH_SOCKET="/nonexistent")
            equal((code, out, err), (4, "", "hearth: %s: No such file or directory\n" % path))


def damaged_files_are_marked_where_they_are_listed():
    with tempfile.TemporaryDirectory() as d:
        def entry(name, data, state="available"):
            path = os.path.join(d, name + ".gguf")
            with open(path, "wb") as f:
                f.write(data)
            return {"name": name, "path": path, "state": state, "file_bytes": len(data)}

        with open(small_model(), "rb") as f:
            good = f.read()
        models = [entry("good", good), entry("cut", good[:-1]), entry("part-00001-of-00002", good[:9]), entry("text", b"<html>" * 9),
                  entry("loaded", b"", "ready")]
        answer = json.dumps({"models": models}).encode()
        code, out, err = hearth("ls", HEARTH_SOCKET=Server(answer).path)
        equal((code, err), (0, ""))
        states = {words[0]: " ".join(words[4:] or words[3:]) for words in (line.split() for line in out.splitlines()[1:])}
        for name, state in (("good", "available"), ("cut", "damaged: run hearth info cut"), ("text", "damaged: run hearth info text"),
                            ("loaded", "ready")):
            assert states[name].endswith(state), (name, out)
        code, out, err = hearth("ls", "--json", HEARTH_SOCKET=Server(answer).path)
        equal([m["name"] for m in json.loads(out) if "damage" in m], ["cut", "part-00001-of-00002", "text"])


def where_no_models_are_the_directories_are_named():
    s = Server(json.dumps({"models": [], "model_dirs": ["/a/models", "/b"]}).encode())
    code, _, err = hearth("ls", HEARTH_SOCKET=s.path)
    equal(code, 0)
    has(err, "into one of /a/models, /b (model-dir")


def help_of_a_command_is_an_answer():
    for command in ("run", "chat", "load", "unload", "ls", "ps", "info", "status", "top", "forget", "tokenize", "logits", "bench"):
        code, out, err = hearth(command, "--help")
        equal((code, err), (0, ""), command)
        has(out, "usage: hearth " + command)
        equal(hearth("help", command), (0, out, ""))
    code, out, err = hearth("help", "nosuch")
    equal((code, out), (2, ""))
    has(err, "no command \"nosuch\"")
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


def output_that_is_closed_is_not_the_next_file():
    s = Server(b'{"done": true}\n', event("to nobody"))
    p = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", HEARTH, "run", "--socket", s.path, "m", "hello"],
                       stderr=subprocess.PIPE, timeout=120)
    equal(p.returncode, 1)
    has(p.stderr.decode(), "standard output")


def numbers_that_are_none_are_refused():
    for option, value in (("--temperature", "nan"), ("--top-p", "inf"), ("--seed", "99999999999999999999"),
                          ("--max-tokens", "1x"), ("--top-k", ""), ("--temperature", "-1"), ("--top-p", "1.5"),
                          ("--min-p", "-0.1"), ("--max-tokens", "-3")):
        code, _, err = hearth("run", option, value, "m", "hello")
        equal(code, 2, option)
        has(err, option)


def options_count_wherever_they_stand():
    for words in (["--temperature", "0", "m", "hello"], ["m", "--temperature", "0", "hello"],
                  ["m", "hello", "--temperature=0"], ["m", "--temperature", "0", "--", "hello"]):
        s = Server(b'{"done": true}\n', event("yes"))
        code, out, err = hearth("run", "--socket", s.path, *words)
        equal((code, out), (0, "yes\n"), err)
        asked = json.loads(s.bodies[-1])
        equal((asked["temperature"], asked["messages"][0]["content"]), (0.0, "hello"), words)
        assert "service_tier" not in asked, asked
    code, out, err = hearth("run", "m", "why", "--no-such-option")
    equal((code, out), (2, ""))
    has(err, "no-such-option", "usage: hearth run")
    s = Server(b'{"done": true}\n', event("yes"))
    code, out, err = hearth("run", "--socket", s.path, "m", "--background", "--", "--temperature", "is", "what?")
    equal(code, 0, err)
    asked = json.loads(s.bodies[-1])
    equal((asked["service_tier"], asked["messages"][0]["content"]), ("flex", "--temperature is what?"))


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


def thoughts_are_shown_to_a_person_only():
    def thought(text):
        return b"data: " + json.dumps({"choices": [{"delta": {"reasoning_content": text}}]}).encode() + b"\n\n"

    said = thought("be") + thought("cause") + event("4")
    s = Server(b'{"done": true}\n', said)
    code, out, err = hearth("run", "--socket", s.path, "m", "hello")
    equal((code, out), (0, "4\n"), err)
    for events, want in ((said, "\x1b[2mbecause\x1b[0m\n\n4\n"), (thought("cut"), "\x1b[2mcut\x1b[0m\n")):
        s = Server(b'{"done": true}\n', events)
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
        equal(got.decode().replace("\r\n", "\n"), want)


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


def wrong_values_are_wrong_arguments():
    model = small_model()
    for args in (["bench", model, "-n", "1", "--device", "nosuch"], ["info", model, "--device", "nosuch"],
                 ["logits", model, "--tokens", "1", "--out", "/dev/null", "--device", "nosuch"],
                 ["logits", model, "--tokens", "99999", "--out", "/dev/null"]):
        code, out, err = hearth(*args, HEARTH_SOCKET="/nonexistent")
        equal((code, out), (2, ""), args)
        has(err, "hearth: ")
    for args, what in (("--context -5", "--context -5"), ("--context 513", "512 tokens at most"), ("--kv-type q3", "--kv-type q3")):
        code, out, err = hearth("info", *args.split(), model, HEARTH_SOCKET="/nonexistent")
        equal((code, out), (2, ""), args)
        has(err, "hearth: " + args.split()[0])
        has(err, what)


def bench_counts_the_parameters_of_small_models():
    code, out, err = hearth("bench", small_model(), "-p", "0", "-n", "1", "-r", "1")
    equal(code, 0, err)
    has(out, "(llama, F32, 292.80 K parameters)")


def long_model(directory):
    """The small model with a context of a billion tokens: its header alone is read."""
    with open(small_model(), "rb") as f:
        data = f.read()
    at = data.index(b"llama.context_length") + len(b"llama.context_length") + 4
    path = os.path.join(directory, "long.gguf")
    with open(path, "wb") as f:
        f.write(data[:at] + (1 << 30).to_bytes(4, "little") + data[at + 4:])
    return path


def info_tells_what_a_model_is_without_a_daemon():
    code, out, err = hearth("info", "--json", "--device", "cpu", small_model(), HEARTH_SOCKET="/nonexistent")
    equal((code, err), (0, ""))
    m = json.loads(out)
    equal((m["architecture"], m["type"], m["parameters"], m["active_parameters"]), ("llama", "F32", 292800, 292800))
    equal(m["types"], [{"type": "F32", "n_tensors": 48, "parameters": 292800, "bytes": 4 * 292800}])
    equal(m["kv_bytes_per_token"], 5 * (4 * 8 + 4 * 8) * 2)
    equal(m["kv_window_bytes_per_token"], 0)
    equal(m["file_bytes"], os.path.getsize(small_model()))
    equal((m["has_chat_template"], m["context_trained_tokens"]), (False, 512))
    equal((m["machine"]["fits"], m["machine"]["context_tokens"], m["machine"]["is_loaded"]), (True, 512, False))
    code, out, err = hearth("info", "--device", "cpu", small_model(), HEARTH_SOCKET="/nonexistent")
    equal((code, err), (0, ""))
    has(out, "llama, 5 layers, F32", "292.80 K active", "640 B a token", "ChatML", "fits          yes")
    code, out, err = hearth("info", "nosuch", HEARTH_SOCKET="/nonexistent")
    equal((code, out), (4, ""))
    has(err, "nosuch", "no daemon answers")
    equal(hearth("info", "--context", "-1", small_model())[0], 2)
    equal(hearth("info", "--kv-type", "q9", small_model())[0], 2)
    code, out, err = hearth("info", "--kv-type", "q8_0", small_model(), HEARTH_SOCKET="/nonexistent")
    equal((code, out), (2, ""))
    has(err, "heads of 8 and 8 channels")


def info_refuses_with_the_sum_of_a_load():
    with tempfile.TemporaryDirectory() as d:
        path = long_model(d)
        code, out, err = hearth("info", "--json", "--device", "cpu", path, HEARTH_SOCKET="/nonexistent")
        equal((code, err), (0, ""))
        fits = json.loads(out)["machine"]
        equal(fits["context_tokens"], 8192)
        at_a_time = {c["context_tokens"]: c["n_sequences"] for c in fits["contexts"]}
        equal(at_a_time[1 << 30], 0)
        assert at_a_time[4096] > at_a_time[16384] > 0, at_a_time
        assert 16384 < fits["longest_context_tokens"] < 1 << 30, fits
        code, out, err = hearth("info", "--json", "--context", str(1 << 30), "--device", "cpu", path,
                                HEARTH_SOCKET="/nonexistent")
        equal((code, err), (1, ""))
        fits = json.loads(out)["machine"]
        equal(fits["fits"], False)
        assert fits["need_bytes"] > 640 << 30, fits
        has(fits["refusal"], "GiB of memory are needed (weights 0.00, cache 64", "choose a smaller one")


def info_knows_what_a_daemon_holds():
    model = {"name": "small", "path": small_model(), "state": "ready", "pool_bytes": 2 << 20, "kv_bytes": 8 << 20}
    big = {"name": "big", "path": "/big", "state": "ready", "pool_bytes": 7 << 40, "kv_bytes": 1 << 40}
    daemon = Server(json.dumps({"models": [model, big]}).encode())
    code, out, err = hearth("info", "--json", "--device", "cpu", "small", "--socket", daemon.path)
    equal((code, err), (0, ""))
    m = json.loads(out)
    equal((m["path"], m["machine"]["is_loaded"]), (os.path.realpath(small_model()), True))
    with tempfile.TemporaryDirectory() as d:
        asked = ["info", "--json", "--context", str(1 << 30), "--device", "cpu", long_model(d), "--socket"]
        code, out, err = hearth(*asked, Server(json.dumps({"models": [model, big]}).encode()).path)
        equal((code, err), (0, ""), "a model that nobody uses makes room")
        big["n_running"] = 1
        code, out, err = hearth(*asked, Server(json.dumps({"models": [model, big]}).encode()).path)
        equal((code, err), (1, ""))
        has(json.loads(out)["machine"]["refusal"], "big 8192.00 GiB (1 request)")


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
    code, _, err = hearth("run", "--socket", said.path, "m", stdin=b"\n")
    equal(code, 2)
    has(err, "the prompt is empty: give it after the model")


def bad_token_lists_are_refused():
    model = small_model()
    for tokens in ("", "x", "1,-2", "@/nonexistent", "99999999999"):
        equal(hearth("logits", model, "--tokens", tokens, "--out", "/dev/null")[0], 2, tokens)
    code, _, err = hearth("logits", model, "--tokens", "1,99999", "--out", "/dev/null")
    equal(code, 2)
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
        # all is built and installed
        for name, text in (("hearthd", 'echo "groups $(id -G)" >&2; exit 1'), ("hearth", "exit 1"), ("make", "exit 0"),
                           ("dpkg-query", "echo installed")):
            with open(os.path.join(d, name), "w") as f:
                f.write("#!/bin/sh\n%s\n" % text)
            os.chmod(f.name, 0o755)
        for number, group in enumerate((54321, 0, 54321)):
            node = os.path.join(d, "renderD%d" % (128 + number))
            open(node, "w").close()
            os.chown(node, 0, group)
        for nodes, groups in ((d, "65534 54321"), ("/nonexistent", "65534")):
            p = subprocess.run([demo], capture_output=True, text=True, timeout=60,
                               env={**os.environ, "BUILD": d, "DRI_DIR": nodes, "MODEL": "", "DEVICE": "",
                                    "PATH": d + ":" + os.environ["PATH"]})
            has(p.stderr, "the daemon did not start", "groups %s\n" % groups)


run([help_of_a_command_is_an_answer, output_that_cannot_be_written_is_a_failure, output_that_is_closed_is_not_the_next_file, numbers_that_are_none_are_refused,
     options_count_wherever_they_stand, answer_cannot_command_the_terminal,
     thoughts_are_shown_to_a_person_only,
     logits_go_into_a_pipe_and_never_replace_a_device, bad_token_lists_are_refused,
     wrong_values_are_wrong_arguments, bench_counts_the_parameters_of_small_models, info_tells_what_a_model_is_without_a_daemon,
     info_refuses_with_the_sum_of_a_load, info_knows_what_a_daemon_holds, text_is_read_from_standard_input_to_its_end,
     daemon_without_a_runtime_directory_is_found, socket_that_is_closed_to_us_is_told_as_such,
     demo_of_root_may_open_the_gpu, a_daemon_that_says_nothing_is_given_up, who_waits_for_an_answer_is_told_and_can_leave,
     what_is_to_be_forgotten_waits_for_a_long_step, what_breaks_is_told_by_who_where_and_what_to_do, an_unload_says_whether_it_is_forced, a_path_that_leads_nowhere_is_no_file,
     damaged_files_are_marked_where_they_are_listed, where_no_models_are_the_directories_are_named])
