"""CPU time of a family of processes: what is burnt counts, what is slept away does not."""

import subprocess
import sys
import time

import pytest

from experiments.benchmarks.harness import Usage, watched

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

BURN = """
import time
while time.process_time() < 0.6:
    pass
"""
HOLD = "held = bytearray(60 << 20); print('held', flush=True); input()"


def wait_for_looks(usage: Usage, count: int = 3) -> None:
    """Wait until the watcher has looked so many times more, however busy the machine is."""
    wanted = len(usage.resident_mb) + count
    while len(usage.resident_mb) < wanted:
        time.sleep(0.05)


def test_a_childs_work_and_ones_own_are_counted() -> None:
    with watched() as usage:
        child = subprocess.Popen([sys.executable, "-c", BURN])
        began = time.process_time()
        while time.process_time() - began < 0.3:
            pass
        child.wait()
    # A process that ends between two looks takes the last tenth of a second with it.
    assert 0.7 < usage.cpu_s < 1.6
    assert usage.wall_s >= 0.3
    assert 0.0 < usage.share <= 1.0
    assert usage.share_wanted > 0.3


def test_sleeping_uses_nothing_and_memory_is_seen() -> None:
    with watched() as usage:
        child = subprocess.Popen(
            [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        wait_for_looks(usage)
        with_it = usage.resident_mb[-1]
        child.communicate("\n")
        wait_for_looks(usage)
    assert with_it > usage.resident_mb[-1] + 50
    assert usage.cpu_s < 0.5
    assert usage.wall_s > 1.0
