/* SPDX-License-Identifier: MIT */
/* Adds a row that ends past its buffer, behind the back of the device's own checks: what
 * GPU-assisted validation must report, so that its silence elsewhere means something. */
#include "device/vulkan/vk_device.h"

#include <stdio.h>

int main(void)
{
    struct device *dev;
    struct buffer *buf;
    struct program *p;
    struct error err = {0};
    struct dispatch d = {.op = KERNEL_ADD, .max_rows = 1, .label = "overrun"};
    uint64_t ticket;

    if (device_create("vulkan", &dev, &err) < 0) {
        printf("%s\n", err.text);
        return 77;
    }
    if (buffer_create(dev, 4096, BUFFER_HOST, &buf, &err) < 0)
        goto fail;
    *(struct step_header *)buf->host = (struct step_header){.n_tokens = 1};
    d.args.add = (struct args_add){
        .step = buf->address, .x = buf->address + 1024, .y = buf->address + 4064, .n_cols = 16};
    if (vk_program_create(dev, &d, 1, &p, &err) < 0 || device_submit(dev, p, &ticket, &err) < 0 ||
        device_wait(dev, ticket, 60000000000u, &err) < 0)
        goto fail;
    program_destroy(p);
    buffer_destroy(buf);
    device_destroy(dev);
    return 0;
fail:
    printf("%s\n", err.text);
    return 1;
}
