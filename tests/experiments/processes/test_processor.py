"""Freed memory that a process keeps for its next operations."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from experiments.processes.cpu import set_up_processor
if sys.argv[1] == "kept":
    set_up_processor(threads=1)
def fill(times, size):
    for _ in range(times):
        torch.empty(size).fill_(1.0)
fill(6, 1 << 24)  # 64 MB each
fill(6, 1 << 22)
fill(6, 1 << 24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
fill(8, 1 << 24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, torch.get_num_threads())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc is what is set")
def test_large_blocks_are_reused_without_new_pages() -> None:
    def faults(how: str) -> tuple[int, int]:
        words = [sys.executable, "-c", FAULTS, how]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        pages, threads = map(int, done.stdout.split())
        return pages, threads

    pages, threads = faults("kept")
    assert threads == 1
    assert 8 * pages < faults("given back")[0]
