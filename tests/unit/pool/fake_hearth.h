/* SPDX-License-Identifier: MIT */
/*
 * A stand-in for /dev/hearth where the kernel has no module: open(), close() and ioctl() of the
 * test binary are wrapped at link time, and a pool is a memfd that grows as it is "allocated", so
 * that touching what is not there faults as it does with the module. Keeps what pools a process
 * leaves behind, for it to be found again.
 */
#ifndef HEARTH_TESTS_POOL_FAKE_HEARTH_H
#define HEARTH_TESTS_POOL_FAKE_HEARTH_H

#include "uapi/hearth.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct fake_hearth {
    bool is_on;                   /* else the real device is called */
    int open_errno;               /* what opening the device fails with; 0: it opens */
    gid_t gid;                    /* of the device, which others may not open */
    unsigned abi_version;         /* what HEARTH_QUERY says */
    _Atomic uint64_t limit_bytes; /* of all pools together */
    uint64_t fail_at_bytes;       /* allocating stops there with -ENOMEM; 0: nowhere */
    atomic_uint step_us;          /* how long each large page takes */
    atomic_bool is_held;          /* who creates a pool waits */
    atomic_uint n_others;         /* other processes that have every pool open */
    bool is_pinned;               /* sealing finds pages in use */
    atomic_uint n_interrupts;     /* how often allocating was interrupted */
};
extern struct fake_hearth fake_hearth;

/* Turns it on, with no pools. */
void fake_hearth_reset(void);
unsigned fake_hearth_n_pools(void); /* that have memory */
/* Takes the memory of the idle pools back, as the kernel does when it needs it; returns of how
 * many.
 */
unsigned fake_hearth_evict_idle(void);

#endif
