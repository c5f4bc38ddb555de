#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What outlives the daemon where a service manager keeps its descriptors.  -l lists, -t GLOB chooses."""
import json
import os
import shutil
import signal
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "parity")]
import ggufedit
from harness import MODEL, NAME, equal, has, run
from manager import Manager

QUESTION, ANSWER = "What is 12 + 34?", "12 + 34 = 46."


def model_of(d):
    status, _, data = d.get("/hearth/v1/status")
    equal(status, 200)
    return [m for m in json.loads(data)["models"] if m["name"] == NAME][0]


def load(d):
    code, _, err = d.hearth("load", NAME)
    equal(code, 0, err)
    return model_of(d)


def weights_are_there_after_a_kill_and_after_a_stop():
    manager = Manager()
    first = manager.start()
    read = load(first)
    assert read["read"] != "resident, nothing read", read
    equal(read["resident_bytes"], 0)
    equal(first.text(QUESTION), ANSWER)
    last = first
    for sig in (signal.SIGKILL, signal.SIGTERM):
        last.stop(sig)
        manager.receive()
        assert manager.kept, "nothing was kept"
        last = manager.start(first.models)
        found = load(last)
        equal(found["read"], "resident, nothing read")
        equal(found["resident_bytes"], found["file_bytes"])
        equal(last.text(QUESTION), ANSWER)
    last.stop()
    manager.close()


def models_that_were_in_memory_are_ready_before_anybody_asks():
    manager = Manager()
    first = manager.start()
    load(first)
    first.stop(signal.SIGKILL)
    second = manager.start(first.models)
    for _ in range(200):
        if model_of(second)["state"] == "ready":
            break
        time.sleep(0.05)
    found = model_of(second)
    equal((found["state"], found["read"]), ("ready", "resident, nothing read"))
    equal(second.text(QUESTION), ANSWER)
    second.stop()
    manager.close()


def weights_of_a_file_that_changed_are_read_again():
    manager = Manager()
    first = manager.start()
    os.unlink(os.path.join(first.models, NAME + ".gguf"))
    shutil.copy(MODEL, os.path.join(first.models, NAME + ".gguf"))
    load(first)
    first.stop(signal.SIGKILL)
    os.utime(os.path.join(first.models, NAME + ".gguf"), (1, 1))
    second = manager.start(first.models)
    equal(load(second)["resident_bytes"], 0)
    equal(second.text(QUESTION), ANSWER)
    second.stop()
    manager.close()


def split(path, stem, n):
    """The model in n files; the path of the first."""
    whole = ggufedit.Model(path)
    for part in range(n):
        model = ggufedit.Model(path)
        if part:
            model.keys = {}
        model.keys["split.no"] = (ggufedit.U16, part)
        model.keys["split.count"] = (ggufedit.U16, n)
        model.keys["split.tensors.count"] = (ggufedit.I32, len(whole.tensors))
        model.tensors = whole.tensors[part * len(whole.tensors) // n:(part + 1) * len(whole.tensors) // n]
        model.write("%s-%05d-of-%05d.gguf" % (stem, part + 1, n))
    return "%s-%05d-of-%05d.gguf" % (stem, 1, n)


def only_the_parts_that_changed_of_a_split_model_are_read():
    manager = Manager()
    where = tempfile.mkdtemp(prefix="hearth-split-")
    first = split(MODEL, os.path.join(where, "demo"), 3)
    changed = first.replace("-00001-", "-00002-")
    sizes = {f: os.path.getsize(os.path.join(where, f)) for f in os.listdir(where)}

    def resident(d):
        code, _, err = d.hearth("load", first)
        equal(code, 0, err)
        equal(d.text(QUESTION, model=first), ANSWER)
        models = json.loads(d.get("/hearth/v1/status")[2])["models"]
        return [m["resident_bytes"] for m in models if m["path"] == first][0]

    d = manager.start()
    equal(resident(d), 0)
    d.stop(signal.SIGKILL)
    d = manager.start(d.models)
    equal(resident(d), sum(sizes.values()))
    d.stop(signal.SIGKILL)
    os.utime(changed, (1, 1))
    d = manager.start(d.models)
    equal(resident(d), sum(sizes.values()) - os.path.getsize(changed))
    d.stop()
    manager.close()
    shutil.rmtree(where)


def weights_that_are_unloaded_are_not_kept():
    manager = Manager()
    d = manager.start()
    load(d)
    manager.receive()
    kept = len(manager.kept)
    assert kept, "nothing was kept"
    code, _, err = d.hearth("unload", NAME)
    equal(code, 0, err)
    for _ in range(200):
        manager.receive()
        if not manager.kept:
            break
        time.sleep(0.05)
    equal(sorted(manager.kept), [])
    d.stop()
    manager.close()


def a_chat_is_not_computed_again_after_a_kill():
    words = "What is Hearth? " * 20
    manager = Manager()
    first = manager.start()
    answer = first.chat(words, max_tokens=24)
    equal(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 0)
    assert model_of(first)["is_cache_kept"], model_of(first)
    equal(model_of(first)["prefix_found_bytes"], 0)
    last = first
    for sig in (signal.SIGKILL, signal.SIGTERM):
        # the last process ends while a request holds blocks
        events = last.stream({"messages": [{"role": "user", "content": words}]})
        next(events)
        last.stop(sig)
        events.close()
        last = manager.start(first.models)
        again = last.chat(words, max_tokens=24)
        equal(again["choices"][0]["message"], answer["choices"][0]["message"])
        assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > 32, again["usage"]
        assert model_of(last)["prefix_found_bytes"] > 0, model_of(last)
    last.stop()
    manager.close()


def what_is_forgotten_while_its_model_is_not_loaded_stays_forgotten():
    words = "What is Hearth? " * 20
    manager = Manager()
    first = manager.start()
    first.chat(words, max_tokens=24)
    first.stop(signal.SIGKILL)
    empty = tempfile.mkdtemp(prefix="hearth-no-models-")
    second = manager.start(empty)
    code, says, err = second.hearth("forget")
    equal(code, 0, err)
    has(says, "forgotten: ", " of memory, 0 B on disk")
    second.stop(signal.SIGKILL)
    third = manager.start(first.models)
    again = third.chat(words, max_tokens=24)
    equal(again["usage"]["prompt_tokens_details"]["cached_tokens"], 0)
    equal(model_of(third)["read"], "resident, nothing read")
    third.stop()
    manager.close()
    os.rmdir(empty)


if __name__ == "__main__":
    run([weights_are_there_after_a_kill_and_after_a_stop, models_that_were_in_memory_are_ready_before_anybody_asks, weights_of_a_file_that_changed_are_read_again,
         only_the_parts_that_changed_of_a_split_model_are_read, weights_that_are_unloaded_are_not_kept,
         a_chat_is_not_computed_again_after_a_kill, what_is_forgotten_while_its_model_is_not_loaded_stays_forgotten])
