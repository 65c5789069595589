"""CPU time and memory of this process and its descendants, sampled from /proc (Linux only)."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_INTERVAL_S = 0.2
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass
class Usage:
    """Resources that some work used; filled when it ends."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    """Of all processes together."""
    idle_s: float = 0.0
    """CPU time of the cores this process may run on that no program used."""
    wanted: list[float] = field(default_factory=list)
    """For each sampling interval, the share of all cores that was used or waited for."""
    resident_mb: list[float] = field(default_factory=list)
    """Memory of all processes together, in each sample (shared pages count in each process)."""

    @property
    def share(self) -> float:
        """Share used of the CPU time that was available, that is, not used by other programs."""
        return self.cpu_s / (self.cpu_s + self.idle_s)

    @property
    def share_wanted(self) -> float:
        """Mean of `wanted`, which unlike `share` is meaningful on a machine under load."""
        return sum(self.wanted) / len(self.wanted) if self.wanted else 0.0

    def peak_mb(self, first: float, last: float) -> float:
        """Return the peak memory between two points of the time, each from 0 to 1."""
        count = len(self.resident_mb)
        sampled = self.resident_mb[int(first * count) : max(1, int(last * count))]
        return max(sampled, default=0.0)


@contextmanager
def watched() -> Iterator[Usage]:
    """Measure the body of the `with`, in this process and its descendants."""
    usage = Usage()
    before = _family_cpu()
    seen = dict(before)
    ended = threading.Event()

    def add() -> None:
        for pid, spent in _family_cpu().items():  # 0 may be read of a process that just ends
            seen[pid] = max(seen.get(pid, 0.0), spent)

    def sample() -> None:
        then, before_s = time.monotonic(), _wanted_s()
        while not ended.wait(_INTERVAL_S):
            add()
            usage.resident_mb.append(sum(resident_mb(pid) for pid in _family()))
            now, now_s = time.monotonic(), _wanted_s()
            wanted = sum(spent - before_s.get(thread, 0.0) for thread, spent in now_s.items())
            usage.wanted.append(min(1.0, wanted / (now - then) / len(os.sched_getaffinity(0))))
            then, before_s = now, now_s

    watcher = threading.Thread(target=sample, daemon=True)
    began, idle = time.monotonic(), _idle_s()
    watcher.start()
    try:
        yield usage
    finally:
        usage.wall_s = time.monotonic() - began
        usage.idle_s = _idle_s() - idle
        ended.set()
        watcher.join()
        add()
        usage.cpu_s = sum(spent - before.get(pid, 0.0) for pid, spent in seen.items())


def resident_mb(pid: int | None = None) -> float:
    """Return the resident memory of a process (default: this one); 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid or 'self'}/statm").read_text().split()[1]) * _PAGE_MB
    except OSError:
        return 0.0


def _family_cpu() -> dict[int, float]:
    """CPU seconds of this process and each descendant."""
    return {pid: _stat(pid)[1] for pid in _family()}


def _family() -> set[int]:
    """This process and its descendants."""
    entries = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    parents = {pid: _stat(pid)[0] for pid in entries}
    family, found = {os.getpid()}, True
    while found:
        more = {pid for pid, parent in parents.items() if parent in family} - family
        family |= more
        found = bool(more)
    return family


def _stat(pid: int) -> tuple[int, float]:
    """Parent and CPU seconds of a process; zeros if it has ended."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0, 0.0
    return int(words[1]), (int(words[11]) + int(words[12])) * _TICK_S


def _wanted_s() -> dict[int, float]:
    """Seconds that each thread of the family ran or waited for a core (`sched-stats.rst`)."""
    found = {}
    for pid in _family():
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                ran, waited, _ = path.read_text().split()
            except (OSError, ValueError):  # the thread has ended
                continue
            found[int(path.parent.name)] = (int(ran) + int(waited)) * 1e-9
    return found


def _idle_s() -> float:
    """Idle seconds of the cores that this process may run on, since the machine started."""
    mine = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    return sum(
        (int(words[4]) + int(words[5])) * _TICK_S for words in lines if words and words[0] in mine
    )
