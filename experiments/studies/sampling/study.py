"""`dabfusion study sampling`: effect of denoising steps, solvers and guidance."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from experiments.studies.sampling.points import Choice, Point

HELP = """What do denoising steps, solvers and guidance contribute? Scores of one trained model.

Generates the same held-out clips, from the same noise, with each setting. Writes points.json,
README.md, steps.png and guidance.png."""
EXAMPLES = [
    "dabfusion study sampling quickstart/diffusion preset=quickstart data=quickstart/prepared",
]
BATCH = 8
STYLES = {
    "ddim": ("DDIM", "#b2182b"),
    "dpm++": ("DPM-Solver++", "#2166ac"),
    "unipc": ("UniPC", "#1b7837"),
}
EXPLANATION = """Corrected 2D-MM Align is read from latent flow. The Frechet distance compares where
and how much each of 4 x 4 parts of the frame moves with the true flow (squared pixels; 0 for equal
distributions). The warp error measures flicker (times 1000; a still video has 0, so compare it with
the error of the true flow). All rows use the same noise; nothing was trained. Intervals: 95%
bootstrap, resampled by song."""


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
    from experiments.studies.sampling.points import Choice, measure
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
    names = ("README.md", "points.json")
    write_results(args.out, text, [asdict(point) for point in points], names)
    draw_curves(points, default, args.out)
    print(text)
    return 0


def page(points: Sequence[Point], default: Choice, command: str) -> str:
    """Return the page; the first point is the true flow's, and `default` is marked."""
    from experiments.reports.tables import markdown_table
    from experiments.studies.page import markdown_page, paragraph

    rows = []
    for point in points:
        cells = ["true flow", "", "", ""]
        if point.choice is not None:
            choice = point.choice
            # Without guidance, or with the condition alone, one pass of the denoiser suffices.
            passes = choice.steps * (1 if choice.guidance in (0.0, 1.0) else 2)
            title = STYLES[choice.solver][0] + (" (default)" if choice == default else "")
            cells = [title, str(choice.steps), f"{choice.guidance:g}", str(passes)]
        scores = [point.corrected.text(3), f"{point.frechet:.2f}", point.warp_error.text(2, 1e3)]
        rows.append([*cells, *scores])
    clips = points[0].corrected
    columns = ["solver", "steps", "guidance", "passes", "corrected", "Frechet", "warp error x 1000"]
    parts = [
        f"{clips.clips} held-out clips of {clips.clusters} songs.",
        paragraph(EXPLANATION),
        markdown_table(columns, rows),
        "![Scores over steps](steps.png)",
        "![Scores over the guidance scale](guidance.png)",
    ]
    return markdown_page("Steps, solvers and guidance", command, parts)


def draw_curves(points: Sequence[Point], default: Choice, out: Path) -> None:
    """Draw the scores over steps, a line for each solver, and over the guidance scale."""
    lines: dict[str, list[tuple[float, Point]]] = {name: [] for name in STYLES}
    over_scale: list[tuple[float, Point]] = []
    for point in points:
        choice = point.choice
        if choice is not None and choice.guidance == default.guidance:
            lines[choice.solver].append((choice.steps, point))
        if choice is not None and replace(choice, guidance=default.guidance) == default:
            over_scale.append((choice.guidance, point))
    _draw(lines, points[0], default, "denoising steps", out / "steps.png")
    scales = {default.solver: over_scale}
    _draw(scales, points[0], default, "guidance scale of the music", out / "guidance.png")


def _draw(
    lines: dict[str, list[tuple[float, Point]]],
    true: Point,
    default: Choice,
    label: str,
    path: Path,
) -> None:
    from experiments.studies.page import draw_band, new_figure, save_figure

    figure, (align, frechet, warp) = new_figure(1, 3, 11, 3.4)
    for solver, pairs in lines.items():
        if not pairs:
            continue
        x, points = zip(*sorted(pairs, key=lambda pair: pair[0]), strict=True)
        title, color = STYLES[solver]
        draw_band(align, x, [p.corrected for p in points], label=title, color=color)
        frechet.plot(x, [p.frechet for p in points], "o-", color=color, markersize=4)
        draw_band(warp, x, [p.warp_error for p in points], factor=1e3, color=color)
        for place, point in zip(x, points, strict=True):
            if point.choice == default:
                ring: dict[str, Any] = {"color": "black", "markersize": 11, "fillstyle": "none"}
                align.plot(place, point.corrected.mean, "o", label="default", **ring)
                frechet.plot(place, point.frechet, "o", **ring)
                warp.plot(place, 1e3 * point.warp_error.mean, "o", **ring)
        if "steps" in label:
            for axes in (align, frechet, warp):
                axes.set_xscale("log", base=2)
                axes.set_xticks(x, [f"{value:g}" for value in x])
    level: dict[str, Any] = {
        "color": "#444444",
        "linestyle": "--",
        "linewidth": 1,
        "label": "true flow",
    }
    align.axhline(true.corrected.mean, **level)
    warp.axhline(1e3 * true.warp_error.mean, **level)
    align.set(xlabel=label, title="corrected 2D-MM Align")
    frechet.set(xlabel=label, title="Frechet distance of flow, px²")
    warp.set(xlabel=label, title="warp error x 1000")
    align.legend(frameon=False, fontsize=8)
    save_figure(figure, path)
