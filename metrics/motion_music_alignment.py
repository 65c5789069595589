"""2D-MM Align: do the minima of a dancer's speed fall on the beats of the music?

Background: dance changes direction on the beat, and the body is slowest where it turns. The Beat
Alignment Score (AIST++, Li et al. 2021) asks how near the minima of the joints' speed lie to the
music beats. DabFusion names a "2D Motion-Music Alignment Score" that builds on it without giving
the formula, so what follows is a BAS-style score of this project, exactly defined here; it is
not the authors' code.

Steps: (1) the speed of every step from one frame to the next, from optical flow with the camera's
motion taken out, from the model's latent flow or from key points; (2) clips slower than 2 pixels
a second (in frames of 128) have no motion beats; (3) motion beats are the strict and prominent
minima of the speed smoothed by 0.05 s, placed between frames by a parabola; (4) beats outside
[1 / fps, (T - 2) / fps] are dropped from both lists; (5) BAS with sigma = 0.05 s; (6) its level
under chance, E0, is subtracted: (BAS - E0) / (1 - E0). A raw BAS of 0.2 is what random motion
gets; only the corrected score can be compared between tempi, tolerances and frame rates.

All times are seconds from the clip's first frame, never frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from metrics.accumulate import ClipMean
from metrics.functional.alignment import SIGMA_S, Direction, align
from metrics.functional.beats import as_batch, motion_beats, observable_window
from metrics.functional.controls import align_shifted, control_fractions
from metrics.functional.motion import (
    GATE_SIZE,
    MotionSignal,
    motion_from_keypoints,
    motion_from_latent_flow,
    motion_from_lengths,
)
from metrics.functional.optical_flow import FlowMethod, motion_from_video

VALUES = (
    "corrected",
    "raw",
    "chance",
    "shifted",
    "control_difference",
    "motion_beats",
    "music_beats",
    "empty_motion",
    "empty_music",
)


def motion_signal(
    *,
    video: Tensor | None = None,
    latent_flow: Tensor | None = None,
    keypoints: Tensor | None = None,
    motion: MotionSignal | Tensor | None = None,
    fps: float,
    size: int | None = None,
    frames: Tensor | None = None,
    flow: FlowMethod = "farneback",
) -> MotionSignal:
    """The motion signal of whichever source is given.

    Args:
        video: (B, T, 3, H, W) uint8 or floating point in [0, 1].
        latent_flow: (B, T, 3, h, w): sampling grid in [-1, 1] and occlusion map.
        keypoints: (B, T, J, 2 or 3): x, y in pixels and visibility.
        motion: a `MotionSignal`, or speeds (B, T - 1) in pixels a second, NaN-padded.
        fps: frames a second.
        size: frame size in pixels (longer side) for every source but `video`; 128 by default.
        frames: (B,) valid frames of each clip; None means all.
        flow: optical flow method for `video`.

    Raises:
        ValueError: not exactly one source.
    """
    given = {
        "video": video,
        "latent_flow": latent_flow,
        "keypoints": keypoints,
        "motion": motion,
    }
    names = [name for name, value in given.items() if value is not None]
    if len(names) != 1:
        raise ValueError(
            f"Motion was given as {' and '.join(names) or 'nothing'}; expected exactly one of "
            f"{', '.join(given)}."
        )
    pixels = GATE_SIZE if size is None else size
    if video is not None:
        return motion_from_video(video, fps, frames=frames, method=flow)
    if latent_flow is not None:
        return motion_from_latent_flow(latent_flow, fps, pixels, frames=frames)
    if keypoints is not None:
        return motion_from_keypoints(keypoints, fps, pixels, frames=frames)
    if isinstance(motion, MotionSignal):
        return motion
    assert motion is not None
    speed = as_batch(motion)
    if frames is None:
        frames = (~speed.isnan()).sum(-1) + 1
    return motion_from_lengths(speed.nan_to_num(0.0)[..., None] / fps, fps, pixels, frames)


class MotionMusicAlignment2D(ClipMean):
    """BAS-style alignment of 2-D motion and music, corrected for chance.

    `compute()` returns a dictionary of scalars, means over all clips:

    | key                  | meaning                                                             |
    | -------------------- | ------------------------------------------------------------------- |
    | `corrected`          | the headline, (BAS - E0) / (1 - E0): 0 by chance, 1 at best, below 0 |
    |                      | for dancers who are reliably off the beat                           |
    | `standard_error`     | of `corrected`, clustered by music if ids were given                |
    | `raw`, `chance`      | BAS and its expectation for evenly spread beats, E0                 |
    | `shifted`            | `corrected` with the music moved by 16 parts of a beat              |
    | `control_difference` | `corrected - shifted`: what the true music adds                     |
    | `control_error`      | standard error of that difference                                   |
    | `motion_beats`, `music_beats` | mean number of beats inside the window                     |
    | `empty_motion`, `empty_music` | share of clips without any, each of which scores 0         |
    | `clips`              | number of clips                                                     |

    Args:
        sigma: standard deviation of the kernel in seconds.
        direction: "motion_to_music" asks how well motion beats hit the music (AIST++);
            "music_to_motion" asks how many music beats are danced (Bailando).
        flow: optical flow for videos, "farneback" or "dis".

    Example:
        >>> import torch
        >>> from metrics import MotionMusicAlignment2D
        >>> beats = torch.tensor([[0.45, 0.95, 1.45, 1.95, 2.45, 2.95, 3.45]])
        >>> steps = (torch.arange(39) + 0.5) / 10
        >>> speed = 20 * torch.sin(torch.pi * (steps - 0.45) / 0.5).abs()[None]
        >>> metric = MotionMusicAlignment2D()
        >>> metric.update(motion=speed, fps=10, music_beats=beats)
        >>> round(float(metric.compute()["corrected"]), 2)
        1.0
    """

    def __init__(
        self,
        sigma: float = SIGMA_S,
        direction: Direction = "motion_to_music",
        flow: FlowMethod = "farneback",
    ) -> None:
        if sigma <= 0:
            raise ValueError(f"sigma is {sigma}; expected a positive number of seconds.")
        super().__init__(VALUES, {"sigma": sigma, "direction": direction, "flow": flow})
        self.sigma = sigma
        self.direction: Direction = direction
        self.flow: FlowMethod = flow

    def update(
        self,
        video: Tensor | None = None,
        *,
        fps: float,
        music_beats: Tensor,
        latent_flow: Tensor | None = None,
        keypoints: Tensor | None = None,
        motion: MotionSignal | Tensor | None = None,
        size: int | None = None,
        frames: Tensor | None = None,
        music_ids: Sequence[str] | None = None,
    ) -> None:
        """Add a batch of clips.

        Args:
            video: (B, T, 3, H, W) uint8 or floating point in [0, 1].
            fps: frames a second.
            music_beats: (B, N) seconds from the clip's first frame, NaN-padded. Beats just
                outside the clip are welcome: the controls move them into it.
            latent_flow: (B, T, 3, h, w) instead of `video`.
            keypoints: (B, T, J, 2 or 3) in pixels instead of `video`.
            motion: speeds (B, T - 1) in pixels a second instead of `video`.
            size: frame size in pixels for every source but `video`; 128 by default.
            frames: (B,) valid frames of each clip; None means all.
            music_ids: the piece of music of each clip, for the standard error.

        Raises:
            ValueError: not exactly one source, or shapes that do not fit.
        """
        signal = motion_signal(
            video=video,
            latent_flow=latent_flow,
            keypoints=keypoints,
            motion=motion,
            fps=fps,
            size=size,
            frames=frames,
            flow=self.flow,
        )
        self.add(clip_scores(signal, fps, music_beats, self.sigma, self.direction), music_ids)

    def compute(self) -> dict[str, Tensor]:
        """Means over all clips so far; see the class for the keys."""
        return {
            **self.means(),
            "standard_error": self.standard_error("corrected"),
            "control_error": self.standard_error("control_difference"),
            "clips": self.clips.float(),
        }

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Plot one result of `compute()` or a list of them; returns figure and axes."""
        return self._plot(val, ax)


def clip_scores(
    signal: MotionSignal,
    fps: float,
    music_beats: Tensor,
    sigma: float = SIGMA_S,
    direction: Direction = "motion_to_music",
) -> dict[str, Tensor]:
    """The values of `MotionMusicAlignment2D` for each clip of a batch, for tables of clips.

    Args:
        signal: motion of B clips.
        fps: frames a second.
        music_beats: (B, N) seconds, NaN-padded.
        sigma: standard deviation of the kernel in seconds.
        direction: as in `align`.

    Returns:
        A tensor (B,) for each of `VALUES`.
    """
    beats = motion_beats(signal.speed, fps, moving=signal.moving)
    music = as_batch(music_beats).to(beats.device)
    window = observable_window(signal.frames, fps).to(beats.device)
    scores = align(beats, music, window, sigma, direction)
    moved = align_shifted(beats, music, window, control_fractions(), sigma, direction).mean(-1)
    return {
        "corrected": scores.corrected,
        "raw": scores.raw,
        "chance": scores.chance,
        "shifted": moved,
        "control_difference": scores.corrected - moved,
        "motion_beats": scores.motion_beats.to(moved),
        "music_beats": scores.music_beats.to(moved),
        "empty_motion": (scores.motion_beats == 0).to(moved),
        "empty_music": (scores.music_beats == 0).to(moved),
    }
