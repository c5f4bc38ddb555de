/* SPDX-License-Identifier: MIT */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* cmocka before 1.1.6 (Debian 12 has 1.1.5) says "not ok N # SKIP" of a skipped test, which meson
 * counts as failed: the "not " is left out. cmocka prints a line at a time. */
static ssize_t write_tap(void *user, const char *data, size_t size)
{
    const char *end = memchr(data, '\n', size);
    size_t done = 0, len = end ? (size_t)(end - data) : size;

    if (len > 7 && !memcmp(data, "not ok ", 7) && memmem(data, len, " # SKIP ", 8))
        done = 4;
    while (done < size) {
        ssize_t n = write(STDOUT_FILENO, data + done, size - done);

        if (n <= 0)
            return 0;
        done += (size_t)n;
    }
    return (ssize_t)size;
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
