// SPDX-License-Identifier: MIT
#include "common/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "common/proc.h"

/* Held open: opening it after the operation would allocate, and could take the fault itself. */
static __thread int fail_nth = -1;
static __thread bool is_armed, was_injected;

bool fault_prepare(void)
{
	static const char *const settings[][2] = {
		{ "/sys/kernel/debug/failslab/ignore-gfp-wait", "N" },
		{ "/sys/kernel/debug/failslab/verbose", "0" },
		{ "/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait", "N" },
		{ "/sys/kernel/debug/fail_page_alloc/ignore-gfp-highmem", "N" },
		{ "/sys/kernel/debug/fail_page_alloc/min-order", "0" },
		{ "/sys/kernel/debug/fail_page_alloc/verbose", "0" },
		{ "/sys/kernel/debug/fail_usercopy/verbose", "0" },
	};

	for (unsigned int i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		if (proc_write(settings[i][0], settings[i][1]))
			return false;
	fail_nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	return fail_nth >= 0;
}

int fault_arm(unsigned int nth)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%u", nth);

	was_injected = false;
	is_armed = pwrite(fail_nth, text, (size_t)length, 0) == length;
	return is_armed ? 0 : -errno;
}

void fault_disarm(void)
{
	char text[16] = "";

	if (!is_armed)
		return;
	is_armed = false;
	/* A fault that comes as late as in this read was not the operation's. */
	was_injected = pread(fail_nth, text, sizeof(text) - 1, 0) > 0 && text[0] == '0';
	(void)!pwrite(fail_nth, "0", 1, 0);
}

bool fault_was_injected(void)
{
	fault_disarm();
	return was_injected;
}
