/* SPDX-License-Identifier: MIT */
/*
 * hearthd's settings file, the rules of users in it, and the same as flags: refused with a
 * sentence, or taken, and then the same for both ways. The first byte chooses: a file, or one value
 * of a flag.
 */
#include "options.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(char **argv, int argc)
{
    struct error err = {0};
    struct options o;
    struct strbuf names = {0};
    enum options_result result = options_init(&o, argc, argv, &err);

    if (result == OPTIONS_FAILED && !err.text[0])
        abort();
    if (result == OPTIONS_RUN) {
        if (o.n_model_dirs > OPTIONS_LIST || o.n_rules != o.n_users || o.n_preload > OPTIONS_LIST)
            abort();
        for (size_t i = 0; i < o.n_rules; i++)
            if (o.rules[i].weight > 1000)
                abort();
        options_waiting(&o, &o, &names); /* nothing differs from itself */
        if (names.len)
            abort();
    }
    strbuf_finish(&names);
    options_finish(&o);
}

static void read_as_file(const char *text, size_t len)
{
    char path[64], *argv[] = {"hearthd", "--config", path, NULL};
    int fd = memfd_create("hearthd.conf", MFD_CLOEXEC);

    if (fd < 0 || write(fd, text, len) != (ssize_t)len)
        abort();
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    check(argv, 3);
    close(fd);
}

static void read_as_rule(const char *text, size_t len)
{
    char *copy = strndup(text, len),
         *argv[] = {"hearthd", "--config", "/dev/null", "--user", copy, "--user", "*", NULL};

    check(argv, 7);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    if (data[0] & 1)
        read_as_file((const char *)data + 1, size - 1);
    else
        read_as_rule((const char *)data + 1, size - 1);
    return 0;
}
