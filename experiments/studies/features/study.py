"""`dabfusion study features`: train the small feature network, and measure what it notices."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

WEIGHTS_NAME = "dancer_features.safetensors"

HELP = """Train the small feature network of the video distances, and measure what it notices.

Trains on rendered dancers (a few minutes of one processor core), then damages videos of other
dancers in known ways and asks what the distances over its features notice, beside those over
random convolutions. Writes dancer_features.safetensors, report.md and results.json."""
EXAMPLES = [
    "dabfusion study features --out features-study",
    "dabfusion study features --weights dancer_features.safetensors --videos 100",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the study's arguments."""
    parser.add_argument("--clips", type=int, default=400, help="dances to learn from (400)")
    parser.add_argument("--steps", type=int, default=1000, help="steps of training (1000)")
    parser.add_argument("--videos", type=int, default=60, help="other dances to damage (60)")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything drawn (0)")
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="train nothing; measure these weights"
    )
    parser.add_argument("--out", type=Path, default=Path("features-study"), help="where to write")


def run(args: argparse.Namespace) -> int:
    """Train, measure and write."""
    from datamodules.files import write_text
    from experiments.errors import SettingsError
    from experiments.studies.features.report import measure_all, write_report

    if args.videos < 8 or args.clips < 10 or args.steps < 1:
        raise SettingsError(
            f"--videos {args.videos}, --clips {args.clips} and --steps {args.steps} are too few; "
            "expected at least 8, 10 and 1."
        )
    skill = _train(args) if args.weights is None else None
    weights = args.weights or args.out / WEIGHTS_NAME
    found = measure_all(weights, args.videos, args.seed)
    settings = {name: getattr(args, name) for name in ("clips", "steps", "videos", "seed")}
    write_text(args.out / "report.md", write_report(found, skill, settings))
    results = {"settings": settings, "skill": skill, "noticed": found.to_json()}
    write_text(args.out / "results.json", json.dumps(results, indent=1) + "\n")
    print(f"Written to {args.out}: report.md, results.json")
    return 0


def _train(args: argparse.Namespace) -> dict[str, float]:
    """Train, write the weights, and say what they know of dances they have not seen."""
    from safetensors.torch import save

    from datamodules.files import replacing
    from experiments.studies.features.training import held_out_skill, render_dancers, train_network

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    say(f"rendering {args.clips} dances")
    # Seeds of their own: neither training set nor damaged videos share a person or a room.
    dancers = render_dancers(args.clips, args.seed + 10_000)
    network, heads = train_network(dancers, args.steps, args.seed, say)
    skill = held_out_skill(network, heads, render_dancers(100, args.seed + 50_000), args.seed)
    say(", ".join(f"{name} {value:.3f}" for name, value in skill.items()))
    # Half precision: a third decimal of the weights does not matter, half the size does.
    content = save(
        {name: value.half().contiguous() for name, value in network.state_dict().items()}
    )
    with replacing(args.out / WEIGHTS_NAME) as temporary:
        temporary.write_bytes(content)
    return skill
