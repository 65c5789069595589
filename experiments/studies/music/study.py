"""`dabfusion study music`: do music embeddings predict motion?"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from experiments.studies.music.collect import Array, Collected

HELP = """Do music features predict motion? Linear probes by feature and by target.

Ridge probes from each music feature (log-mel and chroma, beats; CLAP and Wav2CLIP if their weights
are given) to the motion of clips: energy, motion beats a second, alignment, genre, choreography;
and, frame by frame, to the speed of the next step. Cross-validated by song, with intervals over
songs and the features of other songs as a control; canonical correlation. Writes report.md,
probes.png and results.json."""
EXAMPLES = [
    "dabfusion study music preset=quickstart data=quickstart/prepared",
]
COLORS = ("#0b5fa5", "#d95f02", "#1b9e77", "#7b3294", "#66a61e")
EXPLANATION = """{clips} clips of {songs} songs ({data}). Ridge probes, cross-validated by song;
mean and 95% interval over songs; in parentheses the same probe on the features of other songs. R^2
for numbers, accuracy for classes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the study's arguments."""
    parser.add_argument("settings", nargs="+", metavar="key=value", help="data=FOLDER at least")
    parser.add_argument("--clips", type=int, default=400, help="maximum of clips (default: 400)")
    parser.add_argument("--out", type=Path, default=Path("music-study"), help="where to write")


def run(args: argparse.Namespace) -> int:
    """Collect features and motion, fit the probes, write the report."""
    from experiments.config.load import settings_from_words
    from experiments.errors import SettingsError
    from experiments.processes.progress import shown_progress
    from experiments.studies.music.collect import collect
    from experiments.studies.page import write_results

    words = list(args.settings)
    for part in ("clap", "wav2clip"):
        # The frozen encoders are left out unless their weights are given.
        if not any(word.startswith(f"music.{part}_weights=") for word in words):
            words.append(f"music.{part}=false")
    settings = settings_from_words(words)
    if not settings.data:
        raise SettingsError("data= is not given; give the folder that `dabfusion prepare` wrote.")
    if args.clips < 20:
        raise SettingsError(f"--clips is {args.clips}, but probes need at least 20.")
    with shown_progress("Collect features and motion") as progress:
        found = collect(settings, args.clips, progress)
    songs = len(set(found.songs))
    if songs < 5:
        raise SettingsError(
            f'data="{settings.data}" has {songs} songs, but probes that are tested on other songs '
            "than they are fitted on need at least 5."
        )
    sizes = {"clips": len(found.songs), "songs": songs, "data": Path(settings.data).name}
    results = {"settings": sizes, **measure(found)}
    text = page(results, args.command)
    write_results(args.out, text, results, ("report.md", "results.json"))
    draw_probes(results, args.out / "probes.png")
    print(text)
    print(f"Written to {args.out}: report.md, probes.png, results.json")
    return 0


def measure(found: Collected) -> dict[str, Any]:
    """Return every probe with its interval, and the same probe on the features of other songs."""
    import numpy as np

    from experiments.studies.music.probes import (
        canonical_correlation,
        explained,
        held_out,
        hits,
        shuffled_groups,
    )

    songs = found.songs
    results: dict[str, Any] = {"clips": {}, "frames": {}, "canonical": {}}
    motion = np.concatenate([*found.targets.values(), found.speed], axis=1)
    for name, x in found.features.items():
        other = shuffled_groups(x, songs, seed=0)
        rows: dict[str, Any] = {}
        for target, y in found.targets.items():
            pair = [explained(y, held_out(features, y, songs)) for features in (x, other)]
            rows[target] = _row(pair, songs)
        for label, classes in found.labels.items():
            rows[label] = _row([hits(classes, features, songs) for features in (x, other)], songs)
            rows[label]["chance"] = max(map(classes.count, set(classes))) / len(classes)
            rows[label]["reachable"] = _reachable(classes, songs)
        results["clips"][name] = rows
        results["canonical"][name] = {
            "own": canonical_correlation(x, motion, songs),
            "other": canonical_correlation(other, motion, songs),
        }
    for name, local in found.frame_features.items():
        # R^2 of the relative speed of each step from the music at its first frame.
        clips, steps, width = local.shape
        groups = [song for song in songs for _ in range(steps)]
        y = found.speed.reshape(-1, 1)
        other = shuffled_groups(local.reshape(clips, -1), songs, seed=0)
        both = (features.reshape(-1, width) for features in (local, other))
        pair = [explained(y, held_out(features, y, groups)) for features in both]
        results["frames"][name] = _row(pair, groups)
    return results


def _row(pair: list[Array], groups: list[str]) -> dict[str, float]:
    from metrics.functional.bootstrap import cluster_bootstrap

    own, control = (cluster_bootstrap(values, groups) for values in pair)
    return {"mean": own.mean, "low": own.low, "high": own.high, "other_music": control.mean}


def _reachable(classes: list[str], songs: list[str]) -> float:
    """Share of the clips whose class another song has, too: no probe can predict the others."""
    of_class: dict[str, set[str]] = {}
    for label, song in zip(classes, songs, strict=True):
        of_class.setdefault(label, set()).add(song)
    return sum(len(of_class[label]) > 1 for label in classes) / len(classes)


def page(results: Mapping[str, Any], command: str) -> str:
    """Return the report of the numbers in `results.json`."""
    from experiments.reports.tables import markdown_table
    from experiments.studies.page import interval, markdown_page, paragraph

    def cell(row: Mapping[str, float]) -> str:
        return f"{interval(row).text(2)} ({row['other_music']:.2f})"

    table = []
    for name, rows in results["clips"].items():
        pair = results["canonical"][name]
        correlation = f"{pair['own']:.2f} ({pair['other']:.2f})"
        table.append([name, *map(cell, rows.values()), correlation])
    columns = ["music feature", *rows, "canonical correlation"]
    parts = [
        "![Result of each probe](probes.png)",
        paragraph(EXPLANATION, **results["settings"]),
        "## Clips",
        markdown_table(columns, table),
    ]
    classes = {target: row for target, row in rows.items() if "chance" in row}
    if classes:
        parts += [
            "No probe can predict a class that occurs with a single song.",
            markdown_table(
                ["class", "share of the most frequent one", "clips whose class other songs have"],
                [[t, f"{r['chance']:.2f}", f"{r['reachable']:.0%}"] for t, r in classes.items()],
            ),
        ]
    parts += [
        "## Frames",
        "R^2 of the speed of a step, divided by its clip's mean, from the music at its frame.",
        markdown_table(
            ["music feature", "R^2"],
            [[name, cell(row)] for name, row in results["frames"].items()],
        ),
    ]
    return markdown_page("Do music embeddings predict motion?", command, parts)


def draw_probes(results: Mapping[str, Any], path: Path) -> None:
    """Draw a group of bars for each target, a bar for each music feature, with intervals.

    A short black line is the same probe on the features of other songs; a dotted one is the share
    of the most frequent class. Bars and intervals below -0.5 are cut off.
    """
    from experiments.studies.page import new_figure, save_figure

    targets = list(next(iter(results["clips"].values())))
    figure, (left, right) = new_figure(1, 2, 11, 3.8, width_ratios=(len(targets), 1))
    _draw_features(left, targets, results["clips"])
    for place, row in enumerate(next(iter(results["clips"].values())).values()):
        if "chance" in row:
            left.plot([place - 0.45, place + 0.45], [row["chance"]] * 2, ":", color="#333333")
    _draw_features(right, ["speed"], {k: {"speed": v} for k, v in results["frames"].items()})
    left.set_title("clips: R² of numbers, accuracy of classes", fontsize=10)
    right.set_title("frames: R²", fontsize=10)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=9)
    save_figure(figure, path, dpi=110)


def _draw_features(
    axes: Axes, targets: list[str], features: Mapping[str, Mapping[str, Mapping[str, float]]]
) -> None:
    from experiments.studies.page import draw_bars, interval

    width = 0.8 / len(features)
    for number, (name, rows) in enumerate(features.items()):
        x = [place + (number - (len(features) - 1) / 2) * width for place in range(len(targets))]
        cells = [rows[target] for target in targets]
        draw_bars(
            axes,
            x,
            list(map(interval, cells)),
            0.9 * width,
            color=COLORS[number % len(COLORS)],
            label=name,
        )
        for middle, row in zip(x, cells, strict=True):
            ends = [middle - 0.45 * width, middle + 0.45 * width]
            axes.plot(ends, [row["other_music"]] * 2, color="black", linewidth=1.5)
    axes.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    axes.set_ylim(-0.5, 1.05)
    axes.set_xticks(range(len(targets)), targets, fontsize=8, rotation=15)
    axes.tick_params(axis="y", labelsize=8)
