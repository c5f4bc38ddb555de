# SPDX-License-Identifier: MIT
"""The peer implementation the logits are compared with, and the cache of what it said."""
import hashlib
import inspect
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading

import numpy as np

import cases
import ggufedit

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SHARED = os.environ.get("HEARTH_SHARED", os.path.join(ROOT, "..", "shared"))
TOOLS = os.path.join(SHARED, "tools")
MKGGUF = os.path.join(TOOLS, "mkgguf.py")
PEER = os.path.join(TOOLS, "peer")
LOGITS_MAGIC = 0x474f4c31
F32, BF16 = 0, 30


class Unavailable(Exception):
    """Why something cannot be compared here."""


def run(argv, **kw):
    env = dict(os.environ, GOMP_SPINCOUNT="0", OMP_WAIT_POLICY="passive")
    p = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, errors="replace", env=env, **kw)
    if p.returncode:
        raise RuntimeError("%s: exit %d: %s" % (" ".join(argv[:3]), p.returncode, p.stdout[-800:]))
    return p.stdout


def set_up():
    """Sees to it that the peer is there; returns its version, which keys the cache."""
    if not os.access(os.path.join(PEER, "setup"), os.X_OK):
        raise Unavailable("the peer's tools are not in %s" % PEER)
    if os.getuid() != 0:
        raise Unavailable("the peer lives in a chroot, which needs root")
    try:
        return run([os.path.join(PEER, "setup")])
    except RuntimeError as e:
        raise Unavailable("the peer could not be set up: %s" % e) from None


def cache_dir():
    base = os.environ.get("HEARTH_CACHE") or ("/var/cache/hearth" if os.access("/var/cache", os.W_OK)
                                              else os.path.expanduser("~/.cache/hearth"))
    path = os.path.join(base, "parity")
    os.makedirs(path, exist_ok=True)
    return path


def digest(*parts):
    h = hashlib.sha256()
    for p in parts:
        h.update(p if isinstance(p, bytes) else repr(p).encode())
        h.update(b"\0")
    return h.hexdigest()[:24]


def source_digest(case):
    """Of everything that shapes a generated model."""
    with open(MKGGUF, "rb") as f:
        parts = [f.read()]
    if case.edit:
        # short_yarn and the like may call each other
        parts += [inspect.getsource(sys.modules[case.edit.__module__]), inspect.getsource(ggufedit)]
    return digest(*parts)


def place(temporary, path):
    """Moves a finished file into the cache, whole or not at all."""
    part = "%s.part-%d-%d" % (path, os.getpid(), threading.get_ident())
    shutil.move(temporary, part)
    os.rename(part, path)


def make_model(case, version):
    """Path of the case's model, generated and quantised on first use."""
    key = digest(source_digest(case), case.arch, case.options, case.kind, version if case.is_quantised else "",
                 *case.others)
    path = os.path.join(cache_dir(), "%s-%s.gguf" % (case.name.replace("/", "-"), key))
    if os.path.exists(path):
        return path
    # below /tmp: the chroot sees it there
    with tempfile.TemporaryDirectory(prefix="hearth-parity-", dir="/tmp") as tmp:
        plain = os.path.join(tmp, "plain.gguf")
        kind = "f32" if case.is_quantised else case.kind
        run([sys.executable, MKGGUF, case.arch, plain, "--type", kind] + case.options)
        if case.edit:
            model = ggufedit.Model(plain)
            case.edit(model)
            model.write(plain)
        if case.is_quantised:
            quantised = os.path.join(tmp, "quantised.gguf")
            importance = []
            if case.kind in cases.WITH_IMPORTANCE:
                importance = ["--imatrix", os.path.join(tmp, "importance.gguf")]
                ggufedit.write_even_importance(plain, importance[1])
            run([os.path.join(PEER, "peer"), "llama-quantize"] + importance +
                [o for name, kind in case.others for o in ("--tensor-type", "%s=%s" % (name, kind))] +
                # of NVFP4 it has no whole files, but weights
                [plain, quantised, "Q8_0" if case.kind == "NVFP4" else case.kind, "1"])
            plain = quantised
        place(plain, path)
    return path


def read_logits(path, tokens):
    """A reflogits file as f32[n_tokens][n_vocab]."""
    head = np.fromfile(path, "<i4", 3)
    if head[0] != LOGITS_MAGIC or head[1] != len(tokens):
        raise RuntimeError("%s is not the peer's answer" % path)
    return np.fromfile(path, "<f4", offset=12 + 4 * len(tokens)).reshape(len(tokens), head[2])


def widen(model, path):
    """The same numbers with every bf16 weight as f32."""
    m = ggufedit.Model(model)
    for t in m.tensors:
        if t.kind == BF16:
            halves = np.frombuffer(t.data, "<u2", int(np.prod(t.shape)))
            t.kind, t.data = F32, (halves.astype("<u4") << 16).tobytes()
    m.write(path)


def reference(model, tokens, version, is_widened=False):
    """The peer's logits after each of the tokens. is_widened: of the bf16 weights as f32, because
    with bf16 weights the peer rounds its activations to bf16 too, which alone costs about 2e-5."""
    with open(model, "rb") as f, open(os.path.join(PEER, "reflogits.c"), "rb") as source:
        key = digest(f.read(), source.read(), list(tokens), version, is_widened)
    path = os.path.join(cache_dir(), "reference-%s.f32" % key)
    if not os.path.exists(path):
        with tempfile.TemporaryDirectory(prefix="hearth-parity-", dir="/tmp") as tmp:
            visible, out = os.path.join(tmp, "model.gguf"), os.path.join(tmp, "logits")
            (widen if is_widened else shutil.copyfile)(model, visible)
            run([os.path.join(PEER, "peer"), "reflogits", visible, out, "-t", "1"] + [str(t) for t in tokens])
            place(out, path)
    return read_logits(path, tokens)


def is_whole(path):
    try:
        with open(path) as f:
            json.load(f)
    except (OSError, ValueError):
        return False
    return True


def vectors(model, texts, version):
    """The peer's vectors of length 1 of the texts, f32[n_texts][n_embd]: what `llama-embedding` prints
    with seven digits."""
    with open(model, "rb") as f:
        key = digest(f.read(), texts, version)
    path = os.path.join(cache_dir(), "vectors-%s.json" % key)
    if not os.path.exists(path):
        with tempfile.TemporaryDirectory(prefix="hearth-parity-", dir="/tmp") as tmp:
            visible, prompts, out = (os.path.join(tmp, name) for name in ("model.gguf", "prompts", "vectors"))
            shutil.copyfile(model, visible)
            with open(prompts, "w") as f:
                f.write("\n".join(texts))
            tries = 0
            # now and then it ends before its log, which these are part of, is written
            while not is_whole(out):
                tries += 1
                if tries > 9:
                    raise RuntimeError("llama-embedding never writes its vectors to the end")
                run(["sh", "-c", "exec \"$0\" llama-embedding -m \"$1\" -f \"$2\" --embd-output-format array --embd-normalize 2"
                     " -b 2048 -ub 2048 -ctk f32 -ctv f32 -fa off -dev none -t 1 > \"$3\"",
                     os.path.join(PEER, "peer"), visible, prompts, out])
            place(out, path)
    with open(path) as f:
        return np.array(json.load(f), "<f4")
