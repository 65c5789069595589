"""Train the feature network that is shipped with the metrics, on rendered dancers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save
from torch import Tensor, nn

from datamodules.files import write_bytes
from datamodules.synthetic.dataset import render_clip
from experiments.studies.metric.members import GENRES, dance_specs
from metrics.dancer_features import DIMENSION, SIZE, WINDOW, DancerNetwork, to_network

#: Playback rates: every frame or every second frame; the network classifies which.
RATES = (1, 2)
#: Mean position and its spread (x and y), and mean speed of 17 joints, in sides of the frame.
POSE_VALUES = 5 * 17


class DancerSet(NamedTuple):
    """Rendered dances to train on."""

    frames: Tensor  # (N, T, 3, 64, 64) uint8
    keypoints: Tensor  # (N, T, 17, 2) sides of the frame
    genres: Tensor  # (N,) indices in `GENRES`


class Windows(NamedTuple):
    """A training batch."""

    frames: Tensor  # (B, 16, 3, 64, 64) in [-1, 1]
    poses: Tensor  # (B, 85): see `POSE_VALUES`
    genres: Tensor  # (B,) indices in `GENRES`
    rates: Tensor  # (B,) indices in `RATES`


def render_dancers(clips: int, seed: int) -> DancerSet:
    """Render dances of 4 s at 10 frames a second; each has its own person, room and music."""
    specs = dance_specs(clips, seed, size=SIZE)
    dances = [render_clip(spec) for spec in specs]
    keypoints = [torch.from_numpy(dance.keypoints[..., :2]).float() / SIZE for dance in dances]
    genres = torch.tensor([GENRES.index(spec.parsed.genre or "") for spec in specs])
    return DancerSet(torch.stack([d.frames for d in dances]), torch.stack(keypoints), genres)


def draw_windows(dancers: DancerSet, count: int, random: torch.Generator) -> Windows:
    """Draw windows of sixteen frames at random times of random dances, at random rates."""
    chosen = torch.randint(len(dancers.frames), (count,), generator=random)
    rates = torch.randint(len(RATES), (count,), generator=random)
    frames, poses = [], []
    for clip, rate in zip(chosen.tolist(), rates.tolist(), strict=True):
        reach = (WINDOW - 1) * RATES[rate]
        start = int(torch.randint(dancers.frames.shape[1] - reach, (1,), generator=random))
        taken = slice(start, start + reach + 1, RATES[rate])
        frames.append(to_network(dancers.frames[clip, taken]))
        poses.append(pose_values(dancers.keypoints[clip, taken]))
    return Windows(torch.stack(frames), torch.stack(poses), dancers.genres[chosen], rates)


def pose_values(points: Tensor) -> Tensor:
    """Return the regression targets (85,) of key points (16, 17, 2)."""
    speed = (points[1:] - points[:-1]).norm(dim=-1).mean(0)
    # The factors bring positions, spreads and speeds to a similar scale in the loss.
    return torch.cat([points.mean(0).flatten(), 3 * points.std(0).flatten(), 10 * speed])


def train_network(
    dancers: DancerSet, steps: int, seed: int, batch: int = 16
) -> tuple[DancerNetwork, nn.ModuleDict]:
    """Train the network and its prediction heads (used in training only) on the CPU.

    The same seed on the same machine gives the same weights. Progress is reported on stderr.
    """
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DancerNetwork()
        outputs = {"pose": POSE_VALUES, "genre": len(GENRES), "rate": len(RATES)}
        heads = nn.ModuleDict({name: nn.Linear(DIMENSION, n) for name, n in outputs.items()})
    optimizer = torch.optim.Adam([*network.parameters(), *heads.parameters()], lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses = []
    for step in range(1, steps + 1):
        windows = draw_windows(dancers, batch, random)
        features = network(windows.frames)
        pose = (heads["pose"](features) - windows.poses).abs().mean()
        genre = nn.functional.cross_entropy(heads["genre"](features), windows.genres)
        rate = nn.functional.cross_entropy(heads["rate"](features), windows.rates)
        loss = 10 * pose + 0.3 * genre + rate
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if step % 100 == 0:
            mean = sum(losses[-100:]) / 100
            print(f"step {step} of {steps}: loss {mean:.3f}", file=sys.stderr, flush=True)
    return network.eval(), heads.eval()


@torch.no_grad()
def held_out_skill(
    network: DancerNetwork, heads: nn.ModuleDict, dancers: DancerSet, seed: int, count: int = 256
) -> dict[str, float]:
    """Return accuracies of genre and rate, and the explained share of the variance of poses."""
    windows = draw_windows(dancers, count, torch.Generator().manual_seed(seed))
    features = torch.cat([network(part) for part in windows.frames.split(32)])
    genre = heads["genre"](features).argmax(-1) == windows.genres
    rate = heads["rate"](features).argmax(-1) == windows.rates
    left = (heads["pose"](features) - windows.poses).square().mean()
    spread = (windows.poses - windows.poses.mean(0)).square().mean()
    scores = {"genre": genre.float().mean(), "rate": rate.float().mean(), "pose": 1 - left / spread}
    return {name: float(score) for name, score in scores.items()}


def train_weights(path: Path, clips: int, steps: int, seed: int) -> dict[str, float]:
    """Train on rendered dances, write the weights, and return their skill on held-out dances."""
    print(f"rendering {clips} dances", file=sys.stderr, flush=True)
    network, heads = train_network(render_dancers(clips, seed + 10_000), steps, seed)
    skill = held_out_skill(network, heads, render_dancers(100, seed + 50_000), seed)
    print(*(f"{name} {value:.3f}" for name, value in skill.items()), sep=", ", file=sys.stderr)
    # Half precision halves the size, and the third decimal of the weights does not matter.
    weights = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    write_bytes(path, save(weights))
    return skill
