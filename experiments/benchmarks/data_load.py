"""Clips from a prepared folder compared to bare decoding, and an index as large as AIST++'s."""

from __future__ import annotations

import cProfile
import pstats
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from datamodules.aist import AISTDataModule, LoaderOptions, SplitRule, WindowRule
from datamodules.index import read_index, write_index
from datamodules.media.video import Reader, decord, read_clip, read_frames
from experiments.benchmarks.harness import best_time
from experiments.benchmarks.processes import resident_mb

ROUNDS = 3


def measure_load(prepared: Path, rule: WindowRule, count: int) -> dict[str, float]:
    """Load clips from disk, in this process, without keeping any in memory.

    Args:
        prepared: Folder whose videos the cross-modal rule trains on.
        rule: How clips are cut.
        count: Clips of a round; the fastest of `ROUNDS` counts.

    Returns:
        Numbers by name; `ratio_to_decord` and `ratio_to_av` compare the loader's speed to reading
        the same frames with either reader and nothing else.
    """
    data = AISTDataModule(
        prepared,
        rule,
        split=SplitRule(rule="crossmodal"),
        loading=LoaderOptions(batch_size=8, memory_mb=0.0),
    )
    loader = data.train_dataloader()
    windows = loader.dataset.windows  # type: ignore[attr-defined]
    jobs = [
        (data.index.clip_path(data.index.names[w.video]), range(w.start, w.start + rule.frames))
        for w in (windows * (count // len(windows) + 1))[:count]
    ]

    def load() -> None:
        done = 0
        while done < count:
            for batch in loader:
                done += len(batch)
                if done >= count:
                    break

    def read(reader: Reader) -> None:
        for path, indices in jobs:
            read_frames(path, indices, reader=reader)

    load()
    read("av" if decord is None else "decord")
    before = resident_mb()
    loading = best_time(load, ROUNDS, clock=time.process_time)
    numbers = {
        "clips_per_s_per_core": count / loading,
        "clips_per_minute_per_core": 60.0 * count / loading,
        "loading_ms_per_clip": 1e3 * loading / count,
        "share_decoding": _share_of(read_clip, load),
        "resident_growth_mb": resident_mb() - before,
    }
    readers: tuple[Reader, ...] = ("av",) if decord is None else ("decord", "av")
    for reader in readers:
        bare = best_time(partial(read, reader), ROUNDS, clock=time.process_time)
        numbers[f"{reader}_ms_per_clip"] = 1e3 * bare / count
        numbers[f"ratio_to_{reader}"] = bare / loading
    return numbers


def measure_index(prepared: Path, folder: Path, rows: int) -> dict[str, float]:
    """Load an index of many rows: those of a prepared folder, repeated under other names."""
    known = read_index(prepared)
    videos = known.table.to_pylist()
    many = [{**videos[n % len(videos)], "name": f"v{n:06d}"} for n in range(rows)]
    write_index(folder, known.settings, many, "benchmark")
    del many
    before = resident_mb()
    began = time.perf_counter()
    index = read_index(folder)
    beats = index.beats()
    loading = time.perf_counter() - began
    assert len(index) == len(beats) == rows
    return {"rows": rows, "load_s": loading, "resident_mb": resident_mb() - before}


def _share_of(part: Callable[..., Any], work: Callable[[], None]) -> float:
    """Share of the time of `work` that is spent in the function `part`."""
    profile = cProfile.Profile(time.process_time)
    profile.runcall(work)
    stats = pstats.Stats(profile)
    code = part.__code__
    times = stats.stats  # type: ignore[attr-defined]
    inside = times[(code.co_filename, code.co_firstlineno, code.co_name)][3]
    return float(inside / stats.total_tt)  # type: ignore[attr-defined]
