/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The one place that knows kernel versions: 6.12 and newer.
 */
#ifndef _HEARTH_COMPAT_H
#define _HEARTH_COMPAT_H

#include <linux/module.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
#error "hearth needs Linux 6.12 or newer"
#endif

#if !defined(CONFIG_64BIT) || !defined(CONFIG_TRANSPARENT_HUGEPAGE)
#error "hearth needs a 64-bit kernel with transparent huge pages"
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
#define HEARTH_IMPORT_NS(ns) MODULE_IMPORT_NS(ns)
#else
#define HEARTH_IMPORT_NS(ns) MODULE_IMPORT_NS(#ns)
#endif

#endif /* _HEARTH_COMPAT_H */
