"""What all benchmarks share: options, timing, operations, memory, CPU time, videos, tables."""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

Clock = Callable[[], float]
#: Side of the square matrices whose product is the reference of `matrix_rate`.
MATRIX = 4096
_INTERVAL_S = 0.2
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


def add_options(parser: argparse.ArgumentParser, options: Mapping[str, tuple[Any, str]]) -> None:
    """Declare options from `{"--name": (default, help)}`; the help text shows the default."""
    for name, (default, text) in options.items():
        kind: dict[str, Any] = {"type": type(default)}
        if default is False:
            kind = {"action": "store_true"}
        elif default == "cpu":
            kind = {"choices": ["cpu", "cuda"]}
        parser.add_argument(name, default=default, help=f"{text} ({default})", **kind)


def best_time(
    work: Callable[[], Any], repeats: int, device: str = "cpu", clock: Clock = time.perf_counter
) -> float:
    """Return the shortest of several timings after a warm-up; with 0, that of the warm-up."""

    def timed() -> float:
        began = clock()
        work()
        if device == "cuda":
            import torch

            torch.cuda.synchronize()
        return clock() - began

    cold = timed()
    return min((timed() for _ in range(repeats)), default=cold)


def time_in_turns(
    candidates: Mapping[str, Callable[[int], Any]], rounds: int
) -> dict[str, dict[str, float]]:
    """Return wall-clock (`wall_s`) and CPU seconds (`cpu_s`) a round of each candidate.

    Candidates, functions of the round, alternate, so that a busy machine slows all of them alike.
    Round 0 is a warm-up and does not count.
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
    """Return the GFLOP/s of a square matrix product, to which other rates are compared."""
    import torch

    dtype = torch.bfloat16 if bf16 else torch.float32
    a = torch.randn(MATRIX, MATRIX, device=device, dtype=dtype)
    return 2 * MATRIX**3 / best_time(lambda: a @ a, 3, device, clock) / 1e9


def peak_memory(device: str) -> int:
    """Return the peak memory in bytes of the device, or of this process."""
    import torch

    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def call_program(words: Sequence[str], *options: str) -> tuple[float, float, str]:
    """Call `dabfusion` in a child process, without a limit of threads.

    Returns:
        Wall-clock seconds, CPU seconds, and what the program wrote to stderr.
    """
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, *options, "-m", "experiments.cli", *words]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, done.stderr


@dataclass
class Usage:
    """Resources that some work used, in this process and its descendants; filled when it ends."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    share: float = 0.0
    """Share used of the CPU time that was available, that is, not used by other programs."""
    share_wanted: float = 0.0
    """Share of all cores that was used or waited for; meaningful on a machine under load."""
    resident_mb: list[float] = field(default_factory=list)
    """Memory of all processes together, in each sample (shared pages count in each process)."""


@contextmanager
def watched() -> Iterator[Usage]:
    """Measure the body of the `with` by sampling /proc (Linux only)."""
    usage, wanted, ended, cores = Usage(), [0.0], threading.Event(), os.sched_getaffinity(0)
    before = _family_cpu()
    spent = dict(before)

    def add() -> None:
        for pid, cpu in _family_cpu().items():  # 0 may be read of a process that just ends
            spent[pid] = max(spent.get(pid, 0.0), cpu)

    def sample() -> None:
        then, threads = time.monotonic(), _wanted_s(spent)
        while not ended.wait(_INTERVAL_S):
            add()
            usage.resident_mb.append(sum(map(resident_mb, spent)))
            now, later = time.monotonic(), _wanted_s(spent)
            used = sum(seconds - threads.get(path, 0.0) for path, seconds in later.items())
            wanted.append(min(1.0, used / (now - then) / len(cores)))
            then, threads = now, later

    watcher = threading.Thread(target=sample, daemon=True)
    began, idle = time.monotonic(), _idle_s(cores)
    watcher.start()
    try:
        yield usage
    finally:
        usage.wall_s, idle = time.monotonic() - began, _idle_s(cores) - idle
        ended.set()
        watcher.join()
        add()
        usage.cpu_s = sum(cpu - before.get(pid, 0.0) for pid, cpu in spent.items())
        usage.share = usage.cpu_s / (usage.cpu_s + idle)
        usage.share_wanted = fmean(wanted[1:] or wanted)


def resident_mb(pid: int | str = "self") -> float:
    """Return the resident memory of a process in MiB; 0 if it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _family_cpu() -> dict[int, float]:
    """CPU seconds of this process and each descendant."""
    found: dict[int, tuple[int, float]] = {}  # parent and CPU seconds
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:  # the process has ended
            continue
        spent = (int(words[11]) + int(words[12])) * _TICK_S
        found[int(path.parent.name)] = int(words[1]), spent
    family = {os.getpid()}
    while more := {pid for pid, (parent, _) in found.items() if parent in family} - family:
        family |= more
    return {pid: found[pid][1] for pid in family}


def _wanted_s(pids: Mapping[int, float]) -> dict[Path, float]:
    """Seconds that each thread of processes ran or waited for a core (`sched-stats.rst`)."""
    found = {}
    for path in (path for pid in pids for path in Path(f"/proc/{pid}/task").glob("*/schedstat")):
        try:
            ran, waited, _ = path.read_text().split()
        except (OSError, ValueError):  # the thread has ended
            continue
        found[path] = (int(ran) + int(waited)) * 1e-9
    return found


def _idle_s(cores: set[int]) -> float:
    """Idle seconds of some cores since the machine started."""
    names = {f"cpu{core}" for core in cores}
    lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    return sum((int(w[4]) + int(w[5])) * _TICK_S for w in lines if w and w[0] in names)


def render_video(path: Path, **dance: Any) -> None:
    """Render a dance with its music to a video; `dance` has the fields of a `DanceSpec`."""
    from datamodules.media.video import write_video
    from datamodules.synthetic.dataset import DanceSpec, render_clip

    clip = render_clip(DanceSpec(name=path.stem, **dance))
    write_video(path, clip.frames, clip.fps, clip.audio, clip.sample_rate, crf=20)


def print_table(measured: Mapping[str, Mapping[str, Any]], title: str) -> None:
    """Print a column for each name in `measured`, and a row for each of its quantities."""
    from rich.console import Console
    from rich.table import Table

    def text(value: Any) -> str:
        if isinstance(value, dict):
            return "\n".join(f"{name} {number:g}" for name, number in value.items())
        if isinstance(value, float):
            return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
        return str(value)

    table = Table("", title=title)
    for name in measured:
        table.add_column(name, justify="right")
    for quantity in next(iter(measured.values())):
        cells = (text(column.get(quantity, "")) for column in measured.values())
        table.add_row(quantity.replace("_", " "), *cells)
    Console(width=140).print(table)
