/* SPDX-License-Identifier: MIT */
#include "server/peer.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

int peer_of_socket(int fd, struct peer *ret_peer)
{
    struct ucred cred = {0};
    int domain = 0;
    socklen_t len = sizeof(domain);

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0)
        return -errno;
    if (domain != AF_UNIX) {
        *ret_peer = (struct peer){.uid = (uid_t)-1};
        return 0;
    }
    len = sizeof(cred);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return -errno;
    *ret_peer = (struct peer){.uid = cred.uid, .pid = cred.pid, .is_local = true};
    return 0;
}

static bool equal_in_constant_time(const char *a, const char *b)
{
    size_t n_a = strlen(a), n_b = strlen(b);
    unsigned char difference = n_a != n_b;

    /* walks what the caller sent, whose length it knows already */
    for (size_t i = 0; i < n_a; i++)
        difference |= (unsigned char)(a[i] ^ b[n_b ? i % n_b : 0]);
    return difference == 0;
}

bool peer_token_fits(const char *authorization, const char *const *tokens)
{
    bool fits = false;

    if (!authorization || !tokens || strncasecmp(authorization, "Bearer ", 7) != 0)
        return false;
    authorization += 7;
    authorization += strspn(authorization, " ");
    for (; *tokens; tokens++)
        fits |= equal_in_constant_time(authorization, *tokens);
    return fits;
}
