"""Distances between a folder of generated videos and a folder of true ones."""

from __future__ import annotations

import functools
import hashlib
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.errors import SettingsError
from experiments.evaluation.folder import (
    DECODING_ERRORS,
    Failure,
    FolderOptions,
    plan_reading,
    read_scaled,
)
from experiments.evaluation.guarded import GuardedProcess
from experiments.evaluation.protocol import protocol_hash
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


@dataclass(frozen=True)
class Comparison:
    """What came of comparing two folders."""

    distances: Mapping[str, Interval]
    protocol: Mapping[str, Any]
    left_out: list[Failure] = field(default_factory=list)
    """Videos of either folder that are not part of the distances, and why."""


def compare_folders(
    made: Mapping[str, Path],
    true: Mapping[str, Path],
    options: FolderOptions,
    extractor_path: Path | None = None,
    call: Literal["plain", "i3d"] = "plain",
) -> Comparison:
    """Compute Frechet and kernel distance, diversity and copies, with intervals.

    All videos are read at one rate, scaled to one square and cut to the same length. So that one
    short clip does not decide that length, videos shorter than half the usual length are left out
    and reported; the usual length is the median of a folder, of the folder where it is smaller.
    Videos that cannot be read are left out and reported, too.

    Args:
        made: Generated videos by name.
        true: True videos by name.
        options: Size, rate (10 if None) and length.
        extractor_path: See `extractor_of`.
        call: How a TorchScript network is called.

    Raises:
        SettingsError: Fewer than two videos are left on a side.
    """
    extractor = extractor_of(extractor_path, call)
    at_rate = replace(options, fps=options.fps or FPS)
    sides = {"generated": made, "true": true}
    left_out: list[Failure] = []
    with GuardedProcess() as guarded:

        def guard(side: str, name: str, function: Any, *args: Any) -> Any:
            try:
                return guarded.call(function, *args)
            except DECODING_ERRORS as error:
                left_out.append(Failure.from_error(f"{side}/{name}", error))
                return None

        lengths = {
            side: {
                name: plan.frames
                for name, path in videos.items()
                if (plan := guard(side, name, plan_reading, path, at_rate)) is not None
            }
            for side, videos in sides.items()
        }
        frames, short = _common_length(lengths, at_rate)
        left_out += short
        skipped = {failure.name for failure in left_out}
        read: dict[str, dict[str, tuple[NDArray[np.float64], str]]] = {
            side: {
                name: found
                for name, path in videos.items()
                if f"{side}/{name}" not in skipped
                and (
                    found := guard(
                        side, name, _features_of, path, at_rate, frames, extractor_path, call
                    )
                )
                is not None
            }
            for side, videos in sides.items()
        }
    for side, features in read.items():
        if len(features) < 2:
            reasons = "; ".join(f"{failure.name}: {failure.reason}" for failure in left_out[:3])
            raise SettingsError(
                f"{len(features)} of the {side} videos can be compared, but a distance needs at "
                f"least two ({reasons})."
            )
    stacked = {
        side: torch.from_numpy(np.stack([vector for vector, _ in features.values()]))
        for side, features in read.items()
    }
    protocol = {
        "extractor": extractor.digest,
        "fps": at_rate.fps,
        "frames": frames,
        "size": options.size,
        "generated_videos": len(read["generated"]),
        "true_videos": len(read["true"]),
        "true_digest": protocol_hash([[name, pair[1]] for name, pair in read["true"].items()]),
    }
    return Comparison(_distances(stacked["generated"], stacked["true"]), protocol, left_out)


def _common_length(
    lengths: Mapping[str, Mapping[str, int]], options: FolderOptions
) -> tuple[int, list[Failure]]:
    """Return the frames to compare, and the videos that are too short for it."""
    usual = min((statistics.median(side.values()) for side in lengths.values() if side), default=0)
    needed = math.ceil(SHORTEST * usual)
    short = [
        Failure(
            f"{side}/{name}",
            f"{frames} frames at {options.fps:g} frames a second; shorter than {needed}, half the "
            "usual length.",
        )
        for side, videos in lengths.items()
        for name, frames in videos.items()
        if frames < needed
    ]
    long = [frames for side in lengths.values() for frames in side.values() if frames >= needed]
    return min(long, default=0), short


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


_loaded_extractor = functools.cache(extractor_of)


def _features_of(
    path: Path,
    options: FolderOptions,
    frames: int,
    extractor_path: Path | None,
    call: Literal["plain", "i3d"],
) -> tuple[NDArray[np.float64], str]:
    """Return the features (D,) of a video's first frames, and a digest of the whole video."""
    video, _ = read_scaled(path, options)
    digest = hashlib.sha256(video.contiguous().numpy().tobytes()).hexdigest()[:16]
    features = _features(_loaded_extractor(extractor_path, call), video[:frames], options.size)
    return features[0].numpy(), digest


def _distances(made: Tensor, true: Tensor) -> dict[str, Interval]:
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


def _features(extractor: FeatureExtractor, video: Tensor, size: int) -> Tensor:
    """Return features (1, D) of a video (T, 3, H, W), padded to a square by its border pixels."""
    height, width = video.shape[-2:]
    side = max(height, width)
    across, down = side - width, side - height
    margins = (across // 2, across - across // 2, down // 2, down - down // 2)
    square = torch.nn.functional.pad(video.float(), margins, mode="replicate")
    if side != size:
        square = torch.nn.functional.interpolate(square, (size, size), mode="bilinear")
    with torch.no_grad():
        return extractor(square.round().to(torch.uint8)[None]).double()
