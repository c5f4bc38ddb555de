/* SPDX-License-Identifier: MIT */
#include "few.h"

#include <string.h>

static size_t n_run, n_left_out;

size_t few_n_run(void)
{
    return n_run;
}

size_t few_n_left_out(void)
{
    return n_left_out;
}

#ifdef HAVE_VULKAN
#include "device/vulkan/vk_device.h"

enum { PIPELINES_MOST = 1024 };

static struct pipeline {
    struct vk_launch launch;
    uint32_t n;              /* dispatches that ran; 0: it is left out */
} pipelines[PIPELINES_MOST]; /* n_run + n_left_out of them */

static const struct vk_device *vulkan(const struct device *dev)
{
    return strcmp(dev->info.backend, "vulkan") ? NULL : (const void *)dev;
}

/* NULL when there are too many. */
static struct pipeline *find(const struct vk_launch *l, bool has_time)
{
    struct pipeline *p = pipelines;

    for (; p < pipelines + n_run + n_left_out; p++)
        if (vk_launch_is_same_pipeline(&p->launch, l))
            return p;
    if (p == pipelines + PIPELINES_MOST)
        return NULL;
    p->launch = *l;
    p->n = has_time;
    if (has_time)
        n_run++;
    else
        n_left_out++;
    return p;
}

bool few_is_due(const struct device *dev, const struct dispatch *list, size_t n, bool has_time)
{
    const struct vk_device *vk = vulkan(dev);
    bool is_due = false, is_out = false;

    for (size_t i = 0; vk && i < n; i++) {
        struct vk_launch l;
        struct pipeline *p;

        vk_launch_for(&vk->gpu.caps, &list[i], &l);
        p = find(&l, has_time);
        is_out |= !p || !p->n;
        is_due |= p && p->n && p->n++ <= FEW_DISPATCHES;
    }
    return !vk || (is_due && !is_out);
}

void few_settle(const struct device *dev)
{
    if (vulkan(dev))
        vkQueueWaitIdle(vulkan(dev)->queue);
}
#else
bool few_is_due(const struct device *dev, const struct dispatch *list, size_t n, bool has_time)
{
    return true;
}

void few_settle(const struct device *dev) {}
#endif
