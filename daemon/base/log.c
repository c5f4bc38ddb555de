/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_int max_level = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
    atomic_store(&max_level, (int)level);
}

void log_write(enum log_level level, const char *fmt, ...)
{
    char line[2048];
    size_t used = 0;
    va_list args;
    int n;

    if ((int)level > atomic_load(&max_level))
        return;
    if (getenv("JOURNAL_STREAM"))
        used = (size_t)snprintf(line, sizeof(line), "<%d>", (int)level);
    va_start(args, fmt);
    n = vsnprintf(line + used, sizeof(line) - used - 1, fmt, args);
    va_end(args);
    if (n < 0)
        return;
    used += (size_t)n < sizeof(line) - used - 1 ? (size_t)n : sizeof(line) - used - 2;
    /* a message never spans lines: what came from outside cannot forge one */
    for (size_t i = 0; i < used; i++)
        if ((unsigned char)line[i] < 0x20)
            line[i] = ' ';
    line[used++] = '\n';
    if (write(STDERR_FILENO, line, used) < 0)
        return; /* nowhere left to say it */
}
