"""`dabfusion study features`: train the small feature network on rendered dancers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

HELP = """Train the small feature network for video distances on rendered dancers.

It learns where the joints are on average, how far they move about and how fast. Prints its error
on dancers it has not seen, and how its distance grows when videos get worse; writes the weights."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the study's arguments."""
    parser.add_argument("--clips", type=int, default=400, help="dances to learn from")
    parser.add_argument("--steps", type=int, default=600, help="training steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("rendered_dancers.safetensors"))


def run(args: argparse.Namespace) -> int:
    """Train, judge, write."""
    import torch

    from experiments.results import replacing
    from metrics.rendered_features import RenderedDancerFeatures

    torch.manual_seed(args.seed)
    clips, targets = _rendered(args.clips, args.seed)
    unseen, truth = _rendered(64, args.seed + 10_000)
    mean, spread = targets.mean(0), targets.std(0).clamp(min=1e-3)
    network = RenderedDancerFeatures(outputs=targets.shape[1])
    inputs = torch.cat([network.prepare(part) for part in clips.split(16)])
    _train(network, inputs, (targets - mean) / spread, args.steps)
    network.eval()
    with torch.no_grad():
        found = network.head(network.features(network.prepare(unseen)))
    error = ((found - (truth - mean) / spread) ** 2).mean() / ((truth - mean) / spread).var()
    print(f"unexplained variance on unseen dancers: {float(error):.3f}")
    from safetensors.torch import save_file

    weights = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    with replacing(args.out) as temporary:
        save_file(weights, temporary)
    for line in _ladder(RenderedDancerFeatures.pretrained(args.out), unseen, clips[:64]):
        print(line)
    print(f"Written to {args.out}.", file=sys.stderr)
    return 0


def _rendered(count: int, seed: int) -> tuple[Any, Any]:
    """Clips (N, 16, 3, 32, 32) uint8 and what is true of their joints (N, 102)."""
    import torch

    from datamodules.synthetic import DanceSpec, render_clip

    random = torch.Generator().manual_seed(seed)
    genres = ("BR", "PO", "LO", "MH", "LH", "HO", "WA", "KR", "JS", "JB")
    clips, targets = [], []
    for place in range(count):
        genre = genres[place % 10]
        dancer, camera, music, choreography = (
            int(torch.randint(low, high, (), generator=random))
            for low, high in ((1, 90), (1, 10), (0, 6), (1, 22))
        )
        name = f"g{genre}_sFM_c{camera:02d}_d{dancer:02d}_m{genre}{music}_ch{choreography:02d}"
        spec = DanceSpec(name=name, seed=seed + place, size=32, seconds=1.6, routines=place % 7)
        made = render_clip(spec)
        points = torch.from_numpy(made.keypoints[..., :2]) / 32
        speed = (points[1:] - points[:-1]).norm(dim=-1)
        moments = [points.mean(0).flatten(), points.std(0).flatten(), speed.mean(0), speed.std(0)]
        clips.append(made.frames)
        targets.append(torch.cat(moments))
        if place % 100 == 99:
            print(f"rendered {place + 1}", file=sys.stderr, flush=True)
    return torch.stack(clips), torch.stack(targets)


def _train(network: Any, inputs: Any, targets: Any, steps: int) -> None:
    import torch

    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    for step in range(steps):
        chosen = torch.randint(len(inputs), (16,))
        gain = 1 + 0.2 * torch.randn(16, 3, 1, 1, 1)
        found = network.head(network.features(inputs[chosen] * gain))
        loss = torch.nn.functional.mse_loss(found, targets[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1}: {float(loss):.3f}", file=sys.stderr, flush=True)


def _ladder(network: Any, true: Any, others: Any) -> list[str]:
    """The distance of videos that get worse and worse: it has to grow."""
    import torch

    from metrics.functional.distances import frechet_distance, kernel_distance

    random = torch.Generator().manual_seed(0)

    def noisy(level: float) -> Any:
        made = true.float() + level * torch.randn(true.shape, generator=random)
        return made.clamp(0, 255).to(torch.uint8)

    with torch.no_grad():
        reference = network(true)
        lines = []
        for name, videos in (
            ("other dancers", others),
            ("noise 4", noisy(4)),
            ("noise 16", noisy(16)),
            ("noise 48", noisy(48)),
            ("first frame held", true[:, :1].expand_as(true)),
            ("frames in random order", true[:, torch.randperm(true.shape[1], generator=random)]),
        ):
            made = network(videos)
            lines.append(
                f"{name:24} frechet {float(frechet_distance(reference, made)):9.4f}   "
                f"kernel {float(kernel_distance(reference, made)):9.4f}"
            )
    return lines
