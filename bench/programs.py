# SPDX-License-Identifier: MIT
"""The two programs that are measured, as one sees them from outside: start() returns at once."""
import glob
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "e2e"))
import common                               # noqa: E402
from harness import UnixConnection          # noqa: E402
from manager import Manager                 # noqa: E402

DEVICE = os.environ.get("DEVICE", "cpu")
PROMPT = "Hi"      # what a prompt costs is another measurement
WAIT_S = 600


class Hearth:
    def __init__(self, model, *options):
        self.model, self.options = model, options
        self.name = " ".join(["hearth", *options])
        self.manager = Manager()
        self.models = tempfile.mkdtemp(prefix="hearth-models-")
        os.symlink(model, os.path.join(self.models, os.path.basename(model)))
        self.daemon = None

    def start(self):
        self.daemon = self.manager.start(self.models, ["--device", DEVICE, *self.options], wait=False)

    def connect(self):
        c = UnixConnection(self.daemon.socket, timeout=WAIT_S)
        c.connect()
        return c

    def request(self, n_tokens):
        return {"model": os.path.basename(self.model)[:-5], "prompt": PROMPT, "max_tokens": n_tokens, "temperature": 0,
                "stream": True, "ignore_eos": True}

    def pids(self):
        return [self.daemon.process.pid]

    def status(self):
        return json.loads(self.daemon.get("/hearth/v1/status")[2])["models"][0]

    def stop(self, sig=signal.SIGTERM):
        self.daemon.process.send_signal(sig)
        self.daemon.process.wait()
        self.manager.receive()

    def forget(self):
        """A new life: nothing is left of this one."""
        for fd in self.manager.kept.values():
            os.close(fd)
        self.manager.kept.clear()

    def close(self):
        self.forget()
        self.manager.close()
        shutil.rmtree(self.models)


class Peer:
    name = "llama.cpp"

    def __init__(self, model, port=19931, *options):
        self.model, self.port = model, port
        self.options = options or ("-c", "2048")

    def start(self):
        # the peer leaves out a Vulkan device that is a CPU (lavapipe) unless it is named
        device = ["-dev", "none"] if DEVICE.startswith("cpu") else ["-dev", "Vulkan0", "-ngl", "99"]
        named = {} if DEVICE.startswith("cpu") else {"GGML_VK_VISIBLE_DEVICES": "0"}
        self.process = subprocess.Popen([common.PEER, "llama-server", *device, "-t", str(os.cpu_count()), "-m", self.model, "--host", "127.0.0.1",
                                         "--port", str(self.port), *self.options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        env={**os.environ, "GOMP_SPINCOUNT": "0", "OMP_WAIT_POLICY": "passive", **named})

    def connect(self):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        c.connect()
        return c

    def request(self, n_tokens):
        return {"prompt": PROMPT, "max_tokens": n_tokens, "temperature": 0, "stream": True, "ignore_eos": True}

    def pids(self):
        """The process itself, and what the chroot's wrappers became."""
        pids = [self.process.pid]
        for pid in pids:
            for path in glob.glob("/proc/%d/task/*/children" % pid):
                with open(path) as f:
                    pids += [int(p) for p in f.read().split()]
        return pids

    def stop(self, sig=signal.SIGTERM):
        for pid in reversed(self.pids()):
            os.kill(pid, sig)
        self.process.wait()

    def forget(self):
        pass

    def close(self):
        pass


def first_token(side, n_tokens=1):
    """Asks until there is an answer and reads it to its end; when its first token came, by time.monotonic()."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            c = side.connect()
            c.request("POST", "/v1/completions", json.dumps(side.request(n_tokens)), {"Content-Type": "application/json"})
            r = c.getresponse()
            if r.status == 200:
                break
            body = r.read()
            if r.status != 503:
                raise SystemExit("bench: %s answers %d: %s" % (side.name, r.status, body[:200]))
        except (OSError, http.client.HTTPException):
            pass
        if time.monotonic() > deadline:
            raise SystemExit("bench: %s does not answer" % side.name)
        time.sleep(0.005)
    at = None
    for line in r:
        if line.startswith(b"data:") and not at:
            at = time.monotonic()
    c.close()
    return at
