"""The page of `dabfusion study sampling`: a table, a curve over steps and one over guidance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.studies.sampling.study import Choice, Point

NAMES = {"ddim": "DDIM", "dpm++": "DPM-Solver++", "unipc": "UniPC"}
COLOURS = {"ddim": "#b2182b", "dpm++": "#2166ac", "unipc": "#1b7837"}


def report(points: Sequence[Point], default: Choice) -> str:
    """The page in Markdown; the first point is the true flow's."""
    clips = points[0].corrected
    lines = [
        "# Steps, solvers and guidance",
        "",
        f"{clips.clips} held-out clips of {clips.clusters} pieces of music, the same noise in each",
        "row; no training. Corrected 2D-MM Align is read from latent flow. The Frechet distance",
        "compares where and how much each of 4 x 4 parts of the picture moves with the true flow",
        "(px^2; 0: alike). The warp error tells flicker from motion (times 1000; a still video has",
        "0, so compare it with the true flow's). 95% intervals redraw pieces of music.",
        "",
        "| solver | steps | guidance | passes | corrected | Frechet | warp error x 1000 |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for point in points:
        choice = point.choice
        cells = ["true flow", "", "", ""]
        if choice is not None:
            mark = " (default)" if choice == default else ""
            passes = choice.steps * (1 if choice.guidance in (0.0, 1.0) else 2)
            cells = [f"{NAMES[choice.solver]}{mark}", str(choice.steps), f"{choice.guidance:g}"]
            cells += [str(passes)]
        error = point.warp_error
        cells += [
            str(point.corrected),
            f"{point.frechet:.2f}",
            f"{error.mean * 1e3:.2f} [{error.low * 1e3:.2f}, {error.high * 1e3:.2f}]",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "![Over steps](steps.png)", "", "![Over guidance](guidance.png)", ""]
    return "\n".join(lines)


def draw_steps(points: Sequence[Point], default: Choice, path: Path) -> None:
    """Three curves over steps, a line a solver; the default is ringed."""
    lines = {
        solver: [
            (float(p.choice.steps), p)
            for p in points[1:]
            if p.choice and p.choice.solver == solver and p.choice.guidance == default.guidance
        ]
        for solver in NAMES
    }
    found = {NAMES[s]: (COLOURS[s], sorted(row, key=_first)) for s, row in lines.items() if row}
    _draw(found, points[0], (default.steps, NAMES[default.solver]), "denoising steps", path)


def draw_guidance(points: Sequence[Point], default: Choice, path: Path) -> None:
    """The same three over the weight of the music, with the default's solver and steps."""
    row = [
        (p.choice.guidance, p)
        for p in points[1:]
        if p.choice and (p.choice.solver, p.choice.steps) == (default.solver, default.steps)
    ]
    name = f"{NAMES[default.solver]}, {default.steps} steps"
    found = {name: (COLOURS[default.solver], sorted(row, key=_first))} if row else {}
    _draw(found, points[0], (default.guidance, name), "guidance scale of the music", path)


def _first(pair: tuple[float, Point]) -> float:
    return pair[0]


def _draw(
    lines: dict[str, tuple[str, list[tuple[float, Point]]]],
    true: Point,
    ringed: tuple[float, str],
    label: str,
    path: Path,
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    panels: list[tuple[str, Any]] = [
        ("corrected 2D-MM Align", lambda p: p.corrected),
        ("Frechet distance of flow, px²", lambda p: p.frechet),
        ("warp error x 1000", lambda p: p.warp_error),
    ]
    for place, (axis, (title, read)) in enumerate(zip(axes, panels, strict=True)):
        factor = 1e3 if place == 2 else 1.0
        for name, (colour, row) in lines.items():
            at = [x for x, _ in row]
            values = [read(p) for _, p in row]
            if place == 1:
                mean = values
            else:
                mean = [v.mean * factor for v in values]
                ends = [[v.low * factor for v in values], [v.high * factor for v in values]]
                axis.fill_between(at, *ends, color=colour, alpha=0.12, linewidth=0)
            axis.plot(at, mean, "o-", color=colour, label=name, markersize=4)
            if name == ringed[1] and ringed[0] in at:
                here = at.index(ringed[0])
                ring = {"color": "black", "markersize": 11, "fillstyle": "none"}
                axis.plot(at[here], mean[here], "o", label="default", **ring)
        if place != 1:
            level = read(true).mean * factor
            axis.axhline(level, color="#444444", linestyle="--", linewidth=1, label="true flow")
        if "steps" in label:
            axis.set_xscale("log", base=2)
            ticks = sorted({x for _, row in lines.values() for x, _ in row})
            axis.set_xticks(ticks, [f"{x:g}" for x in ticks])
        axis.set(xlabel=label, title=title)
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)
