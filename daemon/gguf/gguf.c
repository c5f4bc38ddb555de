/* SPDX-License-Identifier: MIT */
#include "gguf/gguf.h"

#include "base/strbuf.h"
#include "gguf/gguf_part.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* "-00002-of-00005.gguf" */
enum { SPLIT_SUFFIX_LEN = 20 };

struct gguf {
    struct gguf_part *parts; /* in split order */
    size_t n_parts;
    const struct gguf_tensor **tensors; /* of all parts, in order */
    const struct gguf_tensor **tensors_by_name;
    size_t n_tensors;
};

static int compare_names(const void *a, const void *b)
{
    const struct gguf_tensor *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

/* Joins the tensors of all parts. */
static int index_tensors(struct gguf *g, struct error *err)
{
    size_t n = 0;

    for (size_t i = 0; i < g->n_parts; i++)
        n += g->parts[i].n_tensors;
    g->tensors = calloc(n + 1, sizeof(*g->tensors));
    g->tensors_by_name = calloc(n + 1, sizeof(*g->tensors_by_name));
    if (!g->tensors || !g->tensors_by_name)
        return error_set(err, ENOMEM, "not enough memory for the tensor directory");
    for (size_t i = 0; i < g->n_parts; i++) {
        for (size_t k = 0; k < g->parts[i].n_tensors; k++) {
            g->parts[i].tensors[k].file = (uint32_t)i;
            g->tensors[g->n_tensors++] = &g->parts[i].tensors[k];
        }
    }
    if (n)
        memcpy(g->tensors_by_name, g->tensors, n * sizeof(*g->tensors));
    qsort(g->tensors_by_name, n, sizeof(*g->tensors_by_name), compare_names);
    for (size_t i = 1; i < n; i++)
        if (!compare_names(&g->tensors_by_name[i - 1], &g->tensors_by_name[i]))
            return error_set(
                err, EINVAL,
                "tensor %s stands there twice: the file is damaged or made by a faulty "
                "converter",
                g->tensors_by_name[i]->name);
    return 0;
}

/* A non-negative integer key, `otherwise` when it is absent or something else. */
static uint64_t part_integer(const struct gguf_part *part, const char *key, uint64_t otherwise)
{
    const struct gguf_kv *kv = gguf_part_find(part, key);

    if (!kv)
        return otherwise;
    switch (kv->type) {
    case GGUF_VALUE_I8:
    case GGUF_VALUE_I16:
    case GGUF_VALUE_I32:
    case GGUF_VALUE_I64:
        return kv->i64 >= 0 ? (uint64_t)kv->i64 : otherwise;
    case GGUF_VALUE_U8:
    case GGUF_VALUE_U16:
    case GGUF_VALUE_U32:
    case GGUF_VALUE_U64:
        return kv->u64;
    default:
        return otherwise;
    }
}

static int part_open(struct gguf_part *part, const char *path, struct error *err)
{
    /* O_NONBLOCK: opening a FIFO must not wait for its writer */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int r;

    if (fd < 0) {
        *part = (struct gguf_part){.file.fd = -1};
        return error_set_errno(err, errno, "%s", path);
    }
    r = gguf_part_open(part, fd, path, err);
    if (r < 0)
        error_prefix(err, "%s", path);
    return r;
}

/* "NAME-00002-of-00005.gguf" with this number and count. */
static bool has_split_suffix(const char *path, uint64_t no, uint64_t count)
{
    size_t len = strlen(path);
    struct strbuf want;
    bool same;

    strbuf_init(&want, 0);
    strbuf_printf(&want, "-%05llu-of-%05llu.gguf", (unsigned long long)no + 1,
                  (unsigned long long)count);
    same = !want.failed && len > want.len && want.len == SPLIT_SUFFIX_LEN &&
           !strcmp(path + len - want.len, want.data);
    strbuf_finish(&want);
    return same;
}

static int check_sibling(const struct gguf_part *part, uint64_t no, uint64_t count,
                         struct error *err)
{
    uint64_t its_no = part_integer(part, "split.no", UINT64_MAX);
    uint64_t its_count = part_integer(part, "split.count", 0);

    if (its_no == no && its_count == count)
        return 0;
    return error_set(err, EINVAL,
                     "%s: is not part %llu of %llu of the model, its split.no and split.count say "
                     "otherwise: put the parts of one model together again",
                     part->file.path, (unsigned long long)no + 1, (unsigned long long)count);
}

static int open_sibling(struct gguf *g, const char *path, uint64_t no, struct error *err)
{
    size_t stem = strlen(path) - SPLIT_SUFFIX_LEN;
    struct strbuf name;
    int r;

    strbuf_init(&name, 0);
    strbuf_add(&name, path, stem);
    strbuf_printf(&name, "-%05llu-of-%05zu.gguf", (unsigned long long)no + 1, g->n_parts);
    if (name.failed) {
        strbuf_finish(&name);
        return error_set(err, ENOMEM, "not enough memory for a file name");
    }
    r = part_open(&g->parts[no], name.data, err);
    if (r == -ENOENT)
        r = error_set(err, ENOENT,
                      "%s: is missing: the model is split into %zu files that must all lie in one "
                      "directory",
                      name.data, g->n_parts);
    strbuf_finish(&name);
    return r < 0 ? r : check_sibling(&g->parts[no], no, g->n_parts, err);
}

/* parts[0] holds the file that was opened; puts it in its place and opens the others. */
static int open_siblings(struct gguf *g, uint64_t count, struct error *err)
{
    struct gguf_part opened = g->parts[0];
    const char *path = opened.file.path;
    uint64_t no = part_integer(&opened, "split.no", UINT64_MAX), n_tensors = 0, want;
    struct gguf_part *parts;
    int r;

    if (no >= count || count > 99999 || !has_split_suffix(path, no, count))
        return error_set(err, EINVAL,
                         "%s: is one of %llu files of a split model, but its name does not end in "
                         "-%05llu-of-%05llu.gguf: give it its name back",
                         path, (unsigned long long)count,
                         (unsigned long long)(no < count ? no + 1 : 1), (unsigned long long)count);
    parts = calloc((size_t)count, sizeof(*parts));
    if (!parts)
        return error_set(err, ENOMEM, "not enough memory for %llu files",
                         (unsigned long long)count);
    for (uint64_t i = 0; i < count; i++)
        parts[i].file.fd = -1;
    free(g->parts);
    g->parts = parts;
    g->n_parts = (size_t)count;
    g->parts[no] = opened;
    for (uint64_t i = 0; i < count; i++) {
        r = i == no ? 0 : open_sibling(g, path, i, err);
        if (r < 0)
            return r;
        n_tensors += g->parts[i].n_tensors;
    }
    want = part_integer(&g->parts[0], "split.tensors.count", n_tensors);
    if (want != n_tensors)
        return error_set(err, EINVAL,
                         "%s: says the model has %llu tensors, but its %zu files hold %llu: a part "
                         "belongs to another version of the model, fetch all of them again",
                         g->parts[0].file.path, (unsigned long long)want, g->n_parts,
                         (unsigned long long)n_tensors);
    return 0;
}

static struct gguf *new_with_part(struct error *err)
{
    struct gguf *g = calloc(1, sizeof(*g));

    if (g)
        g->parts = calloc(1, sizeof(*g->parts));
    if (!g || !g->parts) {
        free(g);
        error_set(err, ENOMEM, "not enough memory for a model directory");
        return NULL;
    }
    g->n_parts = 1;
    g->parts[0].file.fd = -1;
    return g;
}

int gguf_open(const char *path, struct gguf **ret, struct error *err)
{
    struct gguf *g = new_with_part(err);
    uint64_t count;
    int r;

    if (!g)
        return -ENOMEM;
    r = part_open(&g->parts[0], path, err);
    if (r < 0)
        goto fail;
    count = part_integer(&g->parts[0], "split.count", 0);
    if (count > 1) {
        r = open_siblings(g, count, err);
        if (r < 0)
            goto fail;
    }
    r = index_tensors(g, err);
    if (r < 0) {
        error_prefix(err, "%s", path);
        goto fail;
    }
    *ret = g;
    return 0;

fail:
    gguf_close(g);
    return r;
}

int gguf_parse(const void *data, size_t len, uint64_t file_size, struct gguf **ret,
               struct error *err)
{
    struct gguf *g = new_with_part(err);
    int r;

    if (!g)
        return -ENOMEM;
    r = gguf_part_parse(&g->parts[0], data, len, file_size, err);
    if (r < 0)
        goto fail;
    if (part_integer(&g->parts[0], "split.count", 0) > 1) {
        r = error_set(err, EINVAL, "is one part of a split model: open it by its path");
        goto fail;
    }
    r = index_tensors(g, err);
    if (r < 0)
        goto fail;
    *ret = g;
    return 0;

fail:
    gguf_close(g);
    return r;
}

void gguf_close(struct gguf *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n_parts; i++)
        gguf_part_finish(&g->parts[i]);
    free(g->parts);
    free(g->tensors);
    free(g->tensors_by_name);
    free(g);
}

size_t gguf_n_files(const struct gguf *g)
{
    return g->n_parts;
}

const struct gguf_file *gguf_file(const struct gguf *g, size_t i)
{
    return i < g->n_parts ? &g->parts[i].file : NULL;
}

size_t gguf_n_kv(const struct gguf *g)
{
    return g->parts[0].n_kv;
}

const struct gguf_kv *gguf_kv(const struct gguf *g, size_t i)
{
    return i < g->parts[0].n_kv ? &g->parts[0].kvs[i] : NULL;
}

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key)
{
    return gguf_part_find(&g->parts[0], key);
}

size_t gguf_n_tensors(const struct gguf *g)
{
    return g->n_tensors;
}

const struct gguf_tensor *gguf_tensor(const struct gguf *g, size_t i)
{
    return i < g->n_tensors ? g->tensors[i] : NULL;
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name)
{
    size_t low = 0, high = g->n_tensors;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strcmp(name, g->tensors_by_name[mid]->name);
        if (order == 0)
            return g->tensors_by_name[mid];
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}
