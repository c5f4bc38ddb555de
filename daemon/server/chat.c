/* SPDX-License-Identifier: MIT */
#include "server/chat.h"

#include "base/strbuf.h"

#include <stdio.h>
#include <string.h>

static int no_memory(struct api_error *err)
{
    return fields_fail(err, 503, NULL, NULL, "there is no memory for this request now");
}

static const char *where(size_t i, const char *field)
{
    static _Thread_local char name[64];

    snprintf(name, sizeof(name), "messages[%zu]%s%s", i, *field ? "." : "", field);
    return name;
}

/* An array of {"type":"text","text":...} becomes one string. */
static int join_parts(const json_t *parts, size_t at, json_t **ret_text, struct api_error *err)
{
    struct strbuf text;
    json_t *part, *value;
    size_t i;
    int rc = 0;

    strbuf_init(&text, 0);
    json_array_foreach(parts, i, part)
    {
        const char *type = json_string_value(json_object_get(part, "type"));

        value = json_object_get(part, "text");
        if (!type || strcmp(type, "text") != 0 || !json_is_string(value)) {
            rc = fields_fail(err, 400, where(at, "content"), "invalid_value",
                             "part %zu of '%s' must be {\"type\": \"text\", \"text\": \"...\"}: "
                             "only text is understood",
                             i, where(at, "content"));
            break;
        }
        strbuf_add(&text, json_string_value(value), json_string_length(value));
    }
    if (rc == 0) {
        *ret_text = text.failed ? NULL : json_stringn(text.data ? text.data : "", text.len);
        rc = *ret_text ? 0 : no_memory(err);
    }
    strbuf_finish(&text);
    return rc;
}

static int set_content(json_t *message, size_t at, struct api_error *err)
{
    json_t *content = fields_get(message, "content"), *text;

    if (!content) {
        if (!fields_get(message, "tool_calls"))
            return fields_fail(err, 400, where(at, "content"), "missing_required_parameter",
                               "'%s' is missing", where(at, "content"));
        return json_object_set_new(message, "content", json_string("")) < 0 ? no_memory(err) : 0;
    }
    if (json_is_string(content))
        return 0;
    if (!json_is_array(content))
        return fields_fail(err, 400, where(at, "content"), "invalid_type",
                           "'%s' must be a string or an array of text parts, not %s",
                           where(at, "content"), fields_type_name(content));
    if (join_parts(content, at, &text, err) < 0)
        return -1;
    return json_object_set_new(message, "content", text) < 0 ? no_memory(err) : 0;
}

/* OpenAI carries arguments as JSON in a string; templates print objects. */
static int set_arguments(json_t *message, size_t at, struct api_error *err)
{
    json_t *calls = fields_get(message, "tool_calls"), *call;
    size_t i;

    if (!calls)
        return 0;
    if (!json_is_array(calls))
        return fields_fail(err, 400, where(at, "tool_calls"), "invalid_type",
                           "'%s' must be an array, not %s", where(at, "tool_calls"),
                           fields_type_name(calls));
    json_array_foreach(calls, i, call)
    {
        json_t *function = json_object_get(call, "function"), *arguments, *parsed;

        if (!json_is_string(json_object_get(function, "name")))
            return fields_fail(err, 400, where(at, "tool_calls"), "invalid_value",
                               "call %zu of '%s' lacks function.name", i, where(at, "tool_calls"));
        arguments = json_object_get(function, "arguments");
        if (!json_is_string(arguments))
            continue;
        parsed = json_loadb(json_string_value(arguments), json_string_length(arguments), 0, NULL);
        if (!json_is_object(parsed))
            json_decref(parsed);
        else if (json_object_set_new(function, "arguments", parsed) < 0)
            return no_memory(err);
    }
    return 0;
}

/* Reasoning comes back under the name the API gives it, or another server's. Templates read one
 * name or the other, so all are set; but gpt-oss's refuses `thinking` beside the content of a
 * message with calls, and shows that content in its place. */
static int set_reasoning(json_t *message, struct api_error *err)
{
    static const char *const names[] = {"reasoning_content", "reasoning", "thinking"};
    enum { N_NAMES = sizeof(names) / sizeof(names[0]) };
    json_t *reasoning = NULL;
    int failed = 0;

    for (size_t i = 0; i < N_NAMES && !json_string_length(reasoning); i++)
        reasoning = fields_get(message, names[i]);
    if (!json_string_length(reasoning))
        return 0;
    for (size_t i = 0; i < N_NAMES; i++)
        failed |= json_object_set(message, names[i], reasoning);
    if (fields_get(message, "tool_calls") && json_string_length(fields_get(message, "content")))
        failed |= json_object_del(message, "thinking");
    return failed ? no_memory(err) : 0;
}

/* The API's roles, by the names that templates know. */
static int set_role(json_t *role, size_t at, struct api_error *err)
{
    static const struct {
        const char *name, *known;
    } roles[] = {{"system", "system"},       {"developer", "system"}, {"user", "user"},
                 {"assistant", "assistant"}, {"tool", "tool"},        {"function", "tool"}};
    const char *name = json_string_value(role);

    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        if (strcmp(roles[i].name, name) != 0)
            continue;
        return roles[i].known != roles[i].name && json_string_set(role, roles[i].known) < 0
                   ? no_memory(err)
                   : 0;
    }
    return fields_fail(err, 400, where(at, "role"), "invalid_value",
                       "'%s' must be system, developer, user, assistant, tool or function, not "
                       "\"%.40s\"",
                       where(at, "role"), name);
}

static int check_messages(json_t *messages, struct api_error *err)
{
    json_t *message;
    size_t i;

    if (!messages)
        return fields_fail(
            err, 400, "messages", "missing_required_parameter",
            "'messages' is missing: an array of {\"role\", \"content\"} is expected");
    if (!json_is_array(messages))
        return fields_fail(err, 400, "messages", "invalid_type",
                           "'messages' must be an array, not %s", fields_type_name(messages));
    if (!json_array_size(messages))
        return fields_fail(err, 400, "messages", "invalid_value", "'messages' is empty");
    json_array_foreach(messages, i, message)
    {
        json_t *role;

        if (!json_is_object(message))
            return fields_fail(err, 400, where(i, ""), "invalid_type",
                               "'%s' must be an object, not %s", where(i, ""),
                               fields_type_name(message));
        role = fields_get(message, "role");
        if (!role)
            return fields_fail(err, 400, where(i, "role"), "missing_required_parameter",
                               "'%s' is missing", where(i, "role"));
        if (!json_is_string(role))
            return fields_fail(err, 400, where(i, "role"), "invalid_type",
                               "'%s' must be a string, not %s", where(i, "role"),
                               fields_type_name(role));
        if (set_role(role, i, err) < 0 || set_content(message, i, err) < 0 ||
            set_arguments(message, i, err) < 0 || set_reasoning(message, err) < 0)
            return -1;
    }
    return 0;
}

static int check_tools(const json_t *tools, struct api_error *err)
{
    const json_t *tool;
    size_t i;

    if (!json_is_array(tools))
        return fields_fail(err, 400, "tools", "invalid_type", "'tools' must be an array, not %s",
                           fields_type_name(tools));
    json_array_foreach(tools, i, tool)
    {
        if (!json_is_string(json_object_get(json_object_get(tool, "function"), "name")))
            return fields_fail(err, 400, "tools", "invalid_value",
                               "tool %zu of 'tools' lacks function.name", i);
    }
    return 0;
}

/* The tools the template is to show under this tool_choice: *ret_tools is new, NULL for none. */
static int choose_tools(const json_t *request, json_t **ret_tools, struct api_error *err)
{
    json_t *tools = fields_get(request, "tools"), *choice = fields_get(request, "tool_choice"),
           *tool;
    const char *word = json_string_value(choice), *name;
    size_t i;

    *ret_tools = NULL;
    if (tools && check_tools(tools, err) < 0)
        return -1;
    if (choice && !json_is_string(choice) && !json_is_object(choice))
        return fields_fail(err, 400, "tool_choice", "invalid_type",
                           "'tool_choice' must be a string or an object, not %s",
                           fields_type_name(choice));
    if (word && strcmp(word, "none") && strcmp(word, "auto") && strcmp(word, "required"))
        return fields_fail(err, 400, "tool_choice", "invalid_value",
                           "'tool_choice' must be none, auto, required or name a function");
    if (!tools || !json_array_size(tools) || (word && strcmp(word, "none") == 0))
        return 0;
    if (!json_is_object(choice)) {
        *ret_tools = json_incref(tools);
        return 0;
    }
    name = json_string_value(json_object_get(json_object_get(choice, "function"), "name"));
    json_array_foreach(tools, i, tool)
    {
        const char *this =
            json_string_value(json_object_get(json_object_get(tool, "function"), "name"));

        if (name && strcmp(this, name) == 0) {
            *ret_tools = json_pack("[O]", tool);
            return *ret_tools ? 0 : no_memory(err);
        }
    }
    return fields_fail(err, 400, "tool_choice", "invalid_value",
                       "'tool_choice' names a function that 'tools' does not hold");
}

int chat_build(const json_t *request, json_t **ret_chat, struct api_error *err)
{
    json_t *chat = json_object(), *kwargs = fields_get(request, "chat_template_kwargs"), *tools;
    json_t *messages = json_deep_copy(fields_get(request, "messages"));
    const char *effort = NULL;
    int failed = 0;

    if (!chat)
        no_memory(err);
    if (!chat || check_messages(messages, err) < 0 ||
        fields_string(request, "reasoning_effort", &effort, err) < 0 ||
        choose_tools(request, &tools, err) < 0)
        goto fail;
    if (kwargs && !json_is_object(kwargs)) {
        json_decref(tools);
        fields_fail(err, 400, "chat_template_kwargs", "invalid_type",
                    "'chat_template_kwargs' must be an object, not %s", fields_type_name(kwargs));
        goto fail;
    }
    if (effort)
        failed |= json_object_set_new(chat, "reasoning_effort", json_string(effort));
    if (kwargs)
        failed |= json_object_update(chat, kwargs);
    failed |= json_object_set(chat, "messages", messages);
    if (!json_object_get(chat, "add_generation_prompt"))
        failed |= json_object_set_new(chat, "add_generation_prompt", json_true());
    if (tools) {
        failed |= json_object_set_new(chat, "tools", tools);
        if (fields_get(request, "tool_choice"))
            failed |= json_object_set(chat, "tool_choice", fields_get(request, "tool_choice"));
    }
    if (failed) {
        no_memory(err);
        goto fail;
    }
    json_decref(messages);
    *ret_chat = chat;
    return 0;
fail:
    json_decref(messages);
    json_decref(chat);
    return -1;
}
