/* SPDX-License-Identifier: MIT */
#include "fd_store.h"

#include "base/cleanup.h"
#include "base/list.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define PREFIX "pool-"

static struct fd_store *store_of(struct pool_keeper *keeper)
{
    return container_of(keeper, struct fd_store, keeper);
}

/* What can be taken under the key, or NULL; under the lock. */
static struct stored_fd *find(struct fd_store *s, const struct pool_key *key)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->list[i].fd >= 0 && !strcmp(s->list[i].key.hex, key->hex))
            return &s->list[i];
    return NULL;
}

static void remove_name(const struct pool_key *key)
{
    sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=" PREFIX "%s", key->hex);
}

static void forget(struct pool_keeper *keeper, const struct pool_key *key)
{
    struct fd_store *s = store_of(keeper);
    struct stored_fd *it;

    remove_name(key);
    pthread_mutex_lock(&s->lock);
    while ((it = find(s, key)))
        close(steal_fd(&it->fd));
    pthread_mutex_unlock(&s->lock);
}

static int keep(struct pool_keeper *keeper, const struct pool_key *key, int fd)
{
    char text[128];
    int r;

    forget(keeper, key); /* two of one name would both come back */
    snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=" PREFIX "%s", key->hex);
    r = sd_pid_notify_with_fds(0, 0, text, &fd, 1);
    return r > 0 ? 0 : r < 0 ? r : -ENOTCONN;
}

static int take(struct pool_keeper *keeper, const struct pool_key *key)
{
    struct fd_store *s = store_of(keeper);
    struct stored_fd *it;
    int fd = -ENOENT;

    pthread_mutex_lock(&s->lock);
    it = find(s, key);
    if (it)
        fd = steal_fd(&it->fd);
    pthread_mutex_unlock(&s->lock);
    return fd;
}

static int look(struct pool_keeper *keeper, const struct pool_key *key)
{
    struct fd_store *s = store_of(keeper);
    const struct stored_fd *it;
    int fd = -ENOENT;

    pthread_mutex_lock(&s->lock);
    it = find(s, key);
    if (it) {
        fd = fcntl(it->fd, F_DUPFD_CLOEXEC, 3);
        fd = fd < 0 ? -errno : fd;
    }
    pthread_mutex_unlock(&s->lock);
    return fd;
}

static int list(struct pool_keeper *keeper, struct pool_key **ret_keys, size_t *ret_n)
{
    struct fd_store *s = store_of(keeper);
    struct pool_key *keys = NULL;
    size_t n = 0;
    int r = 0;

    pthread_mutex_lock(&s->lock);
    if (s->n) {
        keys = calloc(s->n, sizeof(*keys));
        r = keys ? 0 : -ENOMEM;
    }
    for (size_t i = 0; keys && i < s->n; i++)
        if (s->list[i].fd >= 0)
            keys[n++] = s->list[i].key;
    pthread_mutex_unlock(&s->lock);
    *ret_keys = keys;
    *ret_n = n;
    return r;
}

void fd_store_init(struct fd_store *s)
{
    const char *most = getenv("FDSTORE"); /* systemd 254 and later say how many it keeps */

    *s = (struct fd_store){
        .keeper = {.keep = keep, .forget = forget, .take = take, .look = look, .list = list},
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .is_open = getenv("NOTIFY_SOCKET") && (!most || strcmp(most, "0")),
    };
}

bool fd_store_restore(struct fd_store *s, const char *name, int fd)
{
    const char *hex = name + strlen(PREFIX);
    struct stored_fd *more;
    bool is_ours =
        !strncmp(name, PREFIX, strlen(PREFIX)) && strlen(hex) == sizeof(s->list->key.hex) - 1;

    if (!is_ours)
        return false;
    more = realloc(s->list, (s->n + 1) * sizeof(*more));
    if (!more)
        return false;
    s->list = more;
    s->list[s->n].fd = fd;
    memcpy(s->list[s->n++].key.hex, hex, strlen(hex) + 1);
    return true;
}

size_t fd_store_drop_rest(struct fd_store *s)
{
    size_t n = 0;

    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->n; i++) {
        if (s->list[i].fd < 0)
            continue;
        remove_name(&s->list[i].key);
        close(steal_fd(&s->list[i].fd));
        n++;
    }
    pthread_mutex_unlock(&s->lock);
    return n;
}

void fd_store_finish(struct fd_store *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->list[i].fd >= 0)
            close(s->list[i].fd);
    free(s->list);
    s->list = NULL;
    s->n = 0;
}
