/* SPDX-License-Identifier: MIT */
#include "engine/shared_prompt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* An editor ends the last line of a file; whoever pastes its text into a program may not. */
static size_t length_of(const char *text, size_t len)
{
    while (len && (text[len - 1] == '\n' || text[len - 1] == '\r'))
        len--;
    return len;
}

int shared_prompts_init(struct shared_prompts *p, const char *const *texts, struct error *err)
{
    size_t n = 0;

    *p = (struct shared_prompts){0};
    while (texts && texts[n])
        n++;
    p->texts = calloc(n + 1, sizeof(*p->texts));
    if (!p->texts)
        return error_set(err, ENOMEM, "out of memory");
    for (; p->n < n; p->n++) {
        p->texts[p->n] = strndup(texts[p->n], length_of(texts[p->n], strlen(texts[p->n])));
        if (!p->texts[p->n])
            return error_set(err, ENOMEM, "out of memory");
    }
    return 0;
}

void shared_prompts_finish(struct shared_prompts *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->texts[i]);
    free(p->texts);
    *p = (struct shared_prompts){0};
}

static const char *find(const struct shared_prompts *p, const char *text, size_t len)
{
    len = length_of(text, len);
    for (size_t i = 0; i < p->n; i++)
        if (len && strlen(p->texts[i]) == len && memcmp(p->texts[i], text, len) == 0)
            return p->texts[i];
    return NULL;
}

json_t *shared_prompts_chat(const struct shared_prompts *p, const json_t *chat)
{
    json_t *first = json_array_get(json_object_get(chat, "messages"), 0);
    const char *role = json_string_value(json_object_get(first, "role")), *text;
    const json_t *content = json_object_get(first, "content");

    if (!p->n || !role || (strcmp(role, "system") != 0 && strcmp(role, "developer") != 0) ||
        !json_is_string(content))
        return NULL;
    text = find(p, json_string_value(content), json_string_length(content));
    /* nothing else of the message: templates may print what a client has put beside these */
    return text ? json_pack("{s:[{s:s,s:s},{s:s,s:s}]}", "messages", "role", role, "content", text,
                            "role", "user", "content", "\xef\xbf\xbd")
                : NULL;
}
