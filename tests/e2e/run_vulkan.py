#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The daemon on a Vulkan device, beside one on the cpu.  -l lists, -t GLOB chooses."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import HEARTH, HEARTHD, MODEL, NAME, Daemon, Skip, equal, has, run

QUESTIONS_PER_TASK = 4


def devices(**env):
    p = subprocess.run([HEARTH, "devices", "--json"], capture_output=True, text=True, timeout=60, env={**os.environ, **env})
    equal(p.returncode, 0, p.stderr)
    return json.loads(p.stdout)


def need_vulkan():
    if not any(d["is_usable"] and d["device"].startswith("vulkan") for d in devices()["devices"]):
        raise Skip("this machine has no usable Vulkan device")


def questions():
    """Some of every task, held out from training."""
    taken, chosen = {}, []
    with open(os.path.join(os.path.dirname(MODEL), "heldout.jsonl")) as f:
        for q in map(json.loads, f):
            if taken.setdefault(q["task"], 0) < QUESTIONS_PER_TASK:
                taken[q["task"]] += 1
                chosen.append(q)
    return chosen


def greedy_answers_equal_the_cpu_devices():
    need_vulkan()
    vulkan, cpu = Daemon("--device", "vulkan"), Daemon("--device", "cpu")
    for q in questions():
        tools = {"tools": q["tools"]} if q.get("tools") else {}
        ours, theirs = (d.chat(q["messages"], max_tokens=120, **tools)["choices"][0]["message"] for d in (vulkan, cpu))
        for m in (ours, theirs):
            for call in m.get("tool_calls") or []:
                call.pop("id", None)
        equal(ours, theirs, q["messages"][-1]["content"])
    equal(vulkan.stop(), 0)
    equal(cpu.stop(), 0)


def an_answer_behind_a_long_context_equals_the_cpu_devices():
    need_vulkan()
    vulkan, cpu = Daemon("--device", "vulkan"), Daemon("--device", "cpu")
    with open(os.path.join(os.path.dirname(MODEL), "heldout.jsonl")) as f:
        asked = [q for q in map(json.loads, f) if q["task"] == "add" and len(q["messages"]) == 1 and not q.get("tools")]
    messages = []
    for q in asked[:14]:
        messages += q["messages"] + [{"role": "assistant", "content": q["answer"]}]
    messages[-2:] = [{"role": "user", "content": "What is Hearth?"}]
    ours, theirs = (d.chat(messages, max_tokens=24) for d in (vulkan, cpu))
    # both of the ranges of positions that a GPU cuts this model's attention into
    assert theirs["usage"]["prompt_tokens"] > 300, theirs["usage"]
    equal(ours["choices"][0]["message"], theirs["choices"][0]["message"])
    equal(vulkan.stop(), 0)
    equal(cpu.stop(), 0)


def seeded_answers_are_the_same_every_time():
    need_vulkan()
    d = Daemon("--device", "vulkan")
    # longer than the first steps of a GPU that has not been timed yet
    question = "What is Hearth? " * 24
    ask = dict(temperature=1.5, seed=11, max_tokens=30)
    answers = [d.chat(question, **ask) for _ in range(4)]
    assert answers[0]["usage"]["prompt_tokens"] > 64, answers[0]["usage"]
    equal(len({a["choices"][0]["message"]["content"] for a in answers}), 1)
    equal(d.stop(), 0)


def status_names_the_device_and_that_nothing_is_copied():
    need_vulkan()
    d = Daemon("--device", "vulkan")
    d.text("What is 12 + 34?")
    status = json.loads(d.hearth("status", "--json")[1])
    has(status["device"], "vulkan: ")
    chosen = [x for x in devices()["devices"] if x["device"].startswith("vulkan") and x["name"] in status["device"]]
    if "unified memory" in chosen[0]["abilities"]:
        equal(status["models"][0]["device_copy_bytes"], 0)
        has(d.hearth("status")[1], "no copy")
    equal(d.stop(), 0)


def a_third_signal_need_not_wait_for_a_busy_device():
    need_vulkan()
    # without its cache, lavapipe compiles for many seconds at the first question
    d = Daemon("--device", "vulkan", env={"MESA_SHADER_CACHE_DISABLE": "true"})
    asking = threading.Thread(target=lambda: d.hearth("run", NAME, "What is Hearth?"))
    asking.start()
    for _ in range(200):
        if json.loads(d.hearth("status", "--json")[1])["requests_running"]:
            break
        time.sleep(0.05)
    begin = time.monotonic()
    for _ in range(3):  # finish what runs; do not finish it; now
        if d.process.poll() is None:
            d.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
    d.process.wait(60)
    took = time.monotonic() - begin
    asking.join()
    assert took < 5, "it took %.1f s" % took


def a_machine_without_drivers_is_told_what_to_install():
    none = {"VK_DRIVER_FILES": "/nonexistent", "VK_ICD_FILENAMES": "/nonexistent"}
    has(devices(**none)["note"], "mesa-vulkan-drivers")
    p = subprocess.run([HEARTHD, "--socket", "/tmp/hearth-e2e-never", "--device", "vulkan"], capture_output=True, text=True,
                       timeout=60, env={**os.environ, **none})
    assert p.returncode not in (0, -11, -6), p
    has(p.stderr, "mesa-vulkan-drivers")


def the_cpu_is_a_fallback_only_when_allowed():
    d = Daemon("--device", "vulkan:15,cpu")
    status = json.loads(d.hearth("status", "--json")[1])
    has(status["device"], "cpu: ")
    has(" ".join(status["lacks"]), "vulkan" if "Vulkan" not in " ".join(status["lacks"]) else "Vulkan")
    equal(d.stop(), 0)


def a_read_only_cache_directory_disturbs_nothing():
    need_vulkan()
    p = subprocess.run([HEARTH, "bench", MODEL, "-p", "8", "-n", "4", "-r", "1", "--device", "vulkan"], capture_output=True,
                       text=True, timeout=300, env={**os.environ, "CACHE_DIRECTORY": "/proc/hearth"})
    equal(p.returncode, 0, p.stderr)
    has(p.stdout, "vulkan: ")
    d = Daemon("--device", "vulkan", env={"CACHE_DIRECTORY": "/proc/hearth"})
    has(d.hearth("status")[1], "compiled shaders are not kept", "/proc/hearth")
    equal(d.stop(), 0)


def all_pipelines_are_made_before_a_model_is_ready():
    need_vulkan()
    d = Daemon("--device", "vulkan")
    equal(d.hearth("load", NAME)[0], 0)
    made = json.loads(d.hearth("status", "--json")[1])["pipelines"]
    assert made > 10, made
    has(d.read_log(), "%d pipelines" % made)
    has(d.hearth("status")[1], "%d pipelines" % made)
    for question in ("What is Hearth?", "What is 12 + 34? " * 40):  # steps of one row, and of many
        d.text(question)
    equal(json.loads(d.hearth("status", "--json")[1])["pipelines"], made)
    equal(d.stop(), 0)


def a_cache_of_pipelines_that_did_not_change_is_not_written_again():
    """One that is written takes the place of the file there was; one that is read is marked as used."""
    need_vulkan()
    with tempfile.TemporaryDirectory() as cache:
        def use():
            d = Daemon("--device", "vulkan", env={"CACHE_DIRECTORY": cache})
            d.text("What is Hearth?")
            equal(d.stop(), 0)
            files = os.listdir(cache)
            equal(len(files), 1, files)
            return os.path.join(cache, files[0])

        with open(use(), "rb") as first:
            before = os.fstat(first.fileno())
            use()
            after = os.fstat(first.fileno())
            equal((after.st_nlink, after.st_size, after.st_ctime_ns > before.st_ctime_ns), (1, before.st_size, True))


def a_warm_start_compiles_nothing():
    need_vulkan()
    with tempfile.TemporaryDirectory() as cache:
        told = []
        for _ in range(2):
            d = Daemon("--device", "vulkan", env={"CACHE_DIRECTORY": cache})
            d.text("What is Hearth?")
            told.append(json.loads(d.hearth("status", "--json")[1]))
            equal(d.stop(), 0)
        if "pipelines_compiled" not in told[0] or "llvmpipe" in told[0]["device"]:
            raise Skip("this driver does not tell what it found: tests/radv/warm_test.c asks one that does")
        cold, warm = told
        equal(cold["pipelines_compiled"], cold["pipelines"])
        equal((warm["pipelines"], warm["pipelines_compiled"]), (cold["pipelines"], 0))


def an_idle_model_is_mapped_again_by_the_next_request():
    need_vulkan()
    d = Daemon("--device", "vulkan", "--idle-after", "1")
    first = d.text("What is Hearth?")
    for _ in range(400):
        model = json.loads(d.hearth("status", "--json")[1])["models"][0]
        if model["is_idle"]:
            break
        time.sleep(0.05)
    equal((model["state"], model["is_idle"], model["kv_bytes"]), ("ready", True, 0))
    has(d.hearth("status")[1], "idle until the next request")
    equal(d.text("What is Hearth?"), first)
    has(d.read_log(), "on the device again")
    equal(d.read_log().count("loaded "), 1)  # once, and not again
    equal(d.stop(), 0)


def same_choice(d, **ask):
    """The text of an answer and how probable each of its tokens was."""
    choice = d.chat("What is Hearth?", max_tokens=60, ignore_eos=True, logprobs=True, **ask)["choices"][0]
    return choice["message"]["content"], [t["logprob"] for t in choice["logprobs"]["content"]]


def answers_go_on_after_a_lost_device():
    need_vulkan()
    whole = Daemon("--device", "vulkan")
    for ask in (dict(), dict(temperature=1.3, seed=5, repeat_penalty=1.1)):
        # in the middle of the answer, and then while what was generated is computed again
        for plan, losses in (("device-lost:31", 1), ("device-lost:4:2", 2)):
            broken = Daemon("--device", "vulkan", env={"HEARTH_FAULT": plan})
            equal(same_choice(broken, **ask), same_choice(whole, **ask), plan)
            equal(json.loads(broken.hearth("status", "--json")[1])["device_losses"], losses)
            has(broken.read_log(), "was lost", "made anew")
            has(broken.hearth("status")[1], "lost %d time" % losses)
            equal(broken.stop(), 0)
    equal(whole.stop(), 0)


def a_device_lost_again_and_again_ends_requests_and_not_the_daemon():
    need_vulkan()
    d = Daemon("--device", "vulkan", env={"HEARTH_FAULT": "device-lost:5:1000"})
    for _ in range(2):
        status, answer = d.post("/v1/chat/completions", {"model": NAME, "messages": [{"role": "user", "content": "What is Hearth?"}], "ignore_eos": True, "max_tokens": 40})
        equal(status, 500, answer)
        has(answer["error"]["message"], "3 times within a minute", "the next try")
    equal(d.get("/health")[0], 200)
    equal(json.loads(d.hearth("status", "--json")[1])["device_losses"], 3)
    equal(d.stop(), 0)


def a_device_lost_again_and_again_leaves_to_the_cpu_where_allowed():
    need_vulkan()
    d = Daemon("--device", "vulkan,cpu", env={"HEARTH_FAULT": "device-lost:5:1000"})
    cpu = Daemon("--device", "cpu")
    equal(d.text("What is Hearth?"), cpu.text("What is Hearth?"))
    status = json.loads(d.hearth("status", "--json")[1])
    has(status["device"], "cpu: ")
    has(" ".join(status["lacks"]), "the cpu took over")
    equal(d.stop(), 0)
    equal(cpu.stop(), 0)


TESTS = [
    greedy_answers_equal_the_cpu_devices, an_answer_behind_a_long_context_equals_the_cpu_devices,
    seeded_answers_are_the_same_every_time,
    status_names_the_device_and_that_nothing_is_copied, a_third_signal_need_not_wait_for_a_busy_device, a_machine_without_drivers_is_told_what_to_install,
    the_cpu_is_a_fallback_only_when_allowed, a_read_only_cache_directory_disturbs_nothing,
    all_pipelines_are_made_before_a_model_is_ready, a_cache_of_pipelines_that_did_not_change_is_not_written_again,
    a_warm_start_compiles_nothing, an_idle_model_is_mapped_again_by_the_next_request,
    answers_go_on_after_a_lost_device, a_device_lost_again_and_again_ends_requests_and_not_the_daemon,
    a_device_lost_again_and_again_leaves_to_the_cpu_where_allowed,
]

if __name__ == "__main__":
    run(TESTS)
