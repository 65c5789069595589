"""Known corruptions of videos, and how the distances over a feature network respond to them.

No network was trained on them. Distances are expressed in units of their own sampling error, so
that networks whose features have different scales can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from lightning_modules.networks.warp import coordinate_grid
from metrics.extractors import FeatureExtractor
from metrics.functional.distances import frechet_distance, kernel_distance

Damage = Callable[[Tensor, float, torch.Generator], Tensor]
DISTANCES = {"frechet": frechet_distance, "kernel": kernel_distance}


def blur(frames: Tensor, level: float, _: torch.Generator) -> Tensor:
    """Apply a Gaussian blur with a standard deviation of `level` pixels."""
    sigmas = (0, 0, level, level)
    blurred = gaussian_filter(frames.float().numpy(), sigmas, mode="nearest", truncate=3)
    return _bytes(torch.from_numpy(blurred))


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
    height, width = frames.shape[-2:]
    coarse = torch.randn(len(frames), 2, 6, 6, generator=random)
    field = nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    grid = coordinate_grid(height, width, field) + field.movedim(1, -1) * (2 * level / width)
    sampled = nn.functional.grid_sample(
        frames.float(), grid, padding_mode="border", align_corners=False
    )
    return _bytes(sampled)


def _bytes(frames: Tensor) -> Tensor:
    return frames.round().clamp(0, 255).to(torch.uint8)


#: Corruptions of frames (T, 3, H, W) uint8 with their levels, from barely visible to obvious.
DAMAGES: dict[str, tuple[Damage, tuple[float, ...]]] = {
    "blur": (blur, (0.5, 1, 2, 4)),
    "noise": (noise, (4, 8, 16, 32)),
    "wobble": (wobble, (0.5, 1, 2, 4)),
    "frozen frames": (freeze, (2, 4, 8, 40)),
    "shuffled frames": (shuffle, (2, 4, 8, 40)),
}


@dataclass(frozen=True)
class Noticed:
    """How one distance over one network responds."""

    distances: dict[str, list[float]]
    """Distance of the corrupted half to the clean half, at each level of each corruption."""
    clean: float
    """Mean distance of two clean halves."""
    spread: float
    """Standard deviation of that over random halves."""

    @property
    def scores(self) -> dict[str, list[float]]:
        """The distances above that of clean halves, in standard deviations of the latter."""
        found = self.distances.items()
        return {name: [(x - self.clean) / self.spread for x in values] for name, values in found}

    @property
    def rising(self) -> list[str]:
        """The corruptions whose distance increases from clean videos over every level."""
        return [
            name
            for name, values in self.distances.items()
            if all(low < high for low, high in pairwise([self.clean, *values]))
        ]


@torch.no_grad()
def notice(
    networks: Mapping[str, FeatureExtractor], videos: Tensor, seed: int, splits: int = 20
) -> dict[str, dict[str, Noticed]]:
    """Return the response by network and distance to corrupting one half of the videos.

    The videos are (N, T, 3, H, W) uint8, and corrupted in the same way for all networks. Every
    distance of one half to the other is a mean over the same `splits` random halves, so it depends
    less on which videos are in which half.
    """
    random = torch.Generator().manual_seed(seed)
    halves = [torch.randperm(len(videos), generator=random).chunk(2) for _ in range(splits)]
    clean = {name: network(videos).double() for name, network in networks.items()}
    found: dict[str, dict[str, Noticed]] = {name: {} for name in networks}

    def apart(network: str, distance: str, other: Tensor) -> Tensor:
        measure = DISTANCES[distance]
        return torch.stack([measure(clean[network][one], other[two]) for one, two in halves])

    for network, responses in found.items():
        for distance in DISTANCES:
            same = apart(network, distance, clean[network])
            responses[distance] = Noticed({}, float(same.mean()), float(same.std()))
    for name, (damage, levels) in DAMAGES.items():
        for level in levels:
            bad = torch.stack([damage(video, level, random) for video in videos])
            for network, responses in found.items():
                features = networks[network](bad).double()
                for distance, response in responses.items():
                    mean = float(apart(network, distance, features).mean())
                    response.distances.setdefault(name, []).append(mean)
    return found
