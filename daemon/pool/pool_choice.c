/* SPDX-License-Identifier: MIT */
#include "pool/pool_choice.h"

#include "base/cleanup.h"
#include "pool/pool_kmod.h"
#include "pool/pool_ops.h"
#include "pool/pool_window.h"

#include <stdio.h>
#include <string.h>

/* The word in brackets is the one in force; memfds take huge pages by advice with these. */
static bool has_large_memfds(void)
{
    _cleanup_fclose_ FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "re");
    char line[128];

    if (!f || !fgets(line, sizeof(line), f))
        return false;
    return strstr(line, "[always]") || strstr(line, "[within_size]") || strstr(line, "[advise]") ||
           strstr(line, "[force]");
}

void pool_offer_get(struct pool_offer *ret)
{
    struct hearth_query query;

    *ret = (struct pool_offer){0};
    if (pool_kmod_query(&query, &ret->kmod) == 0)
        ret->kmod.code = 0;
    if (pool_udmabuf_check(&ret->udmabuf_limit_bytes, &ret->udmabuf) == 0)
        ret->udmabuf.code = 0;
    ret->has_large_memfds = has_large_memfds();
}

/* Why memfds are not given to the device as dma-bufs; "" when they are. */
static void explain_udmabuf(const struct pool_offer *offer, const struct pool_wishes *wishes,
                            char *out, size_t size)
{
    out[0] = 0;
    if (offer->udmabuf.code)
        snprintf(out, size, "%s", offer->udmabuf.text);
    else if (offer->udmabuf_limit_bytes < POOL_WINDOW_LIMIT_BYTES)
        snprintf(
            out, size,
            "/dev/udmabuf gives at most %llu MiB in one piece: set its parameter size_limit_mb "
            "to 4094",
            (unsigned long long)(offer->udmabuf_limit_bytes >> 20));
    else if (!wishes->use_hugetlb && !offer->has_large_memfds)
        snprintf(out, size,
                 "shared memory gets no large pages: write advise to "
                 "/sys/kernel/mm/transparent_hugepage/shmem_enabled or set hugetlb");
}

void pool_choose(const struct pool_offer *offer, const struct pool_wishes *wishes,
                 struct pool_choice *ret)
{
    bool has_large = wishes->use_hugetlb || offer->has_large_memfds;
    char why[sizeof(offer->udmabuf.text)];

    explain_udmabuf(offer, wishes, why, sizeof(why));
    *ret = (struct pool_choice){.kind = POOL_KIND_ANON};
    if (!offer->kmod.code && (wishes->maps_dmabufs || wishes->maps_files || wishes->copies)) {
        ret->kind = POOL_KIND_KMOD;
        snprintf(ret->text, sizeof(ret->text), "pools of the kernel module");
        return;
    }
    if (wishes->maps_dmabufs && !why[0]) {
        ret->kind = POOL_KIND_MEMFD;
        ret->is_exported = true;
        snprintf(ret->text, sizeof(ret->text), "memfds, given to the device through udmabuf");
    } else if (wishes->maps_files && wishes->is_kept && has_large) {
        ret->kind = POOL_KIND_MEMFD;
        snprintf(ret->text, sizeof(ret->text), "memfds");
    } else {
        snprintf(ret->text, sizeof(ret->text), "anonymous memory of the daemon");
    }
    snprintf(ret->advice, sizeof(ret->advice), "%s",
             offer->kmod.code ? offer->kmod.text
                              : "the kernel module is there, but this device's driver maps neither "
                                "its dma-bufs nor its memory: a newer driver may");
    if (ret->kind == POOL_KIND_ANON && wishes->is_kept && why[0])
        snprintf(ret->advice + strlen(ret->advice), sizeof(ret->advice) - strlen(ret->advice),
                 "; without it a restart could keep weights in shared memory, but %s", why);
}
