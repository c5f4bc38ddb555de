/* SPDX-License-Identifier: MIT */
/* Which app a process is, for people: from /proc, as far as this user may look there. */
#ifndef HEARTH_CLI_APP_H
#define HEARTH_CLI_APP_H

#include <sys/types.h>

enum { APP_NAME_SIZE = 64 };

struct app {
    char command[APP_NAME_SIZE]; /* "python3"; "" when it is gone */
    char unit[APP_NAME_SIZE];    /* systemd's: "org.gnome.Builder.service"; "" when it has none */
};

void app_of_pid(pid_t pid, struct app *ret_app);
/* The unit of a process's cgroup path, the innermost service or scope of its own; "". */
void app_unit_of_cgroup(const char *path, char ret_unit[APP_NAME_SIZE]);

#endif
