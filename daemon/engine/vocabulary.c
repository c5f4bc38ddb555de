/* SPDX-License-Identifier: MIT */
#include "engine/vocabulary.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int32_t token_id(const struct gguf *g, const char *key)
{
    uint32_t id;

    return gguf_get_u32(g, key, &id, NULL) == 0 && id <= INT32_MAX ? (int32_t)id : -1;
}

static int flag(const struct gguf *g, const char *key)
{
    bool value;

    return gguf_get_bool(g, key, &value, NULL) == 0 ? value : -1;
}

/* Borrows the strings of an array as the tokenizer wants them; *ret_list is malloc'd. */
static int borrow_texts(const struct gguf *g, const char *key, struct tokenizer_text **ret_list,
                        size_t *ret_n, struct error *err)
{
    const struct gguf_array *a;
    struct tokenizer_text *list;
    int r = gguf_get_array(g, key, GGUF_VALUE_STR, &a, err);

    if (r < 0)
        return r;
    list = calloc(a->n + 1, sizeof(*list));
    if (!list)
        return error_set(err, ENOMEM, "out of memory");
    for (size_t i = 0; i < a->n; i++)
        list[i] = (struct tokenizer_text){a->strs[i].data, a->strs[i].len};
    *ret_list = list;
    *ret_n = a->n;
    return 0;
}

static int check_length(const char *key, size_t n, size_t n_tokens, struct error *err)
{
    if (n == n_tokens)
        return 0;
    return error_set(err, EINVAL, "%s has %zu entries for %zu tokens", key, n, n_tokens);
}

/* Scores and types stand beside the texts, if at all. */
static int read_columns(const struct gguf *g, struct tokenizer_desc *desc, struct error *err)
{
    static const char scores_key[] = "tokenizer.ggml.scores";
    static const char types_key[] = "tokenizer.ggml.token_type";
    const struct gguf_array *a;
    int r = 0;

    if (gguf_find(g, scores_key)) {
        r = gguf_get_array(g, scores_key, GGUF_VALUE_F32, &a, err);
        if (r == 0)
            r = check_length(scores_key, a->n, desc->n_tokens, err);
        if (r < 0)
            return r;
        desc->scores = a->data;
    }
    if (gguf_find(g, types_key)) {
        r = gguf_get_array(g, types_key, GGUF_VALUE_I32, &a, err);
        if (r == 0)
            r = check_length(types_key, a->n, desc->n_tokens, err);
        if (r == 0)
            desc->types = a->data;
    }
    return r;
}

static int read_names(const struct gguf *g, struct tokenizer_desc *desc, struct error *err)
{
    struct gguf_str s;
    int r = gguf_get_str(g, "tokenizer.ggml.model", &s, err);

    if (r < 0)
        return r;
    desc->model = s.data;
    if (gguf_get_str(g, "tokenizer.ggml.pre", &s, NULL) == 0)
        desc->pre = s.data;
    if (gguf_get_str(g, "general.architecture", &s, NULL) == 0)
        desc->architecture = s.data;
    return 0;
}

static void read_specials(const struct gguf *g, struct tokenizer_desc *desc)
{
    desc->bos = token_id(g, "tokenizer.ggml.bos_token_id");
    desc->eos = token_id(g, "tokenizer.ggml.eos_token_id");
    desc->eot = token_id(g, "tokenizer.ggml.eot_token_id");
    desc->eom = token_id(g, "tokenizer.ggml.eom_token_id");
    desc->unk = token_id(g, "tokenizer.ggml.unknown_token_id");
    desc->sep = token_id(g, "tokenizer.ggml.seperator_token_id"); /* spelled so in the format */
    desc->pad = token_id(g, "tokenizer.ggml.padding_token_id");
    desc->fim_pad = token_id(g, "tokenizer.ggml.fim_pad_token_id");
    desc->fim_rep = token_id(g, "tokenizer.ggml.fim_rep_token_id");
    desc->fim_sep = token_id(g, "tokenizer.ggml.fim_sep_token_id");
    desc->add_bos = flag(g, "tokenizer.ggml.add_bos_token");
    desc->add_eos = flag(g, "tokenizer.ggml.add_eos_token");
    desc->add_sep = flag(g, "tokenizer.ggml.add_sep_token");
    desc->add_space_prefix = flag(g, "tokenizer.ggml.add_space_prefix");
    desc->remove_extra_whitespaces = flag(g, "tokenizer.ggml.remove_extra_whitespaces");
}

/* Some converters call its bytes signed. */
static int read_charsmap(const struct gguf *g, struct tokenizer_desc *desc, struct error *err)
{
    static const char key[] = "tokenizer.ggml.precompiled_charsmap";
    const struct gguf_array *a;
    int r = 0;

    if (!gguf_find(g, key))
        return 0;
    if (gguf_get_array(g, key, GGUF_VALUE_I8, &a, NULL) < 0)
        r = gguf_get_array(g, key, GGUF_VALUE_U8, &a, err);
    if (r < 0)
        return r;
    desc->charsmap = a->data;
    desc->charsmap_len = a->n;
    return 0;
}

int vocabulary_open(const struct gguf *g, uint32_t n_vocab, struct tokenizer **ret_tokenizer,
                    struct error *err)
{
    struct tokenizer_desc desc;
    struct tokenizer_text *texts = NULL, *merges = NULL;
    int r;

    tokenizer_desc_init(&desc);
    r = read_names(g, &desc, err);
    if (r == 0)
        r = borrow_texts(g, "tokenizer.ggml.tokens", &texts, &desc.n_tokens, err);
    if (r == 0 && n_vocab && desc.n_tokens > n_vocab)
        r = error_set(err, EINVAL,
                      "tokenizer.ggml.tokens has %zu entries but token_embd.weight only %u rows",
                      desc.n_tokens, n_vocab);
    if (r == 0 && gguf_find(g, "tokenizer.ggml.merges"))
        r = borrow_texts(g, "tokenizer.ggml.merges", &merges, &desc.n_merges, err);
    if (r == 0)
        r = read_columns(g, &desc, err);
    if (r == 0)
        r = read_charsmap(g, &desc, err);
    if (r == 0) {
        desc.texts = texts;
        desc.merges = merges;
        read_specials(g, &desc);
        r = tokenizer_create(&desc, ret_tokenizer, err);
    }
    free(texts);
    free(merges);
    return r;
}
