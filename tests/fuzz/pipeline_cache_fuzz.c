/* SPDX-License-Identifier: MIT */
/*
 * The file of compiled pipelines as a torn write or a bad disk may have left it: what is read is
 * what was written, or nothing. The first byte chooses noise, or a file that was written and then
 * changed: each three bytes that follow turn one of it; 0xff there cuts it.
 */
#include "device/vulkan/vk_cache_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CONTENT_BYTES = 96, HEADER_BYTES = 24 };

static char path[64];

static void write_file(const void *data, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || write(fd, data, n) != (ssize_t)n)
        abort();
    close(fd);
}

/* Reads it: content, or NULL. What is damaged must be gone. */
static void *read_file(size_t *ret_bytes)
{
    void *content = NULL;
    int r = vk_cache_file_read(path, &content, ret_bytes);

    if (r < 0 && (content || access(path, F_OK) == 0))
        abort();
    return r < 0 ? NULL : content;
}

static void change_and_read(const uint8_t *data, size_t size)
{
    uint8_t content[CONTENT_BYTES], file[HEADER_BYTES + CONTENT_BYTES], before[sizeof(file)];
    size_t n = sizeof(file), bytes = 0;
    void *found;
    FILE *f;

    for (size_t i = 0; i < sizeof(content); i++)
        content[i] = (uint8_t)(i * 7);
    if (vk_cache_file_write(path, content, sizeof(content), NULL) < 0)
        abort();
    f = fopen(path, "re");
    if (!f || fread(file, 1, sizeof(file), f) != sizeof(file) || fgetc(f) != EOF)
        abort();
    fclose(f);
    memcpy(before, file, sizeof(file));
    for (; size >= 3; data += 3, size -= 3) {
        if (data[0] == 0xff)
            n = data[1] % (sizeof(file) + 1);
        else
            file[(data[0] | (size_t)data[1] << 8) % sizeof(file)] ^= data[2];
    }
    write_file(file, n);
    found = read_file(&bytes);
    /* 64 bits of a sum are not forged by chance: what reads well is what was written */
    if (found && (n != sizeof(file) || memcmp(before, file, n) != 0 || bytes != sizeof(content) ||
                  memcmp(found, content, bytes) != 0))
        abort();
    if (!found && n == sizeof(file) && memcmp(before, file, n) == 0)
        abort();
    free(found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t bytes;

    if (!size)
        return 0;
    if (!path[0])
        snprintf(path, sizeof(path), "/tmp/hearth-fuzz-%d-pipelines", (int)getpid());
    if (data[0] & 1) {
        change_and_read(data + 1, size - 1);
    } else {
        write_file(data + 1, size - 1);
        free(read_file(&bytes));
    }
    unlink(path);
    return 0;
}
