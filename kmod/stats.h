/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is seen from outside: sysfs totals, debugfs, /proc/PID/fdinfo.
 */
#ifndef _HEARTH_STATS_H
#define _HEARTH_STATS_H

struct attribute_group;
struct file;
struct seq_file;

extern const struct attribute_group *hearth_stats_groups[];

void hearth_stats_init(void);
void hearth_stats_exit(void);
void hearth_stats_show_fdinfo(struct seq_file *seq, struct file *file);

#endif /* _HEARTH_STATS_H */
