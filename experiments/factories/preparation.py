"""Settings -> a rendered data set and a prepared folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from datamodules.index import DatasetSettings
from datamodules.preparation.beats import BeatOptions
from datamodules.preparation.prepare import PrepareOptions, PrepareReport, prepare
from datamodules.synthetic.dataset import render_dataset
from experiments.config.load import Settings


def prepare_folder(
    videos: Path,
    out: Path,
    settings: Settings,
    *,
    workers: int = 0,
    beats: Path | None = None,
    music: Path | None = None,
    keypoints: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> PrepareReport:
    """Prepare a folder of videos at the frame rate, size and fit of the settings.

    Args:
        videos: Folder of videos.
        out: Folder to write.
        settings: `clips.fps`, `clips.size` and `clips.fit` are used.
        workers: Processes; 0 uses every core.
        beats: Folder of the user's beat files.
        music: Folder of whole songs.
        keypoints: Folder of AIST++'s keypoints2d.
        progress: Called with the step's name, the number done and the total.
    """
    clips = settings.clips
    options = PrepareOptions(
        settings=DatasetSettings(clips.fps, clips.size, clips.fit),
        beats=BeatOptions(beats, music),
        keypoints=keypoints,
        workers=workers or len(os.sched_getaffinity(0)),
    )
    return prepare(videos, out, options, progress)


def render(out: str | Path, settings: Settings, progress: Callable[[int, int], None]) -> list[str]:
    """Render the data set of `settings.synthetic` and `settings.seed`; return the video names."""
    rendered = settings.synthetic
    return render_dataset(out, seed=settings.seed, progress=progress, **asdict(rendered))
