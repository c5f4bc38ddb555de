/* SPDX-License-Identifier: MIT */
#include "device/vulkan/vk_fault.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static atomic_ulong n_lost;

static bool read_count(const char **text, unsigned long *ret)
{
    char *end;

    if (**text < '0' || **text > '9')
        return false;
    errno = 0;
    *ret = strtoul(*text, &end, 10);
    *text = end;
    return !errno && *ret;
}

int vk_fault_plan(const char *plan, uint64_t *ret_ticket, struct error *err)
{
    static const char prefix[] = "device-lost:";
    unsigned long ticket, times = 1;
    const char *p = plan;
    bool is_good;

    *ret_ticket = 0;
    if (!plan || !*plan)
        return 0;
    is_good = !strncmp(p, prefix, strlen(prefix));
    p += is_good ? strlen(prefix) : 0;
    is_good = is_good && read_count(&p, &ticket);
    if (is_good && *p == ':') {
        p++;
        is_good = read_count(&p, &times);
    }
    if (!is_good || *p)
        return error_set(err, EINVAL, "HEARTH_FAULT=%s: write device-lost:N or device-lost:N:TIMES",
                         plan);
    if (atomic_load(&n_lost) < times)
        *ret_ticket = ticket;
    return 0;
}

VkResult vk_fault_lose(void)
{
    atomic_fetch_add(&n_lost, 1);
    return VK_ERROR_DEVICE_LOST;
}
