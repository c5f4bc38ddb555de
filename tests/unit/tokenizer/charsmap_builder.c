/* SPDX-License-Identifier: MIT */
#include "charsmap_builder.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct build {
    struct charsmap_builder *out;
    const char *const *rules;
    bool is_taken[CHARSMAP_UNITS];
};

/* Rules that begin with these bytes; those that are these bytes alone end here. */
static bool begins(const char *rule, const char *prefix, size_t len)
{
    return strncmp(rule, prefix, len) == 0;
}

/* Which bytes follow a prefix, 0 for a rule that ends there. */
static void find_children(const struct build *b, const char *prefix, size_t len, bool *ret_has)
{
    memset(ret_has, 0, 256);
    for (size_t i = 0; b->rules[i]; i += 2)
        if (begins(b->rules[i], prefix, len))
            ret_has[(unsigned char)b->rules[i][len]] = true;
}

static uint32_t find_room(const struct build *b, const bool *has)
{
    for (uint32_t offset = 1; offset < CHARSMAP_UNITS - 256; offset++) {
        bool is_free = true;

        for (uint32_t byte = 0; byte < 256; byte++)
            if (has[byte] && b->is_taken[offset ^ byte])
                is_free = false;
        if (is_free)
            return offset;
    }
    abort();
}

static uint32_t text_offset(const struct build *b, const char *prefix, size_t len)
{
    uint32_t offset = 0;

    for (size_t i = 0; b->rules[i]; i += 2) {
        if (begins(b->rules[i], prefix, len) && !b->rules[i][len])
            return offset;
        offset += (uint32_t)strlen(b->rules[i + 1]) + 1;
    }
    abort();
}

static void add_node(struct build *b, uint32_t at, char *prefix, size_t len)
{
    struct charsmap_builder *out = b->out;
    uint32_t offset;
    bool has[256];

    find_children(b, prefix, len, has);
    offset = find_room(b, has);
    for (uint32_t byte = 0; byte < 256; byte++)
        if (has[byte])
            b->is_taken[offset ^ byte] = true;
    /* offsets are from the node itself */
    out->units[at] |= (at ^ offset) << 10 | (has[0] ? 1u << 8 : 0);
    if (has[0])
        out->units[offset] = 1u << 31 | text_offset(b, prefix, len);
    for (uint32_t byte = 1; byte < 256; byte++) {
        if (!has[byte])
            continue;
        out->units[offset ^ byte] = byte;
        prefix[len] = (char)byte;
        add_node(b, offset ^ byte, prefix, len + 1);
    }
}

void charsmap_builder_make(struct charsmap_builder *b, const char *const *rules)
{
    struct build build = {.out = b, .rules = rules, .is_taken = {true}};
    char prefix[64] = {0};
    char *text = b->texts;

    memset(b, 0, sizeof(*b));
    b->units_len = sizeof(b->units);
    for (size_t i = 0; rules[i]; i += 2)
        text = stpcpy(text, rules[i + 1]) + 1;
    b->len = (size_t)(text - (char *)b);
    add_node(&build, 0, prefix, 0);
}
