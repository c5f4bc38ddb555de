/* SPDX-License-Identifier: MIT */
/* A progress bar on stderr, drawn only where a person looks at a terminal. */
#ifndef HEARTH_CLI_PROGRESS_H
#define HEARTH_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *what;
    uint64_t first_ns, first_bytes; /* of what was shown: who joins late knows no rate before */
    uint64_t start_ns, drawn_ns;
    bool is_shown, is_terminal;
};

void progress_begin(struct progress *p, const char *what); /* what: static */
/* Draws at most ten times a second, and nothing in the first quarter of one. */
void progress_show(struct progress *p, uint64_t done_bytes, uint64_t total_bytes);
void progress_end(struct progress *p); /* takes the bar away */

/* "1.5 GiB"; returns out. */
const char *format_bytes(char *out, uint64_t bytes);
enum { FORMAT_BYTES_SIZE = 24 };
/* "1.27 M", as parameters are counted; returns out (FORMAT_BYTES_SIZE). */
const char *format_count(char *out, uint64_t n);

#endif
