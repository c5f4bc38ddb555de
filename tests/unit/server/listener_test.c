/* SPDX-License-Identifier: MIT */
/* Who gets the path of a socket. The rest of the listeners is seen in hearthd_test.c. */
#include "harness.h"
#include "server/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64], path[80], lock[96];

/* Three pipes: the end of `go` starts the servers, the end of `over` ends them. */
struct race {
    int go[2], said[2], over[2];
};

/* A socket file whose server is gone. */
static void leave_stale_socket(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    close(fd);
}

/* In a process of its own: tries for the path, tells whether it got it, serves until all is over.
 */
static void run_server(const struct race *r)
{
    struct error err;
    char c;
    int fd;

    close(r->go[1]);
    close(r->over[1]);
    if (read(r->go[0], &c, 1) != 0)
        _exit(1);
    c = listener_open_unix(path, 0600, &fd, &err) == 0 ? 'y' : err.code == -EADDRINUSE ? 'n' : '?';
    if (write(r->said[1], &c, 1) != 1)
        _exit(1);
    _exit(read(r->over[0], &c, 1) == 0 ? 0 : 1);
}

static void of_servers_that_start_at_once_one_gets_the_socket(void **state)
{
    enum { N = 6, ROUNDS = 40 };

    for (int round = 0; round < ROUNDS; round++) {
        int n_served = 0, n_refused = 0;
        struct race r;
        char c;

        leave_stale_socket();
        assert_int_equal(pipe(r.go) | pipe(r.said) | pipe(r.over), 0);
        for (int i = 0; i < N; i++)
            if (fork() == 0)
                run_server(&r);
        close(r.go[1]);
        for (int i = 0; i < N; i++) {
            assert_int_equal(read(r.said[0], &c, 1), 1);
            n_served += c == 'y';
            n_refused += c == 'n';
        }
        close(r.over[1]);
        for (int i = 0; i < N; i++)
            wait(NULL);
        close(r.go[0]);
        close(r.said[0]);
        close(r.said[1]);
        close(r.over[0]);
        assert_int_equal(n_served, 1);
        assert_int_equal(n_refused, N - 1);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(access(lock, F_OK), -1);
    }
}

static void a_server_waits_for_one_that_is_starting(void **state)
{
    int held = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600), fd = -1, status;
    struct error err;
    pid_t starting;

    assert_int_equal(flock(held, LOCK_EX), 0);
    starting = fork();
    if (starting == 0) { /* shares the lock, and ends it after a while */
        usleep(300000);
        _exit(access(path, F_OK) == 0 ? 1 : 0);
    }
    close(held);
    assert_int_equal(listener_open_unix(path, 0600, &fd, &err), 0);
    waitpid(starting, &status, 0);
    assert_int_equal(status, 0);
    close(fd);
    unlink(path);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_servers_that_start_at_once_one_gets_the_socket),
        cmocka_unit_test(a_server_waits_for_one_that_is_starting),
    };
    int rc;

    snprintf(dir, sizeof(dir), "/tmp/hearth-listener-XXXXXX");
    if (!mkdtemp(dir))
        return 1;
    snprintf(path, sizeof(path), "%s/sock", dir);
    snprintf(lock, sizeof(lock), "%s.lock", path);
    rc = TEST_MAIN(argc, argv, tests);
    rmdir(dir);
    return rc;
}
