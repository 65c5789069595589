"""`dabfusion study sampling`: effect of denoising steps, solvers and guidance."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

HELP = """What do denoising steps, solvers and guidance contribute? Scores of one trained model.

Generates the same held-out clips, from the same noise, with each setting. Writes points.json,
README.md, steps.png and guidance.png."""
EXAMPLES = [
    "dabfusion study sampling quickstart/diffusion preset=quickstart data=quickstart/prepared",
]
BATCH = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the study's arguments."""
    from lightning_modules.sampling import SOLVERS

    parser.add_argument("model", type=Path, help="run or pipeline folder of stage 2")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="preset, data, clips.*")
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, default=list(SOLVERS))
    parser.add_argument("--steps", nargs="+", type=int, default=[2, 4, 8, 15, 30, 50])
    parser.add_argument("--scales", nargs="*", type=float, default=[0, 1, 1.5, 2, 3, 4, 6])
    parser.add_argument("--clips", type=int, default=40, help="held-out clips, spread over videos")
    parser.add_argument("--out", type=Path, default=Path("sampling"), help="folder to write")


def run(args: argparse.Namespace) -> int:
    """Generate, score and write the page."""
    from experiments.config.load import settings_from_words
    from experiments.errors import SettingsError
    from experiments.factories.data import build_clip_data
    from experiments.processes.progress import shown_progress
    from experiments.studies.page import write_results
    from experiments.studies.sampling.points import Choice, draw_curves, measure, page
    from lightning_modules.pipeline import DabFusionPipeline

    settings = settings_from_words(args.settings)
    if not settings.data:
        raise SettingsError("data= is missing: name the folder that `dabfusion prepare` wrote.")
    if args.clips < 2 or min(args.steps) < 1:
        raise SettingsError("A curve needs --clips of 2 or more, and --steps of 1 or more.")
    pipeline = DabFusionPipeline.from_pretrained(args.model)
    own = pipeline.settings
    dataset = build_clip_data(settings, BATCH).dataset("test")
    places = list(range(0, len(dataset), max(1, len(dataset) // args.clips)))[: args.clips]
    batches = [dataset.__getitems__(places[i : i + BATCH]) for i in range(0, len(places), BATCH)]
    default = Choice(own.solver, own.steps, own.guidance_scale)
    choices = [
        *(Choice(name, steps, own.guidance_scale) for name in args.solvers for steps in args.steps),
        *(replace(default, guidance=scale) for scale in args.scales),
    ]
    with shown_progress("Sample and score") as progress:
        points = measure(pipeline, batches, list(dict.fromkeys(choices)), settings.seed, progress)
    text = page(points, default, args.command)
    write_results(args.out, text, list(map(asdict, points)), ("README.md", "points.json"))
    draw_curves(points, default, args.out)
    print(text)
    return 0
