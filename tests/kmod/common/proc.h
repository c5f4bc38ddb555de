/* SPDX-License-Identifier: MIT */
/*
 * What the kernel tells about this process and the machine, and small things tests do to both:
 * page flags, smaps, cgroups, sysctl files, other uids, fd passing.
 */
#ifndef COMMON_PROC_H
#define COMMON_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Bits of /proc/kpageflags (Documentation/admin-guide/mm/pagemap.rst). */
#define KPF_LRU 5
#define KPF_COMPOUND_HEAD 15
#define KPF_COMPOUND_TAIL 16
#define KPF_THP 22

/* The page frame behind @address, 0 if none is mapped. Needs root. */
uint64_t proc_page_frame(const void *address);

/* The /proc/kpageflags word of @frame, all ones if it cannot be read. */
uint64_t proc_page_flags(uint64_t frame);

/* A field of the /proc/self/smaps entry that holds @address, in KiB; -1 if there is none. */
long proc_smaps_kib(const void *address, const char *field);

/* A field of /proc/meminfo or of another file of "Name: number kB" lines; -1 if there is none. */
long proc_field(const char *path, const char *field);

/* MemAvailable and what lies in the lists of each CPU, which it leaves out, in KiB. */
long proc_available_kib(void);

/* Reads a file of one number, with any suffix; -1 on failure. */
long long proc_number(const char *path);

/* Writes @text to @path in one write. 0 or a negative errno. */
int proc_write(const char *path, const char *text);

/* Reads a whole small file as a string into @buffer. Bytes or a negative errno. */
ssize_t proc_read(const char *path, char *buffer, size_t size);

/* Becomes uid and gid for good, with no group beside and no capability. Exits on failure. */
void proc_become(uid_t uid, gid_t gid);

/* Runs @work(argument) in a child, gives its exit status; 128 + signal if one killed it. */
int proc_in_child(int (*work)(void *argument), void *argument);

/* The same as another user. */
int proc_as_user(uid_t uid, int (*work)(void *argument), void *argument);

int proc_send_fd(int socket, int fd);
int proc_receive_fd(int socket);

/* Milliseconds of CLOCK_MONOTONIC. */
int64_t proc_now_ms(void);

/* Makes a cgroup below the root, with @controllers enabled there ("+memory"); its path. */
int proc_cgroup_create(const char *name, const char *controllers, char *path, size_t size);

/* By what to divide sizes and counts: more than 1 on a kernel that checks all it does. */
unsigned int proc_scale(void);

#endif
