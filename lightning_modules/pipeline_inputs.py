"""What a pipeline is given, in every form it may come in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Picture = str | os.PathLike[str] | Tensor | NDArray[Any] | Any
"""A path, a PIL image, or RGB pixels: uint8 (3, H, W) or (H, W, 3), or float in [0, 1]."""
Song = str | os.PathLike[str] | NDArray[np.floating] | Tensor
"""A path that FFmpeg reads, or mono samples (S,) in [-1, 1]."""


@dataclass(frozen=True)
class DanceRequest:
    """One dance of a batch; the fields are the arguments of a call of the pipeline."""

    image: Picture
    music: Song
    sample_rate: int | None = None
    start_s: float = 0.0
    tempo_bpm: float | None = None
    beat_file: str | os.PathLike[str] | None = None
    generator: torch.Generator | int = 0


@dataclass(frozen=True)
class Heard:
    """A song as the networks hear it, N frames long."""

    beat_features: Tensor
    """(1, N, 7)."""
    music: dict[str, Tensor]
    beats_s: NDArray[np.float64]
    """(M,) beats of the whole song, seconds from its start."""
    audio: NDArray[np.float32]
    """(S,) from the dance's first frame to its last."""
    sample_rate: int
    start_s: float
    frames: int


def as_pixels(image: Tensor | NDArray[Any] | Any) -> Tensor:
    """A PIL image, or RGB pixels of any layout, as uint8 (3, H, W).

    Raises:
        ValueError: it has no three colours.
    """
    if hasattr(image, "convert"):  # a PIL image
        image = np.array(image.convert("RGB"))
    image = torch.as_tensor(image)
    if image.ndim != 3 or 3 not in (image.shape[0], image.shape[-1]):
        raise ValueError(f"A picture has shape (3, H, W) or (H, W, 3), not {tuple(image.shape)}.")
    if image.shape[0] != 3:
        image = image.permute(2, 0, 1)
    if image.dtype.is_floating_point:
        image = image.clamp(0, 1).mul(255).round()
    return image.to(torch.uint8)


def as_generator(generator: torch.Generator | int) -> torch.Generator:
    """A generator as it is, or a new one for a seed."""
    if isinstance(generator, torch.Generator):
        return generator
    return torch.Generator().manual_seed(generator)
