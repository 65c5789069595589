"""What all benchmarks share: timing, yardsticks, memory and tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Clock = Callable[[], float]
#: Side of the square matrices whose product is the yardstick of `matrix_rate`.
MATRIX = 4096


def time_once(work: Callable[[], Any], device: str, clock: Clock = time.perf_counter) -> float:
    """Return the seconds of one call, up to the end of its GPU kernels."""
    import torch

    began = clock()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - began


def best_time(
    work: Callable[[], Any], repeats: int, device: str = "cpu", clock: Clock = time.perf_counter
) -> float:
    """Return the shortest of several timings after a warm-up; with 0, that of the warm-up."""
    cold = time_once(work, device, clock)
    return min((time_once(work, device, clock) for _ in range(repeats)), default=cold)


def time_in_turns(
    candidates: Mapping[str, Callable[[int], Any]], rounds: int
) -> dict[str, dict[str, float]]:
    """Time candidates in alternation, so that a busy machine slows all of them alike.

    Args:
        candidates: Functions of the round by name.
        rounds: Rounds that count, after one to warm up.

    Returns:
        Seconds a round of each candidate: `wall_s` and `cpu_s` (processor time).
    """
    spent = {name: {"wall_s": 0.0, "cpu_s": 0.0} for name in candidates}
    for k in range(rounds + 1):
        for name, work in candidates.items():
            wall, cpu = time.perf_counter(), time.process_time()
            work(k)
            if k > 0:
                spent[name]["wall_s"] += (time.perf_counter() - wall) / rounds
                spent[name]["cpu_s"] += (time.process_time() - cpu) / rounds
    return spent


def count_gflop(work: Callable[[], Any]) -> float:
    """Return the billions of floating-point operations of one call."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # The counter does not know the CPU's fused attention, but it knows matrix products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops() / 1e9)


def matrix_rate(device: str, bf16: bool = False, clock: Clock = time.perf_counter) -> float:
    """Return the GFLOP/s of a square matrix product, the yardstick for everything else."""
    import torch

    dtype = torch.bfloat16 if bf16 else torch.float32
    a = torch.randn(MATRIX, MATRIX, device=device, dtype=dtype)
    return 2 * MATRIX**3 / best_time(lambda: a @ a, 3, device, clock) / 1e9


def peak_memory(device: str) -> int:
    """Return the peak memory in bytes of the device, or of this process."""
    import resource
    import sys

    import torch

    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], title: str = "", caption: str = ""
) -> None:
    """Print a table whose first column is aligned to the left, the others to the right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, caption=caption or None)
    for place, name in enumerate(header):
        table.add_column(name, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    Console(width=140).print(table)
