"""The figures of `study music`, and their page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.studies.music.measure import Collected
from experiments.studies.music.probes import (
    canonical_correlation,
    explained,
    held_out,
    hits,
    shuffled_groups,
)
from metrics.functional.bootstrap import cluster_bootstrap

Array = NDArray[np.float64]


def measure(found: Collected) -> dict[str, Any]:
    """Every probe with its interval, and the same probe on the features of other pieces."""
    results: dict[str, Any] = {"clips": {}, "frames": {}, "canonical": {}}
    motion = np.concatenate([*found.targets.values(), found.speed], axis=1)
    for name, x in found.features.items():
        other = shuffled_groups(x, found.music, seed=0)
        rows: dict[str, Any] = {}
        for target, y in found.targets.items():
            rows[target] = _both(
                lambda z, y=y: explained(y, held_out(z, y, found.music)), x, other, found.music
            )
        for label, classes in found.labels.items():
            rows[label] = _both(
                lambda z, c=classes: hits(c, z, found.music), x, other, found.music
            ) | {
                "chance": max(map(classes.count, set(classes))) / len(classes),
                "reachable": _reachable(classes, found.music),
            }
        results["clips"][name] = rows
        results["canonical"][name] = {
            "own": canonical_correlation(x, motion, found.music),
            "other": canonical_correlation(other, motion, found.music),
        }
    for name, local in found.frame_features.items():
        results["frames"][name] = _frame_probe(found, local)
    return results


def _reachable(classes: list[str], pieces: list[str]) -> float:
    """Share of the clips whose class some other piece has too: no probe can name the others."""
    of_class: dict[str, set[str]] = {}
    for label, piece in zip(classes, pieces, strict=True):
        of_class.setdefault(label, set()).add(piece)
    return sum(len(of_class[label]) > 1 for label in classes) / len(classes)


def _frame_probe(found: Collected, local: Array) -> dict[str, Any]:
    """R^2 of the relative speed of each step from the music at its first frame."""
    clips, steps, width = local.shape
    groups = [music for music in found.music for _ in range(steps)]
    y = found.speed.reshape(-1, 1)
    other = shuffled_groups(local.reshape(clips, -1), found.music, seed=0)
    return _both(
        lambda z: explained(y, held_out(z, y, groups)),
        local.reshape(-1, width),
        other.reshape(-1, width),
        groups,
    )


def _both(probe: Any, own: Array, other: Array, groups: list[str]) -> dict[str, Any]:
    interval = cluster_bootstrap(probe(own), groups)
    control = cluster_bootstrap(probe(other), groups)
    return {
        "mean": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "other_music": control.mean,
    }


def report(results: dict[str, Any], clips: int, pieces: int, data: str) -> str:
    """Markdown."""
    targets = list(next(iter(results["clips"].values())))
    lines = [
        "# Does the music embedding carry motion?",
        "",
        "![What each probe finds](probes.png)",
        "",
        f"{clips} clips of {pieces} pieces of music ({Path(data).name}). "
        "Ridge probes, cross-validated by piece; mean and 95% interval over pieces; in brackets "
        "the same probe on the features of other pieces. R^2 for numbers, accuracy for classes.",
        "",
        "## Clips",
        "",
        "| music feature | " + " | ".join(targets) + " | canonical correlation |",
        "| --- |" + " --- |" * (len(targets) + 1),
    ]
    for name, rows in results["clips"].items():
        pair = results["canonical"][name]
        cells = [_cell(rows[target]) for target in targets]
        cells.append(f"{pair['own']:.2f} ({pair['other']:.2f})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    chances = [f"{t} {r['chance']:.2f}" for t, r in rows.items() if "chance" in r]
    if chances:
        lines += ["", "Always naming the commonest class: " + ", ".join(chances) + "."]
    for target, row in rows.items():
        if row.get("reachable", 1.0) < 0.99:
            lines.append(
                f"Of the clips {row['reachable']:.0%} have a {target} that occurs with another "
                "piece too; the others no probe can name."
            )
    lines += [
        "",
        "## Frames",
        "",
        "R^2 of the speed of a step, divided by its clip's mean, from the music at its frame.",
        "",
        "| music feature | R^2 |",
        "| --- | --- |",
    ]
    lines += [f"| {name} | {_cell(row)} |" for name, row in results["frames"].items()]
    return "\n".join(lines) + "\n"


def _cell(row: dict[str, float]) -> str:
    mean, low, high = row["mean"], row["low"], row["high"]
    return f"{mean:.2f} [{low:.2f}, {high:.2f}] ({row['other_music']:.2f})"
