/* SPDX-License-Identifier: MIT */
/*
 * What chat requests become under a template: standard input is an array of {"request", "now"},
 * standard output one of {"vars", "text"}; vars is what the template was given. The only argument
 * is the template's file.
 */
#include "harness.h"
#include "server/chat.h"
#include "template/template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *render(const struct template *t, const json_t *request, int64_t now)
{
    struct api_error refused;
    struct error err = {0};
    struct strbuf text;
    json_t *vars, *result;

    if (chat_build(request, &vars, &refused) < 0) {
        fprintf(stderr, "%s\n", refused.message);
        return NULL;
    }
    strbuf_init(&text, 0);
    if (template_render(t, vars, now, NULL, &text, &err) < 0)
        fprintf(stderr, "%s\n", err.text);
    result = err.code ? NULL : json_pack("{s:O, s:s%}", "vars", vars, "text", text.data, text.len);
    strbuf_finish(&text);
    json_decref(vars);
    return result;
}

int main(int argc, char **argv)
{
    static const struct template_spacing publishers = {.trim_blocks = true, .lstrip_blocks = true};
    char *source = argc == 2 ? harness_read_file(argv[1], NULL) : NULL;
    json_t *cases = json_loadf(stdin, 0, NULL), *results = json_array(), *c;
    struct template *t = NULL;
    struct error err;
    size_t i;
    int rc = 1;

    if (source && cases)
        rc = template_create_spaced(source, strlen(source), publishers, &t, &err) < 0;
    if (rc && source && cases)
        fprintf(stderr, "%s\n", err.text);
    json_array_foreach(cases, i, c)
    {
        json_t *now = json_object_get(c, "now");

        if (rc == 0 && json_array_append_new(results, render(t, json_object_get(c, "request"),
                                                             json_integer_value(now))) < 0)
            rc = 1;
    }
    if (rc == 0)
        rc = json_dumpf(results, stdout, JSON_COMPACT) < 0;
    template_destroy(t);
    json_decref(results);
    json_decref(cases);
    free(source);
    return rc;
}
