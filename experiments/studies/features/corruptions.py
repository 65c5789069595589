"""Known damage to videos, and what the distances over a feature network notice of it.

None of these was trained on. Distances are put in units of their own sampling error, so that
networks whose features have other scales can stand side by side.
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


def blur(frames: Tensor, level: float, random: torch.Generator) -> Tensor:
    """Gaussian blur of a standard deviation of `level` pixels."""
    del random
    radius = int(3 * level + 0.5)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / level) ** 2)
    taps = (taps / taps.sum()).repeat(3, 1)
    padded = nn.functional.pad(frames.float(), [radius] * 4, mode="replicate")
    across = nn.functional.conv2d(padded, taps[:, None, None], groups=3)
    return _bytes(nn.functional.conv2d(across, taps[:, None, :, None], groups=3))


def noise(frames: Tensor, level: float, random: torch.Generator) -> Tensor:
    """Gaussian noise of a standard deviation of `level` of 255 on every pixel."""
    return _bytes(frames + level * torch.randn(frames.shape, generator=random))


def freeze(frames: Tensor, level: float, random: torch.Generator) -> Tensor:
    """Every frame is held for `level` frames."""
    del random
    return frames[torch.arange(len(frames)) // int(level) * int(level)]


def shuffle(frames: Tensor, level: float, random: torch.Generator) -> Tensor:
    """Frames change places at random within stretches of `level` frames."""
    stretches = torch.arange(len(frames)).split(int(level))
    order = [part[torch.randperm(len(part), generator=random)] for part in stretches]
    return frames[torch.cat(order)]


def wobble(frames: Tensor, level: float, random: torch.Generator) -> Tensor:
    """Every frame is bent by a smooth random field of `level` pixels (standard deviation)."""
    count, _, height, width = frames.shape
    coarse = torch.randn(count, 2, 6, 6, generator=random)
    field = nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    down, across = torch.meshgrid(
        torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij"
    )
    grid = torch.stack([across, down], -1) + field.movedim(1, -1) * (2 * level / width)
    bent = nn.functional.grid_sample(
        frames.float(), grid, padding_mode="border", align_corners=True
    )
    return _bytes(bent)


#: Every kind of damage with its levels, from hardly visible to plain.
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
    """What one distance over one network notices."""

    distances: dict[str, list[float]]
    """Distance of the damaged half to the clean half, at each level of each damage."""
    clean: float
    """Mean distance of two clean halves."""
    spread: float
    """Standard deviation of that over random halves."""

    def standard_scores(self, damage: str) -> list[float]:
        """Distances above that of clean halves, in standard deviations of the latter."""
        return [(value - self.clean) / self.spread for value in self.distances[damage]]

    def is_monotone(self, damage: str) -> bool:
        """Whether every level is farther away than the one before, and the first than none."""
        ladder = [self.clean, *self.distances[damage]]
        return all(low < high for low, high in pairwise(ladder))


def notice(
    networks: Mapping[str, FeatureExtractor],
    videos: Tensor,
    distances: Mapping[str, Distance],
    seed: int,
    splits: int = 20,
) -> dict[str, dict[str, Noticed]]:
    """Damage one half of the videos and measure its distance to the other half.

    Every distance is a mean over the same few random halves, so it depends less on which videos
    fell into which half.

    Args:
        networks: feature networks by name; all of them see the same damage.
        videos: (N, T, 3, H, W) uint8, undamaged.
        distances: `frechet_distance` and the like by name.
        seed: of the damage and of the halves.
        splits: number of random halves.

    Returns:
        What was noticed, by network and distance.
    """
    random = torch.Generator().manual_seed(seed)
    halves = [torch.randperm(len(videos), generator=random).chunk(2) for _ in range(splits)]
    pairs = [(network, distance) for network in networks for distance in distances]
    with torch.no_grad():
        clean = {name: network(videos).double() for name, network in networks.items()}

        def apart(damaged: Mapping[str, Tensor], network: str, distance: str) -> Tensor:
            measure, true, made = distances[distance], clean[network], damaged[network]
            return torch.stack([measure(true[one], made[two]) for one, two in halves])

        untouched = {pair: apart(clean, *pair) for pair in pairs}
        found: dict[tuple[str, str], dict[str, list[float]]] = {pair: {} for pair in pairs}
        for name, (damage, levels) in DAMAGES.items():
            for level in levels:
                bad = torch.stack([damage(video, level, random) for video in videos])
                seen = {key: network(bad).double() for key, network in networks.items()}
                for pair in pairs:
                    far = float(apart(seen, *pair).mean())
                    found[pair].setdefault(name, []).append(far)
    noticed: dict[str, dict[str, Noticed]] = {network: {} for network in networks}
    for (network, distance), values in found.items():
        same = untouched[network, distance]
        noticed[network][distance] = Noticed(values, float(same.mean()), float(same.std()))
    return noticed
