/* SPDX-License-Identifier: GPL-2.0-only */
/* The device-mapper target `freezecopy`. */
#ifndef FZC_TARGET_H
#define FZC_TARGET_H

int fzc_target_register(void);
void fzc_target_unregister(void);

#endif /* FZC_TARGET_H */
