/* SPDX-License-Identifier: MIT */
#include "gguf/gguf_walk.h"

#include <string.h>

enum {
    /* the least an entry takes: its fixed fields, a name of one byte, a value of one byte */
    KV_LEAST_BYTES = 8 + 1 + 4 + 1,
    TENSOR_LEAST_BYTES = 8 + 1 + 4 + 4 + 8,
};

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "values are used as they stand in the file");

static bool refuse_magic(struct gguf_walk *w, const uint8_t magic[4])
{
    if (!memcmp(magic, "vers", 4))
        return gguf_walk_fail(w,
                              "is a Git LFS pointer, not the model: fetch it with `git lfs pull`");
    if (!memcmp(magic, "tjgg", 4) || !memcmp(magic, "fmgg", 4) || !memcmp(magic, "lmgg", 4))
        return gguf_walk_fail(
            w, "is a model in a format older than GGUF: get or convert a .gguf file");
    return gguf_walk_fail(
        w, "is not a GGUF file: it begins with bytes %02x %02x %02x %02x, not \"GGUF\"", magic[0],
        magic[1], magic[2], magic[3]);
}

static bool take_version(struct gguf_walk *w)
{
    uint32_t version;

    if (!gguf_walk_take_u32(w, &version))
        return false;
    if (version && !(version & 0xffff))
        return gguf_walk_fail(
            w, "is a big-endian GGUF file (version field 0x%08x): convert it to little-endian",
            version);
    if (version < 2)
        return gguf_walk_fail(
            w, "is GGUF version %u, only 2 and 3 can be read: convert the model again", version);
    if (version > 3)
        return gguf_walk_fail(w,
                              "is GGUF version %u, only 2 and 3 are known: the file is newer than "
                              "this version of hearth",
                              version);
    w->part->file.version = version;
    return true;
}

static bool take_count(struct gguf_walk *w, const char *noun, unsigned least, uint64_t *ret)
{
    const uint64_t size = w->part->file.size_bytes;

    if (!gguf_walk_take_u64(w, ret))
        return false;
    if (*ret > (size - w->at) / least)
        return gguf_walk_fail(w,
                              "claims %llu %s, more than fit into its %llu bytes: the download is "
                              "incomplete or the file is damaged, fetch it again",
                              gguf_ull(*ret), noun, gguf_ull(size));
    return true;
}

int gguf_header_parse(struct gguf_part *part, struct error *err)
{
    struct error own = {0};
    struct gguf_walk w = {.part = part, .what = "the file header", .err = err ? err : &own};
    uint64_t n_tensors, n_kv;
    const uint8_t *magic = gguf_walk_take(&w, 4);

    if (!magic)
        return w.err->code;
    if (memcmp(magic, "GGUF", 4)) {
        refuse_magic(&w, magic);
        return w.err->code;
    }
    if (!take_version(&w) || !take_count(&w, "tensors", TENSOR_LEAST_BYTES, &n_tensors) ||
        !take_count(&w, "metadata entries", KV_LEAST_BYTES, &n_kv) || !gguf_walk_kvs(&w, n_kv) ||
        !gguf_walk_alignment(&w) || !gguf_walk_tensors(&w, n_tensors) ||
        !gguf_walk_place_tensors(&w))
        return w.err->code;
    return 0;
}
