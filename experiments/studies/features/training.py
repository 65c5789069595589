"""Train the feature network that is shipped with the metrics, on rendered dancers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from datamodules.synthetic.dataset import render_clip
from experiments.studies.metric.members import GENRES, dance_specs
from metrics.dancer_features import DIMENSION, SIZE, WINDOW, DancerNetwork, to_network

#: Playback rates: every frame or every second frame; the network classifies which.
RATES = (1, 2)
JOINTS = 17
#: Mean position and its spread (x and y), and mean speed of every joint, in sides of the frame.
POSE_VALUES = 5 * JOINTS

Report = Callable[[str], None]


@dataclass(frozen=True)
class DancerSet:
    """Rendered dances to train on."""

    frames: Tensor
    """(N, T, 3, 64, 64) uint8."""
    keypoints: Tensor
    """(N, T, 17, 2) sides of the frame."""
    genres: Tensor
    """(N,) indices in `GENRES`."""


def render_dancers(clips: int, seed: int) -> DancerSet:
    """Render dances of 4 s at 10 frames a second, of all genres and choreographies in turn.

    Args:
        clips: Number of dances; each has its own seed, so its own person, room and music.
        seed: Seed of the first dance; each next one has the next number.
    """
    frames, keypoints, genres = [], [], []
    for spec in dance_specs(clips, seed, size=SIZE):
        clip = render_clip(spec)
        frames.append(clip.frames)
        keypoints.append(torch.from_numpy(np.asarray(clip.keypoints[..., :2], np.float32)) / SIZE)
        genres.append(GENRES.index(spec.parsed.genre or ""))
    return DancerSet(torch.stack(frames), torch.stack(keypoints), torch.tensor(genres))


@dataclass(frozen=True)
class Windows:
    """A training batch."""

    frames: Tensor
    """(B, 16, 3, 64, 64) in [-1, 1]."""
    poses: Tensor
    """(B, 85): see `POSE_VALUES`."""
    genres: Tensor
    """(B,) indices in `GENRES`."""
    rates: Tensor
    """(B,) indices in `RATES`."""


def draw_windows(dancers: DancerSet, count: int, random: torch.Generator) -> Windows:
    """Draw windows of sixteen frames at random times of random dances, at random rates."""
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
    """Return the regression targets (85,) of key points (16, 17, 2)."""
    speed = (points[1:] - points[:-1]).norm(dim=-1).mean(0)
    # The factors bring positions, spreads and speeds to a similar scale in the loss.
    return torch.cat([points.mean(0).flatten(), 3 * points.std(0).flatten(), 10 * speed])


class Heads(nn.Module):
    """Prediction heads that are used in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.pose = nn.Linear(DIMENSION, POSE_VALUES)
        self.genre = nn.Linear(DIMENSION, len(GENRES))
        self.rate = nn.Linear(DIMENSION, len(RATES))

    def loss(self, features: Tensor, windows: Windows) -> Tensor:
        """Return the absolute error of poses plus cross entropies of genre and rate."""
        pose = (self.pose(features) - windows.poses).abs().mean()
        genre = nn.functional.cross_entropy(self.genre(features), windows.genres)
        rate = nn.functional.cross_entropy(self.rate(features), windows.rates)
        return 10 * pose + 0.3 * genre + rate


def train_network(
    dancers: DancerSet, steps: int, seed: int, say: Report, batch: int = 16
) -> tuple[DancerNetwork, Heads]:
    """Train on the CPU; the same seed on the same machine gives the same weights.

    Args:
        dancers: Training set.
        steps: Steps of Adam, with a cosine learning-rate schedule that ends at zero.
        seed: Seed of the initial weights and of the windows drawn.
        say: Called with a line of text every 100 steps.
        batch: Windows in each step.
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
    """Evaluate the heads on dances that were not used in training.

    Returns:
        `genre` and `rate`: accuracies (chance: 0.1 and 0.5); `pose`: share of the variance of the
        pose values that is explained.
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
