/* SPDX-License-Identifier: MIT */
#include "tokenizer/ending.h"

#include <string.h>

static const char *const end_names[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<end_of_utterance>",
    "<|fim_pad|>",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "[e~[",
    "<｜end▁of▁sentence｜>",
};
/* Of OpenAI's harmony format: part of what a client is to see. */
static const char *const text_names[] = {"<|channel|>", "<|message|>", "<|start|>",
                                         "<|constrain|>"};

/* Control tokens in which models write calls of tools and reasoning: whoever reads an answer needs
 * them, though as text of a prompt they must not be made of words. */
static const char *const markup_names[] = {
    "[TOOL_CALLS]",
    "[ARGS]",
    "[CALL_ID]",
    "[THINK]",
    "[/THINK]",
    "<|tool_call>",
    "<tool_call|>",
    "<|channel>",
    "<channel|>",
    "<|\"|>",
    "<|tool_calls_section_begin|>",
    "<|tool_calls_section_end|>",
    "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁sep｜>",
    "｜DSML｜",
};

static bool is_named(const char *text, size_t len, const char *name)
{
    return len == strlen(name) && memcmp(text, name, len) == 0;
}

static bool is_one_of(const char *text, size_t len, const char *const *names, size_t n)
{
    if (!len || !strchr("<[_\xef", text[0]) || !text[0])
        return false;
    for (size_t i = 0; i < n; i++)
        if (is_named(text, len, names[i]))
            return true;
    return false;
}
#define IS_ONE_OF(text, len, names) is_one_of(text, len, names, sizeof(names) / sizeof((names)[0]))

void ending_fix_types(const struct tokenizer_desc *desc, int32_t *types)
{
    for (size_t i = 0; i < desc->n_tokens; i++) {
        const struct tokenizer_text *text = &desc->texts[i];

        if (IS_ONE_OF(text->data, text->len, end_names))
            types[i] = TOKENIZER_TYPE_CONTROL;
        else if (IS_ONE_OF(text->data, text->len, text_names))
            types[i] = TOKENIZER_TYPE_USER_DEFINED;
    }
}

static void mark_id(struct vocab *v, int32_t id)
{
    if (id >= 0 && (uint32_t)id < v->n_tokens)
        v->tokens[id].is_end = true;
}

/* Names whose presence changes what others mean. */
struct marks {
    bool has_return, has_call, has_flush, has_tool_response;
};

static struct marks find_marks(const struct vocab *v)
{
    struct marks m = {0};

    for (uint32_t i = 0; i < v->n_tokens; i++) {
        size_t len;
        const char *text = vocab_text(v, (int32_t)i, &len);

        if (!v->tokens[i].is_end)
            continue;
        m.has_return |= is_named(text, len, "<|return|>");
        m.has_call |= is_named(text, len, "<|call|>") || is_named(text, len, "<|calls|>");
        m.has_flush |= is_named(text, len, "<|flush|>");
        m.has_tool_response |= is_named(text, len, "<|tool_response>");
    }
    return m;
}

void ending_mark(struct vocab *v, const struct tokenizer_desc *desc)
{
    struct marks m;

    for (uint32_t i = 0; i < v->n_tokens; i++) {
        size_t len;
        const char *text = vocab_text(v, (int32_t)i, &len);

        v->tokens[i].is_end =
            v->tokens[i].type == TOKENIZER_TYPE_CONTROL && IS_ONE_OF(text, len, end_names);
        v->tokens[i].is_markup =
            v->tokens[i].type == TOKENIZER_TYPE_CONTROL && IS_ONE_OF(text, len, markup_names);
    }
    mark_id(v, desc->eos);
    mark_id(v, desc->eot);
    mark_id(v, desc->eom);
    mark_id(v, desc->fim_pad);
    mark_id(v, desc->fim_rep);
    mark_id(v, desc->fim_sep);
    m = find_marks(v);
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        size_t len;
        const char *text = vocab_text(v, (int32_t)i, &len);

        /* in harmony it ends a message, not the answer; Gemma 4 has it as ordinary text */
        if ((m.has_call && (m.has_return || m.has_flush) && is_named(text, len, "<|end|>")) ||
            (m.has_tool_response && is_named(text, len, "</s>")))
            v->tokens[i].is_end = false;
    }
}
