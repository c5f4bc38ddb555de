/* SPDX-License-Identifier: MIT */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static size_t write_all(const char *data, size_t size)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = write(STDOUT_FILENO, data + done, size - done);

        if (n <= 0)
            break;
        done += (size_t)n;
    }
    return done;
}

/* Of a skipped test cmocka says "ok N # SKIP name", which leaves the test without a name, and
 * before 1.1.6 (Debian 12 has 1.1.5) "not ok", which meson counts as failed. cmocka prints a line
 * at a time. */
static ssize_t write_tap(void *user, const char *data, size_t size)
{
    char line[512], name[400];
    unsigned number;

    snprintf(line, sizeof(line), "%.*s", (int)(size < sizeof(line) ? size : sizeof(line) - 1),
             data);
    if (sscanf(line, "ok %u # SKIP %399s", &number, name) == 2 ||
        sscanf(line, "not ok %u # SKIP %399s", &number, name) == 2) {
        snprintf(line, sizeof(line), "ok %u - %s # SKIP\n", number, name);
        return write_all(line, strlen(line)) ? (ssize_t)size : 0;
    }
    return write_all(data, size) == size ? (ssize_t)size : 0;
}

static void correct_skips(void)
{
    FILE *tap = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_tap});

    if (tap) {
        setvbuf(tap, NULL, _IOLBF, BUFSIZ);
        stdout = tap;
    }
}

int harness_main(int argc, char **argv, const struct CMUnitTest *tests, size_t n_tests)
{
    int opt;

    while ((opt = getopt(argc, argv, "lt:")) != -1) {
        switch (opt) {
        case 'l':
            for (size_t i = 0; i < n_tests; i++)
                puts(tests[i].name);
            return 0;
        case 't':
            cmocka_set_test_filter(optarg);
            break;
        default:
            fprintf(stderr, "usage: %s [-l] [-t NAME]\n", argv[0]);
            return 2;
        }
    }
    cmocka_set_message_output(CM_OUTPUT_TAP);
    correct_skips();
    return _cmocka_run_group_tests(argv[0], tests, n_tests, NULL, NULL) ? 1 : 0;
}

const char *harness_shared(const char *relative)
{
    static char path[4096];
    const char *dir = getenv("HEARTH_SHARED");

    snprintf(path, sizeof(path), "%s/%s", dir ? dir : "../shared", relative);
    return access(path, R_OK) == 0 ? path : NULL;
}

const char *harness_source(const char *relative)
{
    static char path[4096];
    const char *dir = getenv("HEARTH_SOURCE");

    snprintf(path, sizeof(path), "%s/%s", dir ? dir : ".", relative);
    return path;
}

char *harness_read_file(const char *path, size_t *ret_len)
{
    FILE *f = path ? fopen(path, "rb") : NULL;
    char *data = NULL;
    size_t len = 0, cap = 0, n;

    if (!f)
        return NULL;
    do {
        if (cap - len < 65537) {
            char *more = realloc(data, cap = cap * 2 + 131072);
            if (!more)
                break;
            data = more;
        }
        n = fread(data + len, 1, cap - len - 1, f);
        len += n;
    } while (n);
    fclose(f);
    if (data)
        data[len] = 0;
    if (ret_len)
        *ret_len = len;
    return data;
}

void assert_says(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("'%s' does not say '%s'", text, part);
}
