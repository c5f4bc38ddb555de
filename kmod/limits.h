/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How much memory pools may take: a share of the machine's, and per owner bytes and pools. What
 * a pool may take is decided when it is created.
 */
#ifndef _HEARTH_LIMITS_H
#define _HEARTH_LIMITS_H

#include <linux/types.h>
#include <linux/uidgid.h>
#include <uapi/hearth.h>

struct hearth_charge;

int hearth_limits_charge(struct hearth_charge *charge, kuid_t uid, u64 bytes);
void hearth_limits_uncharge_bytes(struct hearth_charge *charge);
void hearth_limits_uncharge(struct hearth_charge *charge);
int hearth_limits_make_room(u64 bytes);
int hearth_limits_claim_room(u64 bytes);
void hearth_limits_release_room(u64 bytes);
u64 hearth_limits_bytes(void);
u64 hearth_limits_used_bytes(void);
void hearth_limits_query(struct hearth_query *query);

#endif /* _HEARTH_LIMITS_H */
