/* SPDX-License-Identifier: MIT */
#include "server/listener.h"

#include "base/cleanup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4096, LOCK_TRIES = 500 };

static int make_directory(const char *dir, mode_t mode, struct error *err)
{
    struct stat st;

    if (mkdir(dir, mode) < 0 && errno != EEXIST)
        return error_set_errno(err, -errno, "%s cannot be made for the socket", dir);
    if (lstat(dir, &st) < 0)
        return error_set_errno(err, -errno, "%s", dir);
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022))
        return error_set(err, -EPERM,
                         "%s is not a directory of this user's alone: remove it or choose another "
                         "place with --socket",
                         dir);
    return 0;
}

int listener_default_path(char *ret_path, size_t size, struct error *err)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    char dir[108];
    int n;

    if (geteuid() == 0)
        n = snprintf(dir, sizeof(dir), "/run/hearth");
    else if (runtime && runtime[0] == '/')
        n = snprintf(dir, sizeof(dir), "%s/hearth", runtime);
    else
        n = snprintf(dir, sizeof(dir), "/tmp/hearth-%u", (unsigned)geteuid());
    if (n < 0 || (size_t)n >= sizeof(dir))
        return error_set(err, -ENAMETOOLONG, "XDG_RUNTIME_DIR is too long for a socket's path");
    n = make_directory(dir, geteuid() == 0 ? 0755 : 0700, err);
    if (n < 0)
        return n;
    snprintf(ret_path, size, "%s/hearth.sock", dir);
    return 0;
}

/* io_uring lets go of a killed process's sockets a little after its end: for that moment they
 * accept connections nobody will ever serve. */
static bool listener_is_dead(int fd)
{
    struct ucred cred = {0};
    socklen_t len = sizeof(cred);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && cred.pid > 0 &&
           kill(cred.pid, 0) < 0 && errno == ESRCH;
}

/* Makes way for a socket at this path. */
static int clear_path(const struct sockaddr_un *addr, struct error *err)
{
    const char *path = addr->sun_path;
    _cleanup_close_ int fd = -1;
    struct stat st;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : error_set_errno(err, -errno, "%s", path);
    if (!S_ISSOCK(st.st_mode))
        return error_set(err, -EEXIST, "%s exists and is not a socket: choose another path", path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_set_errno(err, -errno, "a socket cannot be made");
    if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0) {
        if (!listener_is_dead(fd))
            return error_set(err, -EADDRINUSE, "another server answers at %s: stop it first", path);
    } else if (errno == EAGAIN) {
        return error_set(err, -EADDRINUSE, "another server is busy at %s: stop it first", path);
    } else if (errno != ECONNREFUSED)
        return error_set_errno(err, -errno, "%s is there and cannot be asked whether it is in use",
                               path);
    if (unlink(path) < 0 && errno != ENOENT)
        return error_set_errno(err, -errno, "the stale socket %s cannot be removed", path);
    return 0;
}

static bool is_file_at(int fd, const char *path)
{
    struct stat ours, there;

    return fstat(fd, &ours) == 0 && lstat(path, &there) == 0 && ours.st_dev == there.st_dev &&
           ours.st_ino == there.st_ino;
}

/* One server at a time looks whether a path is free and takes it. The lock is a file beside the
 * socket; who holds it removes it first and lets go then, so a lock on a file that is no longer
 * there is none. */
static int lock_path(const char *lock, int *ret_fd, struct error *err)
{
    for (int i = 0; i < LOCK_TRIES; i++) {
        _cleanup_close_ int fd = open(lock, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

        if (fd < 0 && errno == ENOENT)
            return error_set(err, -ENOENT,
                             "the socket's directory %.*s is not there: make it, or name another "
                             "place with --socket",
                             (int)(strrchr(lock, '/') ? strrchr(lock, '/') - lock : 0), lock);
        if (fd < 0)
            return error_set_errno(err, -errno, "%s cannot be made to lock the socket's place",
                                   lock);
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
            if (errno != EWOULDBLOCK)
                return error_set_errno(err, -errno, "%s", lock);
            usleep(10000);
        } else if (is_file_at(fd, lock)) {
            *ret_fd = steal_fd(&fd);
            return 0;
        }
    }
    return error_set(err, -EADDRINUSE, "another server holds %s and does not get on: stop it first",
                     lock);
}

/* Binds and listens at a path that is locked. */
static int open_at(const struct sockaddr_un *addr, mode_t mode, int *ret_fd, struct error *err)
{
    const char *path = addr->sun_path;
    _cleanup_close_ int fd = -1;
    mode_t old;
    int rc = clear_path(addr, err);

    if (rc < 0)
        return rc;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set_errno(err, -errno, "a socket cannot be made");
    /* never open to more people than meant, not even for a moment */
    old = umask(0777 & ~mode);
    rc = bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;
    umask(old);
    if (rc < 0)
        return error_set_errno(err, rc, "no socket can be made at %s", path);
    if (listen(fd, BACKLOG) < 0)
        return error_set_errno(err, -errno, "%s", path);
    *ret_fd = steal_fd(&fd);
    return 0;
}

int listener_open_unix(const char *path, mode_t mode, int *ret_fd, struct error *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char lock[sizeof(addr.sun_path) + sizeof(".lock")];
    _cleanup_close_ int lock_fd = -1;
    int rc;

    if (strlen(path) >= sizeof(addr.sun_path))
        return error_set(err, -ENAMETOOLONG, "%s is too long for a socket's path (%zu bytes)", path,
                         sizeof(addr.sun_path) - 1);
    memcpy(addr.sun_path, path, strlen(path) + 1);
    snprintf(lock, sizeof(lock), "%s.lock", path);
    rc = lock_path(lock, &lock_fd, err);
    if (rc < 0)
        return rc;
    rc = open_at(&addr, mode, ret_fd, err);
    unlink(lock);
    return rc;
}

/* Fills *ret_addr from text; the length of the address, or a negative errno. */
static int parse_address(const char *text, struct sockaddr_storage *ret_addr, struct error *err)
{
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)ret_addr;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)ret_addr;
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;
    char host[64], *end;
    unsigned long port;

    memset(ret_addr, 0, sizeof(*ret_addr));
    port = colon ? strtoul(colon + 1, &end, 10) : 0;
    if (!colon || len >= sizeof(host) || colon[1] < '0' || colon[1] > '9' || *end || port > 65535)
        return error_set(err, -EINVAL, "'%s' is not ADDRESS:PORT, as in 127.0.0.1:8080", text);
    snprintf(host, sizeof(host), "%.*s", (int)len, text);
    if (strcmp(host, "localhost") == 0)
        snprintf(host, sizeof(host), "127.0.0.1");
    if (host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = 0;
        if (inet_pton(AF_INET6, host + 1, &in6->sin6_addr) == 1 &&
            IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr)) {
            in6->sin6_family = AF_INET6;
            in6->sin6_port = htons((uint16_t)port);
            return sizeof(*in6);
        }
    } else if (inet_pton(AF_INET, host, &in->sin_addr) == 1 &&
               (ntohl(in->sin_addr.s_addr) >> 24) == 127) {
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)port);
        return sizeof(*in);
    }
    return error_set(err, -EINVAL,
                     "'%s' is not a loopback address (127.0.0.1 or [::1]): other machines are not "
                     "served over plain TCP",
                     text);
}

int listener_open_tcp(const char *address, int *ret_fd, struct error *err)
{
    struct sockaddr_storage addr;
    _cleanup_close_ int fd = -1;
    int len = parse_address(address, &addr, err), one = 1;

    if (len < 0)
        return len;
    fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set_errno(err, -errno, "a TCP socket cannot be made");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&addr, (socklen_t)len) < 0 || listen(fd, BACKLOG) < 0)
        return error_set_errno(err, -errno, "%s cannot be listened at", address);
    *ret_fd = steal_fd(&fd);
    return 0;
}
