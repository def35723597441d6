# SPDX-License-Identifier: GPL-2.0-only
#
# Entry points only: every command a person types is a target here, with one
# line of help behind ##.

BUILD   := $(CURDIR)/build
PREFIX  ?= /usr/local
DESTDIR ?=
SEEDS   := 1000
K       :=
KIND    :=
LONG    :=

# The kernel to build for: KDIR=, else the running one, else the newest installed.
KDIR ?= $(shell scripts/kernel-dir)
KVER  = $(shell sed -n 's/.*UTS_RELEASE "\(.*\)"/\1/p' $(KDIR)/include/generated/utsrelease.h)
# The emulated machines run Debian's current kernel whatever this machine runs.
GUEST = KDIR=$$(scripts/kernel-dir guest)

FARM    := $(BUILD)/module
SBINDIR := $(PREFIX)/sbin
MANDIR  := $(PREFIX)/share/man
UDEVDIR := $(PREFIX)/lib/udev/rules.d
UNITDIR := $(PREFIX)/lib/systemd/system

# What `make install` puts where, as source:destination.
INSTALLED = $(BUILD)/dm-freezecopy.ko:/lib/modules/$(KVER)/updates/dm-freezecopy.ko \
	$(BUILD)/freezectl:$(SBINDIR)/freezectl \
	$(foreach rule,$(wildcard tools/*/*.rules),$(rule):$(UDEVDIR)/$(notdir $(rule))) \
	$(foreach unit,$(wildcard tools/*/*.service),$(unit):$(UNITDIR)/$(notdir $(unit))) \
	$(foreach page,$(wildcard Documentation/man/*.[1-8]), \
		$(page):$(MANDIR)/man$(subst .,,$(suffix $(page)))/$(notdir $(page)))

SHELL     := /bin/bash
MAKEFLAGS += --no-print-directory
ifeq ($(MAKELEVEL)$(filter -j%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc)
endif
.NOTPARALLEL:
.DEFAULT_GOAL := all
.PHONY: all module tools setup install uninstall machines demo check check-long style unit unit-mutants sim \
	sim-matrix sim-matrix-list failures failures-check coverage \
	sim-mutants model fuzz fuzz-replay fuzz-bugs freezectl-tests cases cases-bugs bench bench-quick bench-profile bench-coalesce bench-outage check-kernels \
	check-debug debug-bugs torture torture-fs torture-postgres torture-plant torture-report powercut powercut-bugs \
	kunit \
	clean help

all: module tools ## build the module and the tools into build/ (KDIR= names the kernel)

# No BTF: newer headers bring a vmlinux, from which kbuild would make it with a pahole of that age.
module: setup ## build build/dm-freezecopy.ko (KDIR= names the kernel)
	@scripts/mirror-module $(FARM)
	flock $(FARM).lock $(MAKE) -C $(KDIR) M=$(FARM) CONFIG_DEBUG_INFO_BTF_MODULES= modules
	@objcopy --strip-debug $(FARM)/dm-freezecopy.ko $(BUILD)/dm-freezecopy.ko

tools: setup ## build build/freezectl
	$(MAKE) -C tools/freezectl BUILD=$(BUILD)

setup: ## install the Debian packages that are missing for a build
	@scripts/setup build

install: all ## install module, freezectl, man pages, udev rule, unit (DESTDIR= PREFIX= KDIR=)
	@for pair in $(INSTALLED); do \
		mode=644; [[ $$pair == */freezectl:* ]] && mode=755; \
		echo "  INSTALL $(DESTDIR)$${pair#*:}"; \
		install -D -m $$mode "$${pair%%:*}" "$(DESTDIR)$${pair#*:}" || exit; \
	done
	$(if $(DESTDIR),,@scripts/tell-host $(KVER))

uninstall: ## remove what install put there (same DESTDIR= PREFIX= KDIR=)
	@for pair in $(INSTALLED); do \
		echo "  REMOVE  $(DESTDIR)$${pair#*:}"; \
		rm -f "$(DESTDIR)$${pair#*:}" || exit; \
	done
	$(if $(DESTDIR),,@scripts/tell-host $(KVER))

machines: ## build what the emulated machines run, with their kernel's module
	@$(MAKE) all $(GUEST)
	@$(MAKE) -C tests/qemu BUILD=$(BUILD)

demo: ## two machines: replicate, freeze, kill the primary, recover, prove it (SEED= repeats)
	@scripts/setup demo
	@$(MAKE) machines
	@$(MAKE) -C tests/qemu BUILD=$(BUILD) demo
	@/usr/bin/python3 tests/qemu/demo.py $(if $(SEED),--seed $(SEED))

check: ## every test that fits 35 minutes; ends with "N passed, N failed"
	@scripts/setup check
	@scripts/run-suites check

check-long: ## the tests that take longer, and some of check at full length
	@scripts/setup check
	@scripts/run-suites long

style: ## checkpatch, sparse, W=1, kernel-doc, shellcheck, layering
	@scripts/setup check
	@scripts/check-style

unit: setup ## unit tests of the core
	@$(MAKE) -C tests/unit BUILD=$(BUILD) run

unit-mutants: ## keys, signed metadata, rules the simulator seldom gets to, one at a time: a unit test must fail
	@/usr/bin/python3 tests/unit/mutants.py $(BUILD)/unit/mutants $(K)

sim: setup ## the simulator: SEEDS= schedules of two nodes that crash
	@$(MAKE) -C tests/sim BUILD=$(BUILD) SEEDS=$(SEEDS) run

sim-matrix: setup ## every state, step and fault: LEARN= schedules, one row in PART=, WALKS= of each
	@$(MAKE) -C tests/sim BUILD=$(BUILD) matrix

sim-matrix-list: setup ## write tests/sim/points.txt anew, the points that sim-matrix goes to
	@$(MAKE) -C tests/sim BUILD=$(BUILD) list

failures: setup ## write the rows of the matrix into Documentation/failures.rst
	@$(MAKE) -C tests/sim BUILD=$(BUILD) failures

failures-check: setup ## Documentation/failures.rst has the rows of the matrix
	@$(MAKE) -C tests/sim BUILD=$(BUILD) failures-check

coverage: setup ## lines of the core that simulator, matrix and unit tests reach; SEEDS= schedules
	@/usr/bin/python3 tests/coverage.py $(BUILD) $(SEEDS)

sim-mutants: setup ## every rule removed, one at a time: the simulator must notice
	@$(MAKE) -C tests/sim BUILD=$(BUILD) SEEDS=$(SEEDS) mutants

model: ## the protocol explored with Spin, as it is and without each of its rules
	@scripts/setup model
	@tests/model/run $(BUILD)/model

fuzz: ## any bytes to decoders and cores: SECONDS= or RUNS= for each target (K= takes one)
	@scripts/setup fuzz
	@$(MAKE) -C tests/fuzz BUILD=$(BUILD) all programs
	@tests/fuzz/run $(BUILD) $(if $(SECONDS),--seconds $(SECONDS)) \
		$(if $(RUNS),--runs $(RUNS)) $(K)

fuzz-replay: setup ## what fuzzing found and learnt, once more, without clang
	@$(MAKE) -C tests/fuzz BUILD=$(BUILD) replay

fuzz-bugs: ## checks removed from the core, one at a time: the fuzzers must notice (K= takes one)
	@scripts/setup fuzz
	@$(MAKE) -C tests/fuzz BUILD=$(BUILD) all programs
	@/usr/bin/python3 tests/fuzz/bugs.py $(BUILD) $(K)

freezectl-tests: tools ## tests of freezectl that need no module
	@$(MAKE) -C tools/freezectl BUILD=$(BUILD) check

cases: ## the cases on two emulated machines (K= selects by name, LONG=1: all)
	@scripts/setup check
	@$(MAKE) machines
	@K='$(K)' LONG='$(LONG)' scripts/run-cases

cases-bugs: ## bugs planted in the module's shell, one at a time: its case must fail (K= takes one)
	@scripts/setup check
	@$(MAKE) machines
	@/usr/bin/python3 tests/cases/bugs.py $(K)

bench: ## speed beside dm-linear, dm-snapshot and DRBD, in an instruction-count guest (ONLY= SECONDS= PUBLISH=1)
	@scripts/setup bench
	@$(MAKE) machines
	@/usr/bin/python3 tests/bench/bench.py $(if $(ONLY),--only $(ONLY)) $(if $(SECONDS),--seconds $(SECONDS)) \
		$(if $(PUBLISH),--publish)

bench-quick: ## the part without connections, against what it is expected to be
	@scripts/setup bench
	@$(MAKE) machines
	@/usr/bin/python3 tests/bench/bench.py --quick

bench-profile: ## what functions the instructions are in (ONLY=connected, crypto, merge, scattered or slow: of that)
	@scripts/setup bench
	@$(MAKE) machines
	@/usr/bin/python3 tests/bench/bench.py --profile $(if $(ONLY),--only $(ONLY))

bench-coalesce: ## bytes on the wire when a small set is overwritten, against what changed
	@scripts/setup check
	@$(MAKE) machines
	@/usr/bin/python3 tests/bench/coalesce.py

bench-outage: ## the slowest request of the host while the peer is lost, in an instruction-count guest
	@scripts/setup check
	@$(MAKE) machines
	@/usr/bin/python3 tests/bench/outage.py

check-kernels: tools ## the core cases on Debian's 6.1, 6.12 and 7.3 (K= takes one: K=6.12)
	@scripts/setup check
	@scripts/check-kernels $(K)

check-debug: tools ## the quick cases on kernels with KASAN, lockdep, kmemleak; KCSAN (K=, KIND=)
	@scripts/setup debug
	@K='$(K)' scripts/check-debug $(KIND)

debug-bugs: ## bugs that only those kernels find, one at a time: they must (K= takes one)
	@scripts/setup debug
	@$(MAKE) machines
	@/usr/bin/python3 tests/cases/bugs.py --debug $(K)

kunit: ## the unit tests of the core as KUnit cases in a kernel that is a program
	@scripts/setup debug
	@scripts/kunit

torture: ## machines that die and links that break, round after round (HOURS= ROUNDS= SEED=)
	@scripts/setup check
	@$(MAKE) machines
	@/usr/bin/python3 tests/torture/torture.py $(if $(HOURS),--hours $(HOURS)) \
		$(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SEED),--seed $(SEED))

torture-fs: ## XFS and ext4 in use, frozen, killed, recovered: CYCLES= times (50)
	@scripts/setup check
	@$(MAKE) machines
	@/usr/bin/python3 tests/torture/fs.py $(if $(CYCLES),--cycles $(CYCLES)) $(if $(SEED),--seed $(SEED))

torture-postgres: ## a PostgreSQL under pgbench, the same: CYCLES= times (4)
	@scripts/setup check
	@$(MAKE) machines
	@/usr/bin/python3 tests/torture/postgres.py $(if $(CYCLES),--cycles $(CYCLES)) $(if $(SEED),--seed $(SEED))

torture-plant: ## rules removed from the module, one at a time: the torture must notice (K= takes one)
	@scripts/setup check
	@$(MAKE) machines
	@/usr/bin/python3 tests/torture/plant.py $(K)

torture-report: ## the totals of all rounds of torture until now
	@/usr/bin/python3 tests/torture/journal.py

powercut: ## POINTS= power cuts of two recorded machines (SEED= BLOCK= SCENES= BOOT=; REPLAY= POINT= repeat)
	@scripts/setup check
	@$(MAKE) machines
	@$(MAKE) -C tests/powercut BUILD=$(BUILD)
	@POINTS='$(POINTS)' SEED='$(SEED)' BLOCK='$(BLOCK)' SCENES='$(SCENES)' REPLAY='$(REPLAY)' \
		POINT='$(POINT)' BOOT='$(BOOT)' BUILD=$(BUILD) tests/powercut/run

powercut-bugs: ## flushes and FUA left out of the module, one at a time: the replay must find it (K=)
	@scripts/setup check
	@$(MAKE) machines
	@$(MAKE) -C tests/powercut BUILD=$(BUILD)
	@$(GUEST) BUILD=$(BUILD) tests/powercut/bugs.py $(K)

clean: ## remove everything that was built
	rm -rf $(BUILD)

help: ## show this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18
