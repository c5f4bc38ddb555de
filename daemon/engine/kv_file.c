/* SPDX-License-Identifier: MIT */
#include "engine/kv_file.h"

#include "base/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

/* As bytes in the file: "HearthKB". */
#define MAGIC 0x424b687472616548u

struct kv_file_header {
    uint64_t magic;
    uint32_t version, uid;
    char key[2 * POOL_KEY_BYTES];
    uint64_t block_bytes, window_bytes;
    uint32_t tokens[KV_BLOCK_TOKENS];
    uint64_t data_checksum;
    uint64_t checksum; /* of all above */
};

static_assert(sizeof(struct kv_file_header) == 240, "part of the format");

/* Four sums of products side by side, each word folded in after a rotation, so that what is read is
 * what takes the time. Finds what a drive or a torn write changes; whoever writes the directory
 * could make any file. */
static uint64_t checksum_of(const void *data, uint64_t bytes)
{
    uint64_t h[4] = {0xcbf29ce484222325u, 0x9ae16a3b2f90404fu, 0xc3a5c85c97cb3127u,
                     0xb492b66fbe98f273u};
    const unsigned char *at = data;
    uint64_t words[4], all = bytes;

    for (; bytes; at += sizeof(words)) {
        uint64_t n = bytes < sizeof(words) ? bytes : sizeof(words);

        if (n < sizeof(words))
            memset(words, 0, sizeof(words));
        memcpy(words, at, n);
        for (int i = 0; i < 4; i++)
            h[i] = ((h[i] << 31 | h[i] >> 33) ^ words[i]) * 0x9fb21c651e98df25u;
        bytes -= n;
    }
    for (int i = 0; i < 4; i++)
        all = (all ^ h[i] ^ h[i] >> 32) * 0x9fb21c651e98df25u;
    return all ^ all >> 29;
}

static uint64_t header_checksum(const struct kv_file_header *h)
{
    return checksum_of(h, offsetof(struct kv_file_header, checksum));
}

uint64_t kv_file_bytes(uint64_t block_bytes, uint64_t window_bytes)
{
    return sizeof(struct kv_file_header) + block_bytes + window_bytes;
}

bool kv_file_is_name(const char *name)
{
    return strlen(name) == sizeof((struct kv_file_header){0}.key) &&
           strspn(name, "0123456789abcdef") == strlen(name);
}

/* Reads or writes all of the parts; what the file ends before is -EBADMSG. */
static int transfer(int fd, struct iovec *parts, int n, bool is_write)
{
    while (n) {
        ssize_t did = is_write ? writev(fd, parts, n) : readv(fd, parts, n);

        if (did < 0 && errno == EINTR)
            continue;
        if (did < 0)
            return -errno;
        if (did == 0)
            return is_write ? -EIO : -EBADMSG;
        for (; n && (size_t)did >= parts->iov_len; n--)
            did -= (ssize_t)parts++->iov_len;
        if (n) {
            parts->iov_base = (char *)parts->iov_base + did;
            parts->iov_len -= (size_t)did;
        }
    }
    return 0;
}

static int write_all(int dir_fd, const char *name, const struct kv_record *r)
{
    _cleanup_close_ int fd =
        openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    uint64_t bytes = r->block_bytes + r->window_bytes;
    struct kv_file_header h = {
        .magic = MAGIC,
        .version = KV_FILE_VERSION,
        .uid = r->uid,
        .block_bytes = r->block_bytes,
        .window_bytes = r->window_bytes,
        .data_checksum = checksum_of(r->data, bytes),
    };
    struct iovec parts[] = {{&h, sizeof(h)}, {r->data, bytes}};

    if (fd < 0)
        return -errno;
    memcpy(h.key, r->key.hex, sizeof(h.key));
    memcpy(h.tokens, r->tokens, sizeof(h.tokens));
    h.checksum = header_checksum(&h);
    return transfer(fd, parts, 2, true);
}

int kv_file_write(int dir_fd, const struct kv_record *r)
{
    char name[sizeof(KV_FILE_UNFINISHED) + sizeof(r->key.hex)];
    int e;

    snprintf(name, sizeof(name), KV_FILE_UNFINISHED "%s", r->key.hex);
    e = write_all(dir_fd, name, r);
    if (e == 0 && renameat(dir_fd, name, dir_fd, r->key.hex) < 0)
        e = -errno;
    if (e < 0)
        unlinkat(dir_fd, name, 0);
    return e;
}

/* Opens it and reads its header, which is whole, and tells how long the file is. */
static int open_file(int dir_fd, const char *name, struct kv_file_header *ret, int *ret_fd)
{
    _cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct iovec head = {ret, sizeof(*ret)};
    struct stat st;
    int e;

    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EBADMSG;
    e = transfer(fd, &head, 1, false);
    if (e < 0)
        return e;
    if (ret->magic != MAGIC || ret->version != KV_FILE_VERSION ||
        ret->checksum != header_checksum(ret) ||
        (uint64_t)st.st_size != kv_file_bytes(ret->block_bytes, ret->window_bytes))
        return -EBADMSG;
    *ret_fd = steal_fd(&fd);
    return 0;
}

int kv_file_check(int dir_fd, const char *name, uid_t uid)
{
    _cleanup_close_ int fd = -1;
    struct kv_file_header h;
    int e = open_file(dir_fd, name, &h, &fd);

    if (e < 0)
        return e;
    return h.uid == uid && memcmp(h.key, name, sizeof(h.key)) == 0 ? 0 : -EBADMSG;
}

static bool is_of(const struct kv_file_header *h, const struct kv_record *r)
{
    return h->uid == r->uid && memcmp(h->key, r->key.hex, sizeof(h->key)) == 0 &&
           h->block_bytes == r->block_bytes &&
           (!h->window_bytes || h->window_bytes == r->window_bytes) &&
           memcmp(h->tokens, r->tokens, sizeof(h->tokens)) == 0;
}

int kv_file_read(int dir_fd, struct kv_record *r)
{
    _cleanup_close_ int fd = -1;
    struct kv_file_header h;
    struct iovec body = {.iov_base = r->data};
    int e = open_file(dir_fd, r->key.hex, &h, &fd);

    if (e < 0)
        return e;
    if (!is_of(&h, r))
        return -EBADMSG;
    body.iov_len = h.block_bytes + h.window_bytes;
    e = transfer(fd, &body, 1, false);
    if (e == 0 && checksum_of(r->data, h.block_bytes + h.window_bytes) != h.data_checksum)
        e = -EBADMSG;
    if (e == 0)
        r->window_bytes = h.window_bytes;
    return e;
}
