"""Image encoder and decoder around a warp in latent space.

Source: LFDM (Ni et al., CVPR 2023), section 3.1; MRAA (Siarohin et al., CVPR 2021), section 3.5.
Shape letters: B clips, T frames, C channels, H W pixels, h w latent cells.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_modules.networks.blocks import (
    DownBlock,
    ResBlock,
    SameBlock,
    UpBlock,
    block_width,
)
from lightning_modules.networks.warp import resize_grid, resize_map, warp

#: Half the side of the window, in latent cells, that hidden cells are filled from.
FILL_REACH = 4


def fill_from_surroundings(features: Tensor, share: Tensor) -> Tensor:
    """Replace occluded cells by the mean of the visible cells around them.

    What is occluded in the reference is mostly background, which the surrounding cells show. The
    published decoder reads zeros there and must infer the background's color; a shallow one
    produces gray.

    Args:
        features: (N, C, h, w).
        share: (N, 1, h, w) in [0, 1]: the visible share of each cell.

    Returns:
        (N, C, h, w): share * features + (1 - share) * the mean of `features` weighted by `share` in
        a window of 2 * `FILL_REACH` + 1 cells, smoothed once more.
    """
    seen = features * share
    # Weights are an extra channel, so that both are averaged alike: mean = sum(w x) / sum(w).
    both = torch.cat((seen, share), dim=1)
    for _ in range(2):
        both = F.avg_pool2d(both, 2 * FILL_REACH + 1, stride=1, padding=FILL_REACH)
    return seen + (1 - share) * both[:, :-1] / both[:, -1:].clamp(min=1e-3)


class Generator(nn.Module):
    """Encode a reference image, warp its feature maps and decode the driving frames.

    With `stem="unshuffle"` the first downsampling rearranges pixels into channels and the last
    upsampling is its inverse, so that no convolution runs at full resolution.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        cap: int,
        downsamplings: int,
        residual_blocks: int,
        skips: bool,
        align_corners: bool,
        kernel: int,
        stem: str,
        norm: str,
        fill_hidden: bool,
    ) -> None:
        super().__init__()
        self.skips = skips
        self.fill_hidden = fill_hidden
        self.align_corners = align_corners
        self.unshuffle = stem == "unshuffle"
        # Unshuffled pixels of 2 x 2 squares are channels, and replace one downsampling.
        pixels = channels * 4 if self.unshuffle else channels
        levels = downsamplings - 1 if self.unshuffle else downsamplings
        widths = [block_width(width, level, cap) for level in range(levels + 1)]
        self.channels_latent = widths[-1]
        self.first = SameBlock(pixels, widths[0], kernel, norm)
        pairs = list(pairwise(widths))
        self.down_blocks = nn.ModuleList(DownBlock(a, b, norm) for a, b in pairs)
        self.bottleneck = nn.Sequential()
        for i in range(residual_blocks):
            self.bottleneck.add_module(f"r{i}", ResBlock(widths[-1], norm))
        self.up_blocks = nn.ModuleList(UpBlock(b, a, norm) for a, b in reversed(pairs))
        self.final = nn.Conv2d(widths[0], pixels, kernel, padding=kernel // 2)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Encode images (B, C, H, W) to feature maps, finest first; the last is z (B, C, h, w)."""
        pixels = F.pixel_unshuffle(image, 2) if self.unshuffle else image
        maps = [self.first(pixels)]
        for block in self.down_blocks:
            maps.append(block(maps[-1]))
        return maps

    def decode(
        self, source: Tensor, maps: list[Tensor], flow: Tensor, occlusion: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decode frames from the warped feature maps of a reference.

        Args:
            source: Reference images, (B, C, H, W).
            maps: Their feature maps, from `encode`.
            flow: (B, T, h, w, 2), absolute sampling grids, predicted or generated.
            occlusion: (B, T, 1, h, w) in [0, 1].

        Returns:
            Frames (B, T, C, H, W) in [0, 1], and the same before the warped source was blended in.
        """
        times = flow.shape[1]

        def apply(skip: Tensor, previous: Tensor | None) -> Tensor:
            """Warp a map (B, C', H', W') to all T frames and blend it over the decoder's output."""
            # Grid and occlusion map are resized to the size of the map: moved is (B T, C', H', W').
            size = (skip.shape[-2], skip.shape[-1])
            grid = resize_grid(flow, *size, self.align_corners)
            moved = warp(skip, grid, self.align_corners).flatten(0, 1)
            share = resize_map(occlusion, *size, self.align_corners).flatten(0, 1).to(moved.dtype)
            if previous is None:
                # LFDM: the decoder reads m * warp(z, f).
                return fill_from_surroundings(moved, share) if self.fill_hidden else moved * share
            # MRAA, section 3.5: visible cells come from the reference, the others from the decoder.
            return torch.lerp(previous.to(moved.dtype), moved, share)

        # The coarsest map, z, is warped without a previous output to blend with.
        x = self.bottleneck(apply(maps[-1], None))
        for block, skip in zip(self.up_blocks, reversed(maps[1:]), strict=True):
            x = block(apply(skip, x) if self.skips else x)
        if self.skips:
            x = apply(maps[0], x)
        # (B T, C, H, W), or (B T, 4 C, H / 2, W / 2) with the unshuffled stem.
        x = self.final(x)
        raw = torch.sigmoid(F.pixel_shuffle(x, 2) if self.unshuffle else x)
        # At full resolution the warped image itself is blended in where it is visible.
        out = apply(source, raw) if self.skips else raw
        shape = (-1, times)
        return out.unflatten(0, shape), raw.unflatten(0, shape)
