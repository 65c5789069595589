"""Published variants of the Beat Alignment Score, as settings of the same functions.

| preset     | motion signal                         | minima                  | mean over    |
| ---------- | ------------------------------------- | ----------------------- | ------------ |
| `mint`     | sum of joint speeds, v[0] = 0         | lowest in +-10 frames   | motion beats |
| `bailando` | mean joint speed, Gaussian 5 frames   | lower than neighbors    | music beats  |
| `mace`     | mean joint speed, Gaussian 3.5 frames | lower than neighbors    | music beats  |

`mint` is AIST++ (Li et al. 2021), `bailando` Siyao et al. 2022, both at 60 frames per second;
`mace` is MACE-Dance at 16 frames per second with its 25 2-D keypoints. At another frame rate the
lengths in frames keep their duration in seconds; at the native one they are the published numbers.
None of them has the half-step, the sub-frame or the chance correction of `MotionMusicAlignment2D`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metrics.functional.alignment import Direction, beat_alignment
from metrics.functional.beats import as_batch, pack_times, smooth, strict_minima

PresetName = Literal["mint", "bailando", "mace"]


@dataclass(frozen=True)
class Preset:
    """Settings of one published variant; lengths in frames of its native frame rate."""

    fps: float
    joints: Literal["sum", "mean"]
    """How the joints' speeds are joined."""
    leading_zero: bool
    """Whether the signal starts with a speed of zero for the first frame."""
    smoothing: float
    """Standard deviation of the smoothing in frames; 0 for none."""
    order: int
    """Half-width of the neighborhood of a minimum in frames."""
    sigma: float
    """Standard deviation of the kernel in frames."""
    direction: Direction
    floor_music: bool
    """Whether music beats are cut down to the frame before them."""

    @property
    def sigma_s(self) -> float:
        """Standard deviation of the kernel in seconds."""
        return self.sigma / self.fps


PRESETS: dict[str, Preset] = {
    "mint": Preset(60, "sum", True, 0.0, 10, 3.0, "motion_to_music", False),
    "bailando": Preset(60, "mean", False, 5.0, 1, 3.0, "music_to_motion", False),
    "mace": Preset(16, "mean", False, 3.5, 1, 3.0, "music_to_motion", True),
}


def preset_named(name: str) -> Preset:
    """The preset of that name.

    Raises:
        ValueError: There is none.
    """
    if name not in PRESETS:
        raise ValueError(
            f"The preset {name!r} does not exist; expected one of {', '.join(PRESETS)}."
        )
    return PRESETS[name]


def preset_motion_beats(motion: Tensor, fps: float, preset: str) -> Tensor:
    """Motion beats as a published variant finds them.

    Args:
        motion: (B, T, J, D) joint positions in any unit, D = 2 or 3 coordinates; or (B, S) a
            speed signal of the steps, to use the variant on flow.
        fps: Frames per second.
        preset: "mint", "bailando" or "mace".

    Returns:
        (B, M) seconds, NaN-padded; the time of step k is k / fps (`mint`: (k + 1) / fps, since
        its signal starts with a zero).
    """
    chosen = preset_named(preset)
    if motion.ndim == 4:
        speeds = torch.linalg.vector_norm(motion[:, 1:] - motion[:, :-1], dim=-1)
        speed = speeds.sum(-1) if chosen.joints == "sum" else speeds.mean(-1)
    else:
        speed = as_batch(motion)
    if chosen.leading_zero:
        speed = torch.cat([torch.zeros_like(speed[:, :1]), speed], -1)
    scale = fps / chosen.fps
    speed = smooth(speed, chosen.smoothing * scale)
    order = max(1, round(chosen.order * scale)) if chosen.order > 1 else 1
    minima = strict_minima(speed, order)
    frame = torch.arange(speed.shape[-1], dtype=speed.dtype, device=speed.device)
    return pack_times((frame / fps).expand_as(speed), minima)


def preset_alignment(
    motion: Tensor, music: Tensor, preset: str, fps: float | None = None
) -> Tensor:
    """Beat Alignment Score of a published variant.

    Args:
        motion: (M,) or (B, M) motion beats in seconds, NaN-padded.
        music: (N,) or (B, N) music beats in seconds, NaN-padded.
        preset: "mint", "bailando" or "mace".
        fps: Frames per second, to which `mace` cuts the music beats; the native rate by default.

    Returns:
        (B,) in [0, 1]; 0 where either list is empty.
    """
    chosen = preset_named(preset)
    motion, music = as_batch(motion), as_batch(music)
    if chosen.floor_music:
        rate = chosen.fps if fps is None else fps
        # A beat on a frame stays there although 0.3 * 10 is a little less than 3.
        music = (music * rate + 1e-4).floor() / rate
    if chosen.direction == "motion_to_music":
        return beat_alignment(motion, music, chosen.sigma_s)
    return beat_alignment(music, motion, chosen.sigma_s)
