/* SPDX-License-Identifier: MIT */
#include "vocab_file.h"

#include "gguf/gguf.h"
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *get_string(const struct gguf *g, const char *key)
{
    struct gguf_str s;

    return gguf_get_str(g, key, &s, NULL) == 0 ? s.data : NULL;
}

static int32_t get_id(const struct gguf *g, const char *key)
{
    int32_t id;

    return gguf_get_i32(g, key, &id, NULL) == 0 ? id : -1;
}

static int get_flag(const struct gguf *g, const char *key)
{
    bool b;

    return gguf_get_bool(g, key, &b, NULL) == 0 ? b : -1;
}

static struct tokenizer_text *get_texts(const struct gguf *g, const char *key, size_t *ret_n)
{
    const struct gguf_array *a;
    struct tokenizer_text *texts;

    *ret_n = 0;
    if (gguf_get_array(g, key, GGUF_VALUE_STR, &a, NULL) < 0)
        return NULL;
    texts = calloc(a->n + 1, sizeof(*texts));
    assert_non_null(texts);
    for (size_t i = 0; i < a->n; i++)
        texts[i] = (struct tokenizer_text){a->strs[i].data, a->strs[i].len};
    *ret_n = a->n;
    return texts;
}

static const void *get_numbers(const struct gguf *g, const char *key, enum gguf_value_type type,
                               size_t n)
{
    const struct gguf_array *a;

    return gguf_get_array(g, key, type, &a, NULL) == 0 && a->n == n ? a->data : NULL;
}

static void describe(const struct gguf *g, struct tokenizer_desc *d)
{
    const struct gguf_array *charsmap;

    tokenizer_desc_init(d);
    d->model = get_string(g, "tokenizer.ggml.model");
    d->pre = get_string(g, "tokenizer.ggml.pre");
    d->architecture = get_string(g, "general.architecture");
    d->texts = get_texts(g, "tokenizer.ggml.tokens", &d->n_tokens);
    d->merges = get_texts(g, "tokenizer.ggml.merges", &d->n_merges);
    d->scores = get_numbers(g, "tokenizer.ggml.scores", GGUF_VALUE_F32, d->n_tokens);
    d->types = get_numbers(g, "tokenizer.ggml.token_type", GGUF_VALUE_I32, d->n_tokens);
    d->bos = get_id(g, "tokenizer.ggml.bos_token_id");
    d->eos = get_id(g, "tokenizer.ggml.eos_token_id");
    d->eot = get_id(g, "tokenizer.ggml.eot_token_id");
    d->eom = get_id(g, "tokenizer.ggml.eom_token_id");
    d->unk = get_id(g, "tokenizer.ggml.unknown_token_id");
    d->sep = get_id(g, "tokenizer.ggml.seperator_token_id");
    d->pad = get_id(g, "tokenizer.ggml.padding_token_id");
    d->add_bos = get_flag(g, "tokenizer.ggml.add_bos_token");
    d->add_eos = get_flag(g, "tokenizer.ggml.add_eos_token");
    d->add_sep = get_flag(g, "tokenizer.ggml.add_sep_token");
    d->add_space_prefix = get_flag(g, "tokenizer.ggml.add_space_prefix");
    d->remove_extra_whitespaces = get_flag(g, "tokenizer.ggml.remove_extra_whitespaces");
    if (gguf_get_array(g, "tokenizer.ggml.precompiled_charsmap", GGUF_VALUE_U8, &charsmap, NULL) ==
        0) {
        d->charsmap = charsmap->data;
        d->charsmap_len = charsmap->n;
    }
}

static bool find_file(const char *name, char *path, size_t size)
{
    const char *more = getenv("HEARTH_VOCABULARIES");

    snprintf(path, size, "data/tokenizers/ggml-vocab-%s.gguf", name);
    if (harness_shared(path)) {
        snprintf(path, size, "%s", harness_shared(path));
        return true;
    }
    snprintf(path, size, "%s/ggml-vocab-%s.gguf", more ? more : "", name);
    return more && access(path, R_OK) == 0;
}

/* What joins to the token, one after the other. */
static bool is_merge_to(const struct tokenizer_text *merge, const struct tokenizer_text *token)
{
    const char *space = memchr(merge->data, ' ', merge->len);
    size_t left = space ? (size_t)(space - merge->data) : 0;

    return space && merge->len == token->len + 1 && memcmp(merge->data, token->data, left) == 0 &&
           memcmp(space + 1, token->data + left, token->len - left) == 0;
}

/* Merges are in the order of what they give, so that those of the first tokens are the first. */
static void cut(struct tokenizer_desc *d, size_t n_tokens)
{
    size_t n = 0;

    assert_true(n_tokens < d->n_tokens);
    while (n < d->n_merges && !is_merge_to(&d->merges[n], &d->texts[n_tokens]))
        n++;
    d->n_merges = n;
    d->n_tokens = n_tokens;
    d->bos = d->eos = d->eot = d->eom = d->unk = d->sep = d->pad = -1;
}

/* pre: NULL, the file's own. n_first: 0, all. */
static struct tokenizer *load(const char *name, const char *pre, size_t n_first)
{
    struct tokenizer *t = NULL;
    struct tokenizer_desc desc;
    struct error err = {0};
    struct gguf *g = NULL;
    char path[4096];

    if (!find_file(name, path, sizeof(path)))
        return NULL;
    if (gguf_open(path, &g, &err) < 0)
        fail_msg("%s: %s", name, err.text);
    describe(g, &desc);
    if (pre)
        desc.pre = pre;
    if (n_first)
        cut(&desc, n_first);
    if (tokenizer_create(&desc, &t, &err) < 0)
        fail_msg("%s: %s", name, err.text);
    free((void *)(uintptr_t)desc.texts);
    free((void *)(uintptr_t)desc.merges);
    gguf_close(g);
    return t;
}

struct tokenizer *vocab_file_load(const char *name)
{
    return load(name, NULL, 0);
}

struct tokenizer *vocab_file_load_as(const char *name, const char *pre)
{
    return load(name, pre, 0);
}

struct tokenizer *vocab_file_load_first(const char *name, size_t n_tokens)
{
    return load(name, NULL, n_tokens);
}
