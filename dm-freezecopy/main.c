// SPDX-License-Identifier: GPL-2.0-only
#include <linux/init.h>
#include <linux/module.h>
#include "ctl.h"
#include "target.h"

static int __init fzc_init(void)
{
	int r = fzc_ctl_register();

	if (r)
		return r;
	r = fzc_target_register();
	if (r)
		fzc_ctl_unregister();
	return r;
}

static void __exit fzc_exit(void)
{
	fzc_target_unregister();
	fzc_ctl_unregister();
}

module_init(fzc_init);
module_exit(fzc_exit);

MODULE_DESCRIPTION("device-mapper target that replicates a volume as frozen images");
MODULE_LICENSE("GPL");
