"""Known corruptions of videos, and how the distances over a feature network respond to them.

No network was trained on them. Distances are expressed in units of their own sampling error, so
that networks whose features have different scales can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from metrics.extractors import FeatureExtractor
from metrics.functional.distances import Distance

Damage = Callable[[Tensor, float, torch.Generator], Tensor]


def blur(frames: Tensor, level: float, _: torch.Generator) -> Tensor:
    """Apply a Gaussian blur with a standard deviation of `level` pixels."""
    radius = int(3 * level + 0.5)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / level) ** 2)
    taps = (taps / taps.sum()).repeat(3, 1)
    padded = nn.functional.pad(frames.float(), [radius] * 4, mode="replicate")
    across = nn.functional.conv2d(padded, taps[:, None, None], groups=3)
    return _bytes(nn.functional.conv2d(across, taps[:, None, :, None], groups=3))


def noise(frames: Tensor, level: float, random: torch.Generator) -> Tensor:
    """Add Gaussian noise with a standard deviation of `level` of 255 to every pixel."""
    return _bytes(frames + level * torch.randn(frames.shape, generator=random))


def freeze(frames: Tensor, level: float, _: torch.Generator) -> Tensor:
    """Hold every frame for `level` frames."""
    return frames[torch.arange(len(frames)) // int(level) * int(level)]


def shuffle(frames: Tensor, level: float, random: torch.Generator) -> Tensor:
    """Permute the frames within consecutive stretches of `level` frames."""
    stretches = torch.arange(len(frames)).split(int(level))
    order = [part[torch.randperm(len(part), generator=random)] for part in stretches]
    return frames[torch.cat(order)]


def wobble(frames: Tensor, level: float, random: torch.Generator) -> Tensor:
    """Warp every frame by a smooth random field of `level` pixels (standard deviation)."""
    count, _, height, width = frames.shape
    coarse = torch.randn(count, 2, 6, 6, generator=random)
    field = nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    down, across = torch.meshgrid(
        torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij"
    )
    grid = torch.stack([across, down], -1) + field.movedim(1, -1) * (2 * level / width)
    warped = nn.functional.grid_sample(
        frames.float(), grid, padding_mode="border", align_corners=True
    )
    return _bytes(warped)


#: Corruptions of frames (T, 3, H, W) uint8 with their levels, from barely visible to obvious.
DAMAGES: dict[str, tuple[Damage, tuple[float, ...]]] = {
    "blur": (blur, (0.5, 1, 2, 4)),
    "noise": (noise, (4, 8, 16, 32)),
    "wobble": (wobble, (0.5, 1, 2, 4)),
    "frozen frames": (freeze, (2, 4, 8, 40)),
    "shuffled frames": (shuffle, (2, 4, 8, 40)),
}


def _bytes(frames: Tensor) -> Tensor:
    return frames.round().clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class Noticed:
    """How one distance over one network responds."""

    distances: dict[str, list[float]]
    """Distance of the corrupted half to the clean half, at each level of each corruption."""
    clean: float
    """Mean distance of two clean halves."""
    spread: float
    """Standard deviation of that over random halves."""

    def standard_scores(self, damage: str) -> list[float]:
        """Return the distances above that of clean halves, in standard deviations of the latter."""
        return [(value - self.clean) / self.spread for value in self.distances[damage]]

    def is_monotone(self, damage: str) -> bool:
        """Return whether the distance increases from clean videos over every level."""
        ladder = [self.clean, *self.distances[damage]]
        return all(low < high for low, high in pairwise(ladder))


@torch.no_grad()
def notice(
    networks: Mapping[str, FeatureExtractor],
    videos: Tensor,
    distances: Mapping[str, Distance],
    seed: int,
    splits: int = 20,
) -> dict[str, dict[str, Noticed]]:
    """Corrupt one half of the videos and measure its distance to the other half.

    Every distance is a mean over the same random halves, so it depends less on which videos are in
    which half.

    Args:
        networks: Feature networks by name; all of them get the same corrupted videos.
        videos: (N, T, 3, H, W) uint8, clean.
        distances: `frechet_distance` and the like by name.
        seed: Seed of the corruptions and of the halves.
        splits: Number of random halves.

    Returns:
        The responses by network and distance.
    """
    random = torch.Generator().manual_seed(seed)
    halves = [torch.randperm(len(videos), generator=random).chunk(2) for _ in range(splits)]
    clean = {name: network(videos).double() for name, network in networks.items()}

    def apart(features: Mapping[str, Tensor], network: str, distance: str) -> Tensor:
        true, other = clean[network], features[network]
        return torch.stack([distances[distance](true[one], other[two]) for one, two in halves])

    found: dict[str, dict[str, Noticed]] = {network: {} for network in networks}
    for network in networks:
        for distance in distances:
            same = apart(clean, network, distance)
            found[network][distance] = Noticed({}, float(same.mean()), float(same.std()))
    for name, (damage, levels) in DAMAGES.items():
        for level in levels:
            bad = torch.stack([damage(video, level, random) for video in videos])
            features = {key: network(bad).double() for key, network in networks.items()}
            for network, responses in found.items():
                for distance, response in responses.items():
                    mean = float(apart(features, network, distance).mean())
                    response.distances.setdefault(name, []).append(mean)
    return found
