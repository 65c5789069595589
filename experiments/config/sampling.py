"""Settings of generation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass
class SamplingSettings:
    """How dances are sampled."""

    solver: Literal["ddim", "dpm++", "unipc"] = "dpm++"
    """ddim, dpm++ (DPM-Solver++) or unipc."""
    steps: int = 15
    """Denoising steps (LFDM: 250 of DDIM)."""
    guidance_scale: float = 1.0
    """Weight of the music: 0 ignores it, 1 is plain conditioning, more stresses it."""
    image_guidance_scale: float = 1.0
    """Weight of the reference image; other values than 1 need stage2.loss.drop_image."""
    overlap: int = 10
    """Frames by which the windows of a long song overlap."""
    window_batch: int = 8
    """Windows that the network sees at once."""

    def __post_init__(self) -> None:
        for name in ("steps", "window_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"sampling.{name} is {getattr(self, name)}: at least 1.")
        if self.overlap < 0:
            raise ValueError(f"sampling.overlap is {self.overlap}: it cannot be negative.")
