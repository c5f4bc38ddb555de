// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loading and unloading. Files, mappings and dma-bufs keep the module loaded; idle named pools
 * go with it.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/init.h>
#include <linux/module.h>

#include "device.h"
#include "limits.h"
#include "pages.h"
#include "pool.h"
#include "reserve.h"
#include "shrink.h"
#include "stats.h"

static int __init hearth_init(void)
{
	int err;

	hearth_pool_init();
	hearth_reserve_init();
	err = hearth_shrink_init();
	if (err)
		goto err_reserve;
	hearth_stats_init();
	err = hearth_device_init();
	if (err)
		goto err_stats;
	pr_info("pools of %llu KiB pages, at most %llu MiB, of which %llu MiB in reserve\n",
		HEARTH_LARGE_BYTES >> 10, hearth_limits_bytes() >> 20,
		hearth_reserve_bytes() >> 20);
	return 0;

err_stats:
	hearth_stats_exit();
	hearth_shrink_exit();
err_reserve:
	hearth_reserve_exit();
	return err;
}

static void __exit hearth_exit(void)
{
	hearth_device_exit();
	hearth_stats_exit();
	hearth_shrink_exit();
	hearth_pool_exit();
	hearth_reserve_exit();
}

module_init(hearth_init);
module_exit(hearth_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Pools of large unmovable pages that outlive the process that filled them");
MODULE_VERSION("0.1.0");
