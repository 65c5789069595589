"""Settings -> a rendered data set, a prepared folder, its splits and its scene."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from datamodules import keypoints as keypoint_files
from datamodules.errors import DataError
from datamodules.index import DatasetSettings, Index, read_index
from datamodules.media.video import read_clip
from datamodules.preparation.beats import BeatOptions
from datamodules.preparation.prepare import PrepareOptions, PrepareReport, prepare
from datamodules.scene import View, measure_view
from datamodules.splits import SplitRule, assign
from datamodules.synthetic.dataset import render_dataset
from experiments.config.load import Settings
from lightning_modules.generation.people import Scene

#: Number of videos that are measured for a scene, and of frames of each.
SCENE_VIDEOS, SCENE_FRAMES = 16, 40


class _Row(NamedTuple):
    name: str
    music: str
    dancer: str


def render(out: str | Path, settings: Settings, progress: Callable[[int, int], None]) -> list[str]:
    """Render the data set of `settings.synthetic` and `settings.seed`; return the video names."""
    rendered = settings.synthetic
    return render_dataset(out, seed=settings.seed, progress=progress, **asdict(rendered))


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
    """Prepare a folder of videos at the frame rate, size and fit of `settings.clips`.

    Args:
        videos: Folder of videos.
        out: Folder to write.
        settings: All settings.
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


def build_split_rule(settings: Settings) -> SplitRule:
    """Build the rule that assigns each video to a split."""
    clips = settings.clips
    return SplitRule(
        rule=clips.split,
        folder=Path(clips.split_files) if clips.split_files else None,
        seed=clips.split_seed,
        val_by_music=clips.val_by_music,
        val_fraction=clips.val_fraction,
        ignore_list=Path(clips.ignore_list) if clips.ignore_list else None,
    )


def measure_scene(data: Path, rule: SplitRule | None = None) -> Scene | None:
    """Return the scene of a prepared folder's training videos; None if nothing moves in them.

    The background is that of the video in which the dancer permanently hides the fewest pixels;
    heights and positions are medians over the videos.
    """
    index = read_index(data)
    named = [_Row(*row) for row in zip(index.names, index.music, index.dancers, strict=True)]
    splits, _ = assign(named, rule or SplitRule())
    rows = [number for number, row in enumerate(named) if splits.get(row.name) == "train"]
    if not rows:
        raise DataError(f"{data} holds no training videos to take a background from.")
    chosen = rows[:: max(1, len(rows) // SCENE_VIDEOS)][:SCENE_VIDEOS]
    views = [view for view in (_view(index, row) for row in chosen) if view.height > 0.05]
    if not views:
        return None
    clearest = min(views, key=lambda view: view.unseen)
    return Scene(
        background=torch.from_numpy(clearest.background).permute(2, 0, 1).contiguous(),
        height=min(1.0, float(np.median([view.height for view in views]))),
        feet=float(np.median([view.feet for view in views])),
        center=float(np.median([view.center for view in views])),
    )


def _view(index: Index, row: int) -> View:
    """Measure the dancer and the background of a video, from frames spread over it."""
    name, count = index.names[row], int(index.frames[row])
    places = np.linspace(0, count - 1, min(SCENE_FRAMES, count)).round().astype(int)
    frames = read_clip(index.clip_path(name), places.tolist())
    points = None
    if index.table["keypoints"][row].as_py():
        points = keypoint_files.read(index.keypoints_path(name))[places]
    return measure_view(frames.permute(0, 2, 3, 1).numpy(), points)
