/* SPDX-License-Identifier: MIT */
#include "server/toolcall_format.h"

#include "server/marks.h"

#include <stdlib.h>
#include <string.h>

/* A stretch of text; data NULL: there is none. */
struct span {
    const char *data;
    size_t len;
};

static struct span trim(struct span s)
{
    while (s.len && marks_is_blank(s.data[s.len - 1]))
        s.len--;
    for (; s.len && marks_is_blank(s.data[0]); s.data++)
        s.len--;
    return s;
}

/* What stands before the mark; *rest then begins behind it. Without the mark there is none. */
static struct span cut(struct span *rest, const char *mark)
{
    size_t n = strlen(mark);
    const char *at = rest->len ? memmem(rest->data, rest->len, mark, n) : NULL;
    struct span before = {NULL, 0};

    if (!at)
        return before;
    before = (struct span){rest->data, (size_t)(at - rest->data)};
    rest->len -= before.len + n;
    rest->data = at + n;
    return before;
}

static bool tell(struct span name, const json_t *arguments, toolcall_found *found, void *user)
{
    char *copy, *dump;
    bool is_told;

    name = trim(name);
    if (!name.len || memchr(name.data, '\0', name.len) || !json_is_object(arguments))
        return false;
    copy = strndup(name.data, name.len);
    dump = json_dumps(arguments, JSON_COMPACT);
    is_told = copy && dump;
    if (is_told)
        found(user, copy, dump);
    free(copy);
    free(dump);
    return is_told;
}

static json_t *parse_json(struct span s)
{
    return json_loadb(s.data ? s.data : "", s.len, JSON_ALLOW_NUL, NULL);
}

/* ---- JSON ---- */

bool toolcall_format_parse_object(const json_t *call, toolcall_found *found, void *user)
{
    const json_t *name = json_object_get(call, "name");
    const json_t *arguments = json_object_get(call, "arguments");
    json_t *none;
    bool is_told;

    if (!json_is_string(name))
        return false;
    if (!arguments)
        arguments = json_object_get(call, "parameters");
    if (json_is_string(arguments)) {
        found(user, json_string_value(name), json_string_value(arguments));
        return true;
    }
    if (arguments)
        return tell((struct span){json_string_value(name), json_string_length(name)}, arguments,
                    found, user);
    none = json_object();
    is_told =
        tell((struct span){json_string_value(name), json_string_length(name)}, none, found, user);
    json_decref(none);
    return is_told;
}

static bool parse_object(const char *text, size_t len, const json_t *tools, toolcall_found *found,
                         void *user)
{
    json_t *call = parse_json((struct span){text, len});
    bool is_call = toolcall_format_parse_object(call, found, user);

    json_decref(call);
    return is_call;
}

/* ---- Mistral: [TOOL_CALLS][{...}, ...] or [TOOL_CALLS]name[ARGS]{...} ---- */

static bool parse_mistral(const char *text, size_t len, const json_t *tools, toolcall_found *found,
                          void *user)
{
    struct span rest = trim((struct span){text, len}), name;
    json_t *json;
    bool is_call = false;

    if (rest.len && rest.data[0] == '[') {
        size_t i;
        json_t *call;

        json = parse_json(rest);
        json_array_foreach(json, i, call) is_call |=
            toolcall_format_parse_object(call, found, user);
    } else {
        name = cut(&rest, "[ARGS]");
        if (!name.data)
            return false;
        if (memmem(name.data, name.len, "[CALL_ID]", 9))
            name = cut(&name, "[CALL_ID]");
        json = parse_json(rest);
        is_call = tell(name, json, found, user);
    }
    json_decref(json);
    return is_call;
}

/* ---- DeepSeek: name<sep>{...}, or function<sep>name and the object as a block of Markdown ---- */

static bool parse_deepseek_call(struct span call, toolcall_found *found, void *user)
{
    struct span name = cut(&call, "<｜tool▁sep｜>"), line, block;
    json_t *json;
    bool is_call;

    block = call;
    line = cut(&block, "```json");
    if (line.data) {
        name = line;
        call = cut(&block, "```");
    }
    json = parse_json(call);
    is_call = name.data && tell(name, json, found, user);
    json_decref(json);
    return is_call;
}

static bool parse_deepseek(const char *text, size_t len, const json_t *tools, toolcall_found *found,
                           void *user)
{
    struct span rest = {text, len}, call;
    bool is_call = false;

    while (cut(&rest, "<｜tool▁call▁begin｜>").data) {
        call = cut(&rest, "<｜tool▁call▁end｜>");
        is_call |= parse_deepseek_call(call.data ? call : rest, found, user);
    }
    return is_call;
}

/* ---- one element per argument ---- */

/* The JSON schema's type of a tool's argument, or NULL. */
static const char *type_of(const json_t *tools, struct span name, struct span key)
{
    const json_t *tool, *function, *schema;
    size_t i;

    json_array_foreach(tools, i, tool)
    {
        const char *this;

        function = json_object_get(tool, "function");
        this = json_string_value(json_object_get(function, "name"));
        if (!this || strlen(this) != name.len || memcmp(this, name.data, name.len))
            continue;
        schema = json_object_get(json_object_get(function, "parameters"), "properties");
        schema = json_object_getn(schema, key.data, key.len);
        return json_string_value(json_object_get(schema, "type"));
    }
    return NULL;
}

/* Text where the tool says so, else what it is as JSON, else text. */
static json_t *value_of(const json_t *tools, struct span name, struct span key, struct span text)
{
    const char *type = type_of(tools, name, key);
    json_t *value = NULL;

    if (!type || strcmp(type, "string"))
        value = json_loadb(text.data, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    return value ? value : json_stringn(text.data, text.len);
}

/* One line break on either side is layout. */
static struct span unwrap(struct span s)
{
    if (s.len && s.data[0] == '\n') {
        s.data++;
        s.len--;
    }
    if (s.len && s.data[s.len - 1] == '\n')
        s.len--;
    return s;
}

/* Adds the arguments there are; false when one is not whole. */
static bool add_arguments(json_t *object, const json_t *tools, struct span name, struct span rest,
                          const char *const marks[4], bool is_wrapped)
{
    while (cut(&rest, marks[0]).data) {
        struct span key = cut(&rest, marks[1]), value;
        json_t *json;

        if (!key.data)
            return false;
        key = trim(key);
        if (marks[2] && !cut(&rest, marks[2]).data)
            return false;
        value = cut(&rest, marks[3]);
        if (!value.data)
            return false;
        json = value_of(tools, name, key, is_wrapped ? unwrap(value) : value);
        if (!json || json_object_setn_new(object, key.data, key.len, json) < 0)
            return false;
    }
    return true;
}

/* Models fall back to what they saw most of. */
static bool is_json(struct span s)
{
    s = trim(s);
    return s.len && s.data[0] == '{';
}

/* <function=NAME><parameter=KEY>VALUE</parameter></function> */
static bool parse_qwen(const char *text, size_t len, const json_t *tools, toolcall_found *found,
                       void *user)
{
    static const char *const marks[4] = {"<parameter=", ">", NULL, "</parameter>"};
    struct span rest = {text, len}, name;
    json_t *object;
    bool is_call = false;

    if (is_json(rest))
        return parse_object(text, len, tools, found, user);
    object = json_object();
    if (cut(&rest, "<function=").data) {
        name = cut(&rest, ">");
        is_call = name.data && add_arguments(object, tools, trim(name), rest, marks, true) &&
                  tell(name, object, found, user);
    }
    json_decref(object);
    return is_call;
}

/* <invoke name="NAME"><parameter name="KEY">VALUE</parameter></invoke>, any number of them */
static bool parse_invokes(const char *text, size_t len, const json_t *tools, toolcall_found *found,
                          void *user)
{
    static const char *const marks[4] = {"<parameter name=\"", "\">", NULL, "</parameter>"};
    struct span rest = {text, len};
    bool is_call = false;

    while (cut(&rest, "<invoke name=\"").data) {
        struct span name = cut(&rest, "\">"), body = cut(&rest, "</invoke>");
        json_t *object = json_object();

        is_call |= name.data && body.data &&
                   add_arguments(object, tools, trim(name), body, marks, true) &&
                   tell(name, object, found, user);
        json_decref(object);
    }
    return is_call;
}

/* NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value> */
static bool parse_glm(const char *text, size_t len, const json_t *tools, toolcall_found *found,
                      void *user)
{
    static const char *const marks[4] = {"<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"};
    struct span rest = {text, len}, name = rest;
    const char *first = memmem(text, len, marks[0], strlen(marks[0]));
    json_t *object;
    bool is_call;

    if (is_json(rest))
        return parse_object(text, len, tools, found, user);
    object = json_object();
    if (first)
        name.len = (size_t)(first - text);
    is_call = add_arguments(object, tools, trim(name), rest, marks, false) &&
              tell(name, object, found, user);
    json_decref(object);
    return is_call;
}

/* ---- DeepSeek V3.2 and V4: elements of their own, which say of each value whether it is text ----
 */

static json_t *dsml_value(const json_t *tools, struct span name, struct span key, struct span says,
                          struct span text)
{
    static const char is_text[] = "string=\"true\"";

    return memmem(says.data, says.len, is_text, sizeof(is_text) - 1)
               ? json_stringn(text.data, text.len)
               : value_of(tools, name, key, text);
}

/* <｜DSML｜parameter name="KEY" string="true|false">VALUE</｜DSML｜parameter>; false when one is
 * not whole. */
static bool add_dsml_arguments(json_t *object, const json_t *tools, struct span name,
                               struct span rest)
{
    while (cut(&rest, "<｜DSML｜parameter name=\"").data) {
        struct span key = cut(&rest, "\""), says = cut(&rest, ">"), value;
        json_t *json;

        value = cut(&rest, "</｜DSML｜parameter>");
        if (!key.data || !says.data || !value.data)
            return false;
        json = dsml_value(tools, name, key, says, value);
        if (!json || json_object_setn_new(object, key.data, key.len, json) < 0)
            return false;
    }
    return true;
}

/* <｜DSML｜invoke name="NAME">...</｜DSML｜invoke>, any number of them */
static bool parse_dsml(const char *text, size_t len, const json_t *tools, toolcall_found *found,
                       void *user)
{
    struct span rest = {text, len};
    bool is_call = false;

    while (cut(&rest, "<｜DSML｜invoke name=\"").data) {
        struct span name = cut(&rest, "\">"), body = cut(&rest, "</｜DSML｜invoke>");
        json_t *object = json_object();

        is_call |= name.data && body.data && add_dsml_arguments(object, tools, name, body) &&
                   tell(name, object, found, user);
        json_decref(object);
    }
    return is_call;
}

/* ---- Kimi K2: functions.NAME:NUMBER and an object, between marks ---- */

static struct span kimi_name(struct span id)
{
    static const char functions[] = "functions.";
    size_t len;

    id = trim(id);
    if (id.len >= sizeof(functions) - 1 && memcmp(id.data, functions, sizeof(functions) - 1) == 0) {
        id.data += sizeof(functions) - 1;
        id.len -= sizeof(functions) - 1;
    }
    for (len = id.len; len && id.data[len - 1] >= '0' && id.data[len - 1] <= '9'; len--)
        continue;
    if (len && len < id.len && id.data[len - 1] == ':')
        id.len = len - 1;
    return id;
}

static bool parse_kimi(const char *text, size_t len, const json_t *tools, toolcall_found *found,
                       void *user)
{
    struct span rest = {text, len};
    bool is_call = false;

    while (cut(&rest, "<|tool_call_begin|>").data) {
        struct span call = cut(&rest, "<|tool_call_end|>"), id;
        json_t *json;

        if (!call.data) /* the last one, where the model stopped before its end */
            call = rest;
        id = cut(&call, "<|tool_call_argument_begin|>");
        json = parse_json(call);
        is_call |= id.data && tell(kimi_name(id), json, found, user);
        json_decref(json);
    }
    return is_call;
}

/* ---- Gemma 4: call:NAME{key:value,...}, strings between <|"|> ---- */

static const char quote[] = "<|\"|>";
enum { GEMMA_DEPTH_MOST = 32 };

static bool take(struct span *s, const char *mark)
{
    size_t n = strlen(mark);

    if (s->len < n || memcmp(s->data, mark, n))
        return false;
    s->data += n;
    s->len -= n;
    return true;
}

static struct span gemma_key(struct span *s)
{
    if (take(s, quote)) {
        struct span key = cut(s, quote);

        return take(s, ":") ? key : (struct span){NULL, 0};
    }
    return cut(s, ":");
}

static json_t *gemma_value(struct span *s, unsigned depth);

/* Behind the brace or bracket; is_object: keys come first. */
static bool gemma_items(struct span *s, json_t *into, bool is_object, unsigned depth)
{
    const char *end = is_object ? "}" : "]";

    if (depth > GEMMA_DEPTH_MOST)
        return false;
    while (!take(s, end)) {
        struct span key = {"", 0};
        json_t *value;

        if (is_object && !(key = gemma_key(s)).data)
            return false;
        value = gemma_value(s, depth + 1);
        if (!value || (is_object ? json_object_setn_new(into, key.data, key.len, value)
                                 : json_array_append_new(into, value)) < 0)
            return false;
        if (!take(s, ",") && (!s->len || s->data[0] != end[0]))
            return false;
    }
    return true;
}

static json_t *gemma_value(struct span *s, unsigned depth)
{
    struct span word = *s;
    json_t *value;

    if (take(s, quote)) {
        word = cut(s, quote);
        return word.data ? json_stringn(word.data, word.len) : NULL;
    }
    if (s->len && (s->data[0] == '{' || s->data[0] == '[')) {
        bool is_object = take(s, "{");

        value = is_object ? json_object() : json_array();
        if (!is_object)
            take(s, "[");
        if (gemma_items(s, value, is_object, depth))
            return value;
        json_decref(value);
        return NULL;
    }
    for (word.len = 0; word.len < s->len && !strchr(",}]", s->data[word.len]); word.len++)
        if (!s->data[word.len])
            return NULL;
    s->data += word.len;
    s->len -= word.len;
    value = json_loadb(word.data, word.len, JSON_DECODE_ANY, NULL);
    return value ? value : json_stringn(word.data, word.len);
}

static bool parse_gemma(const char *text, size_t len, const json_t *tools, toolcall_found *found,
                        void *user)
{
    struct span rest = trim((struct span){text, len}), name;
    json_t *object = json_object();
    bool is_call = false;

    if (take(&rest, "call:")) {
        name = cut(&rest, "{");
        is_call = name.data && gemma_items(&rest, object, true, 0) && !rest.len &&
                  tell(name, object, found, user);
    }
    json_decref(object);
    return is_call;
}

/* ---- */

static const struct toolcall_format formats[] = {
    {{"[TOOL_CALLS]", "[TOOL_CALLS]"}, "[TOOL_CALLS]", NULL, parse_mistral},
    {{"<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>"},
     "<｜tool▁calls▁begin｜>",
     "<｜tool▁calls▁end｜>",
     parse_deepseek},
    {{"｜DSML｜", "function_calls>"},
     "<｜DSML｜function_calls>",
     "</｜DSML｜function_calls>",
     parse_dsml},
    {{"｜DSML｜", "tool_calls>"}, "<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>", parse_dsml},
    {{"<|tool_calls_section_begin|>", "<|tool_call_argument_begin|>"},
     "<|tool_calls_section_begin|>",
     "<|tool_calls_section_end|>",
     parse_kimi},
    {{"<seed:tool_call>", "<function="}, "<seed:tool_call>", "</seed:tool_call>", parse_qwen},
    {{"<minimax:tool_call>", "<invoke name="},
     "<minimax:tool_call>",
     "</minimax:tool_call>",
     parse_invokes},
    {{"<function=", "<parameter="}, "<tool_call>", "</tool_call>", parse_qwen},
    {{"<arg_key>", "<arg_value>"}, "<tool_call>", "</tool_call>", parse_glm},
    {{"<|tool_call>", "<tool_call|>"}, "<|tool_call>", "<tool_call|>", parse_gemma},
};
static const struct toolcall_format json_format = {
    {NULL, NULL}, "<tool_call>", "</tool_call>", parse_object};

const struct toolcall_format *toolcall_format_of(const char *chat_template)
{
    for (size_t i = 0; chat_template && i < sizeof(formats) / sizeof(formats[0]); i++)
        if (strstr(chat_template, formats[i].marks[0]) &&
            strstr(chat_template, formats[i].marks[1]))
            return &formats[i];
    return &json_format;
}
