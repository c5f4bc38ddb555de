/* SPDX-License-Identifier: MIT */
#include "vectors_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "template/template.h"

enum { FIXED_NOW = 1768480200 }; /* 2026-01-15 12:30:00 */

static const struct template_spacing publishers = {.trim_blocks = true, .lstrip_blocks = true};

static json_t *load(const char *name)
{
    char path[256];
    json_error_t why;
    json_t *json;

    snprintf(path, sizeof(path), "data/vectors/%s.json", name);
    if (!harness_shared(path))
        return NULL;
    json = json_load_file(harness_shared(path), 0, &why);
    if (!json)
        fail_msg("%s: line %d: %s", path, why.line, why.text);
    return json;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

/* What the template renders, or NULL with the reason in *err. The caller finishes *out. */
static const char *render(const char *source, struct template_spacing spacing, const json_t *vars,
                          struct strbuf *out, struct error *err)
{
    struct template *t;
    int rc = template_create_spaced(source, strlen(source), spacing, &t, err);

    strbuf_init(out, 0);
    if (rc)
        return NULL;
    rc = template_render(t, vars, FIXED_NOW, NULL, out, err);
    template_destroy(t);
    return rc ? NULL : out->data ? out->data : "";
}

/* 1 and a message when the case does not render as expected (NULL: it must fail). */
static int differs(const char *name, const char *source, struct template_spacing spacing,
                   const json_t *vars, const char *expected)
{
    struct error err = {0};
    struct strbuf out;
    const char *got = render(source, spacing, vars, &out, &err);
    int is_different = expected ? !got || strcmp(got, expected) != 0 : got != NULL;

    if (is_different) {
        size_t same = 0;

        while (got && expected && got[same] && got[same] == expected[same])
            same++;
        print_message("# %s\n#   differs at byte %zu\n#   want: %.300s\n#   got:  %.300s\n", name,
                      same, expected ? expected + same : "(an error)", got ? got + same : err.text);
    }
    strbuf_finish(&out);
    return is_different;
}

/* Cases where Python's jinja2 gives something else do not bind us. */
static bool is_agreed(const json_t *c)
{
    const json_t *agrees = json_object_get(c, "python_jinja2_agrees");

    return !agrees || json_is_true(agrees);
}

void vectors_jinja_engine_cases_render(void **state)
{
    json_t *file = load("jinja-engine-cases"), *c;
    int failures = 0;
    size_t i;

    if (!file)
        SKIP("no vectors/jinja-engine-cases.json");
    json_array_foreach(json_object_get(file, "cases"), i, c)
    {
        /* the file holds these two cases' list as the call has left it: see list_pop_takes_items */
        if (is_agreed(c) && !strstr(text_of(c, "template"), "arr.pop("))
            failures += differs(text_of(c, "template"), text_of(c, "template"), publishers,
                                json_object_get(c, "vars"), text_of(c, "expected"));
    }
    assert_true(i > 200);
    json_decref(file);
    assert_int_equal(failures, 0);
}

void vectors_minja_syntax_cases_render(void **state)
{
    json_t *file = load("minja-syntax-cases"), *c;
    int failures = 0;
    size_t i;

    if (!file)
        SKIP("no vectors/minja-syntax-cases.json");
    json_array_foreach(json_object_get(file, "cases"), i, c)
    {
        const char *options = text_of(c, "options");
        const struct template_spacing spacing = {
            .trim_blocks = strstr(options, "trim_blocks") != NULL,
            .lstrip_blocks = strstr(options, "lstrip") != NULL,
        };

        if (is_agreed(c))
            failures += differs(text_of(c, "template"), text_of(c, "template"), spacing,
                                json_object_get(c, "vars"), text_of(c, "expected"));
    }
    assert_true(i > 100);
    json_decref(file);
    assert_int_equal(failures, 0);
}

/* The conversation of chat-template-cases with what the case adds to it. */
static json_t *conversation_of(const json_t *file, const json_t *c)
{
    json_t *vars = json_object(), *pair;
    json_t *messages = json_deep_copy(json_object_get(file, "conversation"));
    size_t i;

    json_array_foreach(json_object_get(c, "extra_conversation"), i, pair)
    {
        if (json_is_array(pair))
            pair = json_pack("{s:O, s:O}", "role", json_array_get(pair, 0), "content",
                             json_array_get(pair, 1));
        else
            json_incref(pair);
        json_array_append_new(messages, pair);
    }
    json_object_set_new(vars, "messages", messages);
    json_object_set_new(vars, "add_generation_prompt", json_true());
    json_object_set_new(vars, "bos_token", json_string(text_of(c, "bos_token")));
    json_object_set_new(vars, "eos_token", json_string(text_of(c, "eos_token")));
    return vars;
}

void vectors_conversations_render(void **state)
{
    json_t *file = load("chat-template-cases"), *c;
    int failures = 0;
    size_t i;

    if (!file)
        SKIP("no vectors/chat-template-cases.json");
    json_array_foreach(json_object_get(file, "cases"), i, c)
    {
        const char *expected = text_of(c, "expected_output_jinja");
        json_t *vars = conversation_of(file, c);

        if (!*expected)
            expected = text_of(c, "expected_output");
        if (is_agreed(c) && !json_is_false(json_object_get(c, "supported_with_jinja")))
            failures +=
                differs(text_of(c, "name"), text_of(c, "template_str"), publishers, vars, expected);
        json_decref(vars);
    }
    assert_true(i > 30);
    json_decref(file);
    assert_int_equal(failures, 0);
}

void vectors_published_templates_render(void **state)
{
    json_t *file = load("hf-chat-templates-rendered"), *c;
    int failures = 0;
    size_t i;

    if (!file)
        SKIP("no vectors/hf-chat-templates-rendered.json");
    json_array_foreach(json_object_get(file, "cases"), i, c)
    {
        if (is_agreed(c))
            failures += differs(text_of(c, "name"), text_of(c, "chat_template"), publishers,
                                json_object_get(c, "data"), text_of(c, "target"));
    }
    assert_true(i > 50);
    json_decref(file);
    assert_int_equal(failures, 0);
}

static json_t *scenario_vars(const json_t *scenario)
{
    json_t *vars = json_pack("{s:b, s:s, s:s}", "add_generation_prompt", 1, "bos_token", "<BOS>",
                             "eos_token", "<EOS>");

    json_object_update(vars, (json_t *)(uintptr_t)scenario);
    return vars;
}

/* A template of the shared data, or else of the directory that HEARTH_TEMPLATES names, for those
 * that are not to be had there; NULL: in neither. */
static char *read_template(const char *name)
{
    const char *more = getenv("HEARTH_TEMPLATES");
    char path[4096], *source;

    snprintf(path, sizeof(path), "data/templates/%s", name);
    source = harness_read_file(harness_shared(path), NULL);
    if (source || !more)
        return source;
    snprintf(path, sizeof(path), "%s/%s", more, name);
    return harness_read_file(path, NULL);
}

void vectors_real_templates_render_or_fail_as_in_python(void **state)
{
    json_t *file = load("real-templates-golden"), *c;
    int failures = 0, rendered = 0, absent = 0;
    size_t i;

    if (!file)
        SKIP("no vectors/real-templates-golden.json");
    json_array_foreach(json_object_get(file, "cases"), i, c)
    {
        char name[256];
        const char *scenario = text_of(c, "scenario");
        const json_t *expected = json_object_get(c, "expected");
        json_t *vars;
        char *source;

        snprintf(name, sizeof(name), "%s %s", text_of(c, "template"), scenario);
        source = read_template(text_of(c, "template"));
        if (!source) {
            absent++;
            continue;
        }
        vars = scenario_vars(json_object_get(json_object_get(file, "scenarios"), scenario));
        failures += differs(name, source, publishers, vars, json_string_value(expected));
        rendered++;
        json_decref(vars);
        free(source);
    }
    print_message("# %d cases, %d more without their template (HEARTH_TEMPLATES)\n", rendered,
                  absent);
    json_decref(file);
    assert_true(rendered > 500);
    assert_int_equal(failures, 0);
}
