/* SPDX-License-Identifier: MIT */
#include "doctor.h"

#include "base/bytes.h"
#include "pool/pool_window.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    MEMORY_SHARE = 8, /* an eighth of the memory is left to the rest of the system */
    OLDEST_KERNEL = 6001,
};

/* Memory that firmware sets aside for an APU beyond this is missed elsewhere. */
#define CARVED_BYTES ((uint64_t)1 << 30)

struct report {
    const struct doctor_facts *facts;
    struct doctor_finding *list;
    size_t n;
};

static void add(struct report *r, enum doctor_verdict verdict, const char *about,
                const char *advice, const char *text, ...) __attribute__((format(printf, 5, 6)));

static void add(struct report *r, enum doctor_verdict verdict, const char *about,
                const char *advice, const char *text, ...)
{
    struct doctor_finding *f;
    va_list args;

    if (r->n == DOCTOR_FINDINGS_MOST)
        return;
    f = &r->list[r->n++];
    *f = (struct doctor_finding){.verdict = verdict};
    snprintf(f->about, sizeof(f->about), "%s", about);
    snprintf(f->advice, sizeof(f->advice), "%s", advice);
    va_start(args, text);
    vsnprintf(f->text, sizeof(f->text), text, args);
    va_end(args);
}

uint64_t doctor_ttm_pages(const struct doctor_facts *f)
{
    return (f->memory_bytes - f->memory_bytes / MEMORY_SHARE) / f->page_bytes;
}

static void judge_kernel(struct report *r)
{
    const struct doctor_facts *f = r->facts;

    if (f->kernel_version && f->kernel_version < OLDEST_KERNEL)
        add(r, DOCTOR_FIX, "kernel", "install a kernel of 6.1 or later (Debian 12 has it)",
            "%s is older than what Hearth is tested on", f->kernel);
    else
        add(r, DOCTOR_GOOD, "kernel", "", "%s", f->kernel[0] ? f->kernel : "of unknown version");
    if (f->io_uring_disabled > 0)
        add(r, DOCTOR_FIX, "io_uring", "set kernel.io_uring_disabled=0 with sysctl",
            "turned off%s, and the service cannot do without",
            f->io_uring_disabled == 1 ? " for users without CAP_SYS_ADMIN" : "");
}

static void judge_memory(struct report *r)
{
    const struct doctor_facts *f = r->facts;

    add(r, DOCTOR_GOOD, "memory", "", "%.1f GiB, of which %.1f GiB are available",
        bytes_gib(f->memory_bytes), bytes_gib(f->available_bytes));
    if (f->hugetlb_bytes)
        add(r, DOCTOR_NOTE, "hugetlb",
            "the service uses them with hugetlb = yes; else set vm.nr_hugepages=0 to have them "
            "back",
            "%.1f GiB are set aside as hugetlb pages", bytes_gib(f->hugetlb_bytes));
    if (!strcmp(f->thp, "never"))
        add(r, DOCTOR_NOTE, "large pages",
            "write madvise to /sys/kernel/mm/transparent_hugepage/enabled",
            "transparent huge pages are off, so memory without the module is in pages of 4 KiB");
}

/* Firmware's split of an APU's memory: what the GPU has for itself no pool and no page can be in.
 */
static void judge_carve_out(struct report *r, const struct doctor_gpu *g)
{
    if (!g->is_apu || !g->vram_bytes)
        return;
    if (g->vram_bytes > CARVED_BYTES)
        add(r, DOCTOR_FIX, "firmware split",
            "set the UMA frame buffer (also \"dedicated graphics memory\") to its smallest size, "
            "512 MiB, in the firmware setup: the GPU maps the rest when it needs it",
            "firmware gives %s %.1f GiB for itself, which models cannot share with the CPU",
            g->card, bytes_gib(g->vram_bytes));
    else
        add(r, DOCTOR_GOOD, "firmware split", "", "%s has %.0f MiB for itself, the rest is shared",
            g->card, (double)g->vram_bytes / (1 << 20));
}

/* Imported memory occupies the GTT manager, half of the memory by default. */
static void judge_gtt(struct report *r, const struct doctor_gpu *g)
{
    const struct doctor_facts *f = r->facts;
    uint64_t pages = doctor_ttm_pages(f), bytes = pages * f->page_bytes;
    char advice[sizeof(r->list->advice)];

    if (!g->is_apu || !g->gtt_bytes || !f->memory_bytes)
        return;
    if (g->gtt_bytes >= bytes - bytes / MEMORY_SHARE) {
        add(r, DOCTOR_GOOD, "GPU mappings", "", "%s may map %.1f GiB (GTT)", g->card,
            bytes_gib(g->gtt_bytes));
        return;
    }
    snprintf(advice, sizeof(advice),
             "to let it map %.0f GiB, boot with ttm.pages_limit=%llu (and without amdgpu.gttsize): "
             "in /etc/default/grub add it to GRUB_CMDLINE_LINUX_DEFAULT, run update-grub, restart",
             bytes_gib(bytes), (unsigned long long)pages);
    add(r, DOCTOR_FIX, "GPU mappings", advice,
        "%s may map %.1f GiB of the %.1f GiB (GTT): larger models are refused", g->card,
        bytes_gib(g->gtt_bytes), bytes_gib(f->memory_bytes));
}

static void judge_gpus(struct report *r)
{
    const struct doctor_facts *f = r->facts;

    if (!f->n_gpus)
        add(r, DOCTOR_NOTE, "GPU", "`hearth devices` tells what is used instead",
            "no GPU is known to the kernel");
    for (size_t i = 0; i < f->n_gpus; i++) {
        const struct doctor_gpu *g = &f->gpus[i];

        if (g->render == DOCTOR_DENIED)
            add(r, DOCTOR_FIX, "GPU", "add the user to group render and log in anew",
                "the render node of %s (%s) may not be opened by this user", g->card, g->driver);
        else
            add(r, DOCTOR_GOOD, "GPU", "", "%s, driver %s%s", g->card,
                g->driver[0] ? g->driver : "unknown",
                g->render == DOCTOR_ABSENT ? ", without a render node" : "");
        judge_carve_out(r, g);
        judge_gtt(r, g);
        if (g->is_apu && !strncmp(g->iommu, "DMA", 3))
            add(r, DOCTOR_NOTE, "IOMMU",
                "boot with iommu=pt; the IOMMU stays on for what else needs it",
                "what %s maps is translated twice (domain type %s)", g->card, g->iommu);
    }
}

static void judge_module(struct report *r)
{
    const struct doctor_facts *f = r->facts;
    uint64_t wanted = f->memory_bytes / 4 * 3;

    if (f->module == DOCTOR_ABSENT) {
        add(r, DOCTOR_FIX, "module", "install it by DKMS (see README) and run modprobe hearth",
            "/dev/hearth is not there: a restart of the service reads models anew unless systemd "
            "keeps them, and idle ones are not given back under memory pressure");
        return;
    }
    if (f->module == DOCTOR_DENIED) {
        add(r, DOCTOR_FIX, "module", "add the user to group render and log in anew",
            "/dev/hearth may not be opened by this user");
        return;
    }
    if (f->module_limit_bytes && f->module_limit_bytes < wanted)
        add(r, DOCTOR_NOTE, "module",
            "raise limit_percent in /etc/modprobe.d/hearth.conf (see hearth(4))",
            "pools may take %.1f GiB, less than three quarters of the memory",
            bytes_gib(f->module_limit_bytes));
    else
        add(r, DOCTOR_GOOD, "module", "", "pools may take %.1f GiB and take %.1f GiB",
            bytes_gib(f->module_limit_bytes), bytes_gib(f->module_used_bytes));
}

/* What the service falls back to matters only where the module is not used. */
static void judge_fallback(struct report *r)
{
    const struct doctor_facts *f = r->facts;

    if (f->module == DOCTOR_USABLE || f->udmabuf == DOCTOR_ABSENT)
        return;
    if (f->udmabuf_window_bytes && f->udmabuf_window_bytes < POOL_WINDOW_LIMIT_BYTES)
        add(r, DOCTOR_NOTE, "udmabuf",
            "write 4094 to /sys/module/udmabuf/parameters/size_limit_mb, or boot with "
            "udmabuf.size_limit_mb=4094",
            "a GPU maps shared memory in pieces of %.0f MiB, too small for most tensors",
            (double)f->udmabuf_window_bytes / (1 << 20));
    if (f->shmem_thp[0] && (!strcmp(f->shmem_thp, "never") || !strcmp(f->shmem_thp, "deny")))
        add(r, DOCTOR_NOTE, "shared memory",
            "write advise to /sys/kernel/mm/transparent_hugepage/shmem_enabled",
            "memory that outlives the service without the module is in pages of 4 KiB");
}

static void judge_service(struct report *r)
{
    if (r->facts->has_socket)
        add(r, DOCTOR_GOOD, "service", "", "listens on /run/hearth/hearth.sock");
    else
        add(r, DOCTOR_NOTE, "service",
            r->facts->has_systemd ? "systemctl enable --now hearthd.socket"
                                  : "run `hearthd` as root, or as a user for that user alone",
            "is not running: there is no /run/hearth/hearth.sock");
}

size_t doctor_judge(const struct doctor_facts *facts, struct doctor_finding *ret_list)
{
    struct report r = {.facts = facts, .list = ret_list};

    judge_kernel(&r);
    judge_memory(&r);
    judge_gpus(&r);
    judge_module(&r);
    judge_fallback(&r);
    judge_service(&r);
    return r.n;
}
