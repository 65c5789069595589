"""The scene of a prepared folder: an empty background and the position of its dancers."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from datamodules import keypoints
from datamodules.errors import DataError
from datamodules.index import Index, read_index
from datamodules.media.video import read_clip
from datamodules.scene import View, measure_view
from datamodules.splits import SplitRule, assign
from experiments.config.load import Settings
from experiments.factories.splits import build_split_rule
from lightning_modules.generation.people import Scene


class _Row(NamedTuple):
    name: str
    music: str
    dancer: str


#: Number of videos that are measured, and of frames of each.
VIDEOS, FRAMES = 16, 40


def training_scene(settings: Settings) -> Scene | None:
    """Return the scene of the training videos; None if nothing moves in them."""
    return measure_scene(Path(settings.data), build_split_rule(settings))


def measure_scene(data: Path, rule: SplitRule | None = None) -> Scene | None:
    """Return the scene of a prepared folder, from training videos spread over it.

    The background is that of the video in which the dancer permanently hides the fewest pixels;
    heights and positions are medians over the videos.

    Args:
        data: Prepared folder.
        rule: Rule that decides which videos are used for training.

    Raises:
        DataError: The folder is not prepared or has no training videos.
    """
    index = read_index(data)
    rows = _training_rows(index, rule or SplitRule())
    if not rows:
        raise DataError(f"{data} holds no training videos to take a background from.")
    chosen = rows[:: max(1, len(rows) // VIDEOS)][:VIDEOS]
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


def _training_rows(index: Index, rule: SplitRule) -> list[int]:
    rows = [_Row(*row) for row in zip(index.names, index.music, index.dancers, strict=True)]
    splits, _ = assign(rows, rule)
    return [number for number, name in enumerate(index.names) if splits.get(name) == "train"]


def _view(index: Index, row: int) -> View:
    name, count = index.names[row], int(index.frames[row])
    places = np.unique(np.linspace(0, count - 1, min(FRAMES, count)).round().astype(int))
    frames = read_clip(index.clip_path(name), places.tolist())
    points = None
    if index.table["keypoints"][row].as_py():
        points = keypoints.read(index.keypoints_path(name))[places]
    return measure_view(frames.permute(0, 2, 3, 1).numpy(), points)
