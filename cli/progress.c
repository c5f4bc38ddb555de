/* SPDX-License-Identifier: MIT */
#include "progress.h"

#include "base/clock.h"

#include <stdio.h>
#include <unistd.h>

#define QUIET_NS    250000000ull
#define INTERVAL_NS 100000000ull

enum { BAR_WIDTH = 30 };

void progress_begin(struct progress *p, const char *what)
{
    *p = (struct progress){
        .what = what,
        .start_ns = clock_now_ns(),
        .is_terminal = isatty(STDERR_FILENO),
    };
}

const char *format_bytes(char *out, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    int unit = 0;

    while (value >= 1024 && unit < 4) {
        value /= 1024;
        unit++;
    }
    snprintf(out, FORMAT_BYTES_SIZE, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return out;
}

const char *format_count(char *out, uint64_t n)
{
    static const char *const units[] = {"", " K", " M", " B", " T"};
    double value = (double)n;
    int unit = 0;

    while (value >= 999.995 && unit < 4) { /* what would be shown as 1000.00 */
        value /= 1000;
        unit++;
    }
    snprintf(out, FORMAT_BYTES_SIZE, unit ? "%.2f%s" : "%.0f%s", value, units[unit]);
    return out;
}

void progress_show(struct progress *p, uint64_t done_bytes, uint64_t total_bytes)
{
    uint64_t now_ns = clock_now_ns();
    bool is_first = !p->first_ns;
    double seconds = is_first ? 0 : (double)(now_ns - p->first_ns) * 1e-9;
    double rate = seconds > 0 ? (double)(done_bytes - p->first_bytes) / seconds : 0;
    double left = rate > 0 ? (double)(total_bytes - done_bytes) / rate : 0;
    char done[FORMAT_BYTES_SIZE], total[FORMAT_BYTES_SIZE], speed[FORMAT_BYTES_SIZE];
    char bar[BAR_WIDTH + 1];
    int filled = total_bytes ? (int)(done_bytes * BAR_WIDTH / total_bytes) : 0;

    if (is_first) {
        p->first_ns = now_ns;
        p->first_bytes = done_bytes;
    }
    if (!p->is_terminal || now_ns - p->start_ns < QUIET_NS || now_ns - p->drawn_ns < INTERVAL_NS)
        return;
    for (int i = 0; i < BAR_WIDTH; i++)
        bar[i] = i < filled ? '#' : '.';
    bar[BAR_WIDTH] = 0;
    fprintf(stderr, "\r%s [%s] %s of %s, %s/s, %.0f s left\033[K", p->what, bar,
            format_bytes(done, done_bytes), format_bytes(total, total_bytes),
            format_bytes(speed, (uint64_t)rate), left);
    fflush(stderr);
    p->drawn_ns = now_ns;
    p->is_shown = true;
}

void progress_end(struct progress *p)
{
    if (p->is_shown)
        fputs("\r\033[K", stderr);
    p->is_shown = false;
}
