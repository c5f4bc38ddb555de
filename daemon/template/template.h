/* SPDX-License-Identifier: MIT */
/*
 * Chat templates: a Jinja2 interpreter with the environment that model publishers write for (blocks
 * trimmed, a trailing newline dropped, `tojson` as json.dumps, raise_exception, strftime_now, the
 * break, continue and generation tags; mutating methods of lists and dicts refused). No I/O: there
 * is nothing to include or import. Templates are untrusted: parsing and rendering are bounded in
 * depth, steps, memory and output.
 *
 * Any thread may call; a parsed template is immutable and may be rendered by many threads at once.
 * Both calls need at most 2 MiB of stack at the default depth.
 */
#ifndef HEARTH_TEMPLATE_TEMPLATE_H
#define HEARTH_TEMPLATE_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/error.h"
#include "base/strbuf.h"

struct template;

/* Bounds of one rendering. 0 takes the default. */
struct template_limits {
    size_t output_bytes; /* 32 MiB */
    size_t steps;        /* 50 million; one per expression, loop turn, and 64 bytes handled */
    size_t depth;        /* 1000 nested evaluations; more than the default is cut to it */
    size_t memory_bytes; /* 256 MiB, all freed on return */
};

/*
 * Parses UTF-8 source. 0 and a template to destroy, or -EINVAL (the template is wrong; err names
 * the line), -E2BIG (nested too deep or too large), -ENOMEM.
 */
int template_create(const char *source, size_t len, struct template **ret, struct error *err);
/* White-space rules of a template; all false is Jinja's own default. */
struct template_spacing {
    bool trim_blocks, lstrip_blocks, keep_trailing_newline;
};
/* As template_create, for a template written for other rules. */
int template_create_spaced(const char *source, size_t len, struct template_spacing spacing,
                           struct template **ret, struct error *err);
void template_destroy(struct template *t);

/*
 * Appends the rendered text to out; on failure out is as before.
 * vars: a JSON object (messages, tools, add_generation_prompt, bos_token, ...), borrowed, not
 * modified. now: seconds since 1970 in the time zone that strftime_now shall print.
 * -EINVAL: the template failed on these values, or refused them by raise_exception (err holds its
 * text); -E2BIG: over a limit; -ENOMEM.
 */
int template_render(const struct template *t, const json_t *vars, int64_t now,
                    const struct template_limits *limits, struct strbuf *out, struct error *err);

#endif
