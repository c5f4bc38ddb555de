/* SPDX-License-Identifier: MIT */
#include "tokenizer/charsmap.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static int broken(struct error *err, const char *why)
{
    return error_set(err, EINVAL, "tokenizer.ggml.precompiled_charsmap %s: convert the model again",
                     why);
}

int charsmap_init(struct charsmap *m, const void *data, size_t len, struct error *err)
{
    uint32_t units_len;

    *m = (struct charsmap){0};
    if (!len)
        return 0;
    if (len < sizeof(units_len))
        return broken(err, "ends before its first number");
    memcpy(&units_len, data, sizeof(units_len));
    units_len = le32toh(units_len);
    len -= sizeof(units_len);
    if (!units_len || units_len % sizeof(*m->units) || units_len >= len)
        return broken(err, "is shorter than it says");
    if (((const char *)data)[sizeof(units_len) + len - 1])
        return broken(err, "ends in the middle of a replacement");
    m->units = malloc(len);
    if (!m->units)
        return error_set(err, ENOMEM, "no memory for the tokenizer");
    memcpy(m->units, (const char *)data + sizeof(units_len), len);
    m->n_units = units_len / sizeof(*m->units);
    for (size_t i = 0; i < m->n_units; i++)
        m->units[i] = le32toh(m->units[i]);
    m->texts = (const char *)m->units + units_len;
    m->texts_len = len - units_len;
    return 0;
}

void charsmap_finish(struct charsmap *m)
{
    free(m->units);
    *m = (struct charsmap){0};
}

/* Where the children of a node lie, as something to xor its index with. */
static uint32_t unit_offset(uint32_t unit)
{
    return (unit >> 10) << ((unit & 1u << 9) >> 6);
}

/* The byte that leads to a node; a number above 255 where the unit is no node but a value. */
static uint32_t unit_label(uint32_t unit)
{
    return unit & (1u << 31 | 0xff);
}

static bool unit_has_value(uint32_t unit)
{
    return unit >> 8 & 1;
}

int64_t charsmap_find(const struct charsmap *m, const char *text, size_t len, const char **ret_text,
                      size_t *ret_len)
{
    uint32_t at = m->n_units ? unit_offset(m->units[0]) : 0, value = 0;
    size_t found = 0;

    for (size_t i = 0; m->n_units && i < len && text[i]; i++) {
        unsigned char byte = (unsigned char)text[i];

        at ^= byte;
        if (at >= m->n_units)
            return -EINVAL;
        if (unit_label(m->units[at]) != byte)
            break;
        bool has_value = unit_has_value(m->units[at]);

        at ^= unit_offset(m->units[at]);
        if (!has_value)
            continue;
        if (at >= m->n_units)
            return -EINVAL;
        found = i + 1;
        value = m->units[at] & ~(1u << 31);
    }
    if (!found)
        return 0;
    if (value >= m->texts_len)
        return -EINVAL;
    *ret_text = m->texts + value;
    *ret_len = strlen(*ret_text);
    return (int64_t)found;
}
