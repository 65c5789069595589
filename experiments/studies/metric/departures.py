"""The two points in which frames are read differently from the written definition, measured."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from datamodules.synthetic.dataset import render_clip
from experiments.studies.metric.members import changed, dance_specs
from experiments.studies.metric.sweeps import add_noise
from metrics import functional as F
from metrics.functional.motion_video import EDGE
from metrics.motion_source import beats_of

#: Camera shake (px) and amplitude of a pan (share of the width) at 10 frames a second.
CAMERAS: tuple[tuple[str, dict[str, float]], ...] = (
    ("camera at rest", {}),
    ("0.5 px of shake", {"camera_shake_px": 0.5}),
    ("1 px of shake", {"camera_shake_px": 1.0}),
    ("2 px of shake", {"camera_shake_px": 2.0}),
    ("pan and zoom of 5% of the width", {"camera_motion": 0.05}),
)
#: Standard deviations of the noise on still videos, of 255.
NOISES = (0.25, 0.5, 1.0, 2.0, 4.0)


def measure_departures(clips: int, seed: int) -> dict[str, list[tuple[str | float, float, float]]]:
    """Score frames as they are read, and by the written definition of the metric alone.

    The definition takes the spatial median of the flow as the camera's motion, and its gate uses
    every pixel. We stabilize frames before that, and exclude the frame's edge from the gate.

    Args:
        clips: Dances in each condition.
        seed: Seed of the first dance.

    Returns:
        `cameras`: condition, mean corrected score as we read frames and by the definition;
        `noises`: noise on still videos, and the share of them taken for moving, in both ways.
    """
    cameras: list[tuple[str | float, float, float]] = []
    for name, values in CAMERAS:
        dances = [render_clip(spec) for spec in dance_specs(clips, seed, changed(**values))]
        rows = []
        for clip in dances:
            music = torch.from_numpy(clip.beats_s)[None]
            signals = _both_ways(clip.frames[None], clip.fps)
            found = [beats_of(signal, clip.fps) for signal in signals]
            rows.append([float(F.align(beats, music, w).corrected) for beats, w in found])
        cameras.append((name, *np.mean(rows, axis=0).tolist()))
    noises: list[tuple[str | float, float, float]] = []
    firsts = [render_clip(spec).frames[:1] for spec in dance_specs(clips, seed)]
    for level in NOISES:
        random = torch.Generator().manual_seed(seed)
        videos = [add_noise(frame.expand(20, -1, -1, -1), level, random) for frame in firsts]
        moving = [[bool(s.moving) for s in _both_ways(video[None], 10)] for video in videos]
        noises.append((level, *np.mean(moving, axis=0).tolist()))
    return {"cameras": cameras, "noises": noises}


def _both_ways(frames: Tensor, fps: float) -> tuple[F.MotionSignal, F.MotionSignal]:
    return (
        F.motion_from_video(frames, fps, steady_camera=True, edge=EDGE),
        F.motion_from_video(frames, fps, steady_camera=False, edge=0),
    )
