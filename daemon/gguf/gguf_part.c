/* SPDX-License-Identifier: MIT */
#include "gguf/gguf_part.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Each read at least doubles what is there, so a header costs few reads and little is read in vain.
 */
enum { FIRST_READ_BYTES = 1 << 20 };

int gguf_part_fetch(struct gguf_part *part, uint64_t end, struct error *err)
{
    uint64_t most = part->mapped_bytes;
    uint64_t want = part->data_bytes * 2;

    if (end <= part->data_bytes)
        return 0;
    if (part->file.fd < 0)
        return error_set(err, EINVAL, "the header goes on past the %zu bytes given",
                         part->data_bytes);
    if (want < FIRST_READ_BYTES)
        want = FIRST_READ_BYTES;
    if (want < end)
        want = end;
    if (want > most)
        want = most;
    while (part->data_bytes < want) {
        ssize_t n = pread(part->file.fd, part->data + part->data_bytes, want - part->data_bytes,
                          (off_t)part->data_bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set_errno(err, errno, "reading the header at offset %zu failed",
                                   part->data_bytes);
        if (n == 0)
            return error_set(err, EINVAL,
                             "the file shrank to %zu bytes while its header was read: wait until "
                             "whatever writes it is done",
                             part->data_bytes);
        part->data_bytes += (size_t)n;
    }
    return 0;
}

/* Gives back the address space behind the header. */
static void part_trim(struct gguf_part *part)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t keep = (part->file.header_bytes + page - 1) & ~(page - 1);

    if (keep < part->mapped_bytes) {
        munmap(part->data + keep, part->mapped_bytes - keep);
        part->mapped_bytes = keep;
    }
    if (part->data_bytes > part->file.header_bytes)
        part->data_bytes = part->file.header_bytes;
}

int gguf_part_open(struct gguf_part *part, int fd, const char *path, struct error *err)
{
    struct stat st;
    void *map;
    int r;

    *part = (struct gguf_part){.file.fd = fd};
    arena_init(&part->arena, 0);
    part->file.path = strdup(path);
    if (!part->file.path) {
        r = error_set(err, ENOMEM, "not enough memory to read the header");
        goto fail;
    }
    if (fstat(fd, &st) < 0) {
        r = error_set_errno(err, errno, "cannot be examined");
        goto fail;
    }
    if (S_ISDIR(st.st_mode)) {
        r = error_set(err, EISDIR, "is a directory: name the .gguf file in it");
        goto fail;
    }
    if (!S_ISREG(st.st_mode)) {
        r = error_set(err, EINVAL, "is not a regular file: a model must be one");
        goto fail;
    }
    fcntl(fd, F_SETFL, 0); /* without the O_NONBLOCK of opening: users of the descriptor may wait */
    part->file.size_bytes = (uint64_t)st.st_size;
    if (part->file.size_bytes == 0) {
        r = error_set(err, EINVAL, "is empty: the download has not begun or has failed");
        goto fail;
    }
    /* Reserved whole, so that pointers into it stay good while it grows; memory comes by reading.
     */
    part->mapped_bytes = part->file.size_bytes < GGUF_HEADER_LIMIT_BYTES
                             ? (size_t)part->file.size_bytes
                             : (size_t)GGUF_HEADER_LIMIT_BYTES;
    map = mmap(NULL, part->mapped_bytes, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) {
        part->mapped_bytes = 0;
        r = error_set_errno(err, errno, "no address space for the header");
        goto fail;
    }
    part->data = map;
    r = gguf_header_parse(part, err);
    if (r < 0)
        goto fail;
    part_trim(part);
    part->file.header = part->data;
    return 0;

fail:
    gguf_part_finish(part);
    return r;
}

int gguf_part_parse(struct gguf_part *part, const void *data, size_t len, uint64_t file_size,
                    struct error *err)
{
    int r;

    *part = (struct gguf_part){.file.fd = -1};
    arena_init(&part->arena, 0);
    part->file.size_bytes = file_size;
    if (len > file_size || file_size == 0) {
        r = error_set(err, EINVAL, "is empty: the download has not begun or has failed");
        if (file_size)
            r = error_set(err, EINVAL, "%zu bytes were given of a file of %llu", len,
                          (unsigned long long)file_size);
        goto fail;
    }
    if (len > GGUF_HEADER_LIMIT_BYTES)
        len = (size_t)GGUF_HEADER_LIMIT_BYTES;
    part->data = malloc(len ? len : 1);
    if (!part->data) {
        r = error_set(err, ENOMEM, "not enough memory to read the header");
        goto fail;
    }
    if (len)
        memcpy(part->data, data, len);
    part->data_bytes = len;
    r = gguf_header_parse(part, err);
    if (r < 0)
        goto fail;
    part->file.header = part->data;
    return 0;

fail:
    gguf_part_finish(part);
    return r;
}

void gguf_part_finish(struct gguf_part *part)
{
    if (part->mapped_bytes)
        munmap(part->data, part->mapped_bytes);
    else
        free(part->data);
    if (part->file.fd >= 0)
        close(part->file.fd);
    free((void *)(uintptr_t)part->file.path);
    free(part->kvs);
    free(part->kvs_by_key);
    free(part->tensors);
    arena_finish(&part->arena);
    *part = (struct gguf_part){.file.fd = -1};
}

const struct gguf_kv *gguf_part_find(const struct gguf_part *part, const char *key)
{
    size_t low = 0, high = part->n_kv;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strcmp(key, part->kvs_by_key[mid]->key);
        if (order == 0)
            return part->kvs_by_key[mid];
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}
