"""PSNR and SSIM of generated videos against the true videos of the same names.

They measure whether a video repeats the true one frame by frame. A good dance that differs from the
recorded one scores low, so they are useful for reconstructions and say little about generation.
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
    DECODING_ERRORS,
    FolderOptions,
    Reading,
    plan_reading,
    read_scaled,
)
from experiments.evaluation.guarded import GuardedProcess

#: PSNR of equal videos in dB, and the largest that is reported: infinity would make every mean
#: infinite. For 8 bits, libvmaf's `psnr` has the same limit (6 dB a bit, plus 12).
MAX_PSNR = 60.0
#: The part of the protocol on paired scores; the true pixels are in that of the reference.
PROTOCOL: Mapping[str, Any] = {
    "scores": ["psnr", "ssim"],
    "data_range": 255,
    "most_psnr": MAX_PSNR,
}
#: Frames compared at a time: SSIM keeps five blurred copies of them.
CHUNK = 32
#: Relative difference up to which two frame rates count as equal: a file's clock is rounded, but
#: 29.97 and 30 differ.
RATE_TOLERANCE = 5e-4
#: Videos that an error message names.
NAMED = 3


@dataclass(frozen=True)
class Partners:
    """The true video of each name, and how both are read."""

    videos: Mapping[str, Path]
    options: FolderOptions

    def scores(self, name: str, frames: Tensor) -> dict[str, float]:
        """Return `psnr` and `ssim` of a video's frames (T, 3, H, W) uint8.

        Raises:
            DataError: The true video is damaged.
        """
        try:
            true, _ = read_scaled(self.videos[name], self.options)
        except DECODING_ERRORS as error:
            raise DataError(f"its true video cannot be read: {error}") from error
        return paired_scores(frames, true)


def paired_scores(made: Tensor, true: Tensor) -> dict[str, float]:
    """Return PSNR in dB, at most `MAX_PSNR`, and SSIM of a video, computed by torchmetrics.

    PSNR is that of the squared error of all pixels of all frames; SSIM is the mean over frames of
    that of RGB in Gaussian windows of 11 pixels (Wang et al. 2004).

    Args:
        made: Generated frames (T, 3, H, W) uint8.
        true: True frames of the same shape.
    """
    from metrics import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

    # Processes that share a folder have different videos: nothing is summed over them.
    psnr = PeakSignalNoiseRatio(data_range=255.0, sync_on_compute=False)
    ssim = StructuralSimilarityIndexMeasure(data_range=255.0, sync_on_compute=False)
    for one, other in zip(made.split(CHUNK), true.split(CHUNK), strict=True):
        # Variances are differences of squares, which single precision loses in flat images.
        psnr.update(one.double(), other.double())
        ssim.update(one.double(), other.double())
    # as_tensor is for the type checker: SSIM can also return full images.
    similarity = float(torch.as_tensor(ssim.compute()))
    return {"psnr": min(float(psnr.compute()), MAX_PSNR), "ssim": similarity}


def find_partners(
    made: Mapping[str, Path], true: Mapping[str, Path], options: FolderOptions
) -> Partners:
    """Find the true video of every generated one, by name; there may be more true videos.

    Args:
        made: Generated videos by name.
        true: True videos by name.
        options: How both are read.

    Raises:
        SettingsError: A video has no partner, or one of another size, length or rate as read.
    """
    missing = [name for name in made if name not in true]
    if missing:
        raise SettingsError(
            f"--paired: {len(missing)} of {len(made)} videos have no true video of the same name "
            f"({_some(missing)}); add it, or leave out --paired."
        )
    different = []
    with GuardedProcess() as guarded:
        for name, path in made.items():
            try:
                one, other = (
                    guarded.call(plan_reading, place, options) for place in (path, true[name])
                )
            except DECODING_ERRORS:
                continue  # the scoring lists it with its reason
            if difference := _difference(one, other):
                different.append(f"{name}: {difference}")
    if different:
        raise SettingsError(
            f"--paired: {len(different)} of {len(made)} videos cannot be compared frame by frame "
            f"with their true ones ({_some(different)}); make them alike, read them alike with "
            "--fps, --seconds or --size, or leave out --paired."
        )
    return Partners({name: true[name] for name in made}, options)


def _difference(made: Reading, true: Reading) -> str:
    """Return why two videos cannot be compared frame by frame; empty if they can."""
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
