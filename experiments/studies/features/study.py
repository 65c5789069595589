"""`dabfusion study features`: train the small feature network and measure what it detects."""

from __future__ import annotations

import argparse
import sys
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
DISTANCES = {"frechet": "Frechet distance", "kernel": "Kernel distance"}
EXPLANATION = """Videos of {videos} rendered dancers (4 s, 64 pixels, 10 frames a second; seed
{seed}) that no network was trained on; one half is corrupted and its distance to the other half
measured. Numbers are standard scores: the increase of the distance over that of two clean halves,
in standard deviations of the latter over random halves. None of the corruptions was used in
training."""
SKILL = """The network was trained on {clips} dances, {steps} steps of 16 windows. On held-out
dances it explains {pose:.0%} of the variance of poses and speeds, and classifies the genre
correctly in {genre:.0%} (chance: 10%) and the playback rate in {rate:.0%} (chance: 50%)."""


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
    from experiments.studies.page import write_results

    if args.videos < 8 or args.clips < 10 or args.steps < 1:
        raise SettingsError(
            f"--videos {args.videos}, --clips {args.clips} and --steps {args.steps} are too few; "
            "expected at least 8, 10 and 1."
        )
    skill = _train(args) if args.weights is None else None
    results = {
        "settings": {name: getattr(args, name) for name in ("clips", "steps", "videos", "seed")},
        "skill": skill,
        "noticed": _measure(args.weights or args.out / WEIGHTS_NAME, args.videos, args.seed),
    }
    names = ("report.md", "results.json")
    write_results(args.out, page(results, args.command), results, names)
    print(f"Written to {args.out}: report.md, results.json")
    return 0


def _train(args: argparse.Namespace) -> dict[str, float]:
    """Train, write the weights, and return their accuracy on held-out dances."""
    from safetensors.torch import save

    from datamodules.files import write_bytes
    from experiments.studies.features.training import held_out_skill, render_dancers, train_network

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    say(f"rendering {args.clips} dances")
    # Separate seeds: training set and corrupted videos share neither people nor rooms.
    dancers = render_dancers(args.clips, args.seed + 10_000)
    network, heads = train_network(dancers, args.steps, args.seed, say)
    skill = held_out_skill(network, heads, render_dancers(100, args.seed + 50_000), args.seed)
    say(", ".join(f"{name} {value:.3f}" for name, value in skill.items()))
    # Half precision halves the size, and the third decimal of the weights does not matter.
    weights = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    write_bytes(args.out / WEIGHTS_NAME, save(weights))
    return skill


def _measure(weights: Path, videos: int, seed: int) -> dict[str, dict[str, Any]]:
    """Digest and responses of the trained and of the random network, on unseen dances."""
    from experiments.studies.features.corruptions import notice
    from experiments.studies.features.training import render_dancers
    from metrics.dancer_features import DancerVideoFeatures
    from metrics.extractors import FeatureExtractor
    from metrics.fixed_features import FixedVideoFeatures
    from metrics.functional.distances import frechet_distance, kernel_distance

    networks: dict[str, FeatureExtractor] = {
        "trained on rendered dancers": DancerVideoFeatures(weights),
        "random convolutions": FixedVideoFeatures(),
    }
    distances = {"frechet": frechet_distance, "kernel": kernel_distance}
    frames = render_dancers(videos, seed + 90_000).frames
    return {
        name: {"digest": networks[name].digest, **{k: asdict(v) for k, v in responses.items()}}
        for name, responses in notice(networks, frames, distances, seed).items()
    }


def page(results: Mapping[str, Any], command: str) -> str:
    """Return the report of the numbers in `results.json`."""
    from experiments.reports.tables import markdown_table
    from experiments.studies.features.corruptions import DAMAGES, Noticed
    from experiments.studies.page import markdown_page, paragraph

    parts = [paragraph(EXPLANATION, **results["settings"])]
    if results["skill"] is not None:
        parts.append(paragraph(SKILL, **results["settings"], **results["skill"]))
    networks = results["noticed"]
    total = sum(len(levels) for _, levels in DAMAGES.values())
    summary = []
    for distance, title in DISTANCES.items():
        found = {name: Noticed(**responses[distance]) for name, responses in networks.items()}
        rows = []
        for damage, (_, levels) in DAMAGES.items():
            scores = zip(*(one.standard_scores(damage) for one in found.values()), strict=True)
            for level, row in zip(levels, scores, strict=True):
                rows.append([damage, f"{level:g}", *(f"{score:.1f}" for score in row)])
        parts += [f"## {title}", markdown_table(["corruption", "level", *found], rows)]
        for name, one in found.items():
            rising = [damage for damage in DAMAGES if one.is_monotone(damage)]
            clear = sum(score > 3 for damage in DAMAGES for score in one.standard_scores(damage))
            summary.append([title, name, ", ".join(rising), f"{clear} of {total}"])
    columns = ["distance", "network", "increases with every level of", "scores above 3"]
    digests = "\n".join(f"- {name}: `{one['digest']}`" for name, one in networks.items())
    parts += ["## Summary", markdown_table(columns, summary), digests]
    return markdown_page("What do the video distances detect?", command, parts)
