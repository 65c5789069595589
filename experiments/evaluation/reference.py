"""Comparisons of generated videos with true ones.

`compare_folders` computes distances between two folders. `paired_scores` computes PSNR and SSIM of
a generated video against the true video of the same name: whether it repeats the true one frame by
frame. A good dance that differs from the recorded one scores low, so they are useful for
reconstructions and say little about generation.
"""

from __future__ import annotations

import functools
import hashlib
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from datamodules.errors import DataError
from experiments.errors import SettingsError
from experiments.evaluation.evaluations import protocol_hash
from experiments.evaluation.folder import FolderOptions, Reading, plan_reading, read_scaled
from experiments.evaluation.guarded import DECODING_ERRORS, Failure, GuardedProcess
from metrics.dancer_features import DancerVideoFeatures
from metrics.extractors import FeatureExtractor, TorchScriptExtractor
from metrics.functional.bootstrap import Interval
from metrics.functional.distances import (
    bootstrap_distance,
    frechet_distance,
    kernel_distance,
    mean_pairwise_distance,
    nearest_distances,
)

#: Frames a second at which videos are compared by default: distances depend on it.
FPS = 10.0
#: Videos shorter than this share of the usual length are left out of a distance.
SHORTEST = 0.5
#: PSNR of equal videos in dB, and the largest that is reported: infinity would make every mean
#: infinite. For 8 bits, libvmaf's `psnr` has the same limit (6 dB a bit, plus 12).
MAX_PSNR = 60.0
#: The part of the protocol on paired scores; the true pixels are in that of the reference.
PAIRED_PROTOCOL = {"scores": ["psnr", "ssim"], "data_range": 255, "most_psnr": MAX_PSNR}
#: Frames compared at a time: SSIM keeps five blurred copies of them.
CHUNK = 32
#: Relative difference up to which two frame rates count as equal: a file's clock is rounded, but
#: 29.97 and 30 differ.
RATE_TOLERANCE = 5e-4
#: Videos that an error message names.
NAMED = 3


@dataclass(frozen=True)
class Comparison:
    """Distances between two folders, and which videos (`SIDE/NAME`) are not part of them."""

    distances: Mapping[str, Interval]
    protocol: Mapping[str, Any]
    left_out: list[Failure]


def compare_folders(
    made: Mapping[str, Path],
    true: Mapping[str, Path],
    options: FolderOptions,
    extractor_path: Path | None = None,
    call: Literal["plain", "i3d"] = "plain",
) -> Comparison:
    """Compute Frechet and kernel distance, diversity and copies, with intervals.

    All videos are read at one rate (10 by default), scaled to one square and cut to the same
    length. So that one short clip does not decide that length, videos shorter than half the usual
    length are left out and reported; the usual length is the median of a folder, of the folder
    where it is smaller. Videos that cannot be read are left out and reported, too.

    Raises:
        SettingsError: Fewer than two videos are left on a side.
    """
    digest = extractor_of(extractor_path, call).digest
    at_rate = replace(options, fps=options.fps or FPS)
    sides = {"generated": made, "true": true}
    kept: dict[str, dict[str, tuple[Tensor, str]]] = {side: {} for side in sides}
    left_out: list[Failure] = []
    with GuardedProcess() as guarded:
        plans = {
            (side, name): guarded.attempt(f"{side}/{name}", plan_reading, path, at_rate)
            for side, videos in sides.items()
            for name, path in videos.items()
        }
        lengths = {key: plan.frames for key, plan in plans.items() if isinstance(plan, Reading)}
        by_side = [[n for key, n in lengths.items() if key[0] == side] for side in sides]
        usual = min((statistics.median(side) for side in by_side if side), default=0)
        needed = math.ceil(SHORTEST * usual)
        frames = min((length for length in lengths.values() if length >= needed), default=0)
        for (side, name), plan in plans.items():
            found: Any = plan
            if isinstance(plan, Reading) and plan.frames < needed:
                found = Failure(
                    f"{side}/{name}",
                    f"{plan.frames} frames at {at_rate.fps:g} frames a second; shorter than "
                    f"{needed}, half the usual length.",
                )
            elif isinstance(plan, Reading):
                words = sides[side][name], at_rate, frames, extractor_path, call
                found = guarded.attempt(f"{side}/{name}", _features_of, *words)
            if isinstance(found, Failure):
                left_out.append(found)
            else:
                kept[side][name] = found
    for side, read in kept.items():
        if len(read) < 2:
            reasons = "; ".join(f"{failure.name}: {failure.reason}" for failure in left_out[:3])
            raise SettingsError(
                f"{len(read)} of the {side} videos can be compared, but a distance needs at "
                f"least two ({reasons})."
            )
    features = [torch.stack([vector for vector, _ in read.values()]) for read in kept.values()]
    protocol = {
        "extractor": digest,
        "fps": at_rate.fps,
        "frames": frames,
        "size": options.size,
        "generated_videos": len(kept["generated"]),
        "true_videos": len(kept["true"]),
        "true_digest": protocol_hash([[name, found[1]] for name, found in kept["true"].items()]),
    }
    return Comparison(_distances(*features), protocol, left_out)


@functools.cache
def extractor_of(path: Path | None, call: Literal["plain", "i3d"] = "plain") -> FeatureExtractor:
    """Load a feature network: TorchScript, or weights as `dabfusion study features` writes them.

    Args:
        path: The file, weights if it ends in .safetensors; None takes the weights of the package.
        call: How a TorchScript network is called.
    """
    if path is None:
        return DancerVideoFeatures()
    if path.suffix == ".safetensors":
        return DancerVideoFeatures(path)
    return TorchScriptExtractor(path, call)


def _features_of(
    path: Path,
    options: FolderOptions,
    frames: int,
    extractor_path: Path | None,
    call: Literal["plain", "i3d"],
) -> tuple[Tensor, str]:
    """Return the features (D,) of a video's first frames, and a digest of the whole video."""
    video, _ = read_scaled(path, options)
    digest = hashlib.sha256(video.contiguous().numpy().tobytes()).hexdigest()[:16]
    # Pad (T, 3, H, W) to a square by its border pixels.
    height, width = video.shape[-2:]
    side = max(height, width)
    across, down = side - width, side - height
    margins = (across // 2, across - across // 2, down // 2, down - down // 2)
    square = torch.nn.functional.pad(video[:frames].float(), margins, mode="replicate")
    if side != options.size:
        size = (options.size, options.size)
        square = torch.nn.functional.interpolate(square, size, mode="bilinear")
    with torch.no_grad():
        features = extractor_of(extractor_path, call)(square.round().to(torch.uint8)[None])
    return features[0].double(), digest


def _distances(made: Tensor, true: Tensor) -> dict[str, Interval]:
    """Return distances between features (N, D) and (M, D), with intervals where there are any."""
    found = {}
    for name, distance in (("frechet", frechet_distance), ("kernel", kernel_distance)):
        low, high = bootstrap_distance(true, made, distance)
        found[name] = Interval(float(distance(true, made)), low, high, len(made), len(made))
    plain = {
        "diversity": mean_pairwise_distance(made),
        "true_diversity": mean_pairwise_distance(true),
        "nearest_true": nearest_distances(made, true).mean(),
        "nearest_among_true": nearest_distances(true, true, leave_one_out=True).mean(),
    }
    for name, value in plain.items():
        found[name] = Interval(float(value), math.nan, math.nan, len(made), len(made))
    return found


@dataclass(frozen=True)
class Partners:
    """The true video of each name, and how both are read."""

    videos: Mapping[str, Path]
    options: FolderOptions

    def scores(self, name: str, frames: Tensor) -> dict[str, float]:
        """Return `psnr` and `ssim` of a video's frames (T, 3, H, W) uint8."""
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
            one, other = (
                guarded.attempt(name, plan_reading, p, options) for p in (path, true[name])
            )
            if isinstance(one, Failure) or isinstance(other, Failure):
                continue  # the scoring lists it with its reason
            alike = math.isclose(one.fps, other.fps, rel_tol=RATE_TOLERANCE)
            sizes = f"{one.width}x{one.height}", f"{other.width}x{other.height}"
            facts = [
                (sizes[0] == sizes[1], f"{sizes[0]} pixels against {sizes[1]}"),
                (one.frames == other.frames, f"{one.frames} frames against {other.frames}"),
                (alike, f"{one.fps:.5g} frames a second against {other.fps:.5g}"),
            ]
            if differences := ", ".join(text for same, text in facts if not same):
                different.append(f"{name}: {differences}")
    if different:
        raise SettingsError(
            f"--paired: {len(different)} of {len(made)} videos cannot be compared frame by frame "
            f"with their true ones ({_some(different)}); make them alike, read them alike with "
            "--fps, --seconds or --size, or leave out --paired."
        )
    return Partners({name: true[name] for name in made}, options)


def _some(items: list[str]) -> str:
    more = [] if len(items) <= NAMED else [f"{len(items) - NAMED} more"]
    return "; ".join([*items[:NAMED], *more])
