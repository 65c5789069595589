"""Losses of stage 1, as pure functions.

Images are float (N, 3, H, W) in [0, 1]; every loss is a scalar mean, and `weight` is a map
(N, 1, H, W) of mean 1 with the weight of each pixel.

The published loss compares VGG-19 features on four scales (`perceptual`). The others need no
downloaded weights: absolute differences on four scales, of values and of gradients, and structural
similarity (Wang et al., 2004) in box windows, which a summed-area average makes cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_modules.networks.affine2d import inverse
from lightning_modules.networks.regions import Regions
from lightning_modules.networks.warp import coordinate_grid

SCALES = 4
#: Constants of SSIM for a data range of 1.
_SSIM_C1, _SSIM_C2 = 0.01**2, 0.03**2
_BOX = 7  # pixels a side of SSIM's window


class FeaturePyramid(Protocol):
    """Images (N, 3, H, W) to feature maps, as `VGG19Pyramid`."""

    def __call__(self, images: Tensor) -> list[Tensor]: ...


def foreground_weight(reference: Tensor, driving: Tensor, strength: float) -> Tensor:
    """(N, 1, H, W) of mean 1: pixels that differ between the frames count more.

    1 + strength |driving - reference| / mean |driving - reference|, then normalized: moving people
    are a small part of an image. Pairs without any difference get equal weights.
    """
    difference = (driving - reference).abs().mean(dim=1, keepdim=True)
    mean = difference.mean(dim=(2, 3), keepdim=True)
    weight = 1 + strength * difference / mean.clamp(min=1e-4)
    return weight / weight.mean(dim=(2, 3), keepdim=True)


def multiscale_l1(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted absolute difference, averaged over four scales, each half the previous one."""
    difference = prediction - target
    total = difference.new_zeros(())
    for scale in range(SCALES):
        if scale:
            # Averaging is linear, so the difference can be averaged instead of both images.
            difference, weight = F.avg_pool2d(difference, 2), F.avg_pool2d(weight, 2)
        total = total + (difference.abs() * weight).mean()
    return total / SCALES


def gradient_l1(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted absolute difference of horizontal and of vertical neighbor differences."""
    difference = prediction - target
    across = (difference[..., :, 1:] - difference[..., :, :-1]).abs() * weight[..., :, 1:]
    down = (difference[..., 1:, :] - difference[..., :-1, :]).abs() * weight[..., 1:, :]
    return across.mean() + down.mean()


def ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """Structural similarity (N, 3, h, w) in 7 x 7 boxes with stride 2; at most 1."""
    number = prediction.shape[0]
    stacked = torch.cat(
        [prediction, target, prediction.square(), target.square(), prediction * target]
    )
    means = F.avg_pool2d(stacked, _BOX, stride=2)
    mean_p, mean_t, square_p, square_t, product = means.split(number)
    variance_p = square_p - mean_p.square()
    variance_t = square_t - mean_t.square()
    covariance = product - mean_p * mean_t
    luminance = (2 * mean_p * mean_t + _SSIM_C1) / (mean_p.square() + mean_t.square() + _SSIM_C1)
    structure = (2 * covariance + _SSIM_C2) / (variance_p + variance_t + _SSIM_C2)
    return luminance * structure


def flow_variation(flow: Tensor) -> Tensor:
    """Total variation of flows (..., h, w, 2) without their identity grid, in latent cells."""
    height, width = flow.shape[-3:-1]
    residual = flow - coordinate_grid(height, width, flow)
    cells = residual * residual.new_tensor([width / 2, height / 2])
    across = (cells[..., :, 1:, :] - cells[..., :, :-1, :]).abs().mean()
    return across + (cells[..., 1:, :, :] - cells[..., :-1, :, :]).abs().mean()


def perceptual(features: FeaturePyramid, prediction: Tensor, target: Tensor) -> Tensor:
    """Sum over four scales and five VGG-19 maps of the mean absolute difference (MRAA).

    The scales 1, 1/2, 1/4, 1/8 are reduced by Gaussians of sigma (1 / scale - 1) / 2.
    """
    total = prediction.new_zeros(())
    for scale in range(SCALES):
        small_p, small_t = gaussian_reduce(prediction, 2**scale), gaussian_reduce(target, 2**scale)
        with torch.no_grad():
            wanted = features(small_t)
        for found, want in zip(features(small_p), wanted, strict=True):
            total = total + (found - want).abs().mean()
    return total


def gaussian_reduce(images: Tensor, factor: int) -> Tensor:
    """Reduce images by a factor: Gaussian of sigma (factor - 1) / 2, zeros outside."""
    if factor == 1:
        return images
    sigma = (factor - 1) / 2
    radius = round(4 * sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    line = torch.exp(-(offsets**2) / (2 * sigma**2))
    line = line / line.sum()
    channels = images.shape[1]
    # The Gaussian is separable, and each pass computes only the rows or columns that are kept.
    row = line.expand(channels, 1, 1, -1)
    images = F.conv2d(images, row, stride=(1, factor), padding=(0, radius), groups=channels)
    column = row.transpose(2, 3)
    return F.conv2d(images, column, stride=(factor, 1), padding=(radius, 0), groups=channels)


class ThinPlate:
    """Random smooth warps of N frames: affine noise plus thin-plate bending on a 5 x 5 grid.

    Source: Siarohin et al., FOMM (NeurIPS 2019), section 3.2; noise 0.05 and 0.005 as in MRAA.
    """

    affine_noise = 0.05
    bending_noise = 0.005
    points = 5

    def __init__(self, generators: Sequence[torch.Generator], device: torch.device) -> None:
        """Draw one warp per frame, each from its own CPU generator: independent of the batch."""
        affine, bending = [], []
        for generator in generators:
            affine.append(torch.randn(2, 3, generator=generator))
            bending.append(torch.randn(self.points**2, 2, generator=generator))
        identity = torch.eye(2, 3)
        self.matrix = (identity + self.affine_noise * torch.stack(affine)).to(device)
        self.bending = (self.bending_noise * torch.stack(bending)).to(device)
        self.controls = coordinate_grid(self.points, self.points, self.bending).reshape(-1, 2)

    def positions(self, points: Tensor) -> Tensor:
        """Map `points` (N, P, 2) to their warped positions."""
        offset = points[:, :, None] - self.controls
        squared = offset.square().sum(dim=-1)
        basis = 0.5 * squared * torch.log(squared + 1e-6)  # r^2 log r
        moved = points @ self.matrix[:, :, :2].mT + self.matrix[:, None, :, 2]
        return moved + basis @ self.bending

    def jacobian(self, points: Tensor) -> Tensor:
        """(N, P, 2, 2): derivatives of `positions` at `points` (N, P, 2)."""
        offset = points[:, :, None] - self.controls
        squared = offset.square().sum(dim=-1, keepdim=True)
        slope = torch.log(squared + 1e-6) + squared / (squared + 1e-6)
        bent = torch.einsum("nci,npcj->npij", self.bending, slope * offset)
        return self.matrix[:, None, :, :2] + bent

    def frames(self, images: Tensor) -> Tensor:
        """Warp images (N, 3, H, W): the pixel at p shows what was at `positions(p)`."""
        height, width = images.shape[-2:]
        grid = coordinate_grid(height, width, images).reshape(1, -1, 2)
        moved = self.positions(grid.expand(len(images), -1, -1)).reshape(-1, height, width, 2)
        return F.grid_sample(images, moved, padding_mode="reflection", align_corners=True)


def equivariance(plain: Regions, warped: Regions, warp: ThinPlate) -> tuple[Tensor, Tensor]:
    """Equivariance losses for regions of frames and of `warp.frames(frames)` (MRAA, eq. 8).

    Shift: |positions(shift_warped) - shift|. Affine: |I - affine^-1 J affine_warped| with J the
    Jacobian at the warped shift, with the sign corrected as for the flow; zero without affine maps.
    """
    shift = (plain.shift - warp.positions(warped.shift)).abs().mean()
    if plain.affine is None or warped.affine is None:
        return shift, shift.new_zeros(())
    jacobian = warp.jacobian(warped.shift)
    product = inverse(plain.affine) @ (jacobian @ warped.affine)
    product = torch.where(product[..., :1, :1] < 0, -product, product)
    identity = torch.eye(2, dtype=product.dtype, device=product.device)
    return shift, (identity - product).abs().mean()
