#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The service as installed, under a systemd of its own (tests/vm/systemd).  -t GLOB chooses.

Its socket is systemd's, its weights lie in memfds of systemd's descriptor store, and the unit's walls are all up."""
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import NAME, PATIENCE, Skip, UnixConnection, equal, has, run

SOCKET = "/run/hearth/hearth.sock"
QUESTION, ANSWER = "What is 12 + 34?", "12 + 34 = 46."


# ---- systemd ----

def systemctl(*args):
    p = subprocess.run(["systemctl", *args], capture_output=True, text=True)
    equal(p.returncode, 0, "systemctl %s: %s" % (" ".join(args), p.stderr))
    return p.stdout.strip()


def show(what):
    return systemctl("show", "hearthd.service", "--value", "-p", what)


def restart(*more):
    systemctl("reset-failed", "hearthd.service")    # five starts in ten seconds are the most, else
    systemctl("restart", *more, "hearthd.service")


def wait_for(condition, what, seconds=30):
    for _ in range(seconds * 20 * PATIENCE):
        try:
            found = condition()
            if found:
                return found
        except ConnectionResetError:
            pass                    # the process it had reached was killed
        time.sleep(0.05)
    raise AssertionError("%s does not come; the service is %s" % (what, show("SubState")))


# ---- its client ----

def exchange(method, path, body=None):
    """(status, JSON) on a connection of its own; it waits as long as the service is away."""
    c = UnixConnection(SOCKET)
    try:
        c.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"})
        r = c.getresponse()
        return r.status, json.loads(r.read())
    finally:
        c.close()


def status():
    code, answer = exchange("GET", "/hearth/v1/status")
    equal(code, 200, answer)
    return answer


def model():
    return [m for m in status()["models"] if m["name"] == NAME][0]


def ask(words=QUESTION, **more):
    code, answer = exchange("POST", "/v1/chat/completions", {
        "model": NAME, "temperature": 0, "messages": [{"role": "user", "content": words}], **more})
    equal(code, 200, answer)
    return answer


def chat():
    return ask()["choices"][0]["message"]["content"]


def load():
    """The model in memory, as status tells of it; read or not."""
    equal(chat(), ANSWER)
    return model()


def taken_up():
    """The same without anybody asking for it."""
    return wait_for(lambda: (lambda m: m if m["state"] == "ready" else None)(model()), "the model")


# ---- what is promised ----

def a_connection_starts_the_service_as_it_is_installed():
    equal(show("ActiveState"), "inactive")
    equal(exchange("GET", "/health")[0], 200)
    equal(show("ActiveState"), "active")
    found = load()
    has(found["read"], "io_uring", "direct")
    has(found["pool"], "memfd")
    assert int(show("NFileDescriptorStore")) >= 1, "systemd keeps nothing"


def weights_come_back_from_the_descriptor_store_without_a_read():
    load()
    before = show("MainPID")
    restart()
    found = taken_up()
    assert show("MainPID") != before
    equal((found["read"], found["resident_bytes"]), ("resident, nothing read", found["file_bytes"]))
    equal(chat(), ANSWER)


def slice_ns(tid=0):
    """The slice that a thread asked of the scheduler, or has; 0 before Linux 6.12."""
    attr = (ctypes.c_uint64 * 6)()
    number = {"x86_64": 315, "aarch64": 275}[os.uname().machine]    # sched_getattr
    equal(ctypes.CDLL(None).syscall(number, tid, attr, ctypes.sizeof(attr), 0), 0)
    return attr[3]


def workers_may_ask_for_short_slices():
    load()
    if not slice_ns():
        raise Skip("this kernel gives every thread slices of its own choice")
    tasks = "/proc/%s/task" % show("MainPID")
    workers = [t for t in os.listdir(tasks) if open(os.path.join(tasks, t, "comm")).read().startswith("hearth-cpu")]
    assert workers
    equal({slice_ns(int(t)) for t in workers}, {100000})


class Client(threading.Thread):
    """Asks for so many tokens, and never a second time."""

    def __init__(self, n_tokens):
        super().__init__()
        self.n_tokens, self.result = n_tokens, None
        self.start()

    def run(self):
        try:
            answer = ask("What is Hearth?", max_tokens=self.n_tokens, ignore_eos=True)
            self.result = answer["usage"]["completion_tokens"]
        except Exception as e:
            self.result = repr(e)


def no_request_is_lost_over_restarts():
    """Whether it runs, waits in the queue, is just being sent, or comes while no process listens."""
    load()
    clients, pids = [], set()
    for _ in range(3):
        pids.add(show("MainPID"))
        for _ in range(40):         # more than run at once
            clients.append(Client(100))
        wait_for(lambda: status()["requests_waiting"], "a queue")
        restart("--no-block")
        for _ in range(40):
            clients.append(Client(100))
            time.sleep(0.01)
        wait_for(lambda: show("SubState") == "running" and show("MainPID") not in pids, "the next process")
    for c in clients:
        c.join()
    equal({c.result for c in clients}, {100})
    equal(len(pids), 3)


def who_has_connected_is_answered_by_the_process_that_stops_and_who_connects_then_by_the_next():
    load()
    old = status()["pid"]
    early = UnixConnection(SOCKET)
    early.connect()
    clients = [Client(400) for _ in range(60)]      # seconds of work
    wait_for(lambda: status()["requests_waiting"], "a queue")
    restart("--no-block")
    wait_for(lambda: show("SubState") == "stop-sigterm", "the stop")
    early.request("GET", "/hearth/v1/status")
    equal(json.loads(early.getresponse().read())["pid"], old)
    early.close()
    assert status()["pid"] != old, "a process that stops has taken a connection"
    for c in clients:
        c.join()
    equal({c.result for c in clients}, {400})


def a_killed_service_comes_back_with_its_weights():
    load()
    before = show("MainPID")
    systemctl("reset-failed", "hearthd.service")
    systemctl("kill", "-s", "KILL", "hearthd.service")
    found = taken_up()
    assert show("MainPID") != before
    assert int(show("NRestarts")) >= 1
    equal(found["read"], "resident, nothing read")
    equal(chat(), ANSWER)


def weights_of_a_stopped_service_are_given_up():
    """systemd keeps them over restarts alone; the socket starts it again."""
    load()
    systemctl("stop", "hearthd.service")
    equal(show("NFileDescriptorStore"), "0")
    equal(load()["resident_bytes"], 0)


def reload_keeps_the_process_and_what_users_may_have_is_as_it_says_then():
    load()
    before = show("MainPID")
    with open("/etc/hearth/hearthd.conf") as f:
        old = f.read()
    try:
        with open("/etc/hearth/hearthd.conf", "a") as f:
            f.write("user = 0 tokens-per-minute=1\n")
        systemctl("reload", "hearthd.service")
        chat()
        wait_for(lambda: exchange("POST", "/v1/completions", {"model": NAME, "prompt": "x", "max_tokens": 1})[0] == 429, "the limit")
    finally:
        with open("/etc/hearth/hearthd.conf", "w") as f:
            f.write(old)
    systemctl("reload", "hearthd.service")
    wait_for(lambda: exchange("POST", "/v1/completions", {"model": NAME, "prompt": "x", "max_tokens": 1})[0] == 200, "its end")
    equal((show("MainPID"), show("ActiveState")), (before, "active"))
    equal(chat(), ANSWER)


if __name__ == "__main__":
    systemctl("start", "hearthd.socket")
    run([a_connection_starts_the_service_as_it_is_installed, weights_come_back_from_the_descriptor_store_without_a_read,
         workers_may_ask_for_short_slices, no_request_is_lost_over_restarts,
         who_has_connected_is_answered_by_the_process_that_stops_and_who_connects_then_by_the_next,
         a_killed_service_comes_back_with_its_weights, weights_of_a_stopped_service_are_given_up,
         reload_keeps_the_process_and_what_users_may_have_is_as_it_says_then])
