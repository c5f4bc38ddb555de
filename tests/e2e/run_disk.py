#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Conversations on disk: what comes back when the memory is lost, and to whom.  -l lists, -t GLOB chooses."""
import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__))]
from harness import MODEL, NAME, Daemon, Skip, equal, has, run

BLOCK = 32
# a prompt of several blocks
WORDS = "What is 12 + 34? Remember " + ", ".join("apple %d" % i for i in range(15)) + "."
SHARED_PROMPT = "You answer briefly. " * 12


class Place:
    """A directory for conversations that outlives daemons, and what is left of them at the end."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="hearth-kv-disk-")
        self.kv = os.path.join(self.dir, "kv")

    def start(self, *args):
        return Daemon("--device", "cpu", "--kv-disk", self.kv, *args)

    def ask_once(self, *args, **more):
        """What a daemon of its own answers, and ends."""
        d = self.start(*args)
        answer = ask(d, **more)
        equal(d.stop(), 0)
        return answer

    def files(self):
        return sorted(os.path.join(at, f) for at, _, names in os.walk(self.kv) for f in names)

    def close(self):
        shutil.rmtree(self.dir)


def ask(d, words=WORDS, **more):
    """(what the answer says with its logprobs, tokens of the prompt that were not computed)"""
    answer = d.chat(words, max_tokens=20, logprobs=True, top_logprobs=5, **more)
    return answer["choices"], answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def figure(d, name):
    for line in d.get("/metrics")[2].decode().splitlines():
        if line.startswith("hearth_%s " % name):
            return int(float(line.split()[1]))
    raise AssertionError("no figure is called %s" % name)


def wait_for(d, name, at_least):
    for _ in range(600):
        if figure(d, name) >= at_least:
            return
        time.sleep(0.02)
    raise AssertionError("%s stays at %d" % (name, figure(d, name)))


def an_answer_after_the_memory_was_lost_is_the_same_to_the_digit():
    for kv_type in ("f16", "q8_0"):
        place = Place()
        d = place.start("--kv-type", kv_type)
        first, cached = ask(d)
        equal(cached, 0)
        wait_for(d, "kv_disk_blocks", 5)
        d.stop(signal.SIGKILL)
        d = place.start("--kv-type", kv_type)
        again, cached = ask(d)
        equal(cached, 5 * BLOCK)
        equal(again, first)
        equal(figure(d, "prompts_restored_total"), 1)
        equal(figure(d, "prompt_tokens_restored_total"), 5 * BLOCK)
        equal(figure(d, "kv_disk_read_blocks_total"), 5)
        equal(figure(d, "kv_disk_damaged_blocks_total"), 0)
        # what is in memory is not read again
        equal(ask(d), (first, 5 * BLOCK))
        equal(figure(d, "kv_disk_read_blocks_total"), 5)
        d.stop()
        place.close()


def what_was_just_said_is_written_before_the_daemon_ends():
    place = Place()
    place.ask_once()
    equal(len(place.files()), 5)
    for path in place.files():
        equal(os.stat(path).st_mode & 0o777, 0o600, path)
    equal(os.stat(place.kv).st_mode & 0o777, 0o700)
    place.close()


def nothing_goes_to_disk_unless_it_is_asked_for():
    for more in ((), ("--kv-disk", "off")):
        d = Daemon("--device", "cpu", *more)
        ask(d)
        assert "kv_disk" not in d.get("/metrics")[2].decode()
        d.stop()


def as_nobody(d, call):
    """What the call returns in a process of another user."""
    read, write = os.pipe()
    os.chmod(d.dir, 0o711)
    pid = os.fork()
    if not pid:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        os.write(write, json.dumps(call()).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as f:
        said = f.read()
    equal(os.waitpid(pid, 0)[1], 0)
    return json.loads(said)


def need_root():
    if os.geteuid():
        raise Skip("only root can ask as another user")


def another_user_is_served_nothing_of_it():
    need_root()
    place = Place()
    d = place.start("--socket-mode", "0666")
    first, _ = ask(d)
    wait_for(d, "kv_disk_blocks", 5)
    d.stop(signal.SIGKILL)
    d = place.start("--socket-mode", "0666")
    again, cached = as_nobody(d, lambda: ask(d))
    equal((again, cached), (first, 0))
    equal(figure(d, "prompts_restored_total"), 0)
    d.stop()
    place.close()


def a_shared_prompt_comes_back_for_everybody():
    need_root()
    place = Place()
    text = os.path.join(place.dir, "prompt")
    with open(text, "w") as f:
        f.write(SHARED_PROMPT)
    messages = [{"role": "system", "content": SHARED_PROMPT}, {"role": "user", "content": "What is 12 + 34?"}]
    first, _ = place.ask_once("--shared-prompt", text, words=messages)
    d = place.start("--socket-mode", "0666", "--shared-prompt", text)
    again, cached = as_nobody(d, lambda: ask(d, messages))
    equal(again, first)
    assert cached >= BLOCK, cached
    equal(figure(d, "prompt_tokens_restored_total"), cached)
    d.stop()
    place.close()


def what_is_damaged_is_computed():
    place = Place()
    first, _ = place.ask_once()
    for path in place.files():
        with open(path, "r+b") as f:
            f.seek(1000)
            f.write(b"damage")
    d = place.start()
    equal(ask(d), (first, 0))
    # of four that are asked for at a time
    assert 1 <= figure(d, "kv_disk_damaged_blocks_total") <= 4
    d.stop()
    place.close()


def start_with(place, model):
    """A daemon that has this file under the name of the demo model."""
    d = Daemon("--device", "cpu", "--kv-disk", place.kv, model_dir=False, wait=False)
    os.symlink(model, os.path.join(d.models, NAME + ".gguf"))
    d.wait_ready()
    return d


def another_models_file_is_of_no_use():
    place = Place()
    first, _ = place.ask_once()
    equal(place.ask_once("--context", "256", "--kv-bytes", "4M")[1], 5 * BLOCK)  # which does not matter
    d = start_with(place, shutil.copy(MODEL, place.dir))
    equal(ask(d), (first, 0))
    d.stop()
    place.close()


def mount_tmpfs(path, options="mode=0700"):
    """A file system of its own there, until atexit."""
    need_root()
    os.makedirs(path, mode=0o700, exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", path], capture_output=True).returncode:
        raise Skip("no file system can be mounted here")
    atexit.register(subprocess.run, ["umount", path], capture_output=True)


def the_number_of_the_file_system_does_not_matter():
    """Btrfs and others have another one after each start of the machine; inode and times stay."""
    place = Place()
    models = []
    for name in ("before", "after"):
        mount_tmpfs(os.path.join(place.dir, name))
        models.append(shutil.copy2(MODEL, os.path.join(place.dir, name)))
    before, after = map(os.stat, models)
    if before.st_ino != after.st_ino or before.st_dev == after.st_dev:
        raise Skip("file systems give out inodes otherwise here")
    d = start_with(place, models[0])
    first, _ = ask(d)
    d.stop()
    d = start_with(place, models[1])
    equal(ask(d), (first, 5 * BLOCK))
    d.stop()
    for path in models:
        subprocess.run(["umount", os.path.dirname(path)], check=True)
    place.close()


def a_drive_that_is_full_costs_hits_and_nothing_else():
    place = Place()
    mount_tmpfs(place.kv, "size=128k,mode=0700")
    try:
        d = place.start()
        first, _ = ask(d)
        wait_for(d, "kv_disk_failed_writes_total", 1)
        has(d.read_log(), "conversations cannot be written there: No space left on device")
        has(d.hearth("status")[1], "nothing can be written there now: No space left on device")
        equal(ask(d)[0], first)
        d.stop(signal.SIGKILL)
        d = place.start()
        again, cached = ask(d)
        equal(again, first)
        assert 0 < cached < 5 * BLOCK, cached
        d.stop()
        # what lies there is still of use where nothing can be written at all
        subprocess.run(["mount", "-o", "remount,ro", place.kv], check=True)
        d = place.start()
        equal(ask(d), (first, cached))
        d.wait_log("conversations cannot be written there: Read-only file system")
        d.stop()
    finally:
        subprocess.run(["umount", place.kv], check=True)
    place.close()


def a_directory_that_cannot_be_used_is_told_and_answers_go_on():
    place = Place()
    os.mkdir(place.kv, 0o755)
    os.chmod(place.kv, 0o755)
    d = place.start()
    ask(d)
    says = "must be the service's alone"
    has(d.read_log(), says)
    has(" ".join(json.loads(d.get("/hearth/v1/status")[2])["lacks"]), says)
    d.stop()
    place.close()


def what_a_user_has_forgotten_is_gone_from_memory_and_disk():
    place = Place()
    d = place.start()
    first, _ = ask(d)
    wait_for(d, "kv_disk_blocks", 5)
    disk = json.loads(d.get("/hearth/v1/status")[2])["kv_disk"]
    equal((disk["own_bytes"], disk["bytes"]), (sum(os.stat(f).st_size for f in place.files()),) * 2)
    code, says, _ = d.hearth("status")
    has(says, "are yours (hearth forget)")
    code, says, err = d.hearth("forget", "--user", "12345")
    equal((code, says), (0, "nothing was kept\n"), err)
    equal(figure(d, "kv_disk_blocks"), 5)
    code, says, err = d.hearth("forget")
    equal(code, 0, err)
    has(says, "forgotten: ", " of memory, ", " on disk")
    assert ": 0 B" not in says and " 0 B on" not in says, says
    for _ in range(600):
        if not place.files() and not json.loads(d.get("/hearth/v1/models")[2])["models"][0]["prefix_bytes"]:
            break
        time.sleep(0.02)
    equal(place.files(), [])
    equal(ask(d), (first, 0))
    d.stop()
    place.close()


def no_more_lies_there_than_the_limit():
    place = Place()
    d = place.start("--kv-disk-bytes", "150000")
    for i in range(6):
        ask(d, "%d and then: %s" % (i, WORDS))
    d.stop()
    assert 0 < sum(os.stat(f).st_size for f in place.files()) <= 150000, place.files()
    place.close()


if __name__ == "__main__":
    run([an_answer_after_the_memory_was_lost_is_the_same_to_the_digit, what_was_just_said_is_written_before_the_daemon_ends,
         nothing_goes_to_disk_unless_it_is_asked_for, another_user_is_served_nothing_of_it, a_shared_prompt_comes_back_for_everybody,
         what_is_damaged_is_computed, another_models_file_is_of_no_use, the_number_of_the_file_system_does_not_matter,
         a_drive_that_is_full_costs_hits_and_nothing_else,
         a_directory_that_cannot_be_used_is_told_and_answers_go_on, what_a_user_has_forgotten_is_gone_from_memory_and_disk,
         no_more_lies_there_than_the_limit])
