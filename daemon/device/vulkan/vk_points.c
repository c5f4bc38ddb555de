/* SPDX-License-Identifier: MIT */
#include "device/vulkan/vk_points.h"

#include "kernels/ref.h"

#include <string.h>

static bool reads_weights(const struct dispatch *d)
{
    return d->op == KERNEL_EMBED || d->op == KERNEL_MATMUL || d->op == KERNEL_MATMUL_EXPERTS;
}

/* Words of the grids of all types before this one, where its own begins. */
static size_t first_word(enum gguf_type type)
{
    size_t first = 0, n;

    for (uint32_t t = 0; t < (uint32_t)type; t++) {
        ref_grid((enum gguf_type)t, &n);
        first += n;
    }
    return first;
}

static int make_buffer(struct vk_device *vk, struct error *err)
{
    uint64_t bytes = first_word((enum gguf_type)GGUF_TYPE_LIMIT) * sizeof(uint32_t);
    int r = buffer_create(&vk->device, bytes, BUFFER_HOST, &vk->points, err);
    uint32_t *to = r == 0 ? vk->points->host : NULL;
    size_t n;

    for (uint32_t t = 0; r == 0 && t < GGUF_TYPE_LIMIT; t++, to += n) {
        const uint32_t *words = ref_grid((enum gguf_type)t, &n);

        if (words)
            memcpy(to, words, n * sizeof(*words));
    }
    return r;
}

int vk_points_address(struct vk_device *vk, const struct dispatch *d, uint64_t *ret_address,
                      struct error *err)
{
    size_t n;

    if (!reads_weights(d) || !ref_grid(d->weight_type, &n)) {
        *ret_address = 0;
        return 0;
    }
    if (!vk->points) {
        int r = make_buffer(vk, err);

        if (r < 0)
            return r;
    }
    *ret_address = vk->points->address + first_word(d->weight_type) * sizeof(uint32_t);
    return 0;
}
