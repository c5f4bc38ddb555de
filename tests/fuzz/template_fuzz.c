/* SPDX-License-Identifier: MIT */
/*
 * Parses and renders arbitrary templates. The first byte picks the white-space rules; the rest is
 * the source. The limits are small so that each run is short.
 */
#include <stdint.h>
#include <stdlib.h>

#include "template/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static json_t *variables(void)
{
    static json_t *vars;

    if (!vars)
        vars =
            json_loads("{\"messages\": [{\"role\": \"user\", \"content\": \"Łódź <b>\"},"
                       "{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"id\":"
                       " \"1\", \"function\": {\"name\": \"f\", \"arguments\": {\"a\": 1.5}}}]}],"
                       "\"s\": \"a, b\\n c\", \"t\": true, \"n\": -7, \"f\": 2.5, \"l\": [3, 1, 2],"
                       "\"bos_token\": \"<s>\", \"add_generation_prompt\": true}",
                       0, NULL);
    return vars;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct template_limits limits = {
        .output_bytes = 1 << 20, .steps = 200000, .memory_bytes = 8 << 20};
    struct template_spacing spacing = {0};
    struct error err = {0};
    struct template *t;
    struct strbuf out;

    if (!size)
        return 0;
    spacing.trim_blocks = data[0] & 1;
    spacing.lstrip_blocks = data[0] & 2;
    spacing.keep_trailing_newline = data[0] & 4;
    if (template_create_spaced((const char *)data + 1, size - 1, spacing, &t, &err))
        return 0;
    strbuf_init(&out, 0);
    if (template_render(t, variables(), 1768480200, &limits, &out, &err) && out.len)
        abort();
    strbuf_finish(&out);
    template_destroy(t);
    return 0;
}
