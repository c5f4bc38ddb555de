/* SPDX-License-Identifier: MIT */
#include "device/vulkan/vk_gtt.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

static int read_figure(const char *device_dir, const char *name, uint64_t *ret)
{
    char path[PATH_MAX], text[32] = "", *end;
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", device_dir, name);
    f = fopen(path, "re");
    if (!f)
        return -errno;
    if (!fgets(text, sizeof(text), f))
        text[0] = '\0';
    fclose(f);
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return text[0] < '0' || text[0] > '9' || (*end && *end != '\n') || errno ? -EINVAL : 0;
}

int vk_gtt_free_bytes(const char *device_dir, uint64_t *ret_bytes)
{
    uint64_t all, used;
    int r = read_figure(device_dir, "mem_info_gtt_total", &all);

    if (r == 0)
        r = read_figure(device_dir, "mem_info_gtt_used", &used);
    if (r == 0)
        *ret_bytes = all > used ? all - used : 0;
    return r;
}
