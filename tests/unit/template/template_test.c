/* SPDX-License-Identifier: MIT */
#include "template/template.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "vectors_test.h"

/* Renders source with vars (JSON text) into out; returns the errno. */
static int render(const char *source, const char *vars, const struct template_limits *limits,
                  struct strbuf *out, struct error *err)
{
    json_t *json = json_loads(vars, 0, NULL);
    struct template *t = NULL;
    int rc = template_create(source, strlen(source), &t, err);

    assert_non_null(json);
    strbuf_init(out, 0);
    if (!rc)
        rc = template_render(t, json, 1768480200, limits, out, err);
    template_destroy(t);
    json_decref(json);
    return rc;
}

static void assert_renders(const char *source, const char *vars, const char *expected)
{
    struct error err = {0};
    struct strbuf out;
    int rc = render(source, vars, NULL, &out, &err);

    if (rc)
        fail_msg("%s: %s", source, err.text);
    assert_string_equal(out.data ? out.data : "", expected);
    strbuf_finish(&out);
}

static void assert_fails(const char *source, const char *vars, int code, const char *expected)
{
    struct error err = {0};
    struct strbuf out;

    assert_int_equal(render(source, vars, NULL, &out, &err), -code);
    assert_int_equal(err.code, -code);
    if (!strstr(err.text, expected))
        fail_msg("%s: \"%s\" does not say \"%s\"", source, err.text, expected);
    assert_int_equal(out.len, 0);
    strbuf_finish(&out);
}

static void assert_over_limit(const char *source, struct template_limits limits)
{
    struct error err = {0};
    struct strbuf out;

    assert_int_equal(render(source, "{}", &limits, &out, &err), -E2BIG);
    assert_int_equal(out.len, 0);
    strbuf_finish(&out);
}

static void list_pop_takes_items(void **state)
{
    assert_renders("{{ a.pop() }}-{{ a|join(',') }}", "{\"a\": [1, 2, 3]}", "3-1,2");
    assert_renders("{{ a.pop(0) }}-{{ a|join(',') }}", "{\"a\": [1, 2, 3]}", "1-2,3");
    assert_fails("{{ [].pop() }}", "{}", EINVAL, "pop()");
}

static void mutating_methods_are_refused(void **state)
{
    assert_fails("{{ [1].append(2) }}", "{}", EINVAL, "append");
    assert_fails("{{ {}.update({}) }}", "{}", EINVAL, "update");
    assert_renders("{{ [1].append is defined }}", "{}", "False");
}

static void errors_name_their_line(void **state)
{
    assert_fails("a\nb\n{% if %}", "{}", EINVAL, "line 3");
    assert_fails("a\n{{ 1 // 0 }}", "{}", EINVAL, "line 2");
    assert_fails("a\n{% for x in y %}\n\n", "{}", EINVAL, "line 2");
    assert_fails("{{ nope.field }}", "{}", EINVAL, "'nope' is undefined");
    assert_fails("{{ 'a' | nope }}", "{}", EINVAL, "no filter named 'nope'");
    assert_fails("{{ '\xff' }}", "{}", EINVAL, "UTF-8");
}

static void raise_exception_gives_its_text(void **state)
{
    assert_fails("{{ raise_exception('roles must alternate') }}", "{}", EINVAL,
                 "roles must alternate");
}

static void output_stays_untouched_on_failure(void **state)
{
    struct error err = {0};
    struct template *t;
    struct strbuf out;
    json_t *vars = json_object();
    const char *source = "some text {{ 1 // 0 }}";

    strbuf_init(&out, 0);
    strbuf_add_str(&out, "before");
    assert_int_equal(template_create(source, strlen(source), &t, &err), 0);
    assert_int_equal(template_render(t, vars, 0, NULL, &out, &err), -EINVAL);
    assert_string_equal(out.data, "before");
    template_destroy(t);
    strbuf_finish(&out);
    json_decref(vars);
}

static void endless_work_is_stopped(void **state)
{
    const char *nested = "{% for a in range(99999) %}{% for b in range(99999) %}"
                         "{% endfor %}{% endfor %}";

    assert_over_limit(nested, (struct template_limits){.steps = 100000});
    assert_over_limit(nested, (struct template_limits){0});
    assert_over_limit("{{ 'x' * 1000000000000 }}", (struct template_limits){0});
    assert_over_limit("{% set ns = namespace(s='x') %}{% for i in range(99) %}"
                      "{% set ns.s = ns.s + ns.s %}{% endfor %}",
                      (struct template_limits){0});
    assert_over_limit("{{ 'x' * 1000 }}", (struct template_limits){.output_bytes = 999});
    assert_over_limit("{{ ('x' * 100000)|length }}",
                      (struct template_limits){.memory_bytes = 50000});
}

static void endless_recursion_is_stopped(void **state)
{
    assert_over_limit("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
                      (struct template_limits){0});
    assert_over_limit("{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
                      (struct template_limits){0});
    assert_over_limit("{% set ns = namespace(a=[]) %}{% for i in range(5000) %}"
                      "{% set ns.a = [ns.a] %}{% endfor %}{{ ns.a }}",
                      (struct template_limits){0});
}

/* n times open, then close, around an x. */
static char *nest(const char *head, const char *open, size_t n, const char *close, const char *tail)
{
    struct strbuf s;

    strbuf_init(&s, 0);
    strbuf_add_str(&s, head);
    for (size_t i = 0; i < n; i++)
        strbuf_add_str(&s, open);
    strbuf_add_str(&s, "x");
    for (size_t i = 0; i < n; i++)
        strbuf_add_str(&s, close);
    strbuf_add_str(&s, tail);
    return strbuf_steal(&s);
}

static void deep_source_is_refused(void **state)
{
    static const char *const cases[][4] = {
        {"{{ ", "(", ")", " }}"},
        {"{{ ", "not ", "", " }}"},
        {"{{ ", "- ", "", " }}"},
        {"{{ ", "[", "]", " }}"},
        {"{{ ", "", ".a", " }}"},
        {"{{ ", "", "|trim", " }}"},
        {"{{ ", "", " + x", " }}"},
        {"{{ ", "", " is defined", " }}"},
        {"", "{% if x %}", "{% endif %}", ""},
        {"{{ ", "", "()", " }}"},
        {"{{ ", "x if x else ", "", " }}"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *source = nest(cases[i][0], cases[i][1], 100000, cases[i][2], cases[i][3]);
        struct template *t = NULL;
        struct error err = {0};
        int rc = template_create(source, strlen(source), &t, &err);

        if (rc != -E2BIG && rc != -EINVAL)
            fail_msg("case %zu: %d %s", i, rc, err.text);
        template_destroy(t);
        free(source);
    }
}

/* Under the address sanitizer also that nothing looks behind the end of what there is. */
static void a_source_that_ends_anywhere_is_whole_or_an_error_of_a_line(void **state)
{
    static const char source[] =
        "a {#- b -#}\r\n{%- macro m(a, b='\\x41\\u00e9\\n') -%}{{ a ~ b }}{%- endmacro -%}"
        "{% for k, v in {'x': [1.5e3, -2]}.items() if v is defined recursive %}{{ loop.index }}"
        "{% else %}none{% endfor %}{% set ns = namespace(n=0) %}{% set ns.n = 1 if true else 2 %}"
        "{% raw %}{{ not read }}{% endraw %}{% call(x) m(1) %}{{ x }}{% endcall %}"
        "{% filter upper %}{{ (1, 2)[0:1:1] }}{% endfilter %}{% if 1 <= 2 and not 'a' in 'b' %}"
        "{{ '%5.1f'|format(2.0)|trim|replace('a', \"b\") }}{% elif false %}{% endif %} end";
    size_t n_whole = 0;

    for (size_t len = 0; len < sizeof(source); len++) {
        char *cut = malloc(len ? len : 1);
        struct template *t = NULL;
        struct error err = {0};
        int rc;

        memcpy(cut, source, len);
        rc = template_create(cut, len, &t, &err);
        if (rc && (rc != -EINVAL || !strstr(err.text, "line ")))
            fail_msg("%zu bytes: %d %s", len, rc, err.text);
        n_whole += rc == 0;
        template_destroy(t);
        free(cut);
    }
    /* between what is open: 4 before the comment, 4 behind it, 2 behind each of 7 tags, 5 at the
     * end */
    assert_int_equal(n_whole, 27);
}

static void long_texts_grow_in_linear_time(void **state)
{
    struct template_limits limits = {.steps = 2000000, .memory_bytes = 32 << 20};
    struct error err = {0};
    struct strbuf out;

    assert_int_equal(render("{% set ns = namespace(s='') %}{% for i in range(50000) %}"
                            "{% set ns.s = ns.s + '0123456789' %}{% endfor %}{{ ns.s|length }}",
                            "{}", &limits, &out, &err),
                     0);
    assert_string_equal(out.data, "500000");
    strbuf_finish(&out);
}

static void growing_a_string_leaves_older_ones_alone(void **state)
{
    assert_renders("{% set a = 'x' + 'y' %}{% set b = a + '1' %}{% set c = b + '2' %}"
                   "{% set d = b + '3' %}{{ a }} {{ b }} {{ c }} {{ d }}",
                   "{}", "xy xy1 xy12 xy13");
}

static void floats_print_as_in_python(void **state)
{
    assert_renders("{{ [0.1, 1e16, 1e15, 1e-5, 0.0001, -0.0, 123456789.125, 5e-324, 1e22, 2.0] }}",
                   "{}",
                   "[0.1, 1e+16, 1000000000000000.0, 1e-05, 0.0001, -0.0, 123456789.125, 5e-324, "
                   "1e+22, 2.0]");
}

static void integers_do_not_wrap_around(void **state)
{
    assert_fails("{{ 9223372036854775807 + 1 }}", "{}", EINVAL, "64 bits");
    assert_fails("{{ 9223372036854775807 * 2 }}", "{}", EINVAL, "64 bits");
    assert_fails("{{ 2 ** 63 }}", "{}", EINVAL, "64 bits");
    assert_fails("{{ -(-9223372036854775807 - 1) }}", "{}", EINVAL, "64 bits");
    assert_fails("{{ (-9223372036854775807 - 1) // -1 }}", "{}", EINVAL, "64 bits");
    assert_renders("{{ (-9223372036854775807 - 1) % -1 }}", "{}", "0");
    assert_renders("{{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7 / 2 }}", "{}", "-4 2 -2 3.5");
}

static void strings_count_code_points(void **state)
{
    assert_renders("{{ s|length }} {{ s[1] }} {{ s[-2:] }} {{ s[::-1] }} {{ s.find('d') }}",
                   "{\"s\": \"Łó\xf0\x9f\x98\x80"
                   "d\"}",
                   "4 ó \xf0\x9f\x98\x80"
                   "d d\xf0\x9f\x98\x80óŁ 3");
}

static void dates_use_the_given_time(void **state)
{
    assert_renders("{{ strftime_now('%Y-%m-%d %H:%M %B %-d %j %z') }}", "{}",
                   "2026-01-15 12:30 January 15 015 ");
}

static void generators_are_walked_once(void **state)
{
    assert_renders("{% set g = [1, 2]|map('string') %}{{ g|join }}/{{ g|join }}", "{}", "12/");
    assert_fails("{{ [1]|map('string')|length }}", "{}", EINVAL, "no length");
    assert_fails("{{ [1]|map('string')|tojson }}", "{}", EINVAL, "JSON");
}

static void recursive_loops_recurse(void **state)
{
    assert_renders("{% for n in t recursive %}{{ n.v }}@{{ loop.depth }}"
                   "{% if n.c %}[{{ loop(n.c) }}]{% endif %}{% endfor %}",
                   "{\"t\": [{\"v\": 1, \"c\": [{\"v\": 2}, {\"v\": 3}]}]}", "1@1[2@23@2]");
}

static void macros_see_their_own_scope(void **state)
{
    assert_renders("{% macro m(a, b='B') %}{{ a }}{{ b }}{{ top }}{{ varargs }}{{ kwargs }}"
                   "{% endmacro %}{% set top = 'T' %}{{ m(1, 2, 3, z=4) }}",
                   "{}", "12T(3,){'z': 4}");
    assert_fails("{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "{}", EINVAL, "at most");
    assert_fails("{% macro m(a) %}{% endmacro %}{{ m(z=2) }}", "{}", EINVAL, "'z'");
}

static void loop_variables_do_not_leak(void **state)
{
    assert_renders("{% set x = 1 %}{% for i in [1, 2] %}{% set x = i %}{% endfor %}{{ x }}{{ i }}",
                   "{}", "1");
}

/* Jinja runs a loop's else when no turn came to its end, which includes leaving each turn early. */
static void loop_else_runs_when_no_turn_completes(void **state)
{
    assert_renders("{% for i in [] %}a{% else %}b{% endfor %}", "{}", "b");
    assert_renders("{% for i in [1, 2] %}a{% else %}b{% endfor %}", "{}", "aa");
    assert_renders("{% for i in [1, 2] %}a{% continue %}{% else %}b{% endfor %}", "{}", "aab");
    assert_renders("{% for i in [1, 2] %}a{% break %}{% else %}b{% endfor %}", "{}", "ab");
}

static void blocks_see_only_the_template_level(void **state)
{
    assert_renders("{% set x = 1 %}{% for i in [5] %}{% block b %}{{ x }}{{ i }}{% endblock b %}"
                   "{% endfor %}",
                   "{}", "1");
}

static void markup_escapes_what_joins_it(void **state)
{
    assert_renders("{{ ('<b>'|safe) + '<i>' }} {{ '<i>' ~ ('<b>'|safe) }} {{ '%s'|safe % '<' }}",
                   "{}", "<b>&lt;i&gt; <i><b> &lt;");
    assert_renders("{{ ['<'|e, '<'] }} {{ '<>&\"'|e|e }}", "{}",
                   "[Markup('&lt;'), '<'] &lt;&gt;&amp;&#34;");
}

static void repeating_nothing_gives_nothing(void **state)
{
    assert_renders("[{{ 'x' * 0 }}{{ '' * 5 }}{{ 'x' * -1 }}{{ 'a'|indent(0) }}]", "{}", "[a]");
    assert_renders("{{ [1]|tojson(indent=0) }}", "{}", "[\n1\n]");
}

static void strings_format_as_in_python(void **state)
{
    assert_renders("{{ '{:>6}|{:<4}|{:^5}|{:06.2f}|{:,}|{:#x}'.format('ab', 1, 'x', 3.14159, "
                   "1234567, 255) }}",
                   "{}", "    ab|1   |  x  |003.14|1,234,567|0xff");
    assert_renders("{{ '%s %r %5d|%-5d|%05d %.2f %%' % ('a', 'b', 3, 4, 5, 2.5) }}", "{}",
                   "a 'b'     3|4    |00005 2.50 %");
    assert_renders("{{ '{0[k]} {1.k}'.format(d, d) }}", "{\"d\": {\"k\": 7}}", "7 7");
    assert_fails("{{ '{' .format() }}", "{}", EINVAL, "format");
    assert_fails("{{ '%d' % 'x' }}", "{}", EINVAL, "needs a number");
}

static void spacing_signs_keep_or_strip(void **state)
{
    assert_renders("a \n  {%- if true -%}  \n b {%+ endif +%}\n c", "{}", "ab \n c");
    assert_renders("  {% raw %}\n{{ x }}\n  {% endraw %}\nb", "{}", "\n{{ x }}\nb");
    assert_renders("x {#- note -#} y\r\nz\n", "{}", "xy\nz");
    assert_renders("{{ '}}' }}{{ {'a': {'b': 1}}['a'] }}", "{}", "}}{'b': 1}");
}

static void unknown_filters_fail_only_where_reached(void **state)
{
    assert_renders("{% if false %}{{ x|from_json }}{% endif %}ok", "{}", "ok");
    assert_fails("{% if true %}{{ 'x'|from_json }}{% endif %}", "{}", EINVAL, "from_json");
}

static void upper_and_lower_know_unicode(void **state)
{
    assert_renders("{{ s|upper }} {{ s|lower }} {{ s|title }}", "{\"s\": \"straße ŁÓDŹ ΣΑΣ\"}",
                   "STRASSE ŁÓDŹ ΣΑΣ straße łódź σας Straße Łódź Σας");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(loop_else_runs_when_no_turn_completes),
    cmocka_unit_test(blocks_see_only_the_template_level),
    cmocka_unit_test(markup_escapes_what_joins_it),
    cmocka_unit_test(repeating_nothing_gives_nothing),
    cmocka_unit_test(strings_format_as_in_python),
    cmocka_unit_test(spacing_signs_keep_or_strip),
    cmocka_unit_test(unknown_filters_fail_only_where_reached),
    cmocka_unit_test(upper_and_lower_know_unicode),
    cmocka_unit_test(list_pop_takes_items),
    cmocka_unit_test(mutating_methods_are_refused),
    cmocka_unit_test(errors_name_their_line),
    cmocka_unit_test(raise_exception_gives_its_text),
    cmocka_unit_test(output_stays_untouched_on_failure),
    cmocka_unit_test(endless_work_is_stopped),
    cmocka_unit_test(endless_recursion_is_stopped),
    cmocka_unit_test(deep_source_is_refused),
    cmocka_unit_test(a_source_that_ends_anywhere_is_whole_or_an_error_of_a_line),
    cmocka_unit_test(long_texts_grow_in_linear_time),
    cmocka_unit_test(growing_a_string_leaves_older_ones_alone),
    cmocka_unit_test(floats_print_as_in_python),
    cmocka_unit_test(integers_do_not_wrap_around),
    cmocka_unit_test(strings_count_code_points),
    cmocka_unit_test(dates_use_the_given_time),
    cmocka_unit_test(generators_are_walked_once),
    cmocka_unit_test(recursive_loops_recurse),
    cmocka_unit_test(macros_see_their_own_scope),
    cmocka_unit_test(loop_variables_do_not_leak),
    cmocka_unit_test(vectors_jinja_engine_cases_render),
    cmocka_unit_test(vectors_minja_syntax_cases_render),
    cmocka_unit_test(vectors_conversations_render),
    cmocka_unit_test(vectors_published_templates_render),
    cmocka_unit_test(vectors_real_templates_render_or_fail_as_in_python),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
