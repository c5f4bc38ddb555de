/* SPDX-License-Identifier: MIT */
/* hearthd: settings, sockets, signals, and the order in which things start and stop. */
#include "base/clock.h"
#include "base/log.h"
#include "base/standard_fds.h"
#include "base/strbuf.h"
#include "fd_store.h"
#include "loop/signals.h"
#include "options.h"
#include "server/listener.h"
#include "server/server.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

/* Models that were in memory before a restart have so long to be asked for again. */
#define KEPT_NS UINT64_C(600000000000)

struct daemon {
    struct options options; /* of the start: what it runs with */
    struct options reread;  /* by the last SIGHUP, for what is taken up while serving */
    int argc;
    char **argv;
    struct loop *loop;
    struct engine *engine;
    struct server *server;
    struct signals signals;
    struct fd_store fd_store;
    int *sockets; /* [n_sockets] from systemd */
    int n_sockets;
    struct timer watchdog, kept;
    uint64_t watchdog_ns;
    char socket[108];        /* ours to remove at the end; "" when systemd's */
    struct stat socket_file; /* as it was made: what lies there later may be another server's */
    bool is_stopping;
};

static const int signos[] = {SIGTERM, SIGINT, SIGHUP, 0};

/* What can change while serving does; of the rest it is said that it waits. */
static void reload(struct daemon *d)
{
    const struct engine_model_info *models;
    struct options fresh;
    struct strbuf waiting;
    struct error err;
    size_t n;

    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)(clock_now_ns() / 1000));
    if (options_init(&fresh, d->argc, d->argv, &err) != OPTIONS_RUN ||
        engine_set_user_rules(d->engine, fresh.rules, fresh.n_rules, &err) < 0) {
        log_error("the settings stay as they were: %s", err.text);
        options_finish(&fresh);
    } else {
        strbuf_init(&waiting, 0);
        options_waiting(&d->options, &fresh, &waiting);
        if (waiting.len && !waiting.failed)
            log_warn("taken up at the next start only: %s", waiting.data);
        strbuf_finish(&waiting);
        log_set_level(fresh.log_level);
        server_set_tokens(d->server, NULL);
        options_finish(&d->reread);
        d->reread = fresh;
        server_set_tokens(d->server, d->reread.n_tokens ? d->reread.tokens : NULL);
        server_set_access_log(d->server, d->reread.logs_access);
        if (engine_models(d->engine, &models, &n) == 0)
            log_info("settings read again; %zu models known", n);
    }
    sd_notify(0, "READY=1");
}

static void on_drained(void *user)
{
    struct daemon *d = user;

    loop_stop(d->loop);
}

static void on_signal(struct signals *s, int signo)
{
    struct daemon *d = container_of(s, struct daemon, signals);

    if (signo == SIGHUP) {
        reload(d);
    } else if (d->is_stopping) {
        log_warn("a second signal: stopping at once");
        loop_stop(d->loop);
    } else {
        d->is_stopping = true;
        sd_notify(0, "STOPPING=1");
        log_info("stopping: running answers have %llu s to finish",
                 (unsigned long long)d->options.drain_seconds);
        server_drain(d->server, on_drained, d);
    }
}

static void on_watchdog(struct timer *t)
{
    struct daemon *d = container_of(t, struct daemon, watchdog);

    sd_notify(0, "WATCHDOG=1");
    loop_timer_set(d->loop, t, loop_now_ns(d->loop) + d->watchdog_ns);
}

static void on_kept(struct timer *t)
{
    struct daemon *d = container_of(t, struct daemon, kept);
    size_t n = fd_store_drop_rest(&d->fd_store);

    if (n)
        log_info("gave up the memory of %zu pools that nobody asked for since the restart", n);
}

/* Takes what systemd hands over: memory kept over a restart, and sockets. How many sockets, or a
 * negative errno. */
static int adopt_descriptors(struct daemon *d, struct error *err)
{
    char **names = NULL;
    int n = sd_listen_fds_with_names(1, &names), n_sockets = 0;

    if (n < 0)
        return error_set_errno(err, n, "what systemd hands over cannot be taken");
    d->sockets = calloc((size_t)n + 1, sizeof(*d->sockets));
    for (int i = 0; i < n; i++) {
        int fd = SD_LISTEN_FDS_START + i;

        if (d->sockets && !fd_store_restore(&d->fd_store, names[i], fd))
            d->sockets[n_sockets++] = fd;
        free(names[i]);
    }
    free(names);
    d->n_sockets = n_sockets;
    return d->sockets ? 0 : error_set(err, ENOMEM, "out of memory");
}

/* Listens on the sockets systemd holds for us. How many, or a negative errno. */
static int adopt_sockets(struct daemon *d, struct error *err)
{
    int rc;

    for (int i = 0; i < d->n_sockets; i++) {
        int fd = d->sockets[i];

        if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0)
            return error_set(err, -EINVAL,
                             "descriptor %d from systemd is not a listening stream socket", fd);
        if (sd_is_socket(fd, AF_UNIX, SOCK_STREAM, 1) <= 0 && !d->options.n_tokens)
            return error_set(err, -EINVAL, "a TCP socket from systemd needs token-file");
        rc = server_listen(d->server, fd, err);
        if (rc < 0)
            return rc;
    }
    return d->n_sockets;
}

static int open_sockets(struct daemon *d, struct error *err)
{
    const struct options *o = &d->options;
    mode_t mode = o->socket_mode ? (mode_t)o->socket_mode : geteuid() == 0 ? 0666 : 0600;
    char path[sizeof(d->socket)];
    int fd, rc = adopt_sockets(d, err);

    if (rc == 0) {
        if (o->socket && strlen(o->socket) >= sizeof(path))
            return error_set(err, -ENAMETOOLONG, "%s is too long for a socket's path", o->socket);
        if (o->socket)
            memcpy(path, o->socket, strlen(o->socket) + 1);
        else if ((rc = listener_default_path(path, sizeof(path), err)) < 0)
            return rc;
        rc = listener_open_unix(path, mode, &fd, err);
        if (rc < 0)
            return rc;
        if (lstat(path, &d->socket_file) == 0)
            memcpy(d->socket, path, sizeof(path));
        log_info("serving %s", path);
        rc = server_listen(d->server, fd, err);
    }
    if (rc >= 0 && o->listen) {
        rc = listener_open_tcp(o->listen, &fd, err);
        if (rc == 0) {
            log_info("serving %s", o->listen);
            rc = server_listen(d->server, fd, err);
        }
    }
    return rc < 0 ? rc : 0;
}

/* No daemon runs that could be asked for the models there are: says where they are looked for. */
static int fail_not_found(const struct options *o, const char *name, struct error *err)
{
    struct strbuf dirs;
    int rc;

    strbuf_init(&dirs, 0);
    for (unsigned i = 0; i < o->n_model_dirs; i++)
        strbuf_printf(&dirs, "%s%s", i ? ", " : "", o->model_dirs[i]);
    rc = error_set(err, -ENOENT, "preload: there is no model \"%.100s\" in %s", name,
                   dirs.data ? dirs.data : "any of the directories");
    strbuf_finish(&dirs);
    return rc;
}

/* What the administrator named must be there before anybody is served. */
static int find_preloads(const struct daemon *d, struct error *err)
{
    const struct engine_model_info *info;

    for (unsigned i = 0; i < d->options.n_preload; i++) {
        int rc = engine_find_model(d->engine, d->options.preload[i], &info, err);

        if (rc == -ENOENT)
            return fail_not_found(&d->options, d->options.preload[i], err);
        if (rc < 0) {
            error_prefix(err, "preload");
            return rc;
        }
    }
    return 0;
}

static void on_preloaded(void *user, const struct error *err)
{
    if (err->code < 0)
        log_error("preload %s: %s", (const char *)user, err->text);
    else
        log_info("%s is loaded", (const char *)user);
    free(user);
}

static int preload(struct daemon *d, struct error *err)
{
    static const struct engine_load_events events = {.on_done = on_preloaded,
                                                     .is_background = true};

    for (unsigned i = 0; i < d->options.n_preload; i++) {
        char *name = strdup(d->options.preload[i]);
        int rc = name ? engine_load(d->engine, name, &events, name, NULL, err) : -ENOMEM;

        if (rc < 0) {
            free(name);
            error_prefix(err, "preload");
            return rc;
        }
    }
    return 0;
}

/* A directory somebody named should be there; it may still come, and is looked at again then. */
static void warn_of_missing_dirs(const struct options *o)
{
    for (unsigned i = 0; i < o->n_named_dirs; i++) {
        DIR *dir = opendir(o->model_dirs[i]);

        if (dir)
            closedir(dir);
        else
            log_warn("model-dir %s: %s: no models are found there", o->model_dirs[i],
                     strerror(errno));
    }
}

static void raise_file_limit(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

static int start(struct daemon *d, struct error *err)
{
    const struct options *o = &d->options;
    struct engine_config engine = {
        .device = o->device,
        .model_dirs = o->model_dirs,
        .context_tokens = (uint32_t)o->context_tokens,
        .batch_tokens = (uint32_t)o->batch_tokens,
        .kv_bytes = o->kv_bytes,
        .kv_type = o->kv_type,
        .prefix_percent = (uint32_t)o->prefix_percent,
        .kv_disk = o->kv_disk && strcmp(o->kv_disk, "off") != 0 ? o->kv_disk : NULL,
        .kv_disk_bytes = o->kv_disk_bytes,
        .kv_disk_seconds = o->kv_disk_days * 86400,
        .shared_prompts = o->shared_texts,
        .queue_limit = (uint32_t)o->queue_limit,
        .user_limit = (uint32_t)o->user_limit,
        .user_rules = o->rules,
        .n_user_rules = o->n_rules,
        .idle_after_ns = o->idle_after_seconds * 1000000000u,
        .use_hugetlb = o->use_hugetlb,
        .numa_node = o->numa_node,
    };
    struct server_config config;
    uint64_t watchdog_us = 0;
    int rc;

    warn_of_missing_dirs(o);
    raise_file_limit();
    server_config_defaults(&config);
    config.version = HEARTH_VERSION;
    config.logs_access = o->logs_access;
    config.model_dirs = o->model_dirs;
    config.drain_timeout = (double)o->drain_seconds;
    config.request_timeout = (double)o->request_seconds;
    config.tokens = o->n_tokens ? o->tokens : NULL;
    if (o->max_connections)
        config.max_connections = (uint32_t)o->max_connections;
    fd_store_init(&d->fd_store);
    if (d->fd_store.is_open)
        engine.keeper = &d->fd_store.keeper;
    if ((rc = adopt_descriptors(d, err)) < 0 ||
        (rc = loop_create(LOOP_BACKEND_AUTO, &d->loop, err)) < 0 ||
        (rc = engine_create(&engine, &d->engine, err)) < 0 || (rc = find_preloads(d, err)) < 0 ||
        (rc = server_create(d->loop, d->engine, &config, &d->server, err)) < 0 ||
        (rc = open_sockets(d, err)) < 0 || (rc = preload(d, err)) < 0 ||
        (rc = engine_adopt(d->engine, err)) < 0)
        return rc;
    if (loop_fallback_reason(d->loop))
        log_warn("waiting with epoll: %s", loop_fallback_reason(d->loop));
    d->kept.fire = on_kept;
    loop_timer_set(d->loop, &d->kept, clock_now_ns() + KEPT_NS);
    d->signals.on_signal = on_signal;
    rc = signals_init(&d->signals, d->loop, signos);
    if (rc < 0)
        return error_set_errno(err, rc, "signals cannot be received");
    if (sd_watchdog_enabled(0, &watchdog_us) > 0) {
        d->watchdog_ns = watchdog_us * 1000 / 2;
        d->watchdog.fire = on_watchdog;
        loop_timer_set(d->loop, &d->watchdog, clock_now_ns() + d->watchdog_ns);
    }
    return 0;
}

static void remove_socket(const struct daemon *d)
{
    struct stat now;

    if (d->socket[0] && lstat(d->socket, &now) == 0 && now.st_dev == d->socket_file.st_dev &&
        now.st_ino == d->socket_file.st_ino)
        unlink(d->socket);
}

static void stop(struct daemon *d)
{
    remove_socket(d);
    server_destroy(d->server);
    if (d->loop) {
        signals_finish(&d->signals);
        loop_timer_clear(d->loop, &d->watchdog);
        loop_timer_clear(d->loop, &d->kept);
    }
    /* What the device has begun it ends, however long that takes; another signal need not wait. */
    signals_unblock(signos);
    engine_destroy(d->engine);
    loop_destroy(d->loop);
    fd_store_finish(&d->fd_store);
    free(d->sockets);
    options_finish(&d->options);
    options_finish(&d->reread);
}

int main(int argc, char **argv)
{
    struct daemon d = {.argc = argc, .argv = argv, .signals.fd = -1};
    struct error err = {0};
    enum options_result result;
    int rc = 0;

    standard_fds_hold();
    result = options_init(&d.options, argc, argv, &err);
    if (result != OPTIONS_RUN) {
        if (result == OPTIONS_FAILED)
            log_error("hearthd: %s", err.text);
        options_finish(&d.options);
        return result == OPTIONS_FAILED ? 2 : 0;
    }
    log_set_level(d.options.log_level);
    signals_block(signos); /* before the engine starts threads, which inherit it */
    rc = start(&d, &err);
    if (rc < 0) {
        log_error("hearthd: %s", err.text);
    } else {
        sd_notify(0, "READY=1");
        rc = loop_run(d.loop);
        if (rc < 0)
            log_error("hearthd: the kernel refuses to wait: %s", strerror(-rc));
    }
    stop(&d);
    return rc < 0 ? 1 : 0;
}
