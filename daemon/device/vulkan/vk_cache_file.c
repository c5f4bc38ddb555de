/* SPDX-License-Identifier: MIT */
#include "device/vulkan/vk_cache_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define CONTENT_BYTES_MAX (256u << 20)
#define ROOM_BYTES        (8u << 20) /* that a disk should have left for it */

enum { TEMPORARY_SECONDS = 3600 };

/* What stands before the content. */
struct header {
    char magic[8];
    uint64_t bytes, checksum;
};

static const char magic[8] = "HEARTHPC";

/* FNV-1a, 64 bits: against torn writes and bad disks, not against an enemy, who has no access. */
static uint64_t checksum(const uint8_t *data, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (size_t i = 0; i < n; i++)
        h = (h ^ data[i]) * 0x100000001b3u;
    return h;
}

int vk_cache_file_path(const char *name, char *ret_path, size_t path_bytes)
{
    const char *service = getenv("CACHE_DIRECTORY"), *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    int n;

    if (service && *service == '/')
        /* systemd separates several by colons: the first is ours */
        n = snprintf(ret_path, path_bytes, "%.*s/%s", (int)strcspn(service, ":"), service, name);
    else if (xdg && *xdg == '/')
        n = snprintf(ret_path, path_bytes, "%s/hearth/%s", xdg, name);
    else if (home && *home == '/')
        n = snprintf(ret_path, path_bytes, "%s/.cache/hearth/%s", home, name);
    else
        return -ENOENT;
    return n < 0 || (size_t)n >= path_bytes ? -ENAMETOOLONG : 0;
}

static int read_all(int fd, void *to, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t r = read(fd, (char *)to + done, n - done);

        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return r < 0 ? -errno : -EBADMSG;
        done += (size_t)r;
    }
    return 0;
}

static int read_content(int fd, void **ret_data, size_t *ret_bytes)
{
    struct header h;
    struct stat st;
    void *data;
    int r;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022))
        return -EPERM;
    r = read_all(fd, &h, sizeof(h));
    if (r < 0)
        return r;
    if (memcmp(h.magic, magic, sizeof(magic)) || h.bytes > CONTENT_BYTES_MAX ||
        (uint64_t)st.st_size != sizeof(h) + h.bytes)
        return -EBADMSG;
    data = malloc((size_t)h.bytes + 1);
    if (!data)
        return -ENOMEM;
    r = read_all(fd, data, (size_t)h.bytes);
    if (r == 0 && checksum(data, (size_t)h.bytes) != h.checksum)
        r = -EBADMSG;
    if (r < 0) {
        free(data);
        return r;
    }
    *ret_data = data;
    *ret_bytes = (size_t)h.bytes;
    return 0;
}

int vk_cache_file_read(const char *path, void **ret_data, size_t *ret_bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), r;

    if (fd < 0)
        return -errno;
    r = read_content(fd, ret_data, ret_bytes);
    if (r == 0)
        futimens(fd, NULL); /* where that fails it goes the earlier, and is made again */
    close(fd);
    if (r == -EBADMSG)
        unlink(path);
    return r;
}

/* Makes the directories above a path; the last one private. */
static int make_directories(const char *path)
{
    char copy[PATH_MAX];
    char *last = strrchr(strcpy(copy, path), '/');

    *last = '\0';
    for (char *p = copy + 1;; p++) {
        bool is_end = !*p;

        if (*p != '/' && !is_end)
            continue;
        *p = '\0';
        if (mkdir(copy, 0700) < 0 && errno != EEXIST)
            return -errno;
        if (is_end)
            return 0;
        *p = '/';
    }
}

int vk_cache_file_check(const char *path, struct error *err)
{
    char copy[PATH_MAX];
    struct statvfs fs;
    int r = make_directories(path);

    if (r == 0) {
        *strrchr(strcpy(copy, path), '/') = '\0';
        r = access(copy, W_OK | X_OK) < 0 ? -errno : 0;
        if (r == 0 && statvfs(copy, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < ROOM_BYTES)
            r = -ENOSPC;
    }
    return r < 0 ? error_set_errno(err, r, "%s cannot be written", path) : 0;
}

/* A name as mkostemp makes it of ours. */
static bool is_temporary(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot && strlen(dot) == sizeof(".XXXXXX") - 1;
}

static void prune(int dir, const char *own, uint64_t unused_seconds)
{
    size_t prefix = strcspn(own, "-") + 1;
    DIR *list = fdopendir(dir);
    const struct dirent *entry;
    time_t now = time(NULL);
    struct stat st;

    if (!list) {
        close(dir);
        return;
    }
    while ((entry = readdir(list))) {
        const char *name = entry->d_name;
        uint64_t most = is_temporary(name) ? TEMPORARY_SECONDS : unused_seconds;

        if (strncmp(name, own, prefix) != 0 || strcmp(name, own) == 0 ||
            fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
            st.st_uid != geteuid())
            continue;
        if (now > st.st_mtime && (uint64_t)(now - st.st_mtime) > most)
            unlinkat(dir, name, 0);
    }
    closedir(list);
}

void vk_cache_file_prune(const char *path, uint64_t unused_seconds)
{
    char copy[PATH_MAX];
    char *name = strrchr(strcpy(copy, path), '/');
    int dir;

    *name++ = '\0';
    dir = open(copy, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0)
        prune(dir, name, unused_seconds);
}

static int write_all(int fd, const void *from, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t r = write(fd, (const char *)from + done, n - done);

        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return r < 0 ? -errno : -EIO;
        done += (size_t)r;
    }
    return 0;
}

int vk_cache_file_write(const char *path, const void *data, size_t bytes, struct error *err)
{
    struct header h = {.bytes = bytes, .checksum = checksum(data, bytes)};
    char temporary[PATH_MAX];
    int fd, r, n = snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path);

    if (n < 0 || (size_t)n >= sizeof(temporary))
        return error_set(err, ENAMETOOLONG, "%s: the name is too long", path);
    memcpy(h.magic, magic, sizeof(magic));
    r = vk_cache_file_check(path, err);
    if (r < 0)
        return r;
    fd = mkostemp(temporary, O_CLOEXEC); /* mode 0600 */
    if (fd < 0)
        return error_set_errno(err, errno, "%s cannot be written", path);
    r = write_all(fd, &h, sizeof(h));
    if (r == 0)
        r = write_all(fd, data, bytes);
    if (close(fd) < 0 && r == 0)
        r = -errno;
    if (r == 0 && rename(temporary, path) < 0)
        r = -errno;
    if (r < 0) {
        unlink(temporary);
        return error_set_errno(err, r, "%s cannot be written", path);
    }
    return 0;
}
