"""Train the feature network that ships with the metrics, on rendered dancers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from datamodules.synthetic.dataset import render_clip
from experiments.studies.metric.members import GENRES, changed, dance_specs
from metrics.dancer_features import DIMENSION, SIZE, WINDOW, DancerNetwork, to_network

#: Frames are taken one by one or every second one; the network is to tell which.
RATES = (1, 2)
JOINTS = 17
#: Mean place and its spread (x and y), and mean speed of every joint, in sides of the frame.
POSE_VALUES = 5 * JOINTS

Report = Callable[[str], None]


@dataclass(frozen=True)
class DancerSet:
    """Rendered dances to learn from."""

    frames: Tensor
    """(N, T, 3, 64, 64) uint8."""
    keypoints: Tensor
    """(N, T, 17, 2) sides of the frame."""
    genres: Tensor
    """(N,) places in `GENRES`."""


def render_dancers(clips: int, seed: int) -> DancerSet:
    """Dances of 4 s at 10 frames a second, of all genres, persons and choreographies in turn.

    Args:
        clips: how many; each has a seed of its own, so its own person, room and music.
        seed: seed of the first; the others count on.
    """
    frames, keypoints, genres = [], [], []
    for spec in dance_specs(clips, seed, changed(size=SIZE)):
        clip = render_clip(spec)
        frames.append(clip.frames)
        keypoints.append(torch.from_numpy(np.asarray(clip.keypoints[..., :2], np.float32)) / SIZE)
        genres.append(GENRES.index(spec.parsed.genre or ""))
    return DancerSet(torch.stack(frames), torch.stack(keypoints), torch.tensor(genres))


@dataclass(frozen=True)
class Windows:
    """A batch to learn from."""

    frames: Tensor
    """(B, 16, 3, 64, 64) in [-1, 1]."""
    poses: Tensor
    """(B, 85): see `POSE_VALUES`."""
    genres: Tensor
    """(B,) places in `GENRES`."""
    rates: Tensor
    """(B,) places in `RATES`."""


def draw_windows(dancers: DancerSet, count: int, random: torch.Generator) -> Windows:
    """Windows of sixteen frames at random places of random dances, at random playback rates."""
    chosen = torch.randint(len(dancers.frames), (count,), generator=random)
    rates = torch.randint(len(RATES), (count,), generator=random)
    frames, poses = [], []
    for clip, rate in zip(chosen.tolist(), rates.tolist(), strict=True):
        reach = (WINDOW - 1) * RATES[rate]
        last = dancers.frames.shape[1] - reach
        start = int(torch.randint(last, (1,), generator=random))
        taken = slice(start, start + reach + 1, RATES[rate])
        frames.append(to_network(dancers.frames[clip, taken]))
        poses.append(pose_values(dancers.keypoints[clip, taken]))
    return Windows(torch.stack(frames), torch.stack(poses), dancers.genres[chosen], rates)


def pose_values(points: Tensor) -> Tensor:
    """Key points (16, 17, 2) to what the network is to know of them, (85,)."""
    speed = (points[1:] - points[:-1]).norm(dim=-1).mean(0)
    # Speeds are an order of magnitude smaller than places; the loss is to see both.
    return torch.cat([points.mean(0).flatten(), 3 * points.std(0).flatten(), 10 * speed])


class Heads(nn.Module):
    """What is asked of the features in training; none of it ships."""

    def __init__(self) -> None:
        super().__init__()
        self.pose = nn.Linear(DIMENSION, POSE_VALUES)
        self.genre = nn.Linear(DIMENSION, len(GENRES))
        self.rate = nn.Linear(DIMENSION, len(RATES))

    def loss(self, features: Tensor, windows: Windows) -> Tensor:
        """Absolute error of the poses, and cross entropies of genre and rate."""
        pose = (self.pose(features) - windows.poses).abs().mean()
        genre = nn.functional.cross_entropy(self.genre(features), windows.genres)
        rate = nn.functional.cross_entropy(self.rate(features), windows.rates)
        return 10 * pose + 0.3 * genre + rate


def train_network(
    dancers: DancerSet, steps: int, seed: int, say: Report, batch: int = 16
) -> tuple[DancerNetwork, Heads]:
    """Train on the processor; the same seed on the same machine gives the same weights.

    Args:
        dancers: what to learn from.
        steps: steps of Adam, at a rate that falls to zero as a cosine.
        seed: of the first weights and of the windows drawn.
        say: told the loss now and then.
        batch: windows a step.
    """
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network, heads = DancerNetwork(), Heads()
    optimizer = torch.optim.Adam([*network.parameters(), *heads.parameters()], lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    mean = 0.0
    for step in range(1, steps + 1):
        windows = draw_windows(dancers, batch, random)
        loss = heads.loss(network(windows.frames), windows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        mean += float(loss.detach())
        if step % 100 == 0:
            say(f"step {step} of {steps}: loss {mean / 100:.3f}")
            mean = 0.0
    return network.eval(), heads.eval()


@torch.no_grad()
def held_out_skill(
    network: DancerNetwork, heads: Heads, dancers: DancerSet, seed: int, count: int = 256
) -> dict[str, float]:
    """How well the features answer on dances that were not learnt from.

    Returns:
        `genre` and `rate`, shares answered rightly (0.1 and 0.5 by guessing), and `pose`, the
        share of the pose values' spread that is explained (0 for their means).
    """
    windows = draw_windows(dancers, count, torch.Generator().manual_seed(seed))
    features = torch.cat([network(part) for part in windows.frames.split(32)])
    genre = heads.genre(features).argmax(-1) == windows.genres
    rate = heads.rate(features).argmax(-1) == windows.rates
    left = (heads.pose(features) - windows.poses).square().mean()
    spread = (windows.poses - windows.poses.mean(0)).square().mean()
    return {
        "genre": float(genre.float().mean()),
        "rate": float(rate.float().mean()),
        "pose": float(1 - left / spread),
    }
