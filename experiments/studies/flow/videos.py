"""Study 1 on real clips, against an optical flow that knows nothing of stage 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.batch import to_unit
from datamodules.media.video import fit_image, read_frames
from experiments.studies.flow.measure import flow_errors, picture_scores, pixel_flow
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from metrics.functional.optical_flow import flow_between, to_gray

METHODS = ("dis", "farneback")


@torch.no_grad()
def measure_videos(
    network: LatentFlowAutoencoder,
    videos: Mapping[str, Path],
    frames: int,
    size: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """One row for each of `videos`: pictures against copying, flow against DIS and Farneback.

    `epe_dis` and so on: the mean distance to that method's flow over the pixels that it says move,
    and `epe_dis_zero` that of no flow. `l1_dis` is the foreground L1 of the reference warped by the
    method's own flow, to tell its mistakes from ours.
    """
    rows = []
    for number, (name, path) in enumerate(videos.items()):
        video = to_unit(fit_image(read_frames(path)[:frames], size))
        output = network(video[:1], video[None])
        ours = pixel_flow(network, output.latent_flow[0], size)
        row: dict[str, Any] = {"clip": name, "music": name}
        row |= picture_scores(video[:1], video, output.prediction[0], output.deformed[0])
        for method in METHODS:
            theirs = optical_flow(video, method)
            errors = flow_errors(ours, theirs)
            row |= {f"{key}_{method}": errors[key] for key in ("epe", "epe_zero", "angle")}
            warped = _warp(video[0], theirs)
            row[f"l1_{method}"] = picture_scores(video[:1], video, warped, warped)["l1"]
        rows.append(row)
        if progress is not None:
            progress(number + 1, len(videos))
    return rows


def optical_flow(video: Tensor, method: str) -> Tensor:
    """(T, H, W, 2) in pixels from every frame of (T, 3, H, W) to the first; `dis`, `farneback`."""
    between = flow_between(method)  # type: ignore[arg-type]
    grey = to_gray(video).numpy()
    return torch.stack([torch.from_numpy(between(frame, grey[0])) for frame in grey])


def _warp(reference: Tensor, flow: Tensor) -> Tensor:
    """(T, 3, H, W): the reference seen through displacements in pixels."""
    times, height, width = flow.shape[:3]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    position = flow + torch.stack([x, y], dim=-1)
    grid = position / torch.tensor([width - 1, height - 1]) * 2 - 1
    return torch.nn.functional.grid_sample(
        reference.expand(times, -1, -1, -1), grid, padding_mode="border", align_corners=True
    )
