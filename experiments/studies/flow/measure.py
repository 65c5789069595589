"""Errors of flows and pictures of one clip, in pixels; the parts of study 1 that are formulas.

A flow here is displacements (T, H, W, 2) in pixels from each pixel of a driving frame to where its
content lies in the reference.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_modules.losses import ssim
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.networks.warp import resize_grid, resize_map
from metrics.reconstruction import reconstruction_scores, reconstruction_sums

#: Pixels whose true displacement is at least this belong to the figure that moves.
MOVED_PX = 0.5
#: Directions are compared where the truth moves at least this far.
DIRECTED_PX = 1.0


def pixel_flow(network: LatentFlowAutoencoder, latent_flow: Tensor, size: int) -> Tensor:
    """Displacements (T, size, size, 2) in pixels of latent flow (T, 3, h, w), as decoded."""
    aligned: bool = network.config["align_corners"]
    grid = resize_grid(latent_flow[None, :, :2].movedim(2, -1), size, size, aligned)[0]
    scale = size - 1 if aligned else size
    positions = ((grid + 1) * scale - (0 if aligned else 1)) / 2
    own = torch.arange(size, dtype=grid.dtype)
    return positions - torch.stack(torch.meshgrid(own, own, indexing="xy"), dim=-1)


def pixel_occlusion(network: LatentFlowAutoencoder, latent_flow: Tensor, size: int) -> Tensor:
    """The occlusion map (T, size, size) of latent flow (T, 3, h, w)."""
    aligned: bool = network.config["align_corners"]
    return resize_map(latent_flow[None, :, 2:], size, size, aligned)[0, :, 0]


def flow_errors(found: Tensor, true: Tensor) -> dict[str, float]:
    """Errors of displacements (T, H, W, 2) in pixels, NaN where nothing moves.

    `epe`: mean end-point error over the moving pixels; `epe_zero` that of no flow, the mean length;
    `epe_all` over all pixels; `angle`: mean angle in degrees; `change`: mean error of the change
    from frame to frame (temporal consistency), `change_zero` that of no flow.
    """
    length = true.norm(dim=-1)
    error = (found - true).norm(dim=-1)
    moved, directed = length >= MOVED_PX, length >= DIRECTED_PX
    cosine = torch.nn.functional.cosine_similarity(found, true, dim=-1).clamp(-1, 1)
    step_true, step_found = true.diff(dim=0), found.diff(dim=0)
    either = moved[1:] | moved[:-1]
    return {
        "epe": _mean(error[moved]),
        "epe_zero": _mean(length[moved]),
        "epe_all": _mean(error),
        "angle": _mean(torch.rad2deg(cosine.acos())[directed]),
        "change": _mean((step_found - step_true).norm(dim=-1)[either]),
        "change_zero": _mean(step_true.norm(dim=-1)[either]),
        "speed": _mean(step_true.norm(dim=-1)[either]),
    }


def hidden_overlap(occlusion: Tensor, visible: Tensor) -> float:
    """Intersection over union of predicted (below 1/2) and true hidden pixels; NaN with neither."""
    found, true = occlusion < 0.5, visible < 0.5
    union = (found | true).sum()
    return float((found & true).sum() / union) if union else math.nan


def picture_scores(
    reference: Tensor, driving: Tensor, prediction: Tensor, deformed: Tensor
) -> dict[str, float]:
    """Foreground L1 and PSNR against copying, and SSIM, of (T, 3, H, W) frames in [0, 1].

    `reference` is (1, 3, H, W).
    """
    scores = reconstruction_scores(
        reconstruction_sums(reference, driving[None], prediction[None], deformed[None])
    )
    copied = reference.expand_as(driving)
    return {
        **scores,
        "ssim": float(ssim(prediction, driving).mean()),
        "ssim_copy": float(ssim(copied, driving).mean()),
    }


@torch.no_grad()
def in_between_scores(
    network: LatentFlowAutoencoder, reference: Tensor, driving: Tensor, latent_flow: Tensor
) -> dict[str, float]:
    """Is halfway between two flows the pose in between?

    Foreground L1 to the true middle frame of the decoded mean of the flows two frames apart,
    `between`, and of the better one of the two ends, `between_end`; foreground: where the ends
    differ. Below 1, `between_ratio` says that interpolation moves the figure.
    """
    middle = (latent_flow[:-2] + latent_flow[2:]) / 2
    made = network.decode(reference[None], middle[None])[0]
    ends = network.decode(reference[None], latent_flow[None])[0]
    truth = driving[1:-1]
    changed = (driving[2:] - driving[:-2]).abs().mean(1) > 0.05

    def error(frames: Tensor) -> Tensor:
        distance = (frames - truth).abs().mean(1) * changed
        return distance.sum((1, 2)) / changed.sum((1, 2))

    between = error(made)
    end = torch.minimum(error(ends[:-2]), error(ends[2:]))
    found = {"between": _mean(between[~between.isnan()]), "between_end": _mean(end[~end.isnan()])}
    return {**found, "between_ratio": found["between"] / found["between_end"]}


def _mean(values: Tensor) -> float:
    return float(values.mean()) if values.numel() else math.nan
