/* SPDX-License-Identifier: MIT */
#include "base/number.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int number_parse(const char *text, int base, bool has_units, uint64_t max, uint64_t *ret_n)
{
    static const char units[] = "KMGT";
    const char *unit;
    char *end = NULL;
    uint64_t n;

    if (*text < '0' || *text > '9') /* strtoull would take signs and spaces */
        return -EINVAL;
    errno = 0;
    n = strtoull(text, &end, base);
    if (errno)
        return -EINVAL;
    if (has_units && *end && (unit = strchr(units, *end))) {
        if (__builtin_mul_overflow(n, 1ull << (10 * (unit - units + 1)), &n))
            return -EINVAL;
        end++;
    }
    if (*end || n > max)
        return -EINVAL;
    *ret_n = n;
    return 0;
}
