/* SPDX-License-Identifier: MIT */
/* The daemon as a process: settings, its socket, signals, socket activation. Runs hearthd-fake,
 * which is hearthd's main over the fake engine, from the directory of this test. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000 };

static char program[4096], dir[64];

struct child {
    pid_t pid;
    int output;       /* stdout and stderr */
    char said[16384]; /* of that, what was read so far */
    size_t n_said;
};

static const char *in_dir(const char *name)
{
    static char paths[4][128];
    static int next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
    return path;
}

static void write_file(const char *name, const char *text, mode_t mode)
{
    int fd = open(in_dir(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    fchmod(fd, mode);
    close(fd);
}

/* args: NULL-terminated, without the program's name. */
static void start(struct child *c, const char *const *args, int passed)
{
    const char *argv[16] = {program};
    int out[2];

    for (int i = 0; args[i]; i++)
        argv[i + 1] = args[i];
    assert_int_equal(pipe(out), 0);
    c->pid = fork();
    if (c->pid == 0) {
        char pid[16];

        dup2(out[1], 1);
        dup2(out[1], 2);
        close(out[0]);
        if (passed >= 0) {
            dup2(passed, 3);
            snprintf(pid, sizeof(pid), "%d", (int)getpid());
            setenv("LISTEN_PID", pid, 1);
            setenv("LISTEN_FDS", "1", 1);
        }
        unsetenv("XDG_DATA_HOME");
        unsetenv("JOURNAL_STREAM");
        execv(program, (char *const *)(uintptr_t)argv);
        _exit(99);
    }
    close(out[1]);
    c->output = out[0];
    c->said[0] = 0;
    c->n_said = 0;
}

/* Reads more of what it says; false at the end. */
static bool listen_on(struct child *c)
{
    ssize_t n = read(c->output, c->said + c->n_said, sizeof(c->said) - 1 - c->n_said);

    if (n <= 0)
        return false;
    c->n_said += (size_t)n;
    c->said[c->n_said] = 0;
    return true;
}

/* Until it has said so as many times. */
static void hear(struct child *c, const char *what, int times)
{
    struct pollfd more = {.fd = c->output, .events = POLLIN};

    for (;;) {
        const char *at = c->said;
        int n = 0;

        while ((at = strstr(at, what))) {
            at++;
            n++;
        }
        if (n >= times)
            return;
        if (poll(&more, 1, PATIENCE_MS) < 1 || !listen_on(c))
            fail_msg("never said %d times '%s':\n%s", times, what, c->said);
    }
}

/* Waits for its end; the exit status, and all it said in text. */
static int finish(struct child *c, char *text, size_t size)
{
    size_t n;
    int status;

    while (listen_on(c))
        ;
    n = c->n_said < size ? c->n_said : size - 1;
    memcpy(text, c->said, n);
    text[n] = 0;
    close(c->output);
    waitpid(c->pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run(const char *const *args, char *text, size_t size)
{
    struct child c;

    start(&c, args, -1);
    return finish(&c, text, size);
}

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static int try_connect(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
        return fd;
    close(fd);
    return -1;
}

/* A connection that is served: a killed process's socket may accept for a moment longer. */
static int connect_soon(const char *path)
{
    static const char hello[] = "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n";
    struct timeval patience = {.tv_sec = 1};
    char c[4];

    for (int i = 0; i < 2000; i++) {
        int fd = try_connect(path);
        bool is_served = false;

        if (fd >= 0) {
            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
            is_served =
                send(fd, hello, sizeof(hello) - 1, MSG_NOSIGNAL) > 0 && recv(fd, c, 1, 0) == 1;
            for (int newlines = 0; is_served && newlines < 2;) {
                is_served = recv(fd, c, 1, 0) == 1;
                newlines = *c == '\n' ? newlines + 1 : *c == '\r' ? newlines : 0;
            }
            patience.tv_sec = 20;
            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
            if (is_served)
                return fd;
            close(fd);
        }
        usleep(5000);
    }
    fail_msg("%s is not served", path);
    return -1;
}

static void ask(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* All that comes until the connection ends. */
static void read_all(int fd, char *got, size_t size)
{
    size_t len = 0;
    ssize_t n;

    while (len < size - 1 && (n = recv(fd, got + len, size - 1 - len, 0)) > 0)
        len += (size_t)n;
    got[len] = 0;
}

static void help_and_version_are_told(void **state)
{
    char text[8192];

    assert_int_equal(run(ARGS("--version"), text, sizeof(text)), 0);
    assert_true(strncmp(text, "hearthd ", 8) == 0);
    assert_int_equal(run(ARGS("--help"), text, sizeof(text)), 0);
    assert_non_null(strstr(text, "--token-file PATH"));
}

static void settings_that_are_wrong_are_named(void **state)
{
    static const struct {
        const char *file, *said;
    } cases[] = {
        {"# fine\n\ncontext = many\n", "line 3: context: 'many' is not a number"},
        {"colour = red\n", "line 1: 'colour' is not a setting"},
        {"kv-disk = conversations\n", "kv-disk: 'conversations' is not a directory's whole path"},
        {"socket\n", "line 1: 'socket' is not KEY = VALUE"},
        {"access-log = perhaps\n", "line 1: access-log: 'perhaps' is neither yes nor no"},
        {"log-level = loud\n", "line 1: log-level: 'loud' is not one of"},
        {"context = 0\n", "line 1: context: '0' is not a number from 1 to 4294967295"},
        {"socket-mode = 888\n", "line 1: socket-mode: '888' is not a number from 0 to 777"},
        {"kv-bytes = 99999999999G\n", "line 1: kv-bytes"},
        {"kv-bytes = 3X\n", "K, M, G or T may follow"},
        {"kv-type = q4\n", "line 1: kv-type: 'q4' is not one of f16, q8_0"},
        {"model-dir =\n", "line 1: model-dir: the value is empty"},
        {"listen = 127.0.0.1:0\n", "listen needs token-file"},
        {"user = no-such-user-here weight=2\n", "user: there is no user 'no-such-user-here'"},
        {"user = root weight=0\n", "user: weight: '0' is not a number from 1 to 1000"},
        {"user = * speed=9\n", "user: 'speed=9' is none of weight=N"},
        {"user = tcp class=gold\n", "user: class is interactive or background, not 'gold'"},
        {"user = root streams=2\nuser = 0 weight=3\n", "are of the same user"},
    };
    char text[8192];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        write_file("bad.conf", cases[i].file, 0600);
        assert_int_equal(run(ARGS("--config", in_dir("bad.conf")), text, sizeof(text)), 2);
        if (!strstr(text, cases[i].said))
            fail_msg("%s", text);
    }
    write_file("bad.conf",
               "user = root weight=4 kv-bytes=1G class=background\nuser = * streams=2\n"
               "user = tcp tokens-per-minute=100\nhugetlb = perhaps\n",
               0600);
    assert_int_equal(run(ARGS("--config", in_dir("bad.conf")), text, sizeof(text)), 2);
    assert_non_null(strstr(text, "line 4: hugetlb"));
    assert_int_equal(run(ARGS("--config", in_dir("none.conf")), text, sizeof(text)), 2);
    assert_non_null(strstr(text, "No such file"));
    assert_int_equal(run(ARGS("--colour", "red"), text, sizeof(text)), 2);
    assert_int_equal(run(ARGS("extra"), text, sizeof(text)), 2);
    assert_int_equal(run(ARGS("--kv-type", "q4"), text, sizeof(text)), 2);
    assert_non_null(strstr(text, "hearthd: --kv-type: 'q4' is not one of"));
    write_file("tokens", "0123456789abcdef\n", 0644);
    assert_int_equal(
        run(ARGS("--listen", "127.0.0.1:0", "--token-file", in_dir("tokens")), text, sizeof(text)),
        2);
    assert_non_null(strstr(text, "can be read by everyone"));
    write_file("tokens", "0123456789abcdef\n", 0600);
    assert_int_equal(run(ARGS("--socket", in_dir("s"), "--listen", "0.0.0.0:0", "--token-file",
                              in_dir("tokens")),
                         text, sizeof(text)),
                     1);
    assert_non_null(strstr(text, "not a loopback address"));
}

static void sigterm_finishes_what_runs_and_removes_the_socket(void **state)
{
    struct child c;
    char text[8192], got[65536];
    int fd;

    start(&c, ARGS("--socket", in_dir("a.sock")), -1);
    fd = connect_soon(in_dir("a.sock"));
    ask(fd, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n"
            "{\"prompt\":\"count 40\",\"model\":\"tiny\",\"stream\":true}");
    assert_true(recv(fd, got, 10, MSG_WAITALL) == 10);
    kill(c.pid, SIGTERM);
    read_all(fd, got, sizeof(got));
    assert_non_null(strstr(got, "data: [DONE]"));
    close(fd);
    assert_int_equal(finish(&c, text, sizeof(text)), 0);
    assert_int_equal(access(in_dir("a.sock"), F_OK), -1);
    /* the log tells who and what, never the words */
    assert_non_null(strstr(text, "POST /v1/completions 200"));
    assert_null(strstr(text, "count 40"));
}

static void a_path_cannot_forge_the_access_log(void **state)
{
    struct child c;
    char text[8192];
    int fd;

    start(&c, ARGS("--socket", in_dir("h.sock")), -1);
    fd = connect_soon(in_dir("h.sock"));
    ask(fd, "GET /a%20200%201B%0A%C2%9B2J%7F%25 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    read_all(fd, text, sizeof(text));
    close(fd);
    kill(c.pid, SIGTERM);
    assert_int_equal(finish(&c, text, sizeof(text)), 0);
    assert_non_null(strstr(text, "GET /a%20200%201B%0A%C2%9B2J%7F%25 404 "));
}

static void a_second_signal_ends_it_at_once(void **state)
{
    struct child c;
    char text[8192];
    int fd;

    start(&c, ARGS("--socket", in_dir("b.sock"), "--drain-seconds", "3600"), -1);
    fd = connect_soon(in_dir("b.sock"));
    ask(fd, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 32\r\n\r\n"
            "{\"prompt\":\"wait\",\"model\":\"tiny\"}");
    close(connect_soon(in_dir("b.sock"))); /* it has seen the request by now */
    kill(c.pid, SIGTERM);
    hear(&c, "stopping: ", 1);
    kill(c.pid, SIGINT);
    assert_int_equal(finish(&c, text, sizeof(text)), 0);
    assert_non_null(strstr(text, "a second signal"));
    close(fd);
}

static void a_stale_socket_is_replaced_and_a_live_one_is_not(void **state)
{
    struct child first, second;
    char text[8192];
    struct stat st;

    start(&first, ARGS("--socket", in_dir("c.sock")), -1);
    close(connect_soon(in_dir("c.sock")));
    assert_int_equal(stat(in_dir("c.sock"), &st), 0);
    assert_int_equal(st.st_mode & 0777, geteuid() == 0 ? 0666 : 0600);
    assert_int_equal(run(ARGS("--socket", in_dir("c.sock")), text, sizeof(text)), 1);
    assert_non_null(strstr(text, "another server answers"));
    kill(first.pid, SIGKILL);
    assert_int_equal(finish(&first, text, sizeof(text)), 128 + SIGKILL);
    assert_int_equal(access(in_dir("c.sock"), F_OK), 0);
    start(&second, ARGS("--socket", in_dir("c.sock")), -1);
    close(connect_soon(in_dir("c.sock")));
    kill(second.pid, SIGTERM);
    assert_int_equal(finish(&second, text, sizeof(text)), 0);
    write_file("c.sock", "precious", 0600);
    assert_int_equal(run(ARGS("--socket", in_dir("c.sock")), text, sizeof(text)), 1);
    assert_non_null(strstr(text, "is not a socket"));
    assert_int_equal(access(in_dir("c.sock"), F_OK), 0);
}

static void a_socket_that_replaced_its_own_is_left_in_place(void **state)
{
    struct child first, second;
    char text[8192];

    start(&first, ARGS("--socket", in_dir("g.sock")), -1);
    close(connect_soon(in_dir("g.sock")));
    assert_int_equal(unlink(in_dir("g.sock")), 0);
    start(&second, ARGS("--socket", in_dir("g.sock")), -1);
    close(connect_soon(in_dir("g.sock")));
    kill(first.pid, SIGTERM);
    assert_int_equal(finish(&first, text, sizeof(text)), 0);
    close(connect_soon(in_dir("g.sock")));
    kill(second.pid, SIGTERM);
    assert_int_equal(finish(&second, text, sizeof(text)), 0);
    assert_int_equal(access(in_dir("g.sock"), F_OK), -1);
}

static void sighup_reads_the_settings_again(void **state)
{
    struct child c;
    char text[16384];
    int fd;

    write_file("d.conf", "access-log = no\n", 0600);
    start(&c, ARGS("--config", in_dir("d.conf"), "--socket", in_dir("d.sock")), -1);
    fd = connect_soon(in_dir("d.sock"));
    ask(fd, "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    read_all(fd, text, sizeof(text));
    close(fd);
    write_file("d.conf", "access-log = yes\n", 0600);
    kill(c.pid, SIGHUP);
    hear(&c, "settings read again", 1);
    fd = connect_soon(in_dir("d.sock"));
    ask(fd, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    hear(&c, "GET /metrics 200", 1);
    write_file("d.conf", "nonsense\n", 0600);
    kill(c.pid, SIGHUP);
    hear(&c, "the settings stay as they were", 1);
    kill(c.pid, SIGTERM);
    close(fd);
    assert_int_equal(finish(&c, text, sizeof(text)), 0);
    assert_null(strstr(text, "GET /health"));
}

static void sighup_names_the_settings_that_wait_for_a_restart(void **state)
{
    struct child c;
    static const char names[] = "taken up at the next start only: model-dir, preload, "
                                "queue-limit, max-connections, hugetlb, numa-node\n";
    const char *second;
    char text[16384];

    write_file("d.conf", "kv-bytes = 1G\nmodel-dir = /a\nmodel-dir = /b\nnuma-node = 0\n", 0600);
    start(&c, ARGS("--config", in_dir("d.conf"), "--socket", in_dir("d.sock")), -1);
    close(connect_soon(in_dir("d.sock")));
    write_file("d.conf",
               "kv-bytes = 1G\nmodel-dir = /b\nmodel-dir = /a\nqueue-limit = 7\n"
               "max-connections = 9\nhugetlb = yes\npreload = x\nlog-level = info\n"
               "access-log = no\nuser = * streams=2\n",
               0600);
    kill(c.pid, SIGHUP);
    hear(&c, "settings read again", 1);
    kill(c.pid, SIGHUP); /* they wait still */
    hear(&c, "settings read again", 2);
    write_file("d.conf", "kv-bytes = 1G\nmodel-dir = /a\nmodel-dir = /b\nnuma-node = 0\n", 0600);
    kill(c.pid, SIGHUP); /* no more */
    hear(&c, "settings read again", 3);
    kill(c.pid, SIGTERM);
    assert_int_equal(finish(&c, text, sizeof(text)), 0);
    second = strstr(text, names);
    assert_non_null(second);
    second = strstr(second + 1, names);
    assert_non_null(second);
    assert_null(strstr(second + 1, "taken up"));
}

static void a_socket_from_systemd_is_served_and_left_in_place(void **state)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), fd;
    struct child c;
    char text[8192], got[4096];

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", in_dir("e.sock"));
    assert_int_equal(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(listener, 16), 0);
    start(&c, ARGS("--log-level", "info"), listener);
    fd = connect_soon(in_dir("e.sock"));
    ask(fd, "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    read_all(fd, got, sizeof(got));
    assert_non_null(strstr(got, "{\"status\":\"ok\"}"));
    close(fd);
    kill(c.pid, SIGTERM);
    assert_int_equal(finish(&c, text, sizeof(text)), 0);
    assert_int_equal(access(in_dir("e.sock"), F_OK), 0);
    close(listener);
}

static void preloading_an_unknown_model_fails_the_start_before_anybody_is_served(void **state)
{
    char text[8192];

    assert_int_equal(run(ARGS("--socket", in_dir("f.sock"), "--log-level", "info", "--model-dir",
                              "/nowhere", "--preload", "cold", "--preload", "nothing"),
                         text, sizeof(text)),
                     1);
    assert_non_null(strstr(text, "preload: there is no model \"nothing\" in /nowhere"));
    assert_null(strstr(text, "serving"));
    assert_int_equal(access(in_dir("f.sock"), F_OK), -1);
}

static void a_model_dir_that_is_not_there_is_told(void **state)
{
    char text[8192];

    assert_int_equal(run(ARGS("--socket", in_dir("f.sock"), "--preload", "nothing", "--model-dir",
                              in_dir("no-such"), "--model-dir", dir),
                         text, sizeof(text)),
                     1);
    assert_non_null(strstr(text, "no-such: No such file or directory"));
    assert_ptr_equal(strstr(strstr(text, "model-dir ") + 1, "model-dir "), NULL);
    /* told by its whole path, from wherever it was named */
    assert_int_equal(run(ARGS("--socket", in_dir("f.sock"), "--preload", "nothing", "--model-dir",
                              "no-such-here"),
                         text, sizeof(text)),
                     1);
    assert_non_null(strstr(text, "model-dir /"));
    assert_non_null(strstr(text, "/no-such-here: No such file or directory"));
    assert_int_equal(run(ARGS("--socket", in_dir("no-such/f.sock")), text, sizeof(text)), 1);
    assert_non_null(strstr(text, "no-such is not there: make it, or name another place"));
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_and_version_are_told),
        cmocka_unit_test(settings_that_are_wrong_are_named),
        cmocka_unit_test(sigterm_finishes_what_runs_and_removes_the_socket),
        cmocka_unit_test(a_path_cannot_forge_the_access_log),
        cmocka_unit_test(a_second_signal_ends_it_at_once),
        cmocka_unit_test(a_stale_socket_is_replaced_and_a_live_one_is_not),
        cmocka_unit_test(a_socket_that_replaced_its_own_is_left_in_place),
        cmocka_unit_test(sighup_reads_the_settings_again),
        cmocka_unit_test(sighup_names_the_settings_that_wait_for_a_restart),
        cmocka_unit_test(a_socket_from_systemd_is_served_and_left_in_place),
        cmocka_unit_test(preloading_an_unknown_model_fails_the_start_before_anybody_is_served),
        cmocka_unit_test(a_model_dir_that_is_not_there_is_told),
    };
    char self[4000];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    int rc;

    self[n > 0 ? n : 0] = 0;
    if (strrchr(self, '/'))
        *strrchr(self, '/') = 0;
    snprintf(program, sizeof(program), "%s/hearthd-fake", self);
    snprintf(dir, sizeof(dir), "/tmp/hearthd-test-XXXXXX");
    if (!mkdtemp(dir))
        return 1;
    rc = TEST_MAIN(argc, argv, tests);
    for (const char *const *f = ARGS("bad.conf", "tokens", "c.sock", "d.conf", "e.sock"); *f; f++)
        unlink(in_dir(*f));
    rmdir(dir);
    return rc;
}
