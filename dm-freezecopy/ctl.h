/* SPDX-License-Identifier: GPL-2.0-only */
/* /dev/freezecopy; uapi/dm-freezecopy.h says what it does. */
#ifndef FZC_CTL_H
#define FZC_CTL_H

int fzc_ctl_register(void);
void fzc_ctl_unregister(void);

#endif /* FZC_CTL_H */
