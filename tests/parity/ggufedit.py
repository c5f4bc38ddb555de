# SPDX-License-Identifier: MIT
"""Reads a whole GGUF file into plain lists, and writes it back changed: for models with keys or
tensors that no generator would give them."""
import struct

U8, I8, U16, I16, U32, I32, F32, BOOL, STR, ARR, U64, I64, F64 = range(13)
SCALAR = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?",
          U64: "Q", I64: "q", F64: "d"}
ALIGN = 32


class Tensor:
    """A tensor: shape in the file's order (contiguous dimension first), data as bytes."""

    def __init__(self, name, shape, kind, data):
        self.name, self.shape, self.kind, self.data = name, shape, kind, data


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, fmt):
        values = struct.unpack_from("<" + fmt, self.data, self.at)
        self.at += struct.calcsize("<" + fmt)
        return values

    def string(self):
        (n,) = self.take("Q")
        self.at += n
        return self.data[self.at - n:self.at]

    def value(self, kind):
        if kind == STR:
            return self.string()
        if kind == ARR:
            (element, n) = self.take("IQ")
            return element, [self.value(element) for _ in range(n)]
        return self.take(SCALAR[kind])[0]


def pack_string(text):
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(raw)) + raw


def pack_value(kind, value):
    if kind == STR:
        return pack_string(value)
    if kind == ARR:
        element, items = value
        return struct.pack("<IQ", element, len(items)) + b"".join(pack_value(element, v) for v in items)
    return struct.pack("<" + SCALAR[kind], value)


class Model:
    """keys: {name: (kind, value)} in file order; tensors: [Tensor]."""

    def __init__(self, path):
        with open(path, "rb") as f:
            data = f.read()
        r = Reader(data)
        magic, version, n_tensors, n_keys = r.take("4sIQQ")
        if magic != b"GGUF" or version not in (2, 3):
            raise ValueError("%s: not a GGUF file" % path)
        self.keys = {}
        for _ in range(n_keys):
            name = r.string().decode()
            (kind,) = r.take("I")
            self.keys[name] = (kind, r.value(kind))
        infos = []
        for _ in range(n_tensors):
            name = r.string().decode()
            (n_dims,) = r.take("I")
            shape = list(r.take("%dQ" % n_dims))
            kind, offset = r.take("IQ")
            infos.append((name, shape, kind, offset))
        base = -(-r.at // ALIGN) * ALIGN
        ends = sorted([i[3] for i in infos] + [len(data) - base])
        self.tensors = []
        for name, shape, kind, offset in infos:
            end = next(e for e in ends if e > offset)
            self.tensors.append(Tensor(name, shape, kind, data[base + offset:base + end]))

    def tensor(self, name):
        return next(t for t in self.tensors if t.name == name)

    def write(self, path):
        offset, infos = 0, b""
        for t in self.tensors:
            infos += pack_string(t.name) + struct.pack("<I%dQ" % len(t.shape), len(t.shape), *t.shape)
            infos += struct.pack("<IQ", t.kind, offset)
            offset += -(-len(t.data) // ALIGN) * ALIGN
        with open(path, "wb") as f:
            f.write(b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(self.keys)))
            for name, (kind, value) in self.keys.items():
                f.write(pack_string(name) + struct.pack("<I", kind) + pack_value(kind, value))
            f.write(infos)
            for t in self.tensors:
                f.write(b"\0" * (-f.tell() % ALIGN) + t.data)
            f.write(b"\0" * (-f.tell() % ALIGN))


def write_even_importance(model, path):
    """A matrix of importance for llama-quantize in which all columns of all of the model's weights weigh the same."""
    m = Model(model)
    weights = [t for t in m.tensors if len(t.shape) >= 2]
    m.keys = {"general.type": (STR, "imatrix"), "imatrix.datasets": (ARR, (STR, ["even"])),
              "imatrix.chunk_count": (U32, 1), "imatrix.chunk_size": (U32, 1)}
    m.tensors = []
    for t in weights:
        m.tensors.append(Tensor(t.name + ".in_sum2", [t.shape[0]], 0, struct.pack("<f", 1) * t.shape[0]))
        m.tensors.append(Tensor(t.name + ".counts", [1], 0, struct.pack("<f", 1)))
    m.write(path)
