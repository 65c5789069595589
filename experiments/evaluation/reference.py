"""Distances between a folder of generated videos and a folder of true ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from experiments.errors import SettingsError
from experiments.evaluation.folder import FolderOptions, read_scaled, videos_in
from experiments.evaluation.protocol import digest_of
from metrics.dancer_features import DancerVideoFeatures
from metrics.extractors import FeatureExtractor, TorchScriptExtractor
from metrics.functional.distances import (
    bootstrap_distance,
    frechet_distance,
    kernel_distance,
    mean_pairwise_distance,
    nearest_distances,
)

#: Frames a second at which videos are compared: a distance depends on it.
FPS = 10.0


def compare_folders(
    folder: Path,
    reference: Path,
    options: FolderOptions,
    extractor_path: Path | None = None,
    call: Literal["plain", "i3d"] = "plain",
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Frechet and kernel distance, diversity and copies, with intervals; and their protocol.

    All videos are read at one rate, cut to the shortest one's length and scaled to one square.
    Videos that cannot be read are left out; the score of the folder has listed them already.

    Args:
        folder: generated videos.
        reference: true videos.
        options: size, rate (10 if None) and length.
        extractor_path: see `extractor_of`.
        call: how a TorchScript network is called.

    Raises:
        SettingsError: fewer than two readable videos on a side.
    """
    extractor = extractor_of(extractor_path, call)
    at_rate = FolderOptions(size=options.size, fps=options.fps or FPS, seconds=options.seconds)
    made, true = _read_all(folder, at_rate), _read_all(reference, at_rate)
    for place, videos in ((folder, made), (reference, true)):
        if len(videos) < 2:
            raise SettingsError(
                f'"{place}" holds {len(videos)} readable videos; a distance needs at least two.'
            )
    frames = min(len(video) for video in [*made.values(), *true.values()])
    features = [
        torch.cat([_features(extractor, video[:frames], options.size) for video in side.values()])
        for side in (made, true)
    ]
    protocol = {
        "extractor": extractor.digest,
        "fps": at_rate.fps,
        "frames": frames,
        "size": options.size,
        "generated_videos": len(made),
        "true_videos": len(true),
        "true_digest": digest_of([[name, _digest(video)] for name, video in true.items()]),
    }
    return _distances(features[0], features[1]), protocol


def extractor_of(path: Path | None, call: Literal["plain", "i3d"] = "plain") -> FeatureExtractor:
    """The network of a file: TorchScript, or weights as `dabfusion study features` writes them.

    Args:
        path: the file, weights if it ends in .safetensors; None takes the weights that ship.
        call: how a TorchScript network is called.
    """
    if path is None:
        return DancerVideoFeatures()
    if path.suffix == ".safetensors":
        return DancerVideoFeatures(path)
    return TorchScriptExtractor(path, call)


def _distances(made: Tensor, true: Tensor) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, distance in (("frechet", frechet_distance), ("kernel", kernel_distance)):
        low, high = bootstrap_distance(true, made, distance)
        found[name] = {"mean": float(distance(true, made)), "low": low, "high": high}
    nearest = nearest_distances(made, true).mean()
    among = nearest_distances(true, true, leave_one_out=True).mean()
    plain = {
        "diversity": mean_pairwise_distance(made),
        "true_diversity": mean_pairwise_distance(true),
        "nearest_true": nearest,
        "nearest_among_true": among,
    }
    for name, value in plain.items():
        found[name] = {"mean": float(value), "low": None, "high": None}
    return found


def _read_all(folder: Path, options: FolderOptions) -> dict[str, Tensor]:
    videos = {}
    for name, path in videos_in(folder).items():
        try:
            videos[name], _ = read_scaled(path, options)
        except (OSError, ValueError, RuntimeError):
            continue
    return videos


def _features(extractor: FeatureExtractor, video: Tensor, size: int) -> Tensor:
    """(1, D) of a video (T, 3, H, W), letterboxed to a square with its own border colour."""
    height, width = video.shape[-2:]
    side = max(height, width)
    across, down = side - width, side - height
    margins = (across // 2, across - across // 2, down // 2, down - down // 2)
    square = torch.nn.functional.pad(video.float(), margins, mode="replicate")
    if side != size:
        square = torch.nn.functional.interpolate(square, (size, size), mode="bilinear")
    with torch.no_grad():
        return extractor(square.round().to(torch.uint8)[None]).double()


def _digest(video: Tensor) -> str:
    import hashlib

    return hashlib.sha256(video.contiguous().numpy().tobytes()).hexdigest()[:16]
