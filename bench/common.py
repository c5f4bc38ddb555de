# SPDX-License-Identifier: MIT
"""What the measurements share: models to measure with, the peer, the drive."""
import json
import os
import re
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
HEARTH = os.path.join(BUILD, "cli", "hearth")
SHARED = os.environ.get("HEARTH_SHARED", os.path.join(ROOT, "..", "shared"))
MKGGUF = os.path.join(SHARED, "tools", "mkgguf.py")
PEER = os.path.join(SHARED, "tools", "peer", "peer")
CACHE = os.environ.get("HEARTH_CACHE_SHARED", "/tmp/hearth-bench")     # a place the peer's chroot sees
RUNS = int(os.environ.get("RUNS", "5"))
median = statistics.median


def say(text):
    print("# " + text, file=sys.stderr, flush=True)


def has_peer():
    chroot = os.environ.get("HEARTH_PEER", "/var/cache/hearth-peer")
    return os.access(PEER, os.X_OK) and os.path.exists(os.path.join(chroot, ".ready")) and os.geteuid() == 0


def generate(path, *options, arch="llama"):
    """A model of random weights, made once; options are the generator's."""
    if os.path.exists(path):
        return path
    if not os.path.exists(MKGGUF):
        sys.exit("bench: give a model, MODEL=FILE make bench (there is no generator of models here)")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    say("making %s, once" % path)
    subprocess.run([sys.executable, MKGGUF, arch, path + ".part", *options], check=True, stdout=sys.stderr)
    os.rename(path + ".part", path)
    return path


def quantised_model():
    """MODEL, or a synthetic 1.1B in Q4_K_M."""
    if os.environ.get("MODEL"):
        return os.path.abspath(os.environ["MODEL"])
    path = os.path.join(CACHE, "llama-1b-q4_k_m.gguf")
    if os.path.exists(path):
        return path
    if not has_peer():
        sys.exit("bench: give a model, MODEL=FILE make bench (the synthetic one needs the peer's llama-quantize)")
    f16 = generate(path + ".f16", "--size", "1b", "--type", "f16")
    subprocess.run([PEER, "llama-quantize", f16, path + ".part", "Q4_K_M"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.unlink(f16)
    os.rename(path + ".part", path)
    return path


def drop_caches(path):
    """The file's pages leave the page cache."""
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def fio_rate(path):
    """Bytes per second of large direct reads; None without fio."""
    try:
        out = subprocess.run(["fio", "--name=read", "--filename=" + path, "--rw=read", "--bs=1M", "--direct=1", "--ioengine=io_uring",
                              "--iodepth=32", "--readonly", "--output-format=json"], check=True, capture_output=True, text=True).stdout
        return json.loads(out[out.index("{"):])["jobs"][0]["read"]["bw_bytes"]
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None


def machine():
    with open("/proc/cpuinfo") as f:
        name = re.search(r"model name\s*: (.*)", f.read())
    return "Machine: %s, %d CPUs; load %.1f at the start" % (name.group(1) if name else "?", os.cpu_count(), os.getloadavg()[0])
