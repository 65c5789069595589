"""`dabfusion study sampling`: what fewer denoising steps, other solvers and guidance cost."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from datamodules.batch import ClipBatch
    from lightning_modules.pipeline import DabFusionPipeline
    from metrics.functional.bootstrap import Interval

HELP = """What do denoising steps, solvers and guidance buy? A trained model's dances by each."""
EXAMPLES = [
    "dabfusion study sampling quickstart/diffusion preset=quickstart data=quickstart/prepared",
]
#: Side of the grid to which flow is averaged for its features.
CELLS = 4
BATCH = 8


@dataclass(frozen=True)
class Choice:
    """One way to sample."""

    solver: str
    steps: int
    guidance: float


@dataclass(frozen=True)
class Point:
    """What came of it, over the held-out clips."""

    choice: Choice | None
    """None for the true flow, decoded alike."""
    corrected: Interval
    """Corrected 2D-MM Align, from latent flow."""
    frechet: float
    """Frechet distance of `flow_features` to those of the true flow, squared pixels."""
    warp_error: Interval
    """Mean squared error of each frame against the last one moved by optical flow."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A model, its data, and what is varied."""
    from lightning_modules.sampling import SOLVERS

    parser.add_argument("model", type=Path, help="run or pipeline folder of stage 2")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="preset, data, clips.*")
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, default=list(SOLVERS))
    parser.add_argument("--steps", nargs="+", type=int, default=[2, 4, 8, 15, 30, 50])
    parser.add_argument("--scales", nargs="*", type=float, default=[0, 1, 1.5, 2, 3, 4, 6])
    parser.add_argument("--clips", type=int, default=40, help="held-out clips, spread over videos")
    parser.add_argument("--out", type=Path, default=Path("sampling"), help="folder to write")


def run(args: argparse.Namespace) -> int:
    """Write `points.json`, `README.md`, `steps.png` and `guidance.png`."""
    from datamodules.files import write_text
    from experiments.config.load import settings_from_words
    from experiments.errors import SettingsError
    from experiments.factories.data import build_clip_data
    from experiments.processes.progress import shown_progress
    from experiments.studies.sampling.report import draw_guidance, draw_steps, report
    from lightning_modules.pipeline import DabFusionPipeline

    settings = settings_from_words(args.settings)
    if not settings.data:
        raise SettingsError("data= is missing: name the folder that `dabfusion prepare` wrote.")
    if args.clips < 2 or min(args.steps) < 1:
        raise SettingsError("A curve needs --clips of 2 or more, and --steps of 1 or more.")
    pipeline = DabFusionPipeline.from_pretrained(args.model)
    own = pipeline.settings
    data = build_clip_data(settings, BATCH)
    dataset = data.dataset("test")
    places = list(range(0, len(dataset), max(1, len(dataset) // args.clips)))[: args.clips]
    batches = [dataset.__getitems__(places[i : i + BATCH]) for i in range(0, len(places), BATCH)]
    default = Choice(own.solver, own.steps, own.guidance_scale)
    by_steps = [
        Choice(solver, steps, own.guidance_scale) for solver in args.solvers for steps in args.steps
    ]
    by_scale = [replace(default, guidance=scale) for scale in args.scales]
    with shown_progress("Sample and score") as progress:
        points = measure(
            pipeline, batches, list(dict.fromkeys([*by_steps, *by_scale])), settings.seed, progress
        )
    write_text(args.out / "points.json", json.dumps([asdict(p) for p in points], indent=1) + "\n")
    write_text(args.out / "README.md", report(points, default))
    draw_steps(points, default, args.out / "steps.png")
    draw_guidance(points, default, args.out / "guidance.png")
    print(report(points, default))
    return 0


def measure(
    pipeline: DabFusionPipeline,
    batches: Sequence[ClipBatch],
    choices: Sequence[Choice],
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[Point]:
    """A point for the true flow and one for each choice; each clip's noise is always the same."""
    import torch

    from datamodules.batch import to_unit
    from experiments.evaluation.heldout import generate_flow

    own = pipeline.settings
    with torch.no_grad():
        true = []
        for batch in batches:
            assert batch.frames is not None
            true.append(pipeline.autoencoder.flow(to_unit(batch.reference), to_unit(batch.frames)))
        points = [_score(pipeline, batches, true, true, None)]
        for done, choice in enumerate(choices):
            pipeline.settings = replace(
                own,
                solver=choice.solver,
                steps=choice.steps,
                guidance_scale=choice.guidance,
            )
            made = [generate_flow(pipeline, batch, seed) for batch in batches]
            points.append(_score(pipeline, batches, made, true, choice))
            if progress is not None:
                progress(done + 1, len(choices))
    pipeline.settings = own
    return points


def _score(
    pipeline: DabFusionPipeline,
    batches: Sequence[ClipBatch],
    flows: Sequence[Tensor],
    true: Sequence[Tensor],
    choice: Choice | None,
) -> Point:
    import torch

    from datamodules.batch import to_unit
    from metrics.functional.bootstrap import cluster_bootstrap
    from metrics.functional.distances import frechet_distance
    from metrics.functional.motion import motion_from_latent_flow
    from metrics.functional.warping import warp_errors_of_video
    from metrics.motion_music_alignment import clip_scores

    corrected, errors, music = [], [], []
    for batch, flow in zip(batches, flows, strict=True):
        size = batch.reference.shape[-1]
        signal = motion_from_latent_flow(flow, batch.fps, size)
        corrected.append(clip_scores(signal, batch.fps, batch.beats)["corrected"])
        frames = pipeline.autoencoder.decode(to_unit(batch.reference), flow)
        errors.append(warp_errors_of_video(frames.clamp(0, 1).mul(255).round().to(torch.uint8)))
        music += batch.music_ids
    size = batches[0].reference.shape[-1]
    made, real = (torch.cat([flow_features(f, size) for f in set_]) for set_ in (flows, true))
    return Point(
        choice=choice,
        corrected=cluster_bootstrap(torch.cat(corrected).tolist(), music),
        frechet=float(frechet_distance(made, real)),
        warp_error=cluster_bootstrap(torch.cat(errors).tolist(), music),
    )


def flow_features(latent_flow: Tensor, size: int) -> Tensor:
    """Where and how much each part of the picture moves: a clip's features for a distance.

    Args:
        latent_flow: (B, T, 3, h, w) absolute.
        size: side of the frames in pixels.

    Returns:
        (B, 4 * CELLS^2) pixels: mean and standard deviation over time of the displacement in x
        and y, averaged over CELLS x CELLS parts of the picture.
    """
    import torch

    from lightning_modules.normalization import identity_grid

    h, w = latent_flow.shape[-2:]
    moved = latent_flow[:, :, :2] - identity_grid(h, w, latent_flow.device)
    pixels = moved.flatten(0, 1) * (size - 1) / 2
    parts = torch.nn.functional.adaptive_avg_pool2d(pixels, CELLS)
    parts = parts.flatten(1).unflatten(0, latent_flow.shape[:2])
    return torch.cat((parts.mean(1), parts.std(1)), dim=-1)
