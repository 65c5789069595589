"""Sampling grids: warp images and feature maps by latent flow.

A grid holds for every cell of its output the position to sample in the input: (x, y), with -1 and 1
at the centers of the outer pixels. Shape letters: B batch, T grids per input, H W and h w sizes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

#: The published model defines its grids between the centers of the outer pixels, but samples them
#: as if -1 and 1 were the outer edges. Weights trained this way depend on the mismatch (the
#: identity grid shrinks an image by (n - 1) / n, 6% at 16 cells), so it is the default. Networks
#: trained here may use True, for which the identity grid changes nothing. All sampling and resizing
#: follows it.
ALIGN_CORNERS = False


def geometry_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type for positions: at least float32, whatever the type of the features.

    In half precision, positions have errors of a quarter of a pixel at 128 x 128, and inverses of
    2 x 2 matrices overflow.
    """
    return torch.float64 if dtype == torch.float64 else torch.float32


def coordinate_grid(height: int, width: int, like: Tensor) -> Tensor:
    """Return the identity grid (height, width, 2), (x, y): 2 i / (n - 1) - 1 along each axis."""
    dtype = geometry_dtype(like.dtype)

    def axis(n: int) -> Tensor:
        return 2 * torch.arange(n, dtype=dtype, device=like.device) / max(n - 1, 1) - 1

    y, x = torch.meshgrid(axis(height), axis(width), indexing="ij")
    return torch.stack([x, y], dim=-1)


def warp(image: Tensor, grid: Tensor, align_corners: bool = ALIGN_CORNERS) -> Tensor:
    """Sample images at T grids each, bilinearly, with zeros outside.

    Args:
        image: (B, C, H, W).
        grid: (B, T, h, w, 2) in [-1, 1].
        align_corners: See `ALIGN_CORNERS`.

    Returns:
        (B, T, C, h, w).
    """
    batch, times, height, width = grid.shape[:4]
    dtype = geometry_dtype(image.dtype)
    with torch.autocast(image.device.type, enabled=False):
        # The T grids of an input are stacked vertically, (B, T h, w, 2): the input is not repeated.
        sampled = F.grid_sample(
            image.to(dtype),
            grid.to(dtype).reshape(batch, times * height, width, 2),
            mode="bilinear",
            padding_mode="zeros",
            align_corners=align_corners,
        )
    # (B, C, T h, w) to (B, T, C, h, w), in the type of the image.
    sampled = sampled.reshape(batch, image.shape[1], times, height, width)
    return sampled.transpose(1, 2).to(image.dtype)


def resize_grid(
    grid: Tensor, height: int, width: int, align_corners: bool = ALIGN_CORNERS
) -> Tensor:
    """Resize grids (B, T, h, w, 2) bilinearly to (B, T, height, width, 2)."""
    if grid.shape[2:4] == (height, width):
        return grid
    return resize_map(grid.movedim(-1, 2), height, width, align_corners).movedim(2, -1)


def resize_map(
    maps: Tensor, height: int, width: int, align_corners: bool = ALIGN_CORNERS
) -> Tensor:
    """Resize maps (B, T, C, h, w) bilinearly to (B, T, C, height, width)."""
    if maps.shape[-2:] == (height, width):
        return maps
    resized = F.interpolate(
        maps.flatten(0, 1), size=(height, width), mode="bilinear", align_corners=align_corners
    )
    return resized.unflatten(0, maps.shape[:2])
