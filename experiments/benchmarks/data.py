"""Data: preparing videos compared to decoding them, loading clips compared to reading them."""

from __future__ import annotations

import argparse
import cProfile
import multiprocessing
import os
import pstats
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import fmean
from typing import Any

from datamodules.index import DatasetSettings, read_index, write_index
from datamodules.media.audio import warm_up
from datamodules.media.video import decord, probe, read_audio, read_clip, read_frames, stream_frames
from datamodules.preparation.prepare import PrepareOptions, prepare
from datamodules.synthetic.dataset import dance_names
from experiments.arguments import UsageError
from experiments.benchmarks.harness import (
    Usage,
    add_options,
    best_time,
    print_table,
    render_video,
    resident_mb,
    watched,
)
from experiments.processes.progress import shown_progress

HELP = """Data: preparing videos compared to decoding them, loading clips to reading them.

Renders videos (or uses those of an earlier run, see --folder), prepares them, loads clips from the
prepared folder, and loads an index of 40,000 videos."""
EXAMPLES = [
    "dabfusion benchmark data --distinct 4 --json data.json",
    "dabfusion benchmark data --videos 3 --seconds 4 --fps 10 --height 90 --clips 16   # a trial",
]
SIZE, FRAMES, FPS = 128, 40, 10.0
INDEX_ROWS = 40_000
#: Rounds of loading and of reading clips, of which the fastest counts.
ROUNDS = 3
#: What the numbers are compared to.
BARS = {
    "prepare": {
        "cpu_share": "above 0.85",
        "cpu_share_wanted": "above 0.85",
        "cost_against_decoding": "at most 1.3",
    },
    "load": {
        "clips_per_minute_per_core": "at least 3000",
        "ratio_to_decord": "at least 0.7",
        "ratio_to_av": "at least 0.7",
    },
    "index": {"load_s": "below 1"},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmark's arguments."""
    options = {
        "--videos": (40, "videos to prepare"),
        "--distinct": (0, "how many of them are rendered, the others are copies; 0: all"),
        "--seconds": (8.0, "length of each"),
        "--fps": (60, "their frames a second"),
        "--height": (1080, "their height in pixels"),
        "--workers": (0, "processes; 0: one a core"),
        "--clips": (400, "clips to load"),
    }
    add_options(parser, options)
    parser.add_argument("--folder", type=Path, help="keep the rendered videos here, or reuse them")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings, the load of the machine, and the numbers of the three parts."""
    import torch

    if args.seconds * FPS < FRAMES or args.videos < 1 or args.clips < 1:
        raise UsageError("--seconds must be 4 or more, --videos and --clips at least 1.")
    torch.set_num_threads(1)
    args.workers = args.workers or len(os.sched_getaffinity(0))
    args.distinct = min(args.distinct or args.videos, args.videos)
    names = ("videos", "seconds", "fps", "height", "clips", "distinct", "workers")
    with tempfile.TemporaryDirectory(prefix="dabfusion-benchmark-") as scratch:
        prepared = Path(scratch) / "prepared"
        videos = _render(args.folder or Path(scratch), args)
        numbers: dict[str, Any] = {
            "settings": {name: getattr(args, name) for name in names},
            "load_average_before": os.getloadavg()[0],
            "prepare": _measure_prepare(videos, prepared, args.workers),
            "load": _measure_load(prepared, args.clips),
            "index": _measure_index(prepared, Path(scratch) / "index"),
        }
    for part, bars in BARS.items():
        print_table({"measured": numbers[part], "bar": bars}, part)
    return numbers


def _render(folder: Path, args: argparse.Namespace) -> Path:
    """Render 16:9 videos into a folder inside `folder`, or complete those that are there."""
    videos = folder / f"{args.height}p{args.fps}-{args.seconds:g}s-{args.videos}-{args.distinct}"
    width = round(args.height * 16 / 9 / 2) * 2
    dance = {"size": args.height, "width": width, "fps": float(args.fps), "seconds": args.seconds}
    paths = [videos / f"{name}.mp4" for name in dance_names(0, args.videos)[: args.videos]]
    with shown_progress("Rendering") as progress:
        for number, path in enumerate(paths):
            if not path.exists() and number < args.distinct:
                render_video(path, **dance)
            elif not path.exists():
                shutil.copy(paths[number % args.distinct], path)
            progress(number + 1, len(paths))
    return videos


def _measure_prepare(videos: Path, out: Path, workers: int) -> dict[str, float]:
    """Decode all videos, prepare them, and decode them again.

    Memory is that of all processes; its growth is from the first half of the preparation, in which
    each worker has met its largest video, to the second.
    """
    infos = {path: probe(path) for path in sorted(videos.iterdir())}
    lengths = {path: info.frames for path, info in infos.items()}
    # What a run does once for any number of videos is timed separately: the imports of the server
    # that forks workers, and the compilation of the beat tracker.
    _decode_all(dict(list(lengths.items())[:workers]), workers)
    with watched() as starting:
        warm_up()
    before = _decode_all(lengths, workers)
    with watched() as preparing:
        options = PrepareOptions(DatasetSettings(FPS, SIZE), workers=workers)
        report = prepare(videos, out, options)
    decoding = (before, _decode_all(lengths, workers))
    assert report.prepared == len(infos)
    wall, cpu = (fmean(getattr(usage, name) for usage in decoding) for name in ("wall_s", "cpu_s"))
    seconds = sum(info.duration_s for info in infos.values())
    memory, half = preparing.resident_mb, len(preparing.resident_mb) // 2
    first, second = (max(part, default=0.0) for part in (memory[:half], memory[half:]))
    return {
        "cpu_share": preparing.share,
        "cpu_share_wanted": preparing.share_wanted,
        "cost_against_decoding": preparing.wall_s / wall,
        "cpu_against_decoding": preparing.cpu_s / cpu,
        "beat_tracker_start_cpu_s": starting.cpu_s,
        "wall_s": preparing.wall_s,
        "decoding_wall_s": wall,
        "decoding_cpu_share": fmean(usage.share for usage in decoding),
        "cpu_s_per_second_of_video": preparing.cpu_s / seconds,
        "decoding_cpu_s_per_second_of_video": cpu / seconds,
        "videos_per_minute": 60.0 * len(infos) / preparing.wall_s,
        "resident_peak_mb": max(first, second),
        "resident_growth_mb": second - first,
        "source_mb_per_second": _size_mb(videos) / seconds,
        "prepared_mb_per_second": _size_mb(out) / seconds,
    }


def _decode_all(lengths: dict[Path, int], workers: int) -> Usage:
    """Decode every frame and sample of videos (frames by path), and drop them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["datamodules.preparation.video_task"])
    with watched() as usage, ProcessPoolExecutor(workers, context) as pool:
        list(pool.map(_decode, lengths, lengths.values()))
    return usage


def _decode(path: Path, frames: int) -> None:
    ends = [0, frames - 1]  # decoding starts at the first frame, so no frame is skipped
    for _ in stream_frames(path, indices=ends, size=(16, 16)):
        pass
    read_audio(path, 44_100)


def _size_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _measure_load(prepared: Path, count: int) -> dict[str, float]:
    """Load clips in this process, without keeping any, and compare to reading the same frames."""
    # Not above: the processes that decode import this file.
    from datamodules.aist import AISTDataModule, LoaderOptions, SplitRule, WindowRule

    rule, split = WindowRule(FRAMES, stride=5, fps=FPS), SplitRule(rule="crossmodal")
    loading = LoaderOptions(batch_size=8, memory_mb=0.0)
    data = AISTDataModule(prepared, rule, split=split, loading=loading)
    loader = data.train_dataloader()
    windows = loader.dataset.windows  # type: ignore[attr-defined]
    jobs = [
        (data.index.clip_path(data.index.names[w.video]), range(w.start, w.start + FRAMES))
        for w in (windows * (count // len(windows) + 1))[:count]
    ]

    def load() -> None:
        done = 0
        while done < count:
            for batch in loader:
                done += len(batch)
                if done >= count:
                    break

    def read(reader: Any) -> None:
        for path, indices in jobs:
            read_frames(path, indices, reader=reader)

    readers = ("av",) if decord is None else ("decord", "av")
    load()
    read(readers[0])
    before = resident_mb()
    loading_s = best_time(load, ROUNDS, clock=time.process_time)
    profile = cProfile.Profile(time.process_time)
    profile.runcall(load)
    stats: Any = pstats.Stats(profile)
    code = read_clip.__code__
    decoding_s = stats.stats[code.co_filename, code.co_firstlineno, code.co_name][3]
    numbers = {
        "clips_per_s_per_core": count / loading_s,
        "clips_per_minute_per_core": 60.0 * count / loading_s,
        "loading_ms_per_clip": 1e3 * loading_s / count,
        "share_decoding": float(decoding_s / stats.total_tt),
        "resident_growth_mb": resident_mb() - before,
    }
    for reader in readers:
        bare_s = best_time(lambda: read(reader), ROUNDS, clock=time.process_time)  # noqa: B023
        numbers[f"{reader}_ms_per_clip"] = 1e3 * bare_s / count
        numbers[f"ratio_to_{reader}"] = bare_s / loading_s
    return numbers


def _measure_index(prepared: Path, folder: Path) -> dict[str, float]:
    """Load an index of many rows: those of a prepared folder, repeated under other names."""
    known = read_index(prepared)
    videos = known.table.to_pylist()
    many = [{**videos[n % len(videos)], "name": f"v{n:06d}"} for n in range(INDEX_ROWS)]
    write_index(folder, known.settings, many, "benchmark")
    del many
    before, began = resident_mb(), time.perf_counter()
    index = read_index(folder)
    beats = index.beats()
    loading_s = time.perf_counter() - began
    assert len(index) == len(beats) == INDEX_ROWS
    return {"rows": INDEX_ROWS, "load_s": loading_s, "resident_mb": resident_mb() - before}
