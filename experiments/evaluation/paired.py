"""PSNR and SSIM of generated videos against the true videos of the same names.

They ask whether a video repeats the true one frame by frame. A good dance that differs from the
recorded one scores low, so they say something of reconstructions, little of generation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.errors import DataError
from experiments.errors import SettingsError
from experiments.evaluation.folder import (
    FolderOptions,
    Reading,
    plan_reading,
    read_scaled,
    videos_in,
)

#: PSNR of equal videos in dB, and the most that any is given: infinity would swallow every mean.
#: For 8 bits, libvmaf's `psnr` ends there too (6 dB a bit, and 12).
MOST_PSNR = 60.0
#: What the protocol says of paired scores; the true pixels are in that of the reference.
PROTOCOL: Mapping[str, Any] = {
    "scores": ["psnr", "ssim"],
    "data_range": 255,
    "most_psnr": MOST_PSNR,
}
#: Frames compared at a time: SSIM keeps five blurred copies of them.
CHUNK = 32
#: Two rates this close are one: 29.97 and 30 are not, rounding in a file's clock is.
RATE_TOLERANCE = 5e-4
#: Videos that a refusal names.
NAMED = 3


@dataclass(frozen=True)
class Partners:
    """The true video of each name, and how both are read."""

    videos: Mapping[str, Path]
    options: FolderOptions

    def scores(self, name: str, frames: Tensor) -> dict[str, float]:
        """`psnr` and `ssim` of a video's frames (T, 3, H, W), uint8, against its true ones.

        Raises:
            DataError: the true video is damaged.
        """
        try:
            true, _ = read_scaled(self.videos[name], self.options)
        except (OSError, ValueError, RuntimeError) as error:
            raise DataError(f"its true video cannot be read: {error}") from error
        return paired_scores(frames, true)


def paired_scores(made: Tensor, true: Tensor) -> dict[str, float]:
    """PSNR in dB, at most `MOST_PSNR`, and SSIM of a video, by torchmetrics' own classes.

    PSNR is that of the squared error of all pixels of all frames; SSIM is the mean over frames of
    that of RGB in Gaussian windows of 11 pixels (Wang et al. 2004).

    Args:
        made: (T, 3, H, W) uint8.
        true: of the same shape.
    """
    from metrics import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

    # Processes that share a folder out each have another video: nothing is to be summed.
    psnr = PeakSignalNoiseRatio(data_range=255.0, sync_on_compute=False)
    ssim = StructuralSimilarityIndexMeasure(data_range=255.0, sync_on_compute=False)
    for one, other in zip(made.split(CHUNK), true.split(CHUNK), strict=True):
        # Variances are differences of squares: single precision loses them in flat pictures.
        psnr.update(one.double(), other.double())
        ssim.update(one.double(), other.double())
    # as_tensor: SSIM's type allows a pair, which it gives only if full images are asked for.
    similarity = float(torch.as_tensor(ssim.compute()))
    return {"psnr": min(float(psnr.compute()), MOST_PSNR), "ssim": similarity}


def find_partners(folder: Path, reference: Path, options: FolderOptions) -> Partners:
    """The true video of every video of a folder, by name; true videos may be more.

    Args:
        folder: generated videos.
        reference: true videos.
        options: how both are read.

    Raises:
        SettingsError: a video has no partner, or one of another size, length or rate as read.
    """
    made, true = videos_in(folder), videos_in(reference)
    alone = [name for name in made if name not in true]
    if alone:
        raise SettingsError(
            f'{len(alone)} of {len(made)} videos in "{folder}" have no video of the same name in '
            f'"{reference}" ({_some(alone)}); give every one its true video, or leave out '
            "--paired."
        )
    apart = []
    for name, path in made.items():
        try:
            difference = _difference(plan_reading(path, options), plan_reading(true[name], options))
        except (OSError, ValueError, RuntimeError):
            continue  # no video: the scoring lists it with its reason
        if difference:
            apart.append(f"{name}: {difference}")
    if apart:
        raise SettingsError(
            f'{len(apart)} of {len(made)} videos in "{folder}" cannot be compared frame by frame '
            f'with those in "{reference}" ({_some(apart)}); make them alike, read them alike with '
            "--fps, --seconds or --size, or leave out --paired."
        )
    return Partners({name: true[name] for name in made}, options)


def _difference(made: Reading, true: Reading) -> str:
    """What keeps two videos from being compared frame by frame; empty if nothing does."""
    found = []
    if (made.width, made.height) != (true.width, true.height):
        found.append(f"{made.width}x{made.height} pixels against {true.width}x{true.height}")
    if made.frames != true.frames:
        found.append(f"{made.frames} frames against {true.frames}")
    if not math.isclose(made.fps, true.fps, rel_tol=RATE_TOLERANCE):
        found.append(f"{made.fps:.5g} frames a second against {true.fps:.5g}")
    return ", ".join(found)


def _some(items: list[str]) -> str:
    more = [] if len(items) <= NAMED else [f"{len(items) - NAMED} more"]
    return "; ".join([*items[:NAMED], *more])
