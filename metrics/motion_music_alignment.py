"""2D-MM Align: are the minima of a dancer's speed on the beats of the music?

Background: dance changes direction on the beat, and the body is slowest where it turns. The Beat
Alignment Score (AIST++, Li et al. 2021) measures how near the minima of the joints' speed are to
the music beats. DabFusion names a "2D Motion-Music Alignment Score" that builds on it without
giving the formula, so this is a BAS-style score of this project, defined here; it is not the
authors' code.

Steps: (1) the speed of every step from one frame to the next, from optical flow with the camera's
motion taken out, from the model's latent flow or from keypoints; (2) clips slower than 2 pixels
a second (in frames of 128) have no motion beats; (3) motion beats are the strict and prominent
minima of the speed smoothed by 0.05 s, placed between frames by a parabola; (4) beats outside
[1 / fps, (T - 2) / fps] are dropped from both lists; (5) BAS with sigma = 0.05 s; (6) its level
under chance, E0, is subtracted: (BAS - E0) / (1 - E0). Random motion has a raw BAS of about 0.2;
only the corrected score can be compared between tempos, tolerances and frame rates.

All times are seconds from the clip's first frame, never frames.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from metrics.functional.alignment import SIGMA_S, Direction, align
from metrics.functional.beats import as_batch
from metrics.functional.controls import align_shifted, control_fractions
from metrics.functional.motion import MotionSignal
from metrics.functional.optical_flow import FlowMethod
from metrics.motion_source import MotionMusicMetric, beats_of

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


class MotionMusicAlignment2D(MotionMusicMetric):
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
        sigma: Standard deviation of the kernel in seconds.
        direction: "motion_to_music" asks how well motion beats hit the music (AIST++);
            "music_to_motion" asks how many music beats are danced (Bailando).
        flow: Optical flow for videos, "farneback" or "dis".

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
        **kwargs: Any,
    ) -> None:
        if sigma <= 0:
            raise ValueError(f"sigma is {sigma}; expected a positive number of seconds.")
        super().__init__(VALUES, {"sigma": sigma, "direction": direction}, flow, **kwargs)
        self.sigma = sigma
        self.direction: Direction = direction

    def score(self, signal: MotionSignal, fps: float, music: Tensor) -> dict[str, Tensor]:
        """The values of each clip; see `clip_scores`."""
        return clip_scores(signal, fps, music, self.sigma, self.direction)

    def compute(self) -> dict[str, Tensor]:
        """Means over all clips so far; see the class for the keys."""
        return {
            **self.means(),
            "standard_error": self.standard_error("corrected"),
            "control_error": self.standard_error("control_difference"),
            "clips": self.clips.float(),
        }


def clip_scores(
    signal: MotionSignal,
    fps: float,
    music_beats: Tensor,
    sigma: float = SIGMA_S,
    direction: Direction = "motion_to_music",
) -> dict[str, Tensor]:
    """The values of `MotionMusicAlignment2D` for each clip of a batch, for tables of clips.

    Args:
        signal: Motion of B clips.
        fps: Frames per second.
        music_beats: (B, N) seconds, NaN-padded.
        sigma: Standard deviation of the kernel in seconds.
        direction: As in `align`.

    Returns:
        A tensor (B,) for each of `VALUES`.
    """
    beats, window = beats_of(signal, fps)
    music = as_batch(music_beats).to(beats.device)
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
