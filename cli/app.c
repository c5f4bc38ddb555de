/* SPDX-License-Identifier: MIT */
#include "app.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool ends_with(const char *s, size_t len, const char *end)
{
    size_t n = strlen(end);

    return len > n && strncmp(s + len - n, end, n) == 0;
}

void app_unit_of_cgroup(const char *path, char ret_unit[APP_NAME_SIZE])
{
    ret_unit[0] = 0;
    while (*path) {
        size_t len;

        path += strspn(path, "/");
        len = strcspn(path, "/\n");
        /* a user's manager and a login are not apps: what lies within them is */
        if ((ends_with(path, len, ".service") && strncmp(path, "user@", 5) != 0) ||
            (ends_with(path, len, ".scope") && strncmp(path, "session-", 8) != 0))
            snprintf(ret_unit, APP_NAME_SIZE, "%.*s", (int)len, path);
        path += len;
        if (*path == '\n')
            return;
    }
}

/* The first line of a file of /proc/PID, without its end; false when there is none. */
static bool read_line(pid_t pid, const char *name, char *line, size_t size)
{
    char path[64];
    FILE *f;
    bool has_line;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    f = fopen(path, "re");
    if (!f)
        return false;
    has_line = fgets(line, (int)size, f) != NULL;
    fclose(f);
    if (has_line)
        line[strcspn(line, "\n")] = 0;
    return has_line;
}

void app_of_pid(pid_t pid, struct app *ret_app)
{
    char line[4096];

    *ret_app = (struct app){0};
    if (pid <= 0)
        return;
    if (read_line(pid, "comm", line, sizeof(line)))
        snprintf(ret_app->command, sizeof(ret_app->command), "%.*s", APP_NAME_SIZE - 1, line);
    /* the unified hierarchy's line: 0::/user.slice/... */
    if (read_line(pid, "cgroup", line, sizeof(line)) && strncmp(line, "0::", 3) == 0)
        app_unit_of_cgroup(line + 3, ret_app->unit);
}
