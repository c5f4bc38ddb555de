/* SPDX-License-Identifier: MIT */
#include "engine/prompt.h"

#include "base/strbuf.h"
#include "base/utf8.h"
#include "engine/engine_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ChatML: what most models without a template of their own understand best. */
const char *prompt_default_template(void)
{
    return "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
           "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
}

static int set_token_text(json_t *vars, const char *name, const struct tokenizer *t, int32_t id)
{
    const char *text = "";
    size_t len = 0;
    json_t *value;

    if (json_object_get(vars, name))
        return 0;
    if (id >= 0)
        text = tokenizer_piece(t, id, &len);
    /* JSON holds no broken text, and a template can do nothing with it */
    value = text && utf8_is_valid(text, len) ? json_stringn(text, len) : json_string("");
    return value && json_object_set_new(vars, name, value) == 0 ? 0 : -ENOMEM;
}

static int64_t local_now(void)
{
    time_t now = time(NULL);
    struct tm tm;

    return localtime_r(&now, &tm) ? (int64_t)now + tm.tm_gmtoff : (int64_t)now;
}

static int render(const struct loaded_model *lm, json_t *chat, struct strbuf *out,
                  struct error *err)
{
    const struct tokenizer *t = lm->tokenizer;
    const struct template *tpl = lm->chat_template;
    struct template *fallback = NULL;
    int e;

    if (set_token_text(chat, "bos_token", t, tokenizer_special(t, TOKENIZER_BOS)) < 0 ||
        set_token_text(chat, "eos_token", t, tokenizer_special(t, TOKENIZER_EOS)) < 0 ||
        (!json_object_get(chat, "add_generation_prompt") &&
         json_object_set_new(chat, "add_generation_prompt", json_true()) < 0))
        return error_set(err, ENOMEM, "out of memory");
    if (!tpl) {
        const char *source = prompt_default_template();
        e = template_create(source, strlen(source), &fallback, err);
        if (e < 0)
            return e;
        tpl = fallback;
    }
    e = template_render(tpl, chat, local_now(), NULL, out, err);
    template_destroy(fallback);
    if (e < 0)
        error_prefix(err, "the model's chat template refused the messages");
    return e;
}

static bool begins_with_bos(const struct tokenizer *t, const char *text, size_t len)
{
    int32_t bos = tokenizer_special(t, TOKENIZER_BOS);
    size_t bos_len;
    const char *bos_text;

    if (bos < 0)
        return false;
    bos_text = tokenizer_piece(t, bos, &bos_len);
    return bos_len && len >= bos_len && !memcmp(text, bos_text, bos_len);
}

static int tokenize(struct engine_request *r, const char *text, size_t len, unsigned flags,
                    struct error *err)
{
    struct token_array ids = {0};
    int e = tokenizer_encode(r->lm->tokenizer, text, len, flags, &ids, err);

    for (size_t i = 0; e == 0 && i < ids.n; i++)
        if (request_add_token(r, (uint32_t)ids.ids[i]) < 0)
            e = error_set(err, ENOMEM, "out of memory");
    token_array_finish(&ids);
    return e;
}

static void keep_end(struct engine_request *r, const struct strbuf *text)
{
    size_t n = text->len < sizeof(r->prompt_end) - 1 ? text->len : sizeof(r->prompt_end) - 1;
    const char *end = text->data + text->len - n;

    /* not from within a character */
    for (; n && ((unsigned char)*end & 0xc0) == 0x80; end++)
        n--;
    memcpy(r->prompt_end, end, n);
    r->prompt_end[n] = 0;
}

/* Most templates write the BOS token themselves; it must not stand there twice. */
static unsigned chat_flags(const struct tokenizer *t, const struct strbuf *text)
{
    return begins_with_bos(t, text->data ? text->data : "", text->len)
               ? TOKENIZE_PARSE_SPECIAL
               : TOKENIZE_PARSE_SPECIAL | TOKENIZE_ADD_SPECIAL;
}

/* How many of the request's tokens are those of a chat of its system prompt alone, where that one
 * is everybody's. What cannot be found out is nobody's but the user's. */
static uint32_t count_common(const struct engine_request *r)
{
    json_t *chat = shared_prompts_chat(&r->engine->shared_prompts, r->chat);
    struct token_array ids = {0};
    struct strbuf text;
    uint32_t n = 0;

    if (!chat)
        return 0;
    strbuf_init(&text, 0);
    if (render(r->lm, chat, &text, NULL) == 0 && text.data &&
        tokenizer_encode(r->lm->tokenizer, text.data, text.len, chat_flags(r->lm->tokenizer, &text),
                         &ids, NULL) == 0)
        while (n < ids.n && n < r->n_tokens && (uint32_t)ids.ids[n] == r->tokens[n])
            n++;
    token_array_finish(&ids);
    strbuf_finish(&text);
    json_decref(chat);
    return n;
}

static int tokenize_chat(struct engine_request *r, struct error *err)
{
    struct strbuf text;
    int e;

    strbuf_init(&text, 0);
    e = render(r->lm, r->chat, &text, err);
    if (e == 0) {
        unsigned flags = chat_flags(r->lm->tokenizer, &text);
        e = tokenize(r, text.data ? text.data : "", text.len, flags, err);
        if (text.len)
            keep_end(r, &text);
        r->n_common = e == 0 ? count_common(r) : 0;
    }
    strbuf_finish(&text);
    return e;
}

/* A model either writes text or makes vectors. */
static int check_kind(const struct engine_request *r, struct error *err)
{
    const struct model *m = r->lm->model;

    if (r->wants_vector && m->dims.pooling == POOLING_NONE)
        return error_set(err, EINVAL,
                         "this model makes no embeddings, as its file names no pooling "
                         "(%s.pooling_type): take an embedding model",
                         m->arch->name);
    if (!r->wants_vector && m->dims.pooling != POOLING_NONE)
        return error_set(err, EINVAL,
                         "this is an embedding model (%s.pooling_type is %s), which writes no "
                         "text: ask it for embeddings, or take another model",
                         m->arch->name, pooling_name(m->dims.pooling));
    return 0;
}

int prompt_tokenize(struct engine_request *r, struct error *err)
{
    int e = check_kind(r, err);

    if (e < 0)
        return e;
    if (r->text)
        e = tokenize(r, r->text, r->text_len,
                     TOKENIZE_PARSE_SPECIAL | (r->add_special ? TOKENIZE_ADD_SPECIAL : 0), err);
    else if (r->chat)
        e = tokenize_chat(r, err);
    /* an answer takes long, and its tokens are all that is needed of its question */
    free(r->text);
    r->text = NULL;
    json_decref(r->chat);
    r->chat = NULL;
    return e;
}
