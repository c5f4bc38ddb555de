/* SPDX-License-Identifier: MIT */
#include "tokenizer/tokenizer.h"

#include "base/utf8.h"
#include "tokenizer/ending.h"
#include "tokenizer/tokenizer_part.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct model *const models[] = {&bpe_model, &bpe_lines_model, &spm_model,
                                             &unigram_model, &wpm_model};

void tokenizer_desc_init(struct tokenizer_desc *desc)
{
    *desc = (struct tokenizer_desc){
        .bos = -1,
        .eos = -1,
        .eot = -1,
        .eom = -1,
        .unk = -1,
        .sep = -1,
        .pad = -1,
        .fim_pad = -1,
        .fim_rep = -1,
        .fim_sep = -1,
        .add_bos = -1,
        .add_eos = -1,
        .add_sep = -1,
        .add_space_prefix = -1,
        .lowercase = -1,
        .strip_accents = -1,
        .remove_extra_whitespaces = -1,
    };
}

static int choose_model(struct tokenizer *t, const struct tokenizer_desc *desc, struct error *err)
{
    const char *pre = desc->pre ? desc->pre : "default";

    if (!desc->model)
        return error_set(err, EINVAL, "the file does not say which tokenizer the model has");
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++)
        if (strcmp(models[i]->name, desc->model) == 0)
            t->model = models[i];
    if (!t->model)
        return error_set(err, ENOTSUP, "tokenizer \"%.64s\" is not supported", desc->model);
    if (!t->model->has_pre)
        return 0;
    t->pre = pretokenizer_find(pre);
    if (!t->pre)
        return error_set(err, ENOTSUP, "pre-tokenizer \"%.64s\" is not supported", pre);
    return 0;
}

/* The vocabulary with the types corrected. */
static int load_vocab(struct tokenizer *t, const struct tokenizer_desc *desc, struct error *err)
{
    struct tokenizer_desc fixed = *desc;
    int32_t *types;
    int ret;

    if (!desc->n_tokens || !desc->texts)
        return error_set(err, EINVAL, "the vocabulary has no tokens");
    types = calloc(desc->n_tokens, sizeof(*types));
    if (!types || vocab_init(&t->vocab, t->model->alphabet, desc->n_tokens) < 0) {
        free(types);
        return error_set(err, ENOMEM, "no memory for a vocabulary of %zu tokens", desc->n_tokens);
    }
    for (size_t i = 0; i < desc->n_tokens; i++)
        types[i] = desc->types ? desc->types[i] : TOKENIZER_TYPE_NORMAL;
    ending_fix_types(desc, types);
    fixed.types = types;
    ret = vocab_load(&t->vocab, &fixed, err);
    free(types);
    if (ret < 0)
        return ret;
    ending_mark(&t->vocab, desc);
    if (special_init(&t->special, &t->vocab) < 0)
        return error_set(err, ENOMEM, "no memory for the special tokens");
    return 0;
}

static bool has_text(const struct vocab *v, int32_t id, const char *name)
{
    size_t len;
    const char *text = vocab_text(v, id, &len);

    return len == strlen(name) && memcmp(text, name, len) == 0;
}

/* The id given, or, where there is none, the control token of that name. */
static int32_t choose_id(const struct tokenizer *t, int32_t id, const char *name)
{
    const struct vocab *v = &t->vocab;

    if (id >= 0 && (uint32_t)id < v->n_tokens)
        return id;
    for (uint32_t i = 0; name && i < v->n_tokens; i++)
        if ((v->tokens[i].type == TOKENIZER_TYPE_CONTROL ||
             v->tokens[i].type == TOKENIZER_TYPE_UNKNOWN) &&
            has_text(v, (int32_t)i, name))
            return (int32_t)i;
    return -1;
}

static void choose_ids(struct tokenizer *t, const struct tokenizer_desc *desc)
{
    bool is_wpm = t->model == &wpm_model;
    bool is_spm = t->model == &spm_model || t->model == &unigram_model;

    t->ids[TOKENIZER_BOS] = choose_id(t, desc->bos, is_spm ? "<s>" : is_wpm ? "[CLS]" : NULL);
    t->ids[TOKENIZER_EOS] = choose_id(t, desc->eos, is_spm ? "</s>" : NULL);
    t->ids[TOKENIZER_EOT] = choose_id(t, desc->eot, NULL);
    t->ids[TOKENIZER_EOM] = choose_id(t, desc->eom, NULL);
    t->ids[TOKENIZER_UNK] = choose_id(t, desc->unk, is_spm ? "<unk>" : is_wpm ? "[UNK]" : NULL);
    t->ids[TOKENIZER_SEP] = choose_id(t, desc->sep, is_wpm ? "[SEP]" : NULL);
    t->ids[TOKENIZER_PAD] = choose_id(t, desc->pad, NULL);
}

static bool choose(int given, bool otherwise)
{
    return given < 0 ? otherwise : given;
}

static void choose_rules(struct tokenizer *t, const struct tokenizer_desc *desc)
{
    const struct model *m = t->model;
    struct vocab *v = &t->vocab;

    t->adds_bos = choose(desc->add_bos, m->adds_bos || (t->pre && t->pre->adds_bos));
    t->adds_eos = choose(desc->add_eos, m->adds_eos);
    t->adds_sep = choose(desc->add_sep, m->adds_sep || (t->pre && t->pre->adds_sep));
    t->adds_space =
        choose(desc->add_space_prefix, m->adds_space) && (m == &spm_model || m == &unigram_model);
    t->lowercases = choose(desc->lowercase, true);
    t->strips_accents = choose(desc->strip_accents, t->lowercases);
    if (m != &spm_model || !desc->architecture || strcmp(desc->architecture, "phi3") != 0)
        return;
    for (uint32_t i = 0; i < v->n_tokens; i++)
        if (!has_text(v, (int32_t)i, "<unk>") && !has_text(v, (int32_t)i, "<s>") &&
            !has_text(v, (int32_t)i, "<|endoftext|>"))
            v->tokens[i].strips_right = true;
}

int tokenizer_create(const struct tokenizer_desc *desc, struct tokenizer **ret_tokenizer,
                     struct error *err)
{
    struct tokenizer *t = calloc(1, sizeof(*t));
    int ret;

    if (!t)
        return error_set(err, ENOMEM, "no memory for the tokenizer");
    ret = choose_model(t, desc, err);
    if (ret == 0)
        ret = load_vocab(t, desc, err);
    if (ret == 0 && t->model->create)
        ret = t->model->create(t, desc, err);
    if (ret < 0) {
        tokenizer_destroy(t);
        return ret;
    }
    choose_ids(t, desc);
    choose_rules(t, desc);
    *ret_tokenizer = t;
    return 0;
}

void tokenizer_destroy(struct tokenizer *t)
{
    if (!t)
        return;
    if (t->model && t->model->destroy)
        t->model->destroy(t->state);
    special_finish(&t->special);
    vocab_finish(&t->vocab);
    free(t);
}

static bool is_id(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->vocab.n_tokens;
}

size_t tokenizer_n_tokens(const struct tokenizer *t)
{
    return t->vocab.n_tokens;
}

int32_t tokenizer_special(const struct tokenizer *t, enum tokenizer_special which)
{
    return t->ids[which];
}

bool tokenizer_adds_bos(const struct tokenizer *t)
{
    return t->adds_bos && t->ids[TOKENIZER_BOS] >= 0;
}

bool tokenizer_adds_space(const struct tokenizer *t)
{
    return t->adds_space || t->model == &wpm_model;
}

bool tokenizer_is_end(const struct tokenizer *t, int32_t id)
{
    return is_id(t, id) && t->vocab.tokens[id].is_end;
}

bool tokenizer_is_control(const struct tokenizer *t, int32_t id)
{
    return is_id(t, id) && (t->vocab.tokens[id].type == TOKENIZER_TYPE_CONTROL ||
                            t->vocab.tokens[id].type == TOKENIZER_TYPE_UNKNOWN);
}

bool tokenizer_is_markup(const struct tokenizer *t, int32_t id)
{
    return is_id(t, id) && t->vocab.tokens[id].is_markup;
}

const char *tokenizer_piece(const struct tokenizer *t, int32_t id, size_t *ret_len)
{
    *ret_len = 0;
    return is_id(t, id) ? vocab_text(&t->vocab, id, ret_len) : NULL;
}

void token_array_finish(struct token_array *a)
{
    free(a->ids);
    *a = (struct token_array){0};
}
