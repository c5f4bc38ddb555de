# SPDX-License-Identifier: MIT
"""What the end-to-end tests stand on: a daemon of their own, HTTP over its socket, TAP."""
import atexit
import fcntl
import fnmatch
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("BUILD_DIR") or os.path.join(ROOT, "build"))
HEARTHD = os.environ.get("HEARTHD") or os.path.join(BUILD, "hearthd")
HEARTH = os.path.join(BUILD, "cli", "hearth")
MODEL = os.path.join(ROOT, "models", "demo", "hearth-demo-q8_0.gguf")
NAME = "hearth-demo-q8_0"
SHARED = os.environ.get("HEARTH_SHARED", os.path.join(ROOT, "..", "shared"))


class Skip(Exception):
    pass


# How many times longer than on a machine of its own everything may take.
PATIENCE = int(os.environ.get("HEARTH_PATIENCE", "1"))


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=120 * PATIENCE):
        super().__init__("hearth", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Daemon:
    """hearthd on a private socket in a directory of its own."""

    def __init__(self, *args, model_dir=True, wait=True, env=None, handed=(), user=None, log=None):
        """handed: (name, descriptor) that a service manager hands to the first process; user: whose it is;
        log: a descriptor for the first process's log, in place of the file."""
        self.env, self.user, self.stderr = env or {}, user, log
        self.handed = list(handed)
        self.dir = tempfile.mkdtemp(prefix="hearth-e2e-")
        if user:
            os.chown(self.dir, user, -1)
        self.socket = os.path.join(self.dir, "s")
        self.models = os.path.join(self.dir, "models")
        os.mkdir(self.models)
        if model_dir:
            os.symlink(MODEL, os.path.join(self.models, os.path.basename(MODEL)))
        self.args = [HEARTHD, "--socket", self.socket, "--model-dir", self.models, *args]
        self.log = os.path.join(self.dir, "log")
        atexit.register(self.destroy)
        self.start(wait)

    def start(self, wait=True):
        env = {k: v for k, v in os.environ.items() if k not in ("NOTIFY_SOCKET", "LISTEN_FDS", "JOURNAL_STREAM")}
        env.update(self.env)
        args, high = self.args, []
        if self.handed:
            # whoever execs the daemon knows its pid, and its descriptors begin at 3
            high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for _, fd in self.handed]
            moves = " ".join("%d<&%d %d<&-" % (3 + i, fd, fd) for i, fd in enumerate(high))
            args = ["/bin/bash", "-c", "exec %s; export LISTEN_PID=$$; exec \"$@\"" % moves, "hearthd"] + args
            env.update(LISTEN_FDS=str(len(high)), LISTEN_FDNAMES=":".join(n for n, _ in self.handed))
            self.handed = []
        stderr = open(self.log, "ab") if self.stderr is None else self.stderr
        self.stderr = None
        self.process = subprocess.Popen(args, stderr=stderr, stdin=subprocess.DEVNULL, env=env, pass_fds=high,
                                        user=self.user)
        for fd in high:
            os.close(fd)
        if wait:
            self.wait_ready()

    def wait_ready(self):
        for _ in range(600 * PATIENCE):
            try:
                if self.get("/health")[0] == 200:
                    return
            except OSError:
                pass
            if self.process.poll() is not None:
                raise AssertionError("the daemon ended:\n" + self.read_log())
            time.sleep(0.05)
        raise AssertionError("the daemon does not answer:\n" + self.read_log())

    def wait_log(self, text):
        """Until the log says so."""
        for _ in range(600 * PATIENCE):
            if text in self.read_log():
                return
            time.sleep(0.05)
        raise AssertionError("the log never says %r:\n%s" % (text, self.read_log()))

    def read_log(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def request(self, method, path, body=None, headers=None):
        """(status, headers, bytes)"""
        c = UnixConnection(self.socket)
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        c.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
        r = c.getresponse()
        data = r.read()
        c.close()
        return r.status, dict(r.getheaders()), data

    def get(self, path):
        return self.request("GET", path)

    def post(self, path, body):
        """(status, JSON)"""
        status, _, data = self.request("POST", path, body)
        return status, json.loads(data) if data else None

    def chat(self, content, **more):
        """The JSON of a chat answer; messages or the user's words."""
        messages = content if isinstance(content, list) else [{"role": "user", "content": content}]
        status, answer = self.post("/v1/chat/completions", {"model": NAME, "temperature": 0, "messages": messages, **more})
        assert status == 200, (status, answer)
        return answer

    def text(self, content, **more):
        return self.chat(content, **more)["choices"][0]["message"]["content"]

    def stream(self, body):
        """Yields the events of a streamed answer; the connection closes when the generator does."""
        c = UnixConnection(self.socket)
        try:
            c.request("POST", "/v1/chat/completions", json.dumps({"model": NAME, "temperature": 0, "stream": True, **body}),
                      {"Content-Type": "application/json"})
            r = c.getresponse()
            assert r.status == 200, r.read()
            for line in r:
                if line.startswith(b"data: ") and line.strip() != b"data: [DONE]":
                    yield json.loads(line[6:])
        finally:
            c.close()

    def hearth(self, *args, stdin=None, timeout=120 * PATIENCE):
        """Runs the command; (exit code, stdout, stderr)."""
        p = subprocess.run([HEARTH, *args], input=stdin, capture_output=True, timeout=timeout,
                           env={**os.environ, "HEARTH_TIMEOUT": str(10 * PATIENCE), "HEARTH_SOCKET": self.socket})
        return p.returncode, p.stdout.decode(errors="replace"), p.stderr.decode(errors="replace")

    def stop(self, sig=signal.SIGTERM, timeout=60 * PATIENCE):
        self.process.send_signal(sig)
        return self.process.wait(timeout)

    def destroy(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def equal(got, want, what=""):
    assert got == want, "%s: got %r, want %r" % (what or "value", got, want)


def has(text, *parts):
    for p in parts:
        assert p in text, "%r lacks %r" % (text, p)


def run(tests):
    """Runs functions as TAP: all, or those named by -t GLOB."""
    pattern = sys.argv[sys.argv.index("-t") + 1] if "-t" in sys.argv else "*"
    chosen = [t for t in tests if fnmatch.fnmatch(t.__name__, pattern)]
    if "-l" in sys.argv:
        print("\n".join(t.__name__ for t in tests))
        return
    print("1..%d" % len(chosen), flush=True)
    failed = 0
    for n, t in enumerate(chosen, 1):
        try:
            t()
            print("ok %d - %s" % (n, t.__name__), flush=True)
        except Skip as e:
            print("ok %d - %s # SKIP %s" % (n, t.__name__, e), flush=True)
        except BaseException:
            failed += 1
            print("not ok %d - %s" % (n, t.__name__))
            for line in traceback.format_exc().splitlines():
                print("# " + line, flush=True)
    sys.exit(1 if failed else 0)
