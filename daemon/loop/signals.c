/* SPDX-License-Identifier: MIT */
#include "loop/signals.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

static void fill(sigset_t *set, const int *signos)
{
    sigemptyset(set);
    for (; *signos; signos++)
        sigaddset(set, *signos);
}

int signals_block(const int *signos)
{
    sigset_t set;

    fill(&set, signos);
    return -pthread_sigmask(SIG_BLOCK, &set, NULL);
}

void signals_unblock(const int *signos)
{
    sigset_t set;

    fill(&set, signos);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void on_ready(struct loop_op *op, const struct loop_event *event)
{
    struct signals *s = container_of(op, struct signals, poll);
    struct signalfd_siginfo info;

    while (event->result > 0 && read(s->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        s->on_signal(s, (int)info.ssi_signo);
}

int signals_init(struct signals *s, struct loop *l, const int *signos)
{
    sigset_t set;

    fill(&set, signos);
    s->loop = l;
    s->poll = (struct loop_op){.on_event = on_ready};
    s->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->fd < 0)
        return -errno;
    loop_poll(l, &s->poll, s->fd, POLLIN);
    return 0;
}

void signals_finish(struct signals *s)
{
    if (s->fd < 0)
        return;
    loop_cancel_wait(s->loop, &s->poll);
    close(s->fd);
    s->fd = -1;
}
