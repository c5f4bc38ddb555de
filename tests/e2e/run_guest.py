#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The daemon on the kernel module, in a guest of its own (tests/vm/run -s daemon).  -l lists, -t GLOB chooses, --quick
leaves out what an emulated GPU makes long.

Models lie on an NVMe drive of which the reads are counted. lavapipe stands for a GPU that maps dma-bufs, with a preloaded
function that lets it map sealed ones."""
import ctypes
import errno
import json
import mmap
import os
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import BUILD, HEARTH, Daemon, equal, has, run

MODELS, FAULTY = "/data/models", "/data/faulty"
SIZES = {os.path.splitext(name)[0]: os.path.getsize(os.path.join(d, name)) for d in (MODELS, FAULTY) for name in os.listdir(d)}
GPU = {"LD_PRELOAD": os.path.join(BUILD, "tests/vm/libreadonly_dmabuf.so")}
QUESTIONS = "What is Hearth?", "What is 12 + 34?"
MIB = 1 << 20
# What may be read of a model that is resident: where its header is (the first MiB, and what the kernel reads ahead), and
# what the file system knows of it.
LITTLE = 2 * MIB


# ---- the machine ----

def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def data_disk():
    return re.search(r"/dev/(\S+) /data ", open("/proc/mounts").read())[1]


def bytes_read():
    """Of the drive with the models, ever."""
    return int(open("/sys/class/block/%s/stat" % data_disk()).read().split()[2]) * 512


def forget_files():
    """What the page cache knows of any file."""
    os.sync()
    write("/proc/sys/vm/drop_caches", "1")


def cached_bytes(path):
    """Of a file, in the page cache."""
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    size = os.path.getsize(path)
    fd = os.open(path, os.O_RDONLY)
    address = libc.mmap(None, ctypes.c_size_t(size), mmap.PROT_READ, mmap.MAP_SHARED, fd, ctypes.c_long(0))
    os.close(fd)
    pages = (ctypes.c_ubyte * -(-size // 4096))()
    equal(libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), pages), 0)
    libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(size))
    return 4096 * sum(p & 1 for p in pages)


class Pool:
    """A line of the module's debugfs file."""

    def __init__(self, line):
        words = line.split()
        self.line, self.id, self.bytes, self.there = line, int(words[0]), int(words[3]), int(words[4])
        self.state, *self.flags = words[5].split(",")
        self.mappings, self.dmabufs = (int(words[words.index(w) + 1].split("/")[1]) for w in ("maps", "dmabufs"))

    def __repr__(self):
        return self.line


def pools():
    with open("/sys/kernel/debug/hearth/pools") as f:
        return [Pool(line) for line in f.read().splitlines()]


def images(model):
    """The pools that have the size of a model's and are not evicted."""
    whole = -(-SIZES[model] // (2 * MIB)) * 2 * MIB
    return [p for p in pools() if p.bytes == whole and p.state != "evicted"]


def image(model):
    found = images(model)
    equal(len(found), 1, "pools of the size of %s in %r" % (model, pools()))
    return found[0]


def wait_for(condition, what, seconds=60):
    for _ in range(seconds * 10):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("%s: pools %r" % (what, pools()))


def forget_models():
    """Has the kernel take all idle pools."""
    for _ in range(20):
        if not any(p.state != "evicted" for p in pools()):
            return
        write("/proc/sys/vm/drop_caches", "2")
    raise AssertionError("pools stay: %r" % pools())


LIBC = ctypes.CDLL(None, use_errno=True)
NONBLOCK = ctypes.c_uint(os.O_NONBLOCK)


def unload_module(name):
    """0 or an errno."""
    return 0 if LIBC.syscall(176, name.encode(), NONBLOCK) == 0 else ctypes.get_errno()


def load_module(name):
    fd = os.open("/modules/%s.ko" % name, os.O_RDONLY)
    equal(LIBC.syscall(313, fd, b"", 0), 0, "loading %s: %s" % (name, os.strerror(ctypes.get_errno())))
    os.close(fd)
    wait_for(lambda: os.path.exists("/dev/hearth"), "no /dev/hearth")
    os.chmod("/dev/hearth", 0o666)


# ---- the daemon ----

def start(*args, device="cpu", env=None, **more):
    return Daemon("--device", device, "--model-dir", MODELS, *args, model_dir=False, env=env, **more)


_gpu = None


def gpu():
    """One daemon on Vulkan for all tests that can share it: starting one takes most of a minute."""
    global _gpu
    if _gpu is None:
        _gpu = start(device="vulkan", env=GPU)
    return _gpu


def stop_gpu():
    global _gpu
    if _gpu is not None:
        equal(_gpu.stop(), 0)
    _gpu = None


def ask(d, model="first"):
    return [d.text(q, model=model, max_tokens=24) for q in QUESTIONS]


def model(d, name):
    return [m for m in json.loads(d.get("/hearth/v1/models")[2])["models"] if m["name"] == name][0]


def status(d):
    code, out, err = d.hearth("status")
    equal(code, 0, err)
    print("".join("# | %s\n" % line for line in out.splitlines()), end="", flush=True)
    return out


_expected = []


def expected(cpu=None):
    """The cpu device's answers, of a daemon that may run already."""
    if not _expected:
        d = cpu or start()
        _expected.extend(ask(d))
        if not cpu:
            equal(d.stop(), 0)
        has(_expected[1], "46")
    return _expected


# ---- promises ----

def available_bytes():
    with open("/proc/meminfo") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("MemAvailable:")) << 10


def pooled_bytes():
    return sum(p.bytes for p in pools() if p.state != "evicted")


def private_bytes(d):
    return json.loads(d.get("/hearth/v1/status")[2])["memory"]["private_bytes"]


def load_read_once(make):
    """The daemon that make() gives, and the pool of the model that it loads: it lies nowhere else."""
    forget_models()
    d = make()
    forget_files()
    before, private, available, pooled = bytes_read(), private_bytes(d), available_bytes(), pooled_bytes()
    equal(d.hearth("load", "first")[0], 0)
    read, private = bytes_read() - before, private_bytes(d) - private
    taken, pooled = available - available_bytes(), pooled_bytes() - pooled
    print("# %d bytes were read of %d; pools grew by %d, the daemon's own memory by %d, MemAvailable shrank by %d" % (
        read, SIZES["first"], pooled, private, taken))
    # a second copy of the weights would show in both
    assert private < SIZES["first"] / 2, private
    assert taken < pooled + SIZES["first"] / 2, (taken, pooled)     # less, where something else was given back
    assert SIZES["first"] <= read < SIZES["first"] + LITTLE, read
    cached = cached_bytes(os.path.join(MODELS, "first.gguf"))
    assert cached < LITTLE, "%d bytes lie in the page cache" % cached
    pool = image("first")
    equal((pool.state, "named" in pool.flags, "idle" in pool.flags), ("sealed", True, False), pool)
    has(pool.line, "order9 %d" % pool.bytes)
    return d, pool


def a_load_reads_the_file_once_and_keeps_nothing_else_of_it():
    d, _ = load_read_once(start)
    equal(d.stop(), 0)


def a_load_for_a_gpu_is_read_once_and_is_the_gpus_as_it_lies():
    def compiled_gpu():
        """One whose driver has compiled what the model needs, which llvmpipe does in the daemon's own memory."""
        d = gpu()
        equal([d.hearth(what, "first")[0] for what in ("load", "unload")], [0, 0])
        forget_models()
        return d

    _, pool = load_read_once(compiled_gpu)
    assert pool.dmabufs >= 1, pool


def vulkan_answers_what_the_cpu_device_answers():
    d = gpu()
    equal(ask(d), expected())
    has(status(d), "pools of the kernel module", "no copy")


def a_killed_daemon_leaves_the_model_where_the_next_one_finds_it():
    d = gpu()
    equal(ask(d), expected())
    pool = image("first")
    d.stop(signal.SIGKILL)
    equal((image("first").id, image("first").dmabufs), (pool.id, 0))
    forget_files()
    before, begin = bytes_read(), time.monotonic()
    d.start()
    equal(ask(d), expected())
    read = bytes_read() - before
    print("# %d bytes were read; %.1f s to two answers" % (read, time.monotonic() - begin))
    assert read < LITTLE, read
    equal(image("first").id, pool.id)
    assert image("first").dmabufs >= 1, pools()
    has(status(d), "no copy")


def a_killed_daemon_on_the_cpu_leaves_the_model_too():
    d = start()
    expected(d)
    equal(d.hearth("load", "first")[0], 0)      # if that was of an earlier one
    pool = image("first")
    d.stop(signal.SIGKILL)
    equal(image("first").id, pool.id)
    forget_files()
    before = bytes_read()
    d.start()
    wait_for(lambda: model(d, "first")["state"] == "ready", "nobody asks, and the model is not there")
    equal(model(d, "first")["read"], "resident, nothing read")
    equal(ask(d), expected())
    read = bytes_read() - before
    print("# %d bytes were read" % read)
    assert read < LITTLE, read
    equal(image("first").id, pool.id)
    has(status(d), "resident, nothing read")
    equal(d.stop(), 0)


def check_pressure(d):
    equal(ask(d), expected())
    equal(d.hearth("load", "second")[0], 0)
    equal(d.hearth("unload", "second")[0], 0)
    wait_for(lambda: "idle" in image("second").flags, "the unloaded model is not idle")
    first, begin = image("first"), time.monotonic()
    equal(subprocess.run([sys.executable, "-c", HOG]).returncode, 0, "taking memory until a pool is evicted")
    print("# %.1f s until it was evicted" % (time.monotonic() - begin))
    equal(images("second"), [])
    equal((image("first").id, image("first").state), (first.id, "sealed"))
    before = bytes_read()
    equal(ask(d), expected())
    assert bytes_read() - before < LITTLE, "the model in use was read again"
    equal(d.hearth("load", "second")[0], 0)
    assert bytes_read() - before >= SIZES["second"], "where does the evicted model come from?"


def memory_pressure_takes_the_idle_model_and_spares_the_one_in_use():
    check_pressure(gpu())


def memory_pressure_spares_the_model_that_the_cpu_device_uses():
    d = start()
    check_pressure(d)
    equal(d.stop(), 0)


# Takes memory until the kernel has taken all idle pools: the model's, and its cache, which goes first. Is itself the first to
# go when no memory is left.
HOG = """
import mmap
POPULATE_WRITE = 23
open("/proc/self/oom_score_adj", "w").write("1000")
taken = []
while any(",idle" in pool and "evicted" not in pool for pool in open("/sys/kernel/debug/hearth/pools")):
    taken.append(mmap.mmap(-1, 8 << 20))
    taken[-1].madvise(mmap.MADV_HUGEPAGE)       # quicker had
    taken[-1].madvise(POPULATE_WRITE)
"""


def a_driver_that_maps_no_sealed_dmabuf_gets_the_pools_address():
    stop_gpu()
    d = start(device="vulkan")
    equal(ask(d), expected())
    has(status(d), "no copy")
    pool = image("first")
    equal((pool.state, pool.dmabufs), ("sealed", 0), pool)
    assert pool.mappings >= 1, pool
    equal(d.stop(), 0)


# ---- faults ----

def a_bad_sector_is_told_and_leaves_nothing():
    d = start("--model-dir", FAULTY)
    equal(ask(d), expected())
    code, _, err = d.hearth("load", "bad")
    assert code != 0
    has(err, "bad.gguf")
    print("# " + err.strip())
    equal(images("bad"), [])
    equal(ask(d), expected())
    equal(d.stop(), 0)


def a_truncated_model_is_told_and_leaves_nothing():
    d = start("--model-dir", FAULTY)
    code, _, err = d.hearth("load", "truncated")
    assert code != 0
    has(err, "truncated.gguf")
    print("# " + err.strip())
    equal(images("truncated"), [])
    equal(d.stop(), 0)


def a_file_that_changes_while_it_is_read_is_told_and_leaves_nothing():
    d = start("--model-dir", FAULTY)
    loading = subprocess.Popen([HEARTH, "load", "changing"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "HEARTH_SOCKET": d.socket})
    wait_for(lambda: images("changing"), "nothing is loaded")
    with open(os.path.join(FAULTY, "changing.gguf"), "r+b") as f:
        f.seek(-8, os.SEEK_END)
        f.write(b"changed!")
    _, err = loading.communicate()
    assert loading.returncode != 0
    print("# " + err.strip())
    has(err, "changing.gguf", "chang")
    equal(images("changing"), [])
    equal(ask(d), expected())
    equal(d.stop(), 0)


def a_module_in_use_stays_and_one_that_went_is_told():
    stop_gpu()
    d = start()
    equal(ask(d), expected())
    equal(unload_module("edu_import"), 0)
    equal(unload_module("hearth"), errno.EAGAIN)
    equal(d.hearth("unload", "first")[0], 0)
    wait_for(lambda: unload_module("hearth") == 0, "the module stays")
    code, _, err = d.hearth("load", "first")
    assert code != 0
    print("# " + err.strip())
    has(err, "/dev/hearth", "modprobe hearth")
    load_module("hearth")
    equal(ask(d), expected())
    equal(d.stop(), 0)


def sigterm_at_any_moment_of_a_load_leaves_no_part_of_a_model():
    forget_models()
    for delay in 0, 0.2, 0.5, 0.8, 1.1, 1.4:
        d = start("--drain-seconds", "0")
        loading = subprocess.Popen([HEARTH, "load", "second"], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, env={**os.environ, "HEARTH_SOCKET": d.socket})
        time.sleep(delay)
        equal(d.stop(), 0, "after %s s" % delay)
        _, said = loading.communicate(timeout=60)
        said = said.decode(errors="replace")
        # done by then, told, or too late to be heard at all
        assert loading.returncode == 0 or "the service is stopping" in said or loading.returncode == 3, (delay, said)
        assert all(p.state == "sealed" for p in images("second")), pools()
        forget_models()


def a_user_without_permission_is_told_and_served():
    os.chmod("/dev/hearth", 0o600)
    try:
        d = start(user=65534)
        equal(ask(d), expected())
        has(status(d), "/dev/hearth")
        equal(images("first"), [])
        equal(d.stop(), 0)
    finally:
        os.chmod("/dev/hearth", 0o666)


# What takes seconds.
QUICK = [
    a_truncated_model_is_told_and_leaves_nothing, a_bad_sector_is_told_and_leaves_nothing,
    a_file_that_changes_while_it_is_read_is_told_and_leaves_nothing, sigterm_at_any_moment_of_a_load_leaves_no_part_of_a_model,
    a_user_without_permission_is_told_and_served, a_module_in_use_stays_and_one_that_went_is_told,
    a_killed_daemon_on_the_cpu_leaves_the_model_too, a_load_reads_the_file_once_and_keeps_nothing_else_of_it,
    memory_pressure_spares_the_model_that_the_cpu_device_uses,
]
TESTS = QUICK + [
    a_load_for_a_gpu_is_read_once_and_is_the_gpus_as_it_lies, vulkan_answers_what_the_cpu_device_answers,
    a_killed_daemon_leaves_the_model_where_the_next_one_finds_it, memory_pressure_takes_the_idle_model_and_spares_the_one_in_use,
    a_driver_that_maps_no_sealed_dmabuf_gets_the_pools_address,
]

if __name__ == "__main__":
    run(QUICK if "--quick" in sys.argv else TESTS)
