/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Trace points of a pool's life: events/hearth/ in tracefs.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM hearth

#if !defined(_HEARTH_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _HEARTH_TRACE_H

#include <linux/tracepoint.h>

#include "pool.h"

DECLARE_EVENT_CLASS(hearth_pool,
	TP_PROTO(const struct hearth_pool *pool),
	TP_ARGS(pool),
	TP_STRUCT__entry(
		__field(u32, id)
		__field(u32, flags)
		__field(u64, size_bytes)
		__field(uid_t, uid)
		__field(u32, state)
	),
	TP_fast_assign(
		__entry->id = pool->id;
		__entry->flags = pool->flags;
		__entry->size_bytes = pool->size_bytes;
		__entry->uid = from_kuid(&init_user_ns, pool->uid);
		__entry->state = READ_ONCE(pool->state);
	),
	TP_printk("id=%u bytes=%llu uid=%u flags=%#x state=%u", __entry->id, __entry->size_bytes,
		  __entry->uid, __entry->flags, __entry->state)
);

#define HEARTH_POOL_EVENT(name)						\
	DEFINE_EVENT(hearth_pool, name,					\
		     TP_PROTO(const struct hearth_pool *pool), TP_ARGS(pool))

HEARTH_POOL_EVENT(hearth_create);
HEARTH_POOL_EVENT(hearth_fill);
HEARTH_POOL_EVENT(hearth_seal);
HEARTH_POOL_EVENT(hearth_evict);
HEARTH_POOL_EVENT(hearth_destroy);
HEARTH_POOL_EVENT(hearth_free);

TRACE_EVENT(hearth_export,
	TP_PROTO(const struct hearth_pool *pool, const struct hearth_export *args),
	TP_ARGS(pool, args),
	TP_STRUCT__entry(
		__field(u32, id)
		__field(u32, flags)
		__field(u64, offset)
		__field(u64, length)
	),
	TP_fast_assign(
		__entry->id = pool->id;
		__entry->flags = args->flags;
		__entry->offset = args->offset;
		__entry->length = args->length;
	),
	TP_printk("id=%u offset=%llu length=%llu flags=%#x", __entry->id, __entry->offset,
		  __entry->length, __entry->flags)
);

TRACE_EVENT(hearth_attach,
	TP_PROTO(const struct hearth_pool *pool, const char *device),
	TP_ARGS(pool, device),
	TP_STRUCT__entry(
		__field(u32, id)
		__string(device, device)
	),
	TP_fast_assign(
		__entry->id = pool->id;
		__assign_str(device);
	),
	TP_printk("id=%u device=%s", __entry->id, __get_str(device))
);

#endif /* _HEARTH_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
