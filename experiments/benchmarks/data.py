"""What data costs: preparing videos against decoding them, loading clips against reading them."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.arguments import Parser

if TYPE_CHECKING:
    from datamodules.prepare_video import VideoTask

SIZE, FRAMES, FPS = 128, 40, 10.0


def run(options: list[str]) -> dict[str, Any]:
    """Render, prepare, load; CPU seconds count, so that a busy machine changes little."""
    parser = Parser("dabfusion benchmark data", __doc__ or "")
    parser.add_argument("--videos", type=int, default=40, help="1080p videos to prepare (40)")
    parser.add_argument("--distinct", type=int, default=2, help="of them rendered; others copies")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each (8)")
    parser.add_argument("--fps", type=int, default=60, help="their frames a second (60)")
    parser.add_argument("--height", type=int, default=1080, help="their height in pixels (1080)")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 takes every core")
    parser.add_argument("--clips", type=int, default=400, help="clips to load (400)")
    args = parser.parse(options)
    if args.seconds * FPS < FRAMES or args.videos < args.distinct or args.distinct < 1:
        parser.error("--seconds must be 4 or more, and --videos at least --distinct, at least 1")
    args.workers = args.workers or len(os.sched_getaffinity(0))
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="dabfusion-benchmark-") as folder:
        videos = _render(Path(folder) / "videos", args)
        numbers = {
            "settings": dict(vars(args)),
            "prepare": _measure_prepare(videos, Path(folder), args),
            "load": _measure_load(Path(folder) / "prepared", args.clips),
        }
    _print(numbers)
    return numbers


def _render(folder: Path, args: Namespace) -> Path:
    """Videos under AIST names, each a file of its own, some with the same contents."""
    from datamodules.synthetic import DanceSpec, render_clip
    from datamodules.video import write_video

    folder.mkdir()
    width = round(args.height * 16 / 9 / 2) * 2
    rendered: list[Path] = []
    for number in range(args.videos):
        music = f"mBR{1 + number % min(args.distinct, 5)}"
        name = (
            f"gBR_sBM_c{1 + number % 9:02d}_d{1 + number // 9:02d}_{music}_ch{3 + number % 8:02d}"
        )
        path = folder / f"{name}.mp4"
        if number >= args.distinct:
            shutil.copy(rendered[number % args.distinct], path)
            continue
        spec = DanceSpec.from_dict(
            {
                "name": name, "seed": 0, "size": args.height, "width": width,
                "fps": float(args.fps), "seconds": args.seconds,
            }
        )  # fmt: skip
        clip = render_clip(spec)
        write_video(path, clip.frames, clip.fps, clip.audio, clip.sample_rate, crf=20)
        rendered.append(path)
    return folder


def _measure_prepare(videos: Path, folder: Path, args: Namespace) -> dict[str, float]:
    from datamodules.index import DatasetSettings
    from datamodules.prepare import PrepareOptions, find_tasks, prepare
    from datamodules.prepare_video import prepare_video

    options = PrepareOptions(DatasetSettings(FPS, SIZE), workers=args.workers)
    tasks, _ = find_tasks(videos, folder / "alone", options)
    sample = tasks[: args.distinct]
    decoding = min(_cpu(lambda: _decode_all(sample)) for _ in range(2))
    preparing = min(_cpu(lambda: [prepare_video(task) for task in sample]) for _ in range(2))
    with _cpu_of_children() as used:
        began = time.monotonic()
        prepare(videos, folder / "prepared", options)
        wall = time.monotonic() - began
    cores = min(args.workers, len(os.sched_getaffinity(0)))
    return {
        "decoding_cpu_s_per_video": decoding / len(sample),
        "preparing_cpu_s_per_video": preparing / len(sample),
        "cost_against_decoding": preparing / decoding,
        "wall_s": wall,
        "cpu_s": used[0],
        "busy": used[0] / (wall * cores),
        "videos_per_minute": 60.0 * args.videos / wall,
        "source_mb_per_video": sum(p.stat().st_size for p in videos.iterdir()) / 1e6 / args.videos,
        "prepared_mb_per_video": _size(folder / "prepared") / 1e6 / args.videos,
        "load_average": os.getloadavg()[0],
    }


def _decode_all(tasks: Sequence[VideoTask]) -> None:
    """Every frame and every sample, and next to nothing made of them."""
    from datamodules.video import probe, read_audio, stream_frames

    for task in tasks:
        ends = [0, probe(task.path).frames - 1]  # from the first frame on, so nothing is skipped
        for _ in stream_frames(task.path, indices=ends, size=(16, 16)):
            pass
        read_audio(task.path, 44_100)


def _measure_load(prepared: Path, count: int) -> dict[str, float]:
    """Clips of 40 x 128 x 128 from disk, in this process, nothing kept in memory."""
    from datamodules.aist import AISTDataModule, LoaderOptions, SplitRule, WindowRule
    from datamodules.video import read_frames

    data = AISTDataModule(
        prepared,
        WindowRule(frames=FRAMES, stride=5, fps=FPS),
        split=SplitRule(rule="crossmodal"),
        loading=LoaderOptions(batch_size=8, memory_mb=0.0),
    )
    loader = data.train_dataloader()
    windows = loader.dataset.windows  # type: ignore[attr-defined]
    jobs = [
        (data.index.clip_path(data.index.names[w.video]), list(range(w.start, w.start + FRAMES)))
        for w in (windows * (count // len(windows) + 1))[:count]
    ]
    read_frames(jobs[0][0], jobs[0][1])

    def load() -> None:
        done = 0
        while done < count:
            for batch in loader:
                done += len(batch)
                if done >= count:
                    break

    load()
    before = _resident_mb()
    loading = min(_cpu(load) for _ in range(3))
    grown = _resident_mb() - before
    reading = min(_cpu(lambda: [read_frames(p, i) for p, i in jobs]) for _ in range(3))
    return {
        "clips_per_minute_per_core": 60.0 * count / loading,
        "share_decoding": reading / loading,
        "ratio_to_reading": reading / loading,
        "reading_ms_per_clip": 1e3 * reading / count,
        "resident_growth_mb": grown,
    }


def _cpu(work: Callable[[], Any]) -> float:
    """CPU seconds of this process for some work, threads included."""
    began = time.process_time()
    work()
    return time.process_time() - began


@contextmanager
def _cpu_of_children() -> Iterator[list[float]]:
    """CPU seconds of this process and all below it, found by looking often (Linux)."""
    used = [0.0]
    seen: dict[int, float] = {}
    ended = threading.Event()
    began = time.process_time()

    def watch() -> None:
        while not ended.wait(0.1):
            seen.update(_family_cpu(os.getpid()))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield used
    finally:
        ended.set()
        watcher.join()
        used[0] = sum(seen.values()) + time.process_time() - began


def _family_cpu(root: int) -> dict[int, float]:
    """CPU seconds of each process below `root`."""
    parents: dict[int, int] = {}
    cpu: dict[int, float] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(entry)] = int(stat[1])
        cpu[int(entry)] = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
    family, found = {root}, True
    while found:
        more = {pid for pid, parent in parents.items() if parent in family} - family
        family |= more
        found = bool(more)
    return {pid: cpu[pid] for pid in family - {root}}


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _print(numbers: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    bars = {
        "cost_against_decoding": "at most 1.3",
        "busy": "at least 0.85 of idle cores",
        "clips_per_minute_per_core": "at least 3000",
        "ratio_to_reading": "at least 0.7",
    }
    for part in ("prepare", "load"):
        table = Table(part, "", "bar")
        for name, value in numbers[part].items():
            table.add_row(name.replace("_", " "), f"{value:.4g}", bars.get(name, ""))
        Console().print(table)
