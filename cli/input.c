/* SPDX-License-Identifier: MIT */
#include "input.h"

#include <errno.h>
#include <unistd.h>

enum { AT_ONCE_BYTES = 65536 };

int input_read(struct strbuf *to, struct error *err)
{
    for (;;) {
        char *room = strbuf_reserve(to, AT_ONCE_BYTES);
        ssize_t n = room ? read(STDIN_FILENO, room, AT_ONCE_BYTES) : -1;

        if (!room)
            return error_set(err, ENOMEM, "out of memory");
        if (n < 0)
            return error_set_errno(err, errno, "standard input");
        if (n == 0)
            return 0;
        to->len += (size_t)n;
        to->data[to->len] = 0;
    }
}
