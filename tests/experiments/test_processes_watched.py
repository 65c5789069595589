"""CPU time of a family of processes: what is burnt counts, what is slept away does not."""

import subprocess
import sys
import time

import pytest

from experiments.benchmarks.processes import watched

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

BURN = """
import time
while time.process_time() < 0.6:
    pass
"""
HOLD = "import time; held = bytearray(60 << 20); time.sleep(0.6)"


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


def test_sleeping_uses_nothing_and_memory_is_seen() -> None:
    with watched() as usage:
        subprocess.run([sys.executable, "-c", HOLD], check=True)
        time.sleep(0.4)
    assert usage.cpu_s < 0.5
    assert usage.peak_mb(0.0, 1.0) > usage.resident_mb[-1] + 50
