/* SPDX-License-Identifier: MIT */
#include "engine/pool_buffer.h"

#include "pool/pool_choice.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* -EOPNOTSUPP where one of the two does not know dma-bufs. */
static int import_dmabuf(struct device *dev, const struct pool *pool, uint64_t offset,
                         uint64_t bytes, bool is_writable, struct buffer **ret, struct error *err)
{
    struct memory_import mem = {.dmabuf_fd = -1, .bytes = bytes};
    struct device_info info;
    int r;

    device_get_info(dev, &info);
    if (!info.maps_dmabufs || pool_export_limit_bytes(pool) < bytes)
        return error_set(err, EOPNOTSUPP, "no dma-bufs");
    r = pool_export(pool, offset, bytes, is_writable, &mem.dmabuf_fd, err);
    if (r < 0)
        return r;
    r = buffer_import(dev, &mem, ret, err);
    close(mem.dmabuf_fd); /* the import holds the memory */
    return r;
}

int pool_buffer_import(struct device *dev, const struct pool *pool, uint64_t offset, uint64_t bytes,
                       bool is_writable, struct buffer **ret_buffer, struct error *err)
{
    const struct memory_import mem = {
        .host = (char *)pool_data(pool) + offset,
        .dmabuf_fd = -1,
        .bytes = bytes,
    };
    struct error why = {0};
    int r = import_dmabuf(dev, pool, offset, bytes, is_writable, ret_buffer, &why);

    if (r == 0)
        return 0;
    if (r == -EIO) { /* a lost device takes nothing else either */
        if (err)
            *err = why;
        return r;
    }
    return buffer_import(dev, &mem, ret_buffer, err);
}

void pool_config_for_device(struct pool_config *config, const struct device_info *info,
                            char text[80], char advice[1024])
{
    const struct pool_wishes wishes = {
        .use_hugetlb = config->use_hugetlb,
        .maps_dmabufs = info->maps_dmabufs,
        .maps_files = info->is_zero_copy && !info->writes_imports,
        .copies = !info->is_zero_copy && !info->maps_dmabufs,
        .is_kept = config->keeper != NULL,
    };
    struct pool_choice choice;
    struct pool_offer offer;

    pool_offer_get(&offer);
    pool_choose(&offer, &wishes, &choice);
    config->kind = choice.kind;
    config->is_exported = choice.is_exported;
    config->stays_writable = info->writes_imports;
    memcpy(text, choice.text, sizeof(choice.text));
    if (advice)
        memcpy(advice, choice.advice, sizeof(choice.advice));
}
