/* SPDX-License-Identifier: MIT */
/*
 * What of a machine helps or hinders large models: facts read from /proc, /sys and /dev, and
 * findings made of them by plain rules. Facts can come from a copy of another machine's files.
 */
#ifndef HEARTH_CLI_DOCTOR_H
#define HEARTH_CLI_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DOCTOR_GPUS_MOST = 8, DOCTOR_FINDINGS_MOST = 32 };

enum doctor_access { DOCTOR_ABSENT, DOCTOR_DENIED, DOCTOR_USABLE };

struct doctor_gpu {
    char card[16];   /* "card0" */
    char driver[32]; /* "amdgpu" */
    char iommu[24];  /* type of its IOMMU domain: "identity", "DMA", "DMA-FQ"; "" without */
    uint32_t device; /* PCI */
    bool is_apu;     /* shares the machine's memory, as far as its PCI id is known here */
    uint64_t vram_bytes, gtt_bytes; /* amdgpu; 0 unknown */
    enum doctor_access render;      /* its render node */
};

struct doctor_facts {
    char kernel[96];
    unsigned kernel_version; /* 6.12: 6012 */
    uint64_t memory_bytes, available_bytes, page_bytes;
    uint64_t hugetlb_bytes;      /* set aside as hugetlb pages */
    char thp[16], shmem_thp[16]; /* the chosen word; "" unknown */
    long io_uring_disabled;      /* -1 unknown */
    enum doctor_access module, udmabuf;
    uint64_t module_limit_bytes, module_used_bytes; /* 0 unknown */
    uint64_t udmabuf_window_bytes;                  /* 0 unknown */
    uint64_t ttm_limit_bytes;                       /* 0 unknown */
    bool has_socket;                                /* the service's */
    bool has_systemd;                               /* as what began the machine */
    struct doctor_gpu gpus[DOCTOR_GPUS_MOST];
    size_t n_gpus;
};

/* root: "" for this machine, or the directory that holds a copy. What cannot be read is unknown. */
void doctor_look(const char *root, struct doctor_facts *ret_facts);

enum doctor_verdict {
    DOCTOR_GOOD,
    DOCTOR_NOTE, /* could be better */
    DOCTOR_FIX,  /* large models will fail, load slowly or lose a promise */
};

struct doctor_finding {
    enum doctor_verdict verdict;
    char about[24];   /* "GPU mappings" */
    char text[200];   /* what is so */
    char advice[320]; /* what to do; "" when good */
};

/* At most DOCTOR_FINDINGS_MOST of them. */
size_t doctor_judge(const struct doctor_facts *facts, struct doctor_finding *ret_list);

/* What the GPU should be able to map: all memory but an eighth, which the rest of the system needs.
 * The parameter ttm.pages_limit that makes it so. */
uint64_t doctor_ttm_pages(const struct doctor_facts *facts);

#endif
