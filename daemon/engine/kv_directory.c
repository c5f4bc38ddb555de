/* SPDX-License-Identifier: MIT */
#include "engine/kv_directory.h"

#include "base/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define SECOND_NS 1000000000ll
/* How the name of a directory begins that was a user's: no user is called so. */
#define GONE ".gone-"

int kv_directory_open(const char *path, int *ret_fd, struct error *err)
{
    _cleanup_close_ int fd = -1;
    struct stat st;

    if (mkdir(path, 0700) < 0 && errno != EEXIST && errno != EROFS)
        return error_set_errno(err, -errno, "%s cannot be made", path);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_set_errno(err, -errno, "%s cannot be used", path);
    if (st.st_uid != geteuid())
        return error_set(err, EPERM,
                         "%s belongs to uid %u, and conversations lie in it: let the service make "
                         "the directory itself, or chown it to uid %u",
                         path, (unsigned)st.st_uid, (unsigned)geteuid());
    if (st.st_mode & 077)
        return error_set(err, EPERM,
                         "%s must be the service's alone, as conversations lie in it: let it make "
                         "the directory itself, or chmod 0700 it",
                         path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? error_set(err, EBUSY, "%s is another hearthd's", path)
                                    : error_set_errno(err, -errno, "%s cannot be locked", path);
    *ret_fd = steal_fd(&fd);
    return 0;
}

static int open_user(int root_fd, uid_t uid, bool may_make)
{
    char name[16];
    int fd;

    snprintf(name, sizeof(name), "%u", (unsigned)uid);
    if (may_make && mkdirat(root_fd, name, 0700) < 0 && errno != EEXIST)
        return -errno;
    fd = openat(root_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* ---- what there is ---- */

enum { SIZES_MOST = 16 /* that files of a few models have */ };

struct listing {
    struct kv_directory_file *files;
    size_t n, room;
    uint64_t sizes[SIZES_MOST]; /* of files that were looked into and are whole */
    size_t n_sizes;
};

static struct kv_directory_file *append(struct listing *l)
{
    if (l->n == l->room) {
        size_t room = l->room ? 2 * l->room : 256;
        struct kv_directory_file *files = realloc(l->files, room * sizeof(*files));

        if (!files)
            return NULL;
        l->files = files;
        l->room = room;
    }
    return &l->files[l->n++];
}

/* Whether a file of that size is likely whole; what is not is removed. One that cannot be looked
 * into now counts as there, as it takes room and may have to be forgotten. */
static bool is_whole(struct listing *l, int dir_fd, uid_t uid, const char *name, uint64_t bytes)
{
    int e;

    for (size_t i = 0; i < l->n_sizes; i++)
        if (l->sizes[i] == bytes)
            return true;
    e = kv_file_check(dir_fd, name, uid);
    if (e == 0 && l->n_sizes < SIZES_MOST)
        l->sizes[l->n_sizes++] = bytes;
    if (e == -EBADMSG)
        unlinkat(dir_fd, name, 0);
    return e != -EBADMSG;
}

static void list_file(struct listing *l, int dir_fd, uid_t uid, const char *name)
{
    struct kv_directory_file *f;
    struct stat st;

    if (strncmp(name, KV_FILE_UNFINISHED, strlen(KV_FILE_UNFINISHED)) == 0)
        unlinkat(dir_fd, name, 0);
    if (!kv_file_is_name(name) || fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        !S_ISREG(st.st_mode) || !is_whole(l, dir_fd, uid, name, (uint64_t)st.st_size))
        return;
    f = append(l);
    if (!f)
        return;
    *f = (struct kv_directory_file){
        .uid = uid,
        .bytes = (uint64_t)st.st_size,
        .used_ns = st.st_mtim.tv_sec * SECOND_NS + st.st_mtim.tv_nsec,
    };
    memcpy(f->key.hex, name, sizeof(f->key.hex));
}

/* Calls back for each name of a directory until that says false; fd stays the caller's. */
static void each_name(int fd, bool (*call)(void *user, const char *name), void *user)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
    const struct dirent *e;

    while (dir && (e = readdir(dir)) && call(user, e->d_name))
        ;
    if (dir)
        closedir(dir);
    else
        cleanup_close(&copy);
}

struct user_listing {
    struct listing *all;
    void (*between)(void *user);
    void *between_user;
    int fd; /* the root's, or the user's */
    uid_t uid;
};

static bool on_file(void *user, const char *name)
{
    const struct user_listing *u = user;

    if (u->between)
        u->between(u->between_user);
    list_file(u->all, u->fd, u->uid, name);
    return true;
}

static bool on_user(void *user, const char *name)
{
    const struct user_listing *root = user;
    struct user_listing u = *root;
    unsigned long uid;
    char *end;

    if (!*name || strspn(name, "0123456789") != strlen(name))
        return true;
    errno = 0;
    uid = strtoul(name, &end, 10);
    if (errno || uid > UINT_MAX)
        return true;
    u.uid = (uid_t)uid;
    u.fd = open_user(root->fd, u.uid, false);
    if (u.fd < 0)
        return true;
    each_name(u.fd, on_file, &u);
    close(u.fd);
    return true;
}

void kv_directory_list(int root_fd, void (*between)(void *user), void *user,
                       struct kv_directory_file **ret_files, size_t *ret_n)
{
    struct listing l = {0};
    struct user_listing root = {.all = &l, .between = between, .between_user = user, .fd = root_fd};

    each_name(root_fd, on_user, &root);
    *ret_files = l.files;
    *ret_n = l.n;
}

/* ---- what goes as a whole ---- */

struct removal {
    int fd;
    size_t n, most;
    int error; /* of the last that could not be removed */
};

static bool remove_file(void *user, const char *name)
{
    struct removal *r = user;

    if (!strcmp(name, ".") || !strcmp(name, ".."))
        return true;
    if (unlinkat(r->fd, name, 0) == 0)
        r->n++;
    else
        r->error = -errno;
    return r->n < r->most;
}

/* One by one: a drive that is full may have no room for another name. */
static int remove_all(int root_fd, uid_t uid)
{
    struct removal r = {.fd = open_user(root_fd, uid, false), .most = SIZE_MAX};

    if (r.fd < 0)
        return r.fd;
    each_name(r.fd, remove_file, &r);
    fsync(r.fd);
    close(r.fd);
    return r.error;
}

int kv_directory_set_aside(int root_fd, uid_t uid)
{
    char from[16], to[64];
    int e = -EEXIST;

    snprintf(from, sizeof(from), "%u", (unsigned)uid);
    for (unsigned i = 0; i < 1000 && (e == -EEXIST || e == -ENOTEMPTY); i++) {
        snprintf(to, sizeof(to), GONE "%u-%u", (unsigned)uid, i);
        e = renameat(root_fd, from, root_fd, to) < 0 ? -errno : 0;
    }
    if (e == -ENOENT) /* what there was may have gone just now */
        e = 0;
    if (e < 0)
        e = remove_all(root_fd, uid);
    fsync(root_fd); /* a power failure brings nothing back */
    return e;
}

static bool clean_one(void *user, const char *name)
{
    struct removal *root = user, r = *root;

    if (strncmp(name, GONE, strlen(GONE)) != 0)
        return true;
    r.fd = openat(root->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (r.fd < 0)
        return true;
    each_name(r.fd, remove_file, &r);
    close(r.fd);
    root->n = r.n;
    unlinkat(root->fd, name, AT_REMOVEDIR); /* if that was all */
    return r.n < r.most;
}

bool kv_directory_clean(int root_fd, size_t most)
{
    struct removal root = {.fd = root_fd, .most = most};

    each_name(root_fd, clean_one, &root);
    return root.n == most;
}

/* ---- one file ---- */

static void mark(int dir_fd, const struct pool_key *key, int64_t used_ns)
{
    const struct timespec used = {used_ns / SECOND_NS, used_ns % SECOND_NS};
    const struct timespec times[2] = {used, used};

    utimensat(dir_fd, key->hex, times, AT_SYMLINK_NOFOLLOW);
}

int kv_directory_write(int root_fd, const struct kv_record *r, int64_t used_ns)
{
    int fd = open_user(root_fd, r->uid, true), e;

    if (fd < 0)
        return fd;
    e = kv_file_write(fd, r);
    if (e == 0)
        mark(fd, &r->key, used_ns);
    close(fd);
    return e;
}

int kv_directory_read(int root_fd, struct kv_record *r)
{
    int fd = open_user(root_fd, r->uid, false), e;

    if (fd < 0)
        return fd;
    e = kv_file_read(fd, r);
    close(fd);
    return e;
}

void kv_directory_remove(int root_fd, uid_t uid, const struct pool_key *key)
{
    int fd = open_user(root_fd, uid, false);
    char name[16];

    if (fd < 0)
        return;
    unlinkat(fd, key->hex, 0);
    close(fd);
    snprintf(name, sizeof(name), "%u", (unsigned)uid);
    unlinkat(root_fd, name, AT_REMOVEDIR); /* if it was the last */
}

void kv_directory_mark(int root_fd, uid_t uid, const struct pool_key *key, int64_t used_ns)
{
    int fd = open_user(root_fd, uid, false);

    if (fd < 0)
        return;
    mark(fd, key, used_ns);
    close(fd);
}
