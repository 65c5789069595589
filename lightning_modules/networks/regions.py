"""Region and background predictors: positions of body parts, and motion of the camera.

Source: MRAA (Siarohin et al., CVPR 2021), sections 3.1 to 3.3. Shape letters: N images, K regions,
H W pixels, h w heatmap cells. Positions: (x, y), -1 and 1 at the centers of the outer pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_modules.networks.affine2d import principal_affine
from lightning_modules.networks.blocks import AntialiasedDownsample, Encoder, Hourglass
from lightning_modules.networks.warp import coordinate_grid, geometry_dtype

AFFINES = ("pca", "regressed", "none")
STEMS = ("gaussian", "unshuffle")
BACKGROUNDS = ("zero", "shift", "affine", "perspective")


@dataclass(frozen=True)
class Regions:
    """K regions of N images; `affine` is None where only shifts are estimated."""

    shift: Tensor
    """(N, K, 2): the regions' centers."""
    covar: Tensor
    """(N, K, 2, 2): covariances of the heatmaps' positions."""
    affine: Tensor | None
    """(N, K, 2, 2): map the unit circle to the region, without its shift."""
    heatmap: Tensor
    """(N, K, h, w): each region's probability over the cells."""


class Stem(nn.Module):
    """Reduce an image to 1 / `factor` of its resolution: smoothed, or with pixels as channels.

    `unshuffle` keeps details that a Gaussian of 13 taps removes, such as limbs four pixels wide.
    """

    def __init__(self, kind: str, channels: int, factor: int) -> None:
        super().__init__()
        if kind not in STEMS:
            raise ValueError(f"stem is {kind!r}; it must be one of {', '.join(STEMS)}.")
        self.kind = kind
        self.factor = factor
        self.channels_out = channels if kind == "gaussian" else channels * factor**2
        self.down = AntialiasedDownsample(channels, factor) if kind == "gaussian" else None

    def forward(self, image: Tensor) -> Tensor:
        if self.down is not None:
            return self.down(image)
        return F.pixel_unshuffle(image, self.factor)


class RegionPredictor(nn.Module):
    """Predict the `Regions` of images (N, C, H, W) in [0, 1].

    `affine` is `pca` (principal axes of the heatmap), `regressed` (a map of 2 x 2 matrices,
    averaged under the heatmap; `shared_affine_map`: one map for all regions) or `none`.
    """

    def __init__(
        self,
        channels: int,
        regions: int,
        width: int,
        blocks: int,
        cap: int,
        scale: int,
        temperature: float,
        padding: int,
        kernel: int,
        affine: str,
        shared_affine_map: bool,
        stem: str,
        norm: str,
    ) -> None:
        super().__init__()
        if affine not in AFFINES:
            raise ValueError(f"affine is {affine!r}; it must be one of {', '.join(AFFINES)}.")
        self.temperature = temperature
        self.affine = affine
        stem_module = Stem(stem, channels, scale)
        # In published checkpoints the Gaussian is named `down.weight`.
        self.down = stem_module.down if stem_module.down is not None else stem_module
        self.predictor = Hourglass(stem_module.channels_out, width, blocks, cap, norm)
        features = self.predictor.channels_out
        self.regions = nn.Conv2d(features, regions, kernel, padding=padding)
        self.jacobian: nn.Conv2d | None = None
        if affine == "regressed":
            maps = 1 if shared_affine_map else regions
            self.jacobian = nn.Conv2d(features, 4 * maps, kernel, padding=padding)
            nn.init.zeros_(self.jacobian.weight)
            # Published start: the identity, half the image. Regions with their own map start at
            # a tenth, the size of a limb.
            size = 1.0 if shared_affine_map else 0.2
            assert self.jacobian.bias is not None
            with torch.no_grad():
                self.jacobian.bias.copy_(size * torch.eye(2).flatten().repeat(maps))

    def forward(self, images: Tensor) -> Regions:
        features = self.predictor(self.down(images))  # (N, channels_out, h, w)
        logits = self.regions(features)
        matrices = None if self.jacobian is None else self.jacobian(features)
        # Positions need float32: see `geometry_dtype`.
        with torch.autocast(images.device.type, enabled=False):
            return self._describe(logits, matrices)

    def _describe(self, logits: Tensor, matrices: Tensor | None) -> Regions:
        number, regions, height, width = logits.shape
        logits = logits.to(geometry_dtype(logits.dtype))
        # MRAA, section 3.1: a softmax over the cells, (N, K, h w), sharpened by the temperature.
        heatmap = (logits / self.temperature).flatten(2).softmax(dim=-1)
        grid = coordinate_grid(height, width, logits).reshape(-1, 2)
        # The center of a region is the mean position under its heatmap, (N, K, 2).
        shift = heatmap @ grid
        if matrices is None:
            # MRAA, section 3.2: second moments about the center, and their principal axes.
            offset = grid - shift[:, :, None]
            covar = torch.einsum("nkp,nkpi,nkpj->nkij", heatmap, offset, offset)
            affine = principal_affine(covar) if self.affine == "pca" else None
        else:
            # FOMM: a predicted matrix per cell, averaged under the heatmap, (N, K, 2, 2).
            maps = matrices.to(heatmap.dtype).reshape(number, -1, 4, height * width)
            affine = (heatmap[:, :, None] * maps).sum(dim=-1).reshape(number, regions, 2, 2)
            covar = affine @ affine.mT
        return Regions(shift, covar, affine, heatmap.reshape(number, regions, height, width))


class BackgroundPredictor(nn.Module):
    """Predict matrices (N, 3, 3) from pairs of images (N, 2 C, H, W), reference first.

    A matrix maps driving positions to reference positions in homogeneous coordinates. `zero` is the
    identity without weights; `shift`, `affine` and `perspective` predict 2, 6 and 8 numbers
    (the last row is (p, q, 1) in the last case, else (0, 0, 1)) and start from the identity.
    """

    def __init__(
        self, channels: int, kind: str, width: int, blocks: int, cap: int, norm: str
    ) -> None:
        super().__init__()
        if kind not in BACKGROUNDS:
            allowed = ", ".join(BACKGROUNDS)
            raise ValueError(f"background is {kind!r}; it must be one of {allowed}.")
        self.kind = kind
        if kind == "zero":
            return
        start = {
            "shift": [0.0, 0.0],
            "affine": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            "perspective": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
        }[kind]
        self.encoder = Encoder(2 * channels, width, blocks, cap, norm)
        self.fc = nn.Linear(min(cap, width * 2**blocks), len(start))
        nn.init.zeros_(self.fc.weight)
        with torch.no_grad():
            self.fc.bias.copy_(torch.tensor(start))

    def forward(self, pairs: Tensor) -> Tensor:
        dtype = geometry_dtype(pairs.dtype)
        matrix = torch.eye(3, dtype=dtype, device=pairs.device)
        if self.kind == "zero":
            return matrix.expand(len(pairs), 3, 3)
        # The coarsest map, averaged over positions, then 2, 6 or 8 numbers.
        numbers = self.fc(self.encoder(pairs)[-1].mean(dim=(2, 3))).to(dtype)
        # The first two rows, (N, 2, 3): a linear part and a shift.
        if self.kind == "shift":
            top = torch.cat([matrix[:2, :2].expand(len(pairs), 2, 2), numbers[..., None]], dim=-1)
        else:
            top = numbers[:, :6].reshape(-1, 2, 3)
        # The last row is (0, 0, 1) for affine motion.
        bottom = matrix[2:].expand(len(pairs), 1, 3)
        if self.kind == "perspective":
            row = torch.cat([numbers[:, 6:], torch.ones_like(numbers[:, :1])], dim=-1)
            bottom = row[:, None]
        return torch.cat([top, bottom], dim=1)
