# SPDX-License-Identifier: MPL-2.0
"""
What the machine charges for the two things that a call is made of besides computing: waking a process, and the disk.

A look-up through the gateway wakes a process about fourteen times and waits for the disk twice, so these two figures
say how much of a latency is the machine's.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median

TURNS = 4000
WRITES = 200
PAGE = b"\0" * 8192


def waking() -> float:
    """Give the microseconds in which two processes hand one byte to and fro."""
    there_read, there_write = os.pipe()
    back_read, back_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(there_write)
        while os.read(there_read, 1):
            os.write(back_write, b"x")
        os._exit(0)
    took = []
    for _ in range(TURNS):
        begin = time.perf_counter()
        os.write(there_write, b"x")
        os.read(back_read, 1)
        took.append(time.perf_counter() - begin)
    for end in (there_write, there_read, back_read, back_write):
        os.close(end)
    os.waitpid(child, 0)
    return median(took) * 1e6


def writing(directory: Path) -> float:
    """Give the microseconds in which a page reaches the disk."""
    took = []
    with (directory / "pages").open("wb", buffering=0) as file:
        for _ in range(WRITES):
            begin = time.perf_counter()
            file.write(PAGE)
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - begin)
    return median(took) * 1e6
