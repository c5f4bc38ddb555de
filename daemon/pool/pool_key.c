/* SPDX-License-Identifier: MIT */
#include "pool/pool_key.h"

#include <errno.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define SAMPLES      64u
#define SAMPLE_BYTES ((uint64_t)4096)

int pool_file_id_get(int fd, struct pool_file_id *ret, struct error *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return error_set_errno(err, errno, "the file cannot be examined");
    if (S_ISDIR(st.st_mode))
        return error_set(err, EISDIR, "is a directory, not a model file");
    if (!S_ISREG(st.st_mode))
        return error_set(err, EINVAL, "is not a regular file");
    *ret = (struct pool_file_id){
        .device = st.st_dev,
        .inode = st.st_ino,
        .size_bytes = (uint64_t)st.st_size,
        .mtime_sec = st.st_mtim.tv_sec,
        .mtime_nsec = (uint32_t)st.st_mtim.tv_nsec,
    };
    return 0;
}

bool pool_file_id_equal(const struct pool_file_id *a, const struct pool_file_id *b)
{
    return a->device == b->device && a->inode == b->inode && a->size_bytes == b->size_bytes &&
           a->mtime_sec == b->mtime_sec && a->mtime_nsec == b->mtime_nsec;
}

void pool_key_from_bytes(const uint8_t bytes[POOL_KEY_BYTES], struct pool_key *ret)
{
    for (size_t i = 0; i < POOL_KEY_BYTES; i++)
        snprintf(ret->hex + 2 * i, 3, "%02x", bytes[i]);
}

static void finish(struct sha256_ctx *ctx, struct pool_key *ret)
{
    uint8_t digest[POOL_KEY_BYTES];

    _Static_assert(POOL_KEY_BYTES == SHA256_DIGEST_SIZE, "a key is a digest");
    sha256_digest(ctx, sizeof(digest), digest);
    pool_key_from_bytes(digest, ret);
}

int pool_key_of_file(int fd, const void *header, size_t header_bytes, struct pool_key *ret,
                     struct error *err)
{
    struct pool_file_id id;
    struct sha256_ctx ctx;
    uint64_t fields[6];
    int r = pool_file_id_get(fd, &id, err);

    if (r < 0)
        return r;
    fields[0] = id.device;
    fields[1] = id.inode;
    fields[2] = id.size_bytes;
    fields[3] = (uint64_t)id.mtime_sec;
    fields[4] = id.mtime_nsec;
    fields[5] = header_bytes;
    sha256_init(&ctx);
    sha256_update(&ctx, sizeof(fields), (const uint8_t *)fields);
    if (header_bytes)
        sha256_update(&ctx, header_bytes, header);
    finish(&ctx, ret);
    return 0;
}

/* Pieces of the content, evenly from its beginning to its end; all of it where it is shorter. */
static void add_sample(struct sha256_ctx *ctx, const uint8_t *content, uint64_t bytes)
{
    uint64_t last = bytes > SAMPLE_BYTES ? bytes - SAMPLE_BYTES : 0;

    if (bytes <= SAMPLES * SAMPLE_BYTES) {
        sha256_update(ctx, bytes, content);
        return;
    }
    for (uint64_t i = 0; i < SAMPLES; i++)
        sha256_update(ctx, SAMPLE_BYTES,
                      content + last / (SAMPLES - 1) * i +
                          last % (SAMPLES - 1) * i / (SAMPLES - 1));
}

void pool_key_lasting(const struct pool_file_id *id, const void *header, size_t header_bytes,
                      const void *content, struct pool_key *ret)
{
    const uint64_t fields[] = {id->inode, id->size_bytes, (uint64_t)id->mtime_sec, id->mtime_nsec,
                               header_bytes};
    struct sha256_ctx ctx;

    sha256_init(&ctx);
    sha256_update(&ctx, sizeof(fields), (const uint8_t *)fields);
    sha256_update(&ctx, header_bytes, header);
    add_sample(&ctx, content, id->size_bytes);
    finish(&ctx, ret);
}

void pool_key_derive(const struct pool_key *base, const char *purpose, const void *layout,
                     size_t layout_bytes, struct pool_key *ret)
{
    struct sha256_ctx ctx;

    sha256_init(&ctx);
    sha256_update(&ctx, sizeof(base->hex), (const uint8_t *)base->hex);
    sha256_update(&ctx, strlen(purpose) + 1, (const uint8_t *)purpose); /* the NUL parts them */
    sha256_update(&ctx, layout_bytes, layout);
    finish(&ctx, ret);
}
