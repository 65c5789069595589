"""Scores of the clips that a model generates with each solver, number of steps and guidance scale.

The page and its figures are made from these scores alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.batch import ClipBatch, to_uint8, to_unit
from experiments.evaluation.heldout import generate_flow
from experiments.studies.page import draw_band, fill_template, new_figure, save_figure
from lightning_modules.normalization import identity_grid
from lightning_modules.pipeline import DabFusionPipeline
from metrics.functional import Interval, cluster_bootstrap
from metrics.functional.distances import frechet_distance
from metrics.functional.motion import motion_from_latent_flow
from metrics.functional.warping import warp_errors_of_video
from metrics.motion_music_alignment import clip_scores

#: Latent flow is averaged over a grid of this many cells a side to compute its features.
CELLS = 4
STYLES = {
    "ddim": ("DDIM", "#b2182b"),
    "dpm++": ("DPM-Solver++", "#2166ac"),
    "unipc": ("UniPC", "#1b7837"),
}
#: Panels of the figures: field of `Point`, title and factor of its unit.
PANELS = (
    ("corrected", "corrected 2D-MM Align", 1.0),
    ("frechet", "Frechet distance of flow, px²", 1.0),
    ("warp_error", "warp error x 1000", 1e3),
)


@dataclass(frozen=True)
class Choice:
    """How flow is sampled."""

    solver: str
    steps: int
    guidance: float


@dataclass(frozen=True)
class Point:
    """Scores of the held-out clips for one choice."""

    choice: Choice | None
    """None for the true flow, decoded in the same way."""
    corrected: Interval
    """Corrected 2D-MM Align, from latent flow."""
    frechet: float
    """Frechet distance of `flow_features` to those of the true flow, in squared pixels."""
    warp_error: Interval
    """Mean squared error of each frame against the previous one warped by optical flow."""


@torch.no_grad()
def measure(
    pipeline: DabFusionPipeline,
    batches: Sequence[ClipBatch],
    choices: Sequence[Choice],
    seed: int,
    progress: Callable[[int, int], None],
) -> list[Point]:
    """Return a point for the true flow and one for each choice; all of them use the same noise."""
    own, size = pipeline.settings, batches[0].reference.shape[-1]
    music = [name for batch in batches for name in batch.music_ids]
    videos = [to_unit(batch.frames) for batch in batches if batch.frames is not None]
    true = [pipeline.autoencoder.flow(video[:, 0], video) for video in videos]
    points: list[Point] = []
    for choice in (None, *choices):
        flows = true
        if choice is not None:
            pipeline.settings = replace(
                own, solver=choice.solver, steps=choice.steps, guidance_scale=choice.guidance
            )
            flows = [generate_flow(pipeline, batch, seed) for batch in batches]
        corrected, errors = [], []
        for batch, flow in zip(batches, flows, strict=True):
            signal = motion_from_latent_flow(flow, batch.fps, size)
            corrected += clip_scores(signal, batch.fps, batch.beats)["corrected"].tolist()
            frames = pipeline.autoencoder.decode(to_unit(batch.reference), flow)
            errors += warp_errors_of_video(to_uint8(frames)).tolist()
        features = (flow_features(torch.cat(part), size) for part in (flows, true))
        means = (cluster_bootstrap(scores, music) for scores in (corrected, errors))
        points.append(Point(choice, next(means), float(frechet_distance(*features)), next(means)))
        progress(len(points) - 1, len(choices))
    pipeline.settings = own
    return points


def flow_features(latent_flow: Tensor, size: int) -> Tensor:
    """Return features of a clip's motion for a Frechet distance: where and how much it moves.

    Args:
        latent_flow: (B, T, 3, h, w) absolute.
        size: Side of the frames in pixels.

    Returns:
        (B, 4 * CELLS^2) pixels: mean and standard deviation over time of the displacement in x
        and y, averaged over each of the CELLS x CELLS cells of the frame.
    """
    h, w = latent_flow.shape[-2:]
    displacement = latent_flow[:, :, :2] - identity_grid(h, w, latent_flow.device)
    pixels = displacement.flatten(0, 1) * (size - 1) / 2
    cells = torch.nn.functional.adaptive_avg_pool2d(pixels, CELLS)
    cells = cells.flatten(1).unflatten(0, latent_flow.shape[:2])  # (B, T, 2 * CELLS^2)
    return torch.cat((cells.mean(1), cells.std(1)), dim=-1)


def page(points: Sequence[Point], default: Choice, command: str) -> str:
    """Return the page; the first point is the true flow's, and `default` is marked."""
    values = {"points": points, "default": default, "styles": STYLES, "command": command}
    return fill_template(Path(__file__).with_name("report.md.j2"), **values)


def draw_curves(points: Sequence[Point], default: Choice, out: Path) -> None:
    """Draw the scores over steps, a line for each solver, and over the guidance scale."""
    made = {point.choice: point for point in points if point.choice is not None}
    over_steps: dict[str, dict[float, Point]] = {}
    over_scale: dict[float, Point] = {}
    for choice, point in made.items():
        if choice.guidance == default.guidance:
            over_steps.setdefault(choice.solver, {})[choice.steps] = point
        if replace(choice, guidance=default.guidance) == default:
            over_scale[choice.guidance] = point
    _draw(over_steps, points[0], default, "denoising steps", out / "steps.png")
    scales = {default.solver: over_scale}
    _draw(scales, points[0], default, "guidance scale of the music", out / "guidance.png")


def _draw(
    lines: dict[str, dict[float, Point]], true: Point, default: Choice, label: str, path: Path
) -> None:
    figure, panels = new_figure(1, len(PANELS), 11, 3.4)
    for axes, (score, title, factor) in zip(panels, PANELS, strict=True):
        for solver, points in lines.items():
            places, (name, color) = sorted(points), STYLES[solver]
            values = [_interval(points[place], score) for place in places]
            draw_band(axes, places, values, factor=factor, label=name, color=color)
            for place, value in zip(places, values, strict=True):
                if points[place].choice == default:
                    ring: dict[str, Any] = {
                        "markersize": 11,
                        "fillstyle": "none",
                        "label": "default",
                    }
                    axes.plot(place, factor * value.mean, "o", color="black", **ring)
            if "steps" in label:
                axes.set_xscale("log", base=2)
                axes.set_xticks(places, [f"{place:g}" for place in places])
        if score != "frechet":  # the true flow has no distance to itself
            level = factor * _interval(true, score).mean
            axes.axhline(level, color="#444444", linestyle="--", linewidth=1, label="true flow")
        axes.set(xlabel=label, title=title)
    panels[0].legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def _interval(point: Point, score: str) -> Interval:
    value = getattr(point, score)
    return value if isinstance(value, Interval) else Interval(value, math.nan, math.nan, 0, 0)
