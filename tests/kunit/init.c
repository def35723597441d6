// SPDX-License-Identifier: GPL-2.0-only
/* The only program in the kernel of scripts/kunit: load the module, which runs its cases; end. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
	int fd = open("/fzc-kunit.ko", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
		perror("fzc-kunit.ko");
	return reboot(RB_POWER_OFF);
}
