"""Formulas of the flow study: errors of the flow and of the frames of one clip.

A pixel flow is displacements (T, H, W, 2) in pixels, from each pixel of a driving frame to the
position of its content in the reference.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_modules.losses import ssim
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.networks.warp import resize_grid, resize_map
from metrics.reconstruction import reconstruction_scores, reconstruction_sums

#: Pixels whose true displacement is at least this belong to the moving figure.
MOVED_PX = 0.5
#: Directions are compared where the true displacement is at least this long.
DIRECTED_PX = 1.0


def pixel_flow(network: LatentFlowAutoencoder, latent_flow: Tensor, size: int) -> Tensor:
    """Return the displacements (T, size, size, 2) in pixels of latent flow (T, 3, h, w)."""
    aligned: bool = network.config["align_corners"]
    grid = resize_grid(latent_flow[None, :, :2].movedim(2, -1), size, size, aligned)[0]
    scale = size - 1 if aligned else size
    positions = ((grid + 1) * scale - (0 if aligned else 1)) / 2
    own = torch.arange(size, dtype=grid.dtype)
    return positions - torch.stack(torch.meshgrid(own, own, indexing="xy"), dim=-1)


def pixel_occlusion(network: LatentFlowAutoencoder, latent_flow: Tensor, size: int) -> Tensor:
    """Return the occlusion map (T, size, size) of latent flow (T, 3, h, w)."""
    aligned: bool = network.config["align_corners"]
    return resize_map(latent_flow[None, :, 2:], size, size, aligned)[0, :, 0]


def flow_errors(found: Tensor, true: Tensor) -> dict[str, float]:
    """Return errors of displacements (T, H, W, 2) in pixels, NaN where nothing moves.

    `epe`: mean end-point error over the moving pixels; `epe_zero`: the same for zero flow (the mean
    length); `epe_all`: over all pixels; `angle`: mean angle in degrees; `change`: mean error of the
    change from frame to frame (temporal consistency); `change_zero`: the same for zero flow.
    """
    length = true.norm(dim=-1)
    error = (found - true).norm(dim=-1)
    moved, directed = length >= MOVED_PX, length >= DIRECTED_PX
    cosine = torch.nn.functional.cosine_similarity(found, true, dim=-1).clamp(-1, 1)
    step_true, step_found = true.diff(dim=0), found.diff(dim=0)
    either = moved[1:] | moved[:-1]
    speed = _mean(step_true.norm(dim=-1)[either])
    return {
        "epe": _mean(error[moved]),
        "epe_zero": _mean(length[moved]),
        "epe_all": _mean(error),
        "angle": _mean(torch.rad2deg(cosine.acos())[directed]),
        "change": _mean((step_found - step_true).norm(dim=-1)[either]),
        "change_zero": speed,
        "speed": speed,
    }


def hidden_overlap(occlusion: Tensor, visible: Tensor) -> float:
    """Return the IoU of predicted (below 1/2) and true hidden pixels; NaN if there are none."""
    found, true = occlusion < 0.5, visible < 0.5
    union = (found | true).sum()
    return float((found & true).sum() / union) if union else math.nan


def frame_scores(
    reference: Tensor, driving: Tensor, prediction: Tensor, deformed: Tensor
) -> dict[str, float]:
    """Return foreground L1, PSNR and SSIM of frames, and of copying the reference.

    Args:
        reference: (1, 3, H, W) in [0, 1].
        driving: (T, 3, H, W), the true frames.
        prediction: (T, 3, H, W), the decoded frames.
        deformed: (T, 3, H, W), the warped reference.
    """
    sums = reconstruction_sums(reference, driving[None], prediction[None], deformed[None])
    return {
        **reconstruction_scores(sums),
        "ssim": float(ssim(prediction, driving).mean()),
        "ssim_copy": float(ssim(reference.expand_as(driving), driving).mean()),
    }


@torch.no_grad()
def in_between_scores(
    network: LatentFlowAutoencoder, reference: Tensor, driving: Tensor, latent_flow: Tensor
) -> dict[str, float]:
    """Measure whether the mean of two flows is the pose in between.

    `between`: foreground L1 to the true middle frame of the decoded mean of the flows two frames
    apart; `between_end`: of the better one of the two ends; `between_ratio`: their ratio, which is
    below 1 if interpolation moves the figure. The foreground is where the two ends differ.

    Args:
        network: The autoencoder.
        reference: (3, H, W) in [0, 1].
        driving: (T, 3, H, W), the true frames.
        latent_flow: (T, 3, h, w) of the frames.
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
