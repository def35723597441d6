# SPDX-License-Identifier: GPL-2.0-only
"""What run and bugs.py know of the targets."""

# name: bytes of an input, long enough for what the target takes from it
LENGTH = {"wire": 600, "table": 128, "auth": 96, "ioctl": 64, "secondary": 128, "primary": 128,
          "load": 128, "offline": 64}
TARGETS = list(LENGTH)
# the time is generous, for machines that have other things to do: what hangs, hangs
LIMITS = ["-timeout=60", "-rss_limit_mb=1024", "-detect_leaks=0", "-entropic=0", "-len_control=0",
          "-print_final_stats=1"]
