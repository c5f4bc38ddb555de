#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Models whose sequences keep more, or less, than all keys and values, served: state of fixed size, windows.  -l lists, -t GLOB chooses."""
import json
import os
import subprocess
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import HEARTH, SHARED, Daemon, Skip, equal, has, run

MKGGUF = os.path.join(SHARED, "tools", "mkgguf.py")
MODEL = "delta"
WORDS = "the quick brown fox jumps over a lazy dog, and nobody knows why it does so at all. "


def make_daemon(*args, arch="qwen35", options=("--layers", "4"), **kw):
    """Serves a generated model of random weights; greedy answers tell whether its state is right."""
    if not os.path.exists(MKGGUF):
        raise Skip("no generator of models at %s" % MKGGUF)
    d = Daemon(*args, model_dir=False, **kw)
    path = os.path.join(d.models, MODEL + ".gguf")
    p = subprocess.run([sys.executable, MKGGUF, arch, path, *options, "--embd", "128", "--ff", "160", "--heads", "4",
                        "--kv-heads", "2", "--head-dim", "32", "--vocab-size", "523", "--type", "f16"],
                       capture_output=True, text=True)
    if p.returncode:
        raise Skip("the generator of models does not work: %s" % p.stderr[-300:])
    return d


def complete(d, prompt, **more):
    status, answer = d.post("/v1/completions", {"model": MODEL, "prompt": prompt, "temperature": 0, "max_tokens": 24,
                                                "ignore_eos": True, "logprobs": 1, **more})
    assert status == 200, (status, answer)
    choice, usage = answer["choices"][0], answer["usage"]
    return (choice["text"], choice["logprobs"]["token_logprobs"]), usage


def complete_at_once(d, prompts, **more):
    """What complete() gives for each, asked for side by side; None where that failed."""
    got = [None] * len(prompts)

    def ask(i):
        got[i] = complete(d, prompts[i], **more)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(prompts))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return got


def same_answer(got, want, what):
    """The same tokens, as likely: products of a token among few others are summed in another order than of one alone."""
    equal(got[0], want[0], what)
    equal(len(got[1]), len(want[1]), what)
    for a, b in zip(got[1], want[1]):
        assert abs(a - b) < 1e-4, (what, a, b)


def cached(usage):
    return usage["prompt_tokens_details"]["cached_tokens"]


def prompt_of(i, n=3):
    """Prompts that differ from their first word on."""
    return "%d %s" % (i, WORDS * n)


def need_vulkan():
    p = subprocess.run([HEARTH, "devices", "--json"], capture_output=True, text=True, timeout=60)
    if not any(d["is_usable"] and d["device"].startswith("vulkan") for d in json.loads(p.stdout)["devices"]):
        raise Skip("this machine has no usable Vulkan device")


def check_prefixes(device):
    d = make_daemon("--device", device)
    first, usage = complete(d, prompt_of(1))
    equal(cached(usage), 0)
    again, usage = complete(d, prompt_of(1))
    equal(again, first)
    n = usage["prompt_tokens"]
    equal(cached(usage), (n - 2) // 32 * 32)
    # the second that shares a part finds keys and values, but no state; the third finds what it left
    words = prompt_of(1)[:len(prompt_of(1)) // 2]
    alone, usage = complete(d, words + "what now? " * 20)
    equal(cached(usage), 0)
    again, usage = complete(d, words + "what else? " * 20)
    assert cached(usage) >= 32, usage
    d.stop()
    e = make_daemon("--device", device, "--prefix-percent", "0")
    equal(complete(e, prompt_of(1))[0], first)
    equal(complete(e, words + "what now? " * 20)[0], alone)
    other, usage = complete(e, words + "what else? " * 20)
    equal(other, again)
    equal(cached(usage), 0)
    e.stop()


def a_prompt_seen_before_is_taken_up_where_its_state_was_kept():
    check_prefixes("cpu")


def a_gpu_keeps_states_as_the_cpu_does():
    need_vulkan()
    check_prefixes("vulkan")


def after_a_lost_device_answers_are_as_they_were():
    need_vulkan()
    d = make_daemon("--device", "vulkan")
    alone = [complete(d, prompt_of(i))[0] for i in range(2)]
    d.stop()
    # while the state is copied, at the step after it, and in the middle of the answer
    for n in (2, 3, 12):
        d = make_daemon("--device", "vulkan", env={"HEARTH_FAULT": "device-lost:%d" % n})
        for i in range(2):
            equal(complete(d, prompt_of(i))[0], alone[i], "answer %d, lost at %d" % (i, n))
        again, usage = complete(d, prompt_of(1))
        equal(again, alone[1])
        assert cached(usage) > 0, usage
        equal(json.loads(d.hearth("status", "--json")[1])["device_losses"], 1)
        d.stop()


def more_at_once_than_slots_answer_as_each_alone():
    n = 40
    d = make_daemon()
    alone = [complete(d, prompt_of(i))[0] for i in range(n)]
    d.stop()
    d = make_daemon()
    got = complete_at_once(d, [prompt_of(i) for i in range(n)])
    for i in range(n):
        equal(got[i] and got[i][0][0], alone[i][0], "answer %d" % i)
    d.stop()


def whoever_lost_its_slot_and_blocks_goes_on_as_before():
    n, more = 6, {"max_tokens": 120}
    d = make_daemon()
    alone = [complete(d, prompt_of(i), **more)[0] for i in range(n)]
    d.stop()
    # one context of 320 tokens for six answers that come to more than half of it each
    d = make_daemon("--context", "320", "--kv-bytes", "1")
    got = complete_at_once(d, [prompt_of(i) for i in range(n)], **more)
    for i in range(n):
        equal(got[i] and got[i][0][0], alone[i][0], "answer %d" % i)
    d.stop()


def windows_keep_what_a_prompt_goes_on_from():
    d = make_daemon("--device", "cpu", arch="gemma3", options=("--layers", "6", "--window", "37"))
    long = prompt_of(1, 40)
    first, usage = complete(d, long)
    assert usage["prompt_tokens"] > 700, usage      # more than the windowed layers have room for
    again, more = complete(d, long)
    equal(again, first)
    assert cached(more) > usage["prompt_tokens"] - 66, more
    alone = [complete(d, prompt_of(i, 12))[0] for i in range(2, 8)]
    got = complete_at_once(d, [prompt_of(i + 2, 12) for i in range(6)])
    for i in range(6):
        assert got[i], "answer %d" % i
        same_answer(got[i][0], alone[i], "answer %d" % i)
    # a step of its own, far past the window
    p = subprocess.run([HEARTH, "bench", "--device", "cpu", "-p", "1024", "-n", "16", "-d", "700", "-r", "1",
                        os.path.join(d.models, MODEL + ".gguf")], capture_output=True, text=True, timeout=120)
    equal((p.returncode, p.stderr), (0, ""))
    d.stop()


def restarted_with(d):
    """What the daemon ended with is all that the next one has: its files on disk."""
    equal(d.stop(), 0)
    d.start()


def a_state_does_not_go_to_disk_and_the_log_says_so():
    d = make_daemon("--device", "cpu")
    d.args += ["--kv-disk", os.path.join(d.dir, "kv")]
    restarted_with(d)
    first, _ = complete(d, prompt_of(1))
    has(d.read_log(), "its conversations do not go to disk: a state of fixed size goes with its keys and values")
    restarted_with(d)
    again, usage = complete(d, prompt_of(1))
    equal((again, cached(usage)), (first, 0))
    equal(os.listdir(os.path.join(d.dir, "kv")), [])
    d.stop()


def windows_come_back_from_disk():
    d = make_daemon("--device", "cpu", arch="gemma3", options=("--layers", "6", "--window", "37"))
    d.args += ["--kv-disk", os.path.join(d.dir, "kv")]
    restarted_with(d)
    first, usage = complete(d, prompt_of(1, 6))
    equal(cached(usage), 0)
    restarted_with(d)
    again, usage = complete(d, prompt_of(1, 6))
    equal(again, first)
    assert cached(usage) >= 96, usage
    d.stop()


run([a_prompt_seen_before_is_taken_up_where_its_state_was_kept, more_at_once_than_slots_answer_as_each_alone,
     whoever_lost_its_slot_and_blocks_goes_on_as_before, a_gpu_keeps_states_as_the_cpu_does,
     after_a_lost_device_answers_are_as_they_were, windows_keep_what_a_prompt_goes_on_from,
     a_state_does_not_go_to_disk_and_the_log_says_so, windows_come_back_from_disk])
