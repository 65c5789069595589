"""Pixelwise flow predictor: which of K + 1 motions each cell follows, and what is occluded.

Source: MRAA (Siarohin et al., CVPR 2021), section 3.4. Shape letters: B clips, T frames, K regions,
h w latent cells.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_modules.networks.affine2d import (
    apply_matrix,
    mahalanobis_squared,
    relative_affine,
)
from lightning_modules.networks.blocks import AntialiasedDownsample, Hourglass
from lightning_modules.networks.regions import Regions
from lightning_modules.networks.warp import coordinate_grid, geometry_dtype, warp


class FlowPredictor(nn.Module):
    """Predict flow and occlusion from the regions of references (B) and driving frames (B T).

    `prior` adds that multiple of each region's driving heatmap to its logit, and
    `prior_background` a constant to the background's, so that limbs follow their own region from
    the start of training (0 as published).
    """

    def __init__(
        self,
        channels: int,
        regions: int,
        width: int,
        blocks: int,
        cap: int,
        scale: int,
        kernel: int,
        estimate_occlusion: bool,
        deformed_source: bool,
        covariance_heatmaps: bool,
        region_variance: float,
        correct_sign: bool,
        least_determinant: float,
        prior: float,
        prior_background: float,
        align_corners: bool,
        stem: str,
        norm: str,
    ) -> None:
        super().__init__()
        self.deformed_source = deformed_source
        self.covariance_heatmaps = covariance_heatmaps
        self.region_variance = region_variance
        self.correct_sign = correct_sign
        self.least_determinant = least_determinant
        self.prior = prior
        self.prior_background = prior_background
        self.align_corners = align_corners
        self.down = (
            AntialiasedDownsample(channels, scale) if stem == "gaussian" else nn.AvgPool2d(scale)
        )
        # Each candidate motion has one heatmap and, with `deformed_source`, a warped image.
        candidate_channels = 1 + (channels if deformed_source else 0)
        self.hourglass = Hourglass((regions + 1) * candidate_channels, width, blocks, cap, norm)
        features = self.hourglass.channels_out
        self.mask = nn.Conv2d(features, regions + 1, kernel, padding=kernel // 2)
        self.occlusion = (
            nn.Conv2d(features, 1, kernel, padding=kernel // 2) if estimate_occlusion else None
        )

    def forward(
        self, source: Tensor, reference: Regions, driving: Regions, background: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Predict flow and occlusion.

        Args:
            source: Reference images, (B, C, H, W).
            reference: Regions of the B reference images.
            driving: Regions of the B T driving frames, in clip order.
            background: (B T, 3, 3) motion of the background; None for a static camera.

        Returns:
            Flow (B, T, h, w, 2), an absolute sampling grid in [-1, 1], and occlusion
            (B, T, 1, h, w) in [0, 1]; all ones without an occlusion head.
        """
        batch = source.shape[0]
        # All B T driving frames were described at once; T follows from their number.
        times = driving.shift.shape[0] // batch
        small = self.down(source)  # (B, C, h, w)
        height, width = small.shape[-2:]
        grid = coordinate_grid(height, width, source)
        with torch.autocast(source.device.type, enabled=False):
            # MRAA, section 3.4: differences of Gaussian heatmaps show where each region moved.
            # (B, T, K, h, w); then a map of zeros in front for the background.
            driving_map = self._region_heatmap(driving, grid).unflatten(0, (batch, times))
            heatmaps = driving_map - self._region_heatmap(reference, grid)[:, None]
            heatmaps = F.pad(heatmaps, (0, 0, 0, 0, 1, 0))
            candidates = self._candidates(reference, driving, background, grid, batch)
        inputs = heatmaps[:, :, :, None]  # (B, T, K + 1, 1, h, w)
        if self.deformed_source:
            # The reference warped by each candidate motion: (B, T, K + 1, C, h, w).
            moved = warp(small, candidates.flatten(1, 2), self.align_corners)
            moved = moved.unflatten(1, candidates.shape[1:3])
            inputs = torch.cat([inputs, moved.to(inputs.dtype)], dim=3)
        # Candidates become channels: (B T, (K + 1) (1 + C), h, w).
        features = self.hourglass(inputs.to(source.dtype).flatten(2, 3).flatten(0, 1))
        # (B, T, K + 1, h, w): how strongly each cell follows each motion.
        logits = self.mask(features).to(geometry_dtype(source.dtype)).unflatten(0, (batch, times))
        if self.prior or self.prior_background:
            logits = logits + F.pad(
                self.prior * driving_map, (0, 0, 0, 0, 1, 0), value=self.prior_background
            )
        # MRAA, section 3.4: the flow is the mean of the candidate motions under softmax masks.
        flow = (logits.softmax(dim=2)[..., None] * candidates).sum(dim=2)
        if self.occlusion is None:
            return flow, torch.ones_like(flow[..., 0])[:, :, None]
        # (B T, 1, h, w): a probability per cell.
        occlusion = self.occlusion(features).to(flow.dtype).sigmoid()
        return flow, occlusion.unflatten(0, (batch, times))

    def _region_heatmap(self, regions: Regions, grid: Tensor) -> Tensor:
        """Return (N, K, h, w): exp(-d^T covar^-1 d / 2), d being the offset from the center."""
        offset = grid - regions.shift[:, :, None, None]  # (N, K, h, w, 2)
        if self.covariance_heatmaps:
            distance = mahalanobis_squared(offset, regions.covar[:, :, None, None])
        else:
            distance = offset.square().sum(dim=-1) / self.region_variance
        return torch.exp(-distance / 2)

    def _candidates(
        self,
        reference: Regions,
        driving: Regions,
        background: Tensor | None,
        grid: Tensor,
        batch: int,
    ) -> Tensor:
        """Return (B, T, K + 1, h, w, 2): the reference positions of each candidate motion."""

        def by_clip(x: Tensor) -> Tensor:
            return x.unflatten(0, (batch, -1))

        # First-order model around each region:
        # position -> shift_ref + A_ref A_driving^-1 (position - shift_driving).
        offset = grid - by_clip(driving.shift)[:, :, :, None, None]
        if reference.affine is not None and driving.affine is not None:
            affine = relative_affine(
                reference.affine[:, None],
                by_clip(driving.affine),
                self.correct_sign,
                self.least_determinant,
            )
            offset = apply_matrix(affine[:, :, :, None, None], offset)
        regions = offset + reference.shift[:, None, :, None, None]
        if background is None:
            still = grid.expand(*regions.shape[:2], 1, *grid.shape)
            return torch.cat([still, regions], dim=2)
        # Homogeneous coordinates: (x, y, depth) = matrix (x, y, 1), then divided by the depth.
        matrix = by_clip(background)[:, :, None, None, None]
        moved = apply_matrix(matrix[..., :2, :2], grid) + matrix[..., :2, 2]
        depth = (matrix[..., 2, :2] * grid).sum(dim=-1) + matrix[..., 2, 2]
        # On a horizon inside the image the depth is 0: avoid the division by zero.
        depth = torch.where(depth.abs() < 1e-6, torch.full_like(depth, 1e-6), depth)
        return torch.cat([moved / depth[..., None], regions], dim=2)
