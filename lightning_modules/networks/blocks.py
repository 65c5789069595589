"""Convolution blocks of the latent-flow autoencoder.

Source: MRAA (Siarohin et al., CVPR 2021) and LFDM (Ni et al., CVPR 2023). Parameter names follow
the checkpoints those works publish, so that their weights load without a table of names.

There are two norms. Published weights were trained with `batch` and need it. With `group` the
output depends neither on the other items of a batch nor on the world size, so small batches,
several processes and evaluation compute the same function. The default is `batch`, for published
weights and because the quickstart's regions converged faster with it; under DDP it can be
synchronized (`stage1.train.sync_batch_norm`).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NORMS = ("batch", "group")
_GROUP_SIZE = 8  # channels per group; a width that 8 does not divide becomes one group


def make_norm(kind: str, channels: int) -> nn.Module:
    """Build an affine norm over `channels`: `batch` (momentum 0.1, eps 1e-5) or `group`."""
    if kind == "batch":
        return nn.BatchNorm2d(channels, eps=1e-5, momentum=0.1)
    if kind == "group":
        groups = channels // _GROUP_SIZE if channels % _GROUP_SIZE == 0 else 1
        return nn.GroupNorm(groups, channels, eps=1e-5)
    raise ValueError(f"norm is {kind!r}; it must be one of {', '.join(NORMS)}.")


class SameBlock(nn.Module):
    """Convolution k x k, norm, ReLU at one resolution."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, norm: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2)
        self.norm = make_norm(norm, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class DownBlock(nn.Module):
    """Convolution 3 x 3, norm, ReLU, then 2 x 2 average pooling."""

    def __init__(self, channels_in: int, channels_out: int, norm: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm = make_norm(norm, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.relu(self.norm(self.conv(x))), 2)


class UpBlock(nn.Module):
    """Nearest-neighbor doubling, convolution 3 x 3, norm, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, norm: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm = make_norm(norm, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))))


class ResBlock(nn.Module):
    """Residual block: norm, ReLU, convolution 3 x 3, twice."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm1 = make_norm(norm, channels)
        self.norm2 = make_norm(norm, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x)))
        return x + self.conv2(F.relu(self.norm2(y)))


def block_width(width: int, level: int, cap: int) -> int:
    """Return the channels at a level of an hourglass: width * 2^level, at most `cap`."""
    return min(cap, width * 2**level)


class Encoder(nn.Module):
    """Down blocks; returns the input and the map after each block, finest first."""

    def __init__(self, channels_in: int, width: int, blocks: int, cap: int, norm: str) -> None:
        super().__init__()
        widths = [channels_in, *(block_width(width, level + 1, cap) for level in range(blocks))]
        self.down_blocks = nn.ModuleList(DownBlock(a, b, norm) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [x]
        # Block i gives (N, min(cap, width 2^(i + 1)), H / 2^(i + 1), W / 2^(i + 1)).
        for block in self.down_blocks:
            maps.append(block(maps[-1]))
        return maps


class Decoder(nn.Module):
    """Up blocks; the output of each is concatenated with the encoder's map of the same size."""

    def __init__(self, channels_in: int, width: int, blocks: int, cap: int, norm: str) -> None:
        super().__init__()
        up_blocks = []
        for level in reversed(range(blocks)):
            below = block_width(width, level + 1, cap)
            # All blocks but the coarsest read the output of the block below and a skip connection.
            joined = below if level == blocks - 1 else 2 * below
            up_blocks.append(UpBlock(joined, block_width(width, level, cap), norm))
        self.up_blocks = nn.ModuleList(up_blocks)
        self.channels_out = block_width(width, 0, cap) + channels_in

    def forward(self, maps: list[Tensor]) -> Tensor:
        # From the coarsest map up: each block doubles the resolution of its input.
        x = maps[-1]
        for block, skip in zip(self.up_blocks, reversed(maps[:-1]), strict=True):
            x = torch.cat([block(x), skip], dim=1)
        return x


class Hourglass(nn.Module):
    """Encoder and decoder with skip connections at all levels, including the raw input.

    The output has `channels_out` = width + channels_in channels at the input's resolution. Sides
    must be multiples of 2^blocks, so that maps and their skip connections have equal sizes.
    """

    def __init__(self, channels_in: int, width: int, blocks: int, cap: int, norm: str) -> None:
        super().__init__()
        self.encoder = Encoder(channels_in, width, blocks, cap, norm)
        self.decoder = Decoder(channels_in, width, blocks, cap, norm)
        self.channels_out = self.decoder.channels_out

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class AntialiasedDownsample(nn.Module):
    """Depthwise Gaussian filter, then every `factor`-th pixel.

    sigma = (factor - 1) / 2, and the kernel has 2 round(4 sigma) + 1 taps per side (13 x 13 for a
    factor of 4); borders are padded with zeros. The kernel is the outer product of two normalized
    Gaussians. It is a buffer named `weight`, as in published checkpoints.
    """

    weight: Tensor

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        if factor > 1:
            sigma = (factor - 1) / 2
            radius = round(4 * sigma)
            offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
            line = torch.exp(-(offsets**2) / (2 * sigma**2))
            # Separable, but a depthwise 2-D kernel is what the published checkpoints store.
            kernel = torch.outer(line, line)
            kernel = (kernel / kernel.sum()).expand(channels, 1, -1, -1)
            self.register_buffer("weight", kernel.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        if self.factor == 1:
            return x
        weight = self.weight.to(x.dtype)
        padding = weight.shape[-1] // 2
        # A strided convolution computes only the pixels that are kept: (N, C, H / factor, ...).
        return F.conv2d(x, weight, stride=self.factor, padding=padding, groups=x.shape[1])
