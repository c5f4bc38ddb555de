/* SPDX-License-Identifier: MIT */
#include "doctor.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* APUs of AMD by their PCI device, newest first: their VRAM is a part of the machine's memory that
 * firmware sets aside. */
static const uint32_t amd_apus[] = {
    0x1586,         /* Strix Halo */
    0x1114,         /* Krackan Point */
    0x150e,         /* Strix Point */
    0x1900, 0x1901, /* Hawk Point */
    0x15bf, 0x15c8, /* Phoenix */
    0x1681,         /* Rembrandt */
    0x1638,         /* Cezanne */
};

/* The first line of a file; false when it cannot be read. */
static bool read_line(const char *root, const char *path, char *to, size_t bytes)
{
    char full[PATH_MAX];
    FILE *f;
    bool is_read;

    snprintf(full, sizeof(full), "%s%s", root, path);
    f = fopen(full, "re");
    if (!f)
        return false;
    is_read = fgets(to, (int)bytes, f) != NULL;
    fclose(f);
    if (is_read)
        to[strcspn(to, "\n")] = '\0';
    return is_read;
}

static uint64_t read_number(const char *root, const char *path)
{
    char line[64];

    return read_line(root, path, line, sizeof(line)) ? strtoull(line, NULL, 0) : 0;
}

/* The word in brackets of "always [madvise] never". */
static void read_choice(const char *root, const char *path, char *to, size_t bytes)
{
    char line[128], *begin, *end;

    to[0] = '\0';
    if (!read_line(root, path, line, sizeof(line)))
        return;
    begin = strchr(line, '[');
    end = begin ? strchr(begin, ']') : NULL;
    if (end)
        snprintf(to, bytes, "%.*s", (int)(end - begin - 1), begin + 1);
}

static enum doctor_access look_at(const char *root, const char *path)
{
    char full[PATH_MAX];

    snprintf(full, sizeof(full), "%s%s", root, path);
    if (access(full, F_OK) < 0)
        return DOCTOR_ABSENT;
    return access(full, R_OK | W_OK) < 0 ? DOCTOR_DENIED : DOCTOR_USABLE;
}

static void look_at_memory(const char *root, struct doctor_facts *f)
{
    char full[PATH_MAX], line[128];
    uint64_t n_huge = 0, huge_kib = 0;
    FILE *file;

    snprintf(full, sizeof(full), "%s/proc/meminfo", root);
    file = fopen(full, "re");
    if (!file)
        return;
    while (fgets(line, sizeof(line), file)) {
        unsigned long long n;

        if (sscanf(line, "MemTotal: %llu kB", &n) == 1)
            f->memory_bytes = n << 10;
        else if (sscanf(line, "MemAvailable: %llu kB", &n) == 1)
            f->available_bytes = n << 10;
        else if (sscanf(line, "HugePages_Total: %llu", &n) == 1)
            n_huge = n;
        else if (sscanf(line, "Hugepagesize: %llu kB", &n) == 1)
            huge_kib = n;
    }
    fclose(file);
    f->hugetlb_bytes = n_huge * huge_kib << 10;
}

static void look_at_kernel(const char *root, struct doctor_facts *f)
{
    unsigned major = 0, minor = 0;
    char line[32];

    if (read_line(root, "/proc/sys/kernel/osrelease", f->kernel, sizeof(f->kernel)) &&
        sscanf(f->kernel, "%u.%u", &major, &minor) == 2)
        f->kernel_version = major * 1000 + minor;
    read_choice(root, "/sys/kernel/mm/transparent_hugepage/enabled", f->thp, sizeof(f->thp));
    read_choice(root, "/sys/kernel/mm/transparent_hugepage/shmem_enabled", f->shmem_thp,
                sizeof(f->shmem_thp));
    f->io_uring_disabled = read_line(root, "/proc/sys/kernel/io_uring_disabled", line, sizeof(line))
                               ? strtol(line, NULL, 10)
                               : -1;
}

/* The last part of what a link of a device's directory points to: its driver. */
static void read_link_name(const char *root, const char *path, char *to, size_t bytes)
{
    char full[PATH_MAX], target[PATH_MAX];
    const char *name;
    ssize_t n;

    to[0] = '\0';
    snprintf(full, sizeof(full), "%s%s", root, path);
    n = readlink(full, target, sizeof(target) - 1);
    if (n < 0)
        return;
    target[n] = '\0';
    name = strrchr(target, '/');
    snprintf(to, bytes, "%.*s", (int)bytes - 1, name ? name + 1 : target);
}

/* The render node stands beside the card: device/drm/renderD128. */
static enum doctor_access look_at_render(const char *root, const char *device)
{
    enum doctor_access access = DOCTOR_ABSENT;
    char full[PATH_MAX];
    struct dirent *e;
    DIR *dir;

    snprintf(full, sizeof(full), "%s%s/drm", root, device);
    dir = opendir(full);
    while (dir && (e = readdir(dir))) {
        char node[PATH_MAX];

        if (strncmp(e->d_name, "renderD", 7))
            continue;
        snprintf(node, sizeof(node), "/dev/dri/%s", e->d_name);
        access = look_at(root, node);
    }
    if (dir)
        closedir(dir);
    return access;
}

static void look_at_gpu(const char *root, const char *card, struct doctor_gpu *g)
{
    char device[64], path[128];

    *g = (struct doctor_gpu){0};
    snprintf(g->card, sizeof(g->card), "%s", card);
    snprintf(device, sizeof(device), "/sys/class/drm/%s/device", g->card);
    snprintf(path, sizeof(path), "%s/driver", device);
    read_link_name(root, path, g->driver, sizeof(g->driver));
    snprintf(path, sizeof(path), "%s/device", device);
    g->device = (uint32_t)read_number(root, path);
    snprintf(path, sizeof(path), "%s/mem_info_vram_total", device);
    g->vram_bytes = read_number(root, path);
    snprintf(path, sizeof(path), "%s/mem_info_gtt_total", device);
    g->gtt_bytes = read_number(root, path);
    snprintf(path, sizeof(path), "%s/iommu_group/type", device);
    if (!read_line(root, path, g->iommu, sizeof(g->iommu)))
        g->iommu[0] = '\0';
    g->render = look_at_render(root, device);
    for (size_t i = 0; i < sizeof(amd_apus) / sizeof(*amd_apus); i++)
        g->is_apu |= !strcmp(g->driver, "amdgpu") && g->device == amd_apus[i];
}

static int by_card(const void *a, const void *b)
{
    return strcmp(((const struct doctor_gpu *)a)->card, ((const struct doctor_gpu *)b)->card);
}

/* "card0", not its connectors "card0-DP-1". */
static void look_at_gpus(const char *root, struct doctor_facts *f)
{
    char full[PATH_MAX];
    struct dirent *e;
    DIR *dir;

    snprintf(full, sizeof(full), "%s/sys/class/drm", root);
    dir = opendir(full);
    while (dir && (e = readdir(dir)) && f->n_gpus < DOCTOR_GPUS_MOST) {
        const char *number = e->d_name + 4;

        if (strncmp(e->d_name, "card", 4) || !isdigit((unsigned char)*number) ||
            strlen(e->d_name) >= sizeof(f->gpus->card) || number[strspn(number, "0123456789")])
            continue;
        look_at_gpu(root, e->d_name, &f->gpus[f->n_gpus++]);
    }
    if (dir)
        closedir(dir);
    qsort(f->gpus, f->n_gpus, sizeof(*f->gpus), by_card);
}

void doctor_look(const char *root, struct doctor_facts *f)
{
    long page = sysconf(_SC_PAGESIZE);

    *f = (struct doctor_facts){.page_bytes = page > 0 ? (uint64_t)page : 4096};
    look_at_kernel(root, f);
    look_at_memory(root, f);
    look_at_gpus(root, f);
    f->module = look_at(root, "/dev/hearth");
    f->module_limit_bytes = read_number(root, "/sys/class/misc/hearth/limit_bytes");
    f->module_used_bytes = read_number(root, "/sys/class/misc/hearth/used_bytes");
    f->udmabuf = look_at(root, "/dev/udmabuf");
    f->udmabuf_window_bytes = read_number(root, "/sys/module/udmabuf/parameters/size_limit_mb")
                              << 20;
    f->ttm_limit_bytes =
        read_number(root, "/sys/module/ttm/parameters/pages_limit") * f->page_bytes;
    f->has_systemd = look_at(root, "/run/systemd/system") != DOCTOR_ABSENT;
    f->has_socket = look_at(root, "/run/hearth/hearth.sock") != DOCTOR_ABSENT;
}
