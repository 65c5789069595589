"""Sampling grids: how latent flow moves an image or a feature map.

A grid holds, for every cell of its output, where to look in the input: (x, y), -1 and 1 at the
centers of the outer pixels. Shape letters: B batch, T grids an input, H W and h w sizes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

#: The published model spans its grids between the centers of the outer pixels, yet samples them as
#: if -1 and 1 were the outer edges. Weights trained so depend on the mismatch (the identity shrinks
#: an image by (n - 1) / n, 6% at 16 cells), so it is the default; networks that are trained here
#: may choose True, for which the identity moves nothing. Every sampling and resizing goes by it.
ALIGN_CORNERS = False


def geometry_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type that positions are computed in: float32 at least, whatever the features are in.

    Half-precision positions are a quarter of a pixel off at 128 x 128, and 2 x 2 inverses overflow.
    """
    return torch.float64 if dtype == torch.float64 else torch.float32


def coordinate_grid(height: int, width: int, like: Tensor) -> Tensor:
    """The identity: (height, width, 2), last axis (x, y), 2 i / (n - 1) - 1 along each axis."""
    dtype = geometry_dtype(like.dtype)

    def axis(n: int) -> Tensor:
        return 2 * torch.arange(n, dtype=dtype, device=like.device) / max(n - 1, 1) - 1

    y, x = torch.meshgrid(axis(height), axis(width), indexing="ij")
    return torch.stack([x, y], dim=-1)


def warp(image: Tensor, grid: Tensor, align_corners: bool = ALIGN_CORNERS) -> Tensor:
    """Samples `image` (B, C, H, W) at `grid` (B, T, h, w, 2): (B, T, C, h, w).

    Bilinear; zeros outside. The T grids of an input lie under one another in one call, so the
    input is never repeated.
    """
    batch, times, height, width = grid.shape[:4]
    dtype = geometry_dtype(image.dtype)
    with torch.autocast(image.device.type, enabled=False):
        sampled = F.grid_sample(
            image.to(dtype),
            grid.to(dtype).reshape(batch, times * height, width, 2),
            mode="bilinear",
            padding_mode="zeros",
            align_corners=align_corners,
        )
    sampled = sampled.reshape(batch, image.shape[1], times, height, width)
    return sampled.transpose(1, 2).to(image.dtype)


def resize_grid(
    grid: Tensor, height: int, width: int, align_corners: bool = ALIGN_CORNERS
) -> Tensor:
    """A grid (B, T, h, w, 2) resized bilinearly to (B, T, height, width, 2)."""
    if grid.shape[2:4] == (height, width):
        return grid
    return resize_map(grid.movedim(-1, 2), height, width, align_corners).movedim(2, -1)


def resize_map(
    maps: Tensor, height: int, width: int, align_corners: bool = ALIGN_CORNERS
) -> Tensor:
    """Maps (B, T, C, h, w) resized bilinearly to (B, T, C, height, width), in their own type."""
    if maps.shape[-2:] == (height, width):
        return maps
    resized = F.interpolate(
        maps.flatten(0, 1), size=(height, width), mode="bilinear", align_corners=align_corners
    )
    return resized.unflatten(0, maps.shape[:2])
