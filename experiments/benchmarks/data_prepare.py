"""Preparing rendered videos compared to decoding them, with the same number of processes."""

from __future__ import annotations

import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from datamodules.index import DatasetSettings
from datamodules.media.audio import warm_up
from datamodules.media.video import probe, read_audio, stream_frames, write_video
from datamodules.preparation.prepare import PrepareOptions, prepare
from datamodules.synthetic.dataset import DanceSpec, dance_names, render_clip
from experiments.benchmarks.processes import Usage, watched
from experiments.processes.progress import shown_progress


def render_videos(
    folder: Path, count: int, seconds: float, fps: int, height: int, distinct: int
) -> Path:
    """Render `distinct` videos (16:9), and copy them under other names up to `count`.

    Returns:
        The folder of the videos, inside `folder`; videos that are there already are kept.
    """
    videos = folder / f"{height}p{fps}-{seconds:g}s-{count}-{distinct}"
    width = round(height * 16 / 9 / 2) * 2
    names = dance_names(0, count)[:count]
    with shown_progress("Rendering") as progress:
        for number, name in enumerate(names):
            path = videos / f"{name}.mp4"
            if not path.exists() and number >= distinct:
                shutil.copy(videos / f"{names[number % distinct]}.mp4", path)
            elif not path.exists():
                spec = DanceSpec(
                    name=name, size=height, width=width, fps=float(fps), seconds=seconds
                )
                clip = render_clip(spec)
                write_video(path, clip.frames, clip.fps, clip.audio, clip.sample_rate, crf=20)
            progress(number + 1, count)
    return videos


def measure_prepare(
    videos: Path, out: Path, settings: DatasetSettings, workers: int
) -> dict[str, float]:
    """Decode all videos, prepare them, and decode them again.

    Returns:
        Numbers by name. Memory is that of all processes; its growth is from the first half of the
        preparation, in which each worker has met its largest video, to the second.
    """
    infos = {path: probe(path) for path in sorted(videos.iterdir())}
    lengths = {path: info.frames for path, info in infos.items()}
    # What a run does once for any number of videos is timed separately: the imports of the server
    # that forks workers, and the compilation of the beat tracker.
    _decode_all(dict(list(lengths.items())[:workers]), workers)
    with watched() as starting:
        warm_up()
    decoding = [_decode_all(lengths, workers)]
    with watched() as preparing:
        report = prepare(videos, out, PrepareOptions(settings, workers=workers))
    decoding.append(_decode_all(lengths, workers))
    assert report.prepared == len(infos)
    wall, cpu, share = (
        sum(getattr(usage, name) for usage in decoding) / len(decoding)
        for name in ("wall_s", "cpu_s", "share")
    )
    seconds = sum(info.duration_s for info in infos.values())
    return {
        "cpu_share": preparing.share,
        "cpu_share_wanted": preparing.share_wanted,
        "cost_against_decoding": preparing.wall_s / wall,
        "cpu_against_decoding": preparing.cpu_s / cpu,
        "beat_tracker_start_cpu_s": starting.cpu_s,
        "wall_s": preparing.wall_s,
        "decoding_wall_s": wall,
        "decoding_cpu_share": share,
        "cpu_s_per_second_of_video": preparing.cpu_s / seconds,
        "decoding_cpu_s_per_second_of_video": cpu / seconds,
        "videos_per_minute": 60.0 * len(infos) / preparing.wall_s,
        "resident_peak_mb": preparing.peak_mb(0.0, 1.0),
        "resident_growth_mb": preparing.peak_mb(0.5, 1.0) - preparing.peak_mb(0.0, 0.5),
        "source_mb_per_second": _size(videos) / 1e6 / seconds,
        "prepared_mb_per_second": _size(out) / 1e6 / seconds,
    }


def _decode_all(lengths: dict[Path, int], workers: int) -> Usage:
    """Decode every frame and sample of videos (frames by path), and drop them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["datamodules.preparation.video_task"])
    with watched() as usage, ProcessPoolExecutor(workers, context) as pool:
        for _ in pool.map(_decode, lengths, lengths.values()):
            pass
    return usage


def _decode(path: Path, frames: int) -> None:
    ends = [0, frames - 1]  # decoding starts at the first frame, so no frame is skipped
    for _ in stream_frames(path, indices=ends, size=(16, 16)):
        pass
    read_audio(path, 44_100)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
