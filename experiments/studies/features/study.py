"""`dabfusion study features`: train the small feature network and measure what it detects."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

WEIGHTS_NAME = "dancer_features.safetensors"
HELP = """What do the video distances detect? Trains the small feature network of the metrics.

Trains on rendered dancers (a few minutes on one CPU core), then corrupts videos of other dancers in
known ways and measures the distances over its features and over random convolutions. Writes
dancer_features.safetensors, report.md and results.json."""
EXAMPLES = [
    "dabfusion study features --out features-study",
    "dabfusion study features --weights dancer_features.safetensors --videos 100",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the study's arguments."""
    parser.add_argument("--clips", type=int, default=400, help="dances to train on (400)")
    parser.add_argument("--steps", type=int, default=1000, help="training steps (1000)")
    parser.add_argument("--videos", type=int, default=60, help="other dances to corrupt (60)")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (0)")
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="measure these weights instead of training"
    )
    parser.add_argument("--out", type=Path, default=Path("features-study"), help="where to write")


def run(args: argparse.Namespace) -> int:
    """Train, measure and write."""
    from experiments.errors import SettingsError
    from experiments.studies.features.corruptions import notice
    from experiments.studies.features.training import render_dancers, train_weights
    from experiments.studies.page import write_results
    from metrics.dancer_features import DancerVideoFeatures
    from metrics.fixed_features import FixedVideoFeatures

    if args.videos < 8 or args.clips < 10 or args.steps < 1:
        raise SettingsError(
            f"--videos {args.videos}, --clips {args.clips} and --steps {args.steps} are too few; "
            "expected at least 8, 10 and 1."
        )
    skill, weights = None, args.weights
    if weights is None:
        weights = args.out / WEIGHTS_NAME
        skill = train_weights(weights, args.clips, args.steps, args.seed)
    networks: dict[str, Any] = {
        "trained on rendered dancers": DancerVideoFeatures(weights),
        "random convolutions": FixedVideoFeatures(),
    }
    # The seeds of all sets are far apart, so they share neither people nor rooms.
    found = notice(networks, render_dancers(args.videos, args.seed + 90_000).frames, args.seed)
    results = {
        "settings": {name: getattr(args, name) for name in ("clips", "steps", "videos", "seed")},
        "skill": skill,
        "noticed": {
            name: {"digest": networks[name].digest, **{k: asdict(v) for k, v in responses.items()}}
            for name, responses in found.items()
        },
    }
    text = page(results, args.command)
    write_results(args.out, text, results, ("report.md", "results.json"))
    print(f"Written to {args.out}: report.md, results.json")
    return 0


def page(results: Mapping[str, Any], command: str) -> str:
    """Return the report of the numbers in `results.json`."""
    from experiments.studies.features.corruptions import DAMAGES, DISTANCES, Noticed
    from experiments.studies.page import fill_template

    found = {
        distance: {k: Noticed(**row[distance]) for k, row in results["noticed"].items()}
        for distance in DISTANCES
    }
    template = Path(__file__).with_name("report.md.j2")
    return fill_template(template, **results, found=found, damages=DAMAGES, command=command)
