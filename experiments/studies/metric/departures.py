"""The two places where frames are read otherwise than the written definition says, measured.

The definition takes the flow's spatial median as the camera's motion and looks at every pixel for
its gate. Frames are steadied before that, and the gate leaves the frame's edge out. Both ways are
scored here on the same frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from datamodules.synthetic.dataset import RenderedClip, render_clip
from experiments.studies.metric.members import changed, dance_specs
from metrics import functional as F
from metrics.functional.motion_video import EDGE
from metrics.motion_source import beats_of

#: Camera shakes (px) and amplitudes of a pan (share of the width) at 10 frames a second.
CAMERAS: tuple[tuple[str, dict[str, float]], ...] = (
    ("camera at rest", {}),
    ("0.5 px of shake", {"camera_shake_px": 0.5}),
    ("1 px of shake", {"camera_shake_px": 1.0}),
    ("2 px of shake", {"camera_shake_px": 2.0}),
    ("pan and zoom of 5% of the width", {"camera_motion": 0.05}),
)
#: Standard deviations of the noise on still videos, of 255.
NOISES = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Departures:
    """Both ways of reading the frames, on the same clips."""

    cameras: list[tuple[str, float, float]]
    """Condition, mean corrected score as it is done, and by the definition alone."""
    noises: list[tuple[float, float, float]]
    """Noise on still videos, and the share of them that is taken for moving, in both ways."""


def measure_departures(clips: int, seed: int) -> Departures:
    """Score dances before moving cameras, and still videos with noise, in both ways.

    Args:
        clips: dances a condition.
        seed: seed of the first.
    """
    cameras = []
    for name, values in CAMERAS:
        rendered = [render_clip(spec) for spec in dance_specs(clips, seed, changed(**values))]
        done = [_score(one, steady_camera=True, edge=EDGE) for one in rendered]
        plain = [_score(one, steady_camera=False, edge=0) for one in rendered]
        cameras.append((name, float(np.mean(done)), float(np.mean(plain))))
    firsts = [render_clip(spec).frames[:1] for spec in dance_specs(clips, seed)]
    return Departures(cameras, [_noise_row(firsts, level, seed) for level in NOISES])


def _score(clip: RenderedClip, steady_camera: bool, edge: int) -> float:
    signal = F.motion_from_video(
        clip.frames[None], clip.fps, steady_camera=steady_camera, edge=edge
    )
    motion, window = beats_of(signal, clip.fps)
    return float(F.align(motion, torch.from_numpy(clip.beats_s)[None], window).corrected)


def _noise_row(firsts: Sequence[Tensor], level: float, seed: int) -> tuple[float, float, float]:
    random = torch.Generator().manual_seed(seed)
    videos = []
    for frame in firsts:
        noise = level * torch.randn(20, *frame.shape[1:], generator=random)
        videos.append((frame + noise).round().clamp(0, 255).to(torch.uint8)[None])

    def share(read: Callable[[Tensor], F.MotionSignal]) -> float:
        return float(np.mean([bool(read(video).moving) for video in videos]))

    return (
        level,
        share(lambda video: F.motion_from_video(video, 10)),
        share(lambda video: F.motion_from_video(video, 10, steady_camera=False, edge=0)),
    )


def departures_text(found: Departures) -> str:
    """Two tables, as Markdown."""
    lines = [
        "| camera, 10 frames/s | corrected, steadied first | by the median alone |",
        "| --- | ---: | ---: |",
        *(f"| {name} | {done:.3f} | {plain:.3f} |" for name, done, plain in found.cameras),
        "",
        "| noise on still videos (of 255) | taken for moving, edge left out | edge looked at |",
        "| --- | ---: | ---: |",
        *(f"| {level:g} | {done:.0%} | {plain:.0%} |" for level, done, plain in found.noises),
    ]
    return "\n".join(lines)
