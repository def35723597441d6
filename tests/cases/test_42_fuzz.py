# SPDX-License-Identifier: GPL-2.0-only
"""A peer that has the key, or needs none, and a program that has the right to ask, say anything at all: the
kernel is none the worse for it, the host's I/O goes on, and the metadata stays what it has to be.

FUZZ=N in the environment: so many frames to a secondary, and requests.  A primary gets fewer: it waits for
up to 5 seconds before it calls anew who has sent it nonsense."""

import os
import re

import pytest

import machines as vm
import scenes
from conftest import BY_ID, MIB, NAME

pytestmark = pytest.mark.module
SIZE = 8 * MIB
N = int(os.environ.get("FUZZ") or 2000)
TO_PRIMARY = N // 20
TIMEOUT = 120 + N // 2


def fuzz(machine, *words):
    return machine.run(["fzfuzz", *words], timeout=TIMEOUT).out.strip()


def still_sound(pair, side):
    """It answers, comes off, and its metadata is good."""
    assert pair.status(side)["role"] == side
    pair.stop(side)
    out = pair.side(side).run(["freezectl", "check", BY_ID + "meta"], check=False)
    assert out.ok, out


def frames(text):
    return int(text.split()[0])


def test_to_a_secondary(pair):
    pair.create(size=SIZE, start=False)
    pair.start("secondary")
    said = fuzz(pair.primary, "primary", "192.0.2.2", 7744, SIZE // 512, 4096, 1, N)
    scenes.verdict(said)
    assert frames(said) == N
    still_sound(pair, "secondary")


@pytest.mark.long
def test_to_a_primary(pair):
    pair.create(size=SIZE, start=False)
    job = pair.secondary.background(["fzfuzz", "secondary", 7744, SIZE // 512, 4096, 2, TO_PRIMARY])
    pair.start("primary", assume="identical")
    load = pair.load(**scenes.STEADY)
    freezes = 0
    while job.running:
        freezes += pair.message("primary", "freeze", "force", check=False).ok
        assert job.ended.wait(1) or not load.job.ended.wait(0), load.wait()
    said = job.wait(TIMEOUT).out.strip()
    scenes.verdict(f"{said}; {freezes} freezes")
    assert frames(said) == TO_PRIMARY
    scenes.finish(pair, load)
    still_sound(pair, "primary")


@pytest.mark.parametrize("side", ["primary", "secondary"])
def test_requests(pair, side):
    scenes.volume(pair, size=SIZE)
    load = pair.load(**scenes.STEADY)
    major, minor = re.search(r"\((\d+)[:,] ?(\d+)\)", pair.side(side).run(["dmsetup", "ls"]).out).groups()
    said = fuzz(pair.side(side), "ioctl", major, minor, 3, N)
    scenes.verdict(said)
    assert frames(said) == N and f"{NAME}" in pair.side(side).run(["dmsetup", "ls"]).out
    scenes.finish(pair, load)
    still_sound(pair, side)
