"""Convolutions with fixed random weights, a baseline for trained feature networks.

Their features are pooled responses to edges and blobs in space and time. `dabfusion study features`
shows that distances over them hardly react to damaged motion, which is why `DancerVideoFeatures` is
the default. Distances have their own scale.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

#: What the network sees of any video: frames evenly taken, scaled to a small square.
FRAMES = 16
SIZE = 32
DIMENSION = 64
WIDTHS = (3, 16, 32, 48, DIMENSION)


class FixedVideoFeatures(nn.Module):
    """Four strided 3-D convolutions with weights drawn from a fixed seed, pooled to 64 features."""

    dimension = DIMENSION
    digest = "fixed-random-convolutions:1"

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        layers: list[nn.Module] = []
        for place, (before, after) in enumerate(pairwise(WIDTHS)):
            stride = (1, 2, 2) if place == 0 else (2, 2, 2)
            layer = nn.Conv3d(before, after, 3, stride=stride, padding=1)
            with torch.no_grad():
                weights = torch.randn(layer.weight.shape, generator=random)
                layer.weight.copy_(weights * math.sqrt(2 / (27 * before)))
                layer.bias.zero_()  # type: ignore[union-attr]
            layers += [layer, nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers).requires_grad_(False).eval()

    def forward(self, video: Tensor) -> Tensor:
        """uint8 (B, T, 3, H, W) to features (B, 64), in batches of eight."""
        parts = [self.body(prepare(part)).mean((2, 3, 4)) for part in video.split(8)]
        return torch.cat(parts)


def prepare(video: Tensor) -> Tensor:
    """uint8 (B, T, 3, H, W) to (B, 3, 16, 32, 32) in [-1, 1]: even frames, area-scaled."""
    steps = torch.linspace(0, video.shape[1] - 1, FRAMES, device=video.device).round().long()
    frames = video[:, steps].to(torch.float32) / 127.5 - 1
    small = nn.functional.interpolate(frames.flatten(0, 1), (SIZE, SIZE), mode="area")
    return small.unflatten(0, (len(video), FRAMES)).transpose(1, 2).contiguous()
