/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * /dev/hearth.
 */
#ifndef _HEARTH_DEVICE_H
#define _HEARTH_DEVICE_H

int hearth_device_init(void);
void hearth_device_exit(void);

#endif /* _HEARTH_DEVICE_H */
