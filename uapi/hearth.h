/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * /dev/hearth: pools of large, unmovable pages that outlive the process that filled them.
 *
 * The device file creates, opens, destroys and lists pools; a pool is a file descriptor of its
 * own. Every structure may grow at its end: the kernel reads the caller's size from the ioctl
 * number, takes absent fields as zero and refuses unknown ones that are not zero (-E2BIG).
 */
#ifndef _UAPI_LINUX_HEARTH_H
#define _UAPI_LINUX_HEARTH_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * DOC: errors of every ioctl
 *
 * - ENOTTY: no such ioctl on this file, or its direction bits are wrong.
 * - EINVAL: the structure is shorter than its first version, a flag is unknown, padding is not
 *   zero, or an argument is outside what its description allows.
 * - E2BIG: the structure is longer than the kernel's and the unknown part is not zero.
 * - EFAULT: the argument, or memory it points to, cannot be read or written.
 *
 * A pool file descriptor answers further:
 *
 * - EACCES: the operation changes the pool and the descriptor is not open for writing.
 * - EBUSY: the pool's memory is not allocated whole yet.
 * - ESTALE: the pool was evicted; its memory is gone and comes back only by creating it anew.
 *
 * An ioctl that fails has changed nothing, unless its description says what remains.
 */

/** define HEARTH_ABI_VERSION - what hearth_query.abi_version says for this header */
#define HEARTH_ABI_VERSION	1

/** define HEARTH_KEY_BYTES - length of the key that names a pool */
#define HEARTH_KEY_BYTES	32

/** define HEARTH_ORDERS - page orders told apart by hearth_info.order_bytes */
#define HEARTH_ORDERS		20

/** define HEARTH_NODE_ANY - let the kernel choose the NUMA node */
#define HEARTH_NODE_ANY		(-1)

/** define HEARTH_UID_SELF - the caller's own (file system) uid */
#define HEARTH_UID_SELF		0xffffffffU

/* Flags of hearth_create, and of hearth_adopt where noted there. */

/** define HEARTH_CREATE_KEYED - the pool has a name and outlives its last descriptor */
#define HEARTH_CREATE_KEYED		0x00000001U
/** define HEARTH_CREATE_DEFER - return before any memory is allocated; see HEARTH_POOL_ALLOCATE */
#define HEARTH_CREATE_DEFER		0x00000002U
/** define HEARTH_CREATE_FALLBACK - where large pages run out take smaller ones (min_order) */
#define HEARTH_CREATE_FALLBACK		0x00000004U
/** define HEARTH_CREATE_STRICT_NODE - fail rather than take memory of another NUMA node */
#define HEARTH_CREATE_STRICT_NODE	0x00000008U
/** define HEARTH_CREATE_IDLE_ON_CLOSE - idle when the last descriptor, mapping, dma-buf goes */
#define HEARTH_CREATE_IDLE_ON_CLOSE	0x00000010U

/* Flags of hearth_open. */

/** define HEARTH_OPEN_WRITE - a descriptor that may map for writing, seal, idle and activate */
#define HEARTH_OPEN_WRITE		0x00000001U

/* Flags of hearth_export. */

/** define HEARTH_EXPORT_WRITE - a dma-buf that the CPU may map for writing */
#define HEARTH_EXPORT_WRITE		0x00000001U

/**
 * enum hearth_state - where a pool is in its life
 * @HEARTH_STATE_ALLOCATING: not all its memory is there yet. It can be mapped; touching what is
 *	not there raises SIGBUS, and gives system calls -EFAULT.
 * @HEARTH_STATE_WRITABLE: whole, zero-filled or being filled.
 * @HEARTH_STATE_SEALED: whole, and no CPU can write it any more.
 * @HEARTH_STATE_EVICTED: the kernel took its memory back while it was idle.
 */
enum hearth_state {
	HEARTH_STATE_ALLOCATING = 0,
	HEARTH_STATE_WRITABLE = 1,
	HEARTH_STATE_SEALED = 2,
	HEARTH_STATE_EVICTED = 3
};

/* Facts of hearth_info.status. */

/** define HEARTH_STATUS_NAMED - can still be opened by its key */
#define HEARTH_STATUS_NAMED		0x00000001U
/** define HEARTH_STATUS_IDLE - may be evicted as soon as no mapping and no dma-buf is left */
#define HEARTH_STATUS_IDLE		0x00000002U
/** define HEARTH_STATUS_ADOPTED - stands on a hugetlb memfd; never evicted */
#define HEARTH_STATUS_ADOPTED		0x00000004U

/**
 * struct hearth_query - HEARTH_QUERY: what this module offers and how full it is
 * @abi_version: HEARTH_ABI_VERSION of the module.
 * @uid_limit_pools: most pools the caller's uid may own.
 * @uid_pools: pools the caller's uid owns, evicted ones included.
 * @pad: zero.
 * @large_page_bytes: unit of pool sizes and of dma-buf windows (2 MiB on x86).
 * @limit_bytes: most memory of all pools together, adopted ones apart.
 * @used_bytes: memory promised to all pools.
 * @idle_bytes: part of it that may be evicted now.
 * @uid_limit_bytes: most memory of the pools that the caller's uid owns.
 * @uid_used_bytes: memory promised to those.
 * @reserve_bytes: memory set aside when the module was loaded.
 * @reserve_free_bytes: part of it that no pool uses.
 */
struct hearth_query {
	__u32 abi_version;
	__u32 uid_limit_pools;
	__u32 uid_pools;
	__u32 pad;
	__u64 large_page_bytes;
	__u64 limit_bytes;
	__u64 used_bytes;
	__u64 idle_bytes;
	__u64 uid_limit_bytes;
	__u64 uid_used_bytes;
	__u64 reserve_bytes;
	__u64 reserve_free_bytes;
};

/**
 * struct hearth_create - HEARTH_CREATE: makes a pool and returns a descriptor for it
 * @size_bytes: a multiple of hearth_query.large_page_bytes, not 0.
 * @flags: HEARTH_CREATE_KEYED, _DEFER, _FALLBACK, _STRICT_NODE, _IDLE_ON_CLOSE.
 * @node: NUMA node with memory, or HEARTH_NODE_ANY (then without _STRICT_NODE). Memory comes
 *	from other nodes when that one has none left, unless _STRICT_NODE is set.
 * @min_order: with _FALLBACK the least order of a page, at most that of a large page; else 0.
 * @mode: who else may open it: permission bits as of a file, within 0666.
 * @key: with _KEYED its name among the pools of the caller's uid; else all zero.
 *
 * The descriptor is close-on-exec and open for reading and writing. The pool belongs to the
 * caller's file system uid and gid. Its memory is zero-filled, charged to the caller's memory
 * cgroup, and all there on return unless _DEFER is set; a signal interrupts the wait. A keyed
 * pool is open to others, and outlives its descriptors, from when it is whole. A name left by an
 * evicted pool is taken over.
 *
 * - EEXIST: the caller's uid has a pool of that name.
 * - EDQUOT: the pool would put its owner over the limit of bytes or of pools.
 * - ENOMEM: over the limit of the machine or of the caller's cgroup, or not enough free memory
 *   of the orders and nodes asked for. Idle pools were evicted first where that would have helped.
 * - EINTR: a signal arrived first; nothing remains.
 * - EMFILE, ENFILE: no descriptor is free.
 */
struct hearth_create {
	__u64 size_bytes;
	__u32 flags;
	__s32 node;
	__u32 min_order;
	__u32 mode;
	__u8 key[HEARTH_KEY_BYTES];
};

/**
 * struct hearth_open - HEARTH_OPEN: returns a new descriptor for a keyed pool
 * @key: its name.
 * @uid: its owner, as the caller's user namespace numbers it, or HEARTH_UID_SELF.
 * @flags: HEARTH_OPEN_WRITE, else the descriptor is open for reading alone.
 *
 * Owner, group and mode decide as they do for a file; CAP_SYS_ADMIN in the initial user
 * namespace overrides. The descriptor is close-on-exec.
 *
 * - ENOENT: there is none of that name and owner, or the caller, not its owner, may not read it.
 * - EACCES: the mode denies what the caller asks for.
 * - EBUSY: its creator has not got all its memory yet.
 * - ESTALE: it was evicted. The name stays until the pool is destroyed or created anew.
 * - EMFILE, ENFILE, ENOMEM: no descriptor, or no memory for one.
 */
struct hearth_open {
	__u8 key[HEARTH_KEY_BYTES];
	__u32 uid;
	__u32 flags;
};

/**
 * struct hearth_destroy - HEARTH_DESTROY: takes a pool's name away
 * @key: its name.
 * @uid: its owner, as for HEARTH_OPEN.
 * @flags: 0.
 *
 * The name is free at once; memory goes with the last descriptor, mapping and dma-buf.
 *
 * - ENOENT: as for HEARTH_OPEN. An owner may destroy a pool of any mode.
 * - EPERM: the caller may read it, but is neither its owner nor CAP_SYS_ADMIN in the initial
 *   user namespace.
 */
struct hearth_destroy {
	__u8 key[HEARTH_KEY_BYTES];
	__u32 uid;
	__u32 flags;
};

/**
 * struct hearth_adopt - HEARTH_ADOPT: makes a pool of the pages of a hugetlb memfd
 * @memfd: memfd_create(MFD_HUGETLB) file sealed with F_SEAL_SHRINK, F_SEAL_GROW and
 *	F_SEAL_WRITE; its size is the pool's.
 * @flags: HEARTH_CREATE_KEYED.
 * @mode: as in hearth_create.
 * @pad: 0.
 * @key: as in hearth_create.
 *
 * Returns a descriptor open for reading and writing. The pool starts sealed, counts as a pool
 * of its owner but not as bytes (hugetlb pages have limits of their own), is never evicted, and
 * is mapped through the memfd (HEARTH_POOL_MEMFD), not through this descriptor.
 *
 * - EBADF: @memfd is no open descriptor, or not open for reading and writing.
 * - EINVAL: it is no hugetlb file, or is empty.
 * - EPERM: one of the three seals is missing.
 * - EEXIST, EDQUOT, EMFILE, ENFILE: as for HEARTH_CREATE.
 * - ENOMEM: a hole of the file could not be filled from the hugetlb pool, or no kernel memory.
 * - EOPNOTSUPP: this kernel is built without hugetlbfs.
 */
struct hearth_adopt {
	__s32 memfd;
	__u32 flags;
	__u32 mode;
	__u32 pad;
	__u8 key[HEARTH_KEY_BYTES];
};

/**
 * struct hearth_info - HEARTH_POOL_INFO, and one entry of HEARTH_LIST
 * @id: number of the pool, unique until the module is unloaded.
 * @size_bytes: its size.
 * @allocated_bytes: bytes that are there, counted from its start without a gap. Grows while it
 *	is allocated; 0 once evicted.
 * @created_ns: CLOCK_BOOTTIME of its creation.
 * @used_ns: CLOCK_BOOTTIME of the last time it was opened, activated, idled, or lost a mapping
 *	or dma-buf; the order in which idle pools are evicted.
 * @state: enum hearth_state.
 * @status: HEARTH_STATUS_NAMED, _IDLE, _ADOPTED.
 * @flags: flags it was created with.
 * @mode: mode it was created with.
 * @uid: owner, as the caller's user namespace numbers it (65534 if it does not).
 * @gid: group, likewise.
 * @node: NUMA node it was created for.
 * @files: open descriptors of it.
 * @mappings: memory mappings of it, through descriptors and dma-bufs.
 * @writable_mappings: those of them that are or can be made writable.
 * @dmabufs: dma-bufs of it.
 * @writable_dmabufs: those of them exported with HEARTH_EXPORT_WRITE.
 * @key: its name if it was created with one, else all zero.
 * @order_bytes: bytes in pages of each order. Order 9 is 2 MiB, order 18 is 1 GiB on x86.
 *
 * HEARTH_POOL_INFO works on an evicted pool and on one not yet whole.
 */
struct hearth_info {
	__u64 id;
	__u64 size_bytes;
	__u64 allocated_bytes;
	__u64 created_ns;
	__u64 used_ns;
	__u32 state;
	__u32 status;
	__u32 flags;
	__u32 mode;
	__u32 uid;
	__u32 gid;
	__s32 node;
	__u32 files;
	__u32 mappings;
	__u32 writable_mappings;
	__u32 dmabufs;
	__u32 writable_dmabufs;
	__u8 key[HEARTH_KEY_BYTES];
	__u64 order_bytes[HEARTH_ORDERS];
};

/**
 * struct hearth_list - HEARTH_LIST: tells of the pools that the caller owns or may read
 * @cursor: in: 0 to start, then what the last call left here. out: where to go on.
 * @entries: user address of an array.
 * @count: in: entries the array has room for, not 0. out: entries written, 0 at the end.
 * @entry_bytes: distance from one entry to the next, at least that of the first struct
 *	hearth_info; what the kernel does not know of an entry is zeroed.
 *
 * Pools that come and go meanwhile are told of once or not at all; all others exactly once. A
 * signal ends a call early with what was written.
 *
 * - EFAULT: @entries cannot be written; @cursor and @count are as they were.
 */
struct hearth_list {
	__u64 cursor;
	__u64 entries;
	__u32 count;
	__u32 entry_bytes;
};

/**
 * struct hearth_pool_flags - argument of the pool ioctls that have nothing else to say
 * @flags: 0.
 * @pad: 0.
 */
struct hearth_pool_flags {
	__u32 flags;
	__u32 pad;
};

/**
 * struct hearth_export - HEARTH_POOL_EXPORT: returns a dma-buf of a window of the pool
 * @offset: start of the window, a multiple of hearth_query.large_page_bytes.
 * @length: its length, likewise, not 0; the window lies within the pool.
 * @flags: HEARTH_EXPORT_WRITE.
 * @pad: 0.
 *
 * The descriptor is close-on-exec. Without HEARTH_EXPORT_WRITE it is open for reading: the CPU
 * cannot map it for writing. A device that its owner programs to write can write nonetheless,
 * as importers map both ways.
 *
 * - EACCES: HEARTH_EXPORT_WRITE and the pool's descriptor is open for reading alone.
 * - EPERM: HEARTH_EXPORT_WRITE and the pool is sealed or just being sealed.
 * - EBUSY, ESTALE: as for all pool descriptors.
 * - EMFILE, ENFILE, ENOMEM: no descriptor, or no memory for one.
 */
struct hearth_export {
	__u64 offset;
	__u64 length;
	__u32 flags;
	__u32 pad;
};

/**
 * DOC: ioctls of /dev/hearth
 *
 * HEARTH_QUERY fills struct hearth_query. HEARTH_CREATE, HEARTH_OPEN and HEARTH_ADOPT return a
 * descriptor of a pool. HEARTH_DESTROY and HEARTH_LIST return 0.
 */
#define HEARTH_IOC_MAGIC	0xbe

#define HEARTH_QUERY		_IOR(HEARTH_IOC_MAGIC, 0x00, struct hearth_query)
#define HEARTH_CREATE		_IOW(HEARTH_IOC_MAGIC, 0x01, struct hearth_create)
#define HEARTH_OPEN		_IOW(HEARTH_IOC_MAGIC, 0x02, struct hearth_open)
#define HEARTH_DESTROY		_IOW(HEARTH_IOC_MAGIC, 0x03, struct hearth_destroy)
#define HEARTH_LIST		_IOWR(HEARTH_IOC_MAGIC, 0x04, struct hearth_list)
#define HEARTH_ADOPT		_IOW(HEARTH_IOC_MAGIC, 0x05, struct hearth_adopt)

/**
 * DOC: ioctls of a pool descriptor
 *
 * HEARTH_POOL_INFO fills struct hearth_info; any descriptor may ask.
 *
 * HEARTH_POOL_ALLOCATE allocates what is missing of a pool created with HEARTH_CREATE_DEFER and
 * returns 0 when it is whole; 0 at once if it was. Several threads may call it together and
 * share the work. What is there stays when it fails and a later call goes on from there:
 *
 * - EINTR: a signal arrived first.
 * - ENOMEM: as for HEARTH_CREATE.
 * - EACCES, ESTALE: as for all pool descriptors.
 *
 * HEARTH_POOL_SEAL ends all CPU writing for good: afterwards mmap() and mprotect() for writing
 * fail (-EPERM, -EACCES), and so do writes through /proc/PID/mem, ptrace and direct I/O into
 * read-only mappings. Returns 0 at once if the pool is sealed already.
 *
 * - EBUSY: a mapping that is or can be made writable, a dma-buf exported for writing, or a
 *   reference to a page (I/O in flight, a registered buffer, a page in a pipe) is left after
 *   a short wait; or the pool is not whole.
 * - EINTR: a signal arrived during that wait.
 * - EACCES, ESTALE: as for all pool descriptors.
 *
 * HEARTH_POOL_IDLE allows the kernel to evict the pool whenever it has no mapping and no
 * dma-buf; open descriptors do not hold it. HEARTH_POOL_ACTIVATE forbids it again. Both return 0
 * if that was so already.
 *
 * - EOPNOTSUPP: HEARTH_POOL_IDLE of an adopted pool.
 * - EACCES, EBUSY, ESTALE: as for all pool descriptors.
 *
 * HEARTH_POOL_EXPORT returns a dma-buf, see struct hearth_export.
 *
 * HEARTH_POOL_MEMFD returns a close-on-exec descriptor of the memfd of an adopted pool.
 *
 * - EOPNOTSUPP: the pool is not adopted.
 * - EMFILE: no descriptor is free.
 */
#define HEARTH_POOL_INFO	_IOR(HEARTH_IOC_MAGIC, 0x10, struct hearth_info)
#define HEARTH_POOL_ALLOCATE	_IOW(HEARTH_IOC_MAGIC, 0x11, struct hearth_pool_flags)
#define HEARTH_POOL_SEAL	_IOW(HEARTH_IOC_MAGIC, 0x12, struct hearth_pool_flags)
#define HEARTH_POOL_EXPORT	_IOW(HEARTH_IOC_MAGIC, 0x13, struct hearth_export)
#define HEARTH_POOL_IDLE	_IOW(HEARTH_IOC_MAGIC, 0x14, struct hearth_pool_flags)
#define HEARTH_POOL_ACTIVATE	_IOW(HEARTH_IOC_MAGIC, 0x15, struct hearth_pool_flags)
#define HEARTH_POOL_MEMFD	_IOW(HEARTH_IOC_MAGIC, 0x16, struct hearth_pool_flags)

/**
 * DOC: other calls on a pool descriptor
 *
 * mmap() takes MAP_SHARED (or MAP_SHARED_VALIDATE) alone. Addresses are chosen so that large
 * pages are mapped whole where offset and length allow.
 *
 * - EINVAL: MAP_PRIVATE, or a range that is not within the pool.
 * - EACCES: PROT_WRITE on a descriptor open for reading alone.
 * - EPERM: PROT_WRITE on a pool that is sealed or just being sealed.
 * - ESTALE: the pool was evicted.
 * - ENODEV: the pool is adopted; map the memfd.
 *
 * poll() tells POLLOUT once the pool is whole and not sealed, POLLIN once it is sealed, and
 * POLLHUP once it was evicted. fstat() tells its size.
 */

#endif /* _UAPI_LINUX_HEARTH_H */
