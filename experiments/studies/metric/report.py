"""The report of the metric study, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.studies.metric.conclusions import capital
from experiments.studies.metric.departures import Departures, departures_text
from experiments.studies.metric.members import MEMBERS
from experiments.studies.metric.sweeps import Sweep
from metrics.functional.bootstrap import Interval

#: Columns of the folders' table: score and title.
FOLDER_SCORES = {
    "corrected": "corrected",
    "control_difference": "minus shifted music",
    "other_difference": "minus other music",
    "f1_corrected": "F1, corrected",
    "phase_cosine": "phase cosine",
    "raw": "raw BAS",
    "chance": "its chance level",
    "av_align": "AV-Align",
    "bas_mint": "mint, on flow",
    "bas_bailando": "bailando, on flow",
}


def write_report(
    sweeps: Sequence[Sweep],
    needed: Mapping[str, Mapping[str, float]],
    folders: Mapping[str, Mapping[str, Interval]],
    conclusions: Sequence[str],
    settings: Mapping[str, Any],
    departures: Departures,
) -> str:
    """The whole report.

    Args:
        sweeps: what was turned.
        needed: clips needed, by member and share of beats hit.
        folders: means with intervals of every folder that was given, by its title.
        conclusions: sentences from `conclude`.
        settings: what the study was run with.
        departures: what reading frames otherwise than defined changes.
    """
    parts = [
        "# Is the alignment score valid?",
        f"`dabfusion study metric` on {settings['clips']} rendered dancers a condition (seed "
        f"{settings['seed']}; 4 s, 128 pixels, 10 frames a second unless that is what is turned; "
        f"true beats unless tracked ones are named; metric version {settings['metric_version']}). "
        "Rendered dancers turn on the beat, and their beats, joints and flow are known, so a score "
        "has a right answer here.",
        "## What was found",
        "\n".join(f"- {line}" for line in conclusions),
        "## Everything that was turned",
        "![scores against what is turned](sweeps.png)",
    ]
    parts += [f"### {capital(sweep.title)}\n\n{sweep_table(sweep)}" for sweep in sweeps]
    parts += [
        "## How many clips does it take?",
        "Clips needed to tell a dancer who hits a share of the music beats, the rest falling "
        "anywhere, from one who hits none (80% power, two-sided 5%; simulated lists of beats over "
        "the music of the same clips).",
        "![clips needed](power.png)",
        power_table(needed),
    ]
    parts += [
        "## Where frames are read otherwise than defined",
        "The definition takes the flow's spatial median for the camera's motion, and its gate "
        "looks at every pixel. Frames are steadied before that, and the gate leaves five pixels at "
        "the edge out; `motion_from_video(..., steady_camera=False, edge=0)` is the definition "
        "alone, and so is `motion_from_flow` on any flow.",
        departures_text(departures),
    ]
    if folders:
        parts += [
            "## Videos by others",
            "Beats tracked in each video's own sound, motion from its frames; means with 95% "
            "intervals that redraw pieces of music.",
            folder_table(folders),
        ]
    return "\n\n".join(parts) + "\n"


def sweep_table(sweep: Sweep) -> str:
    """Means of all members at every place."""
    members = sweep.members()
    lines = [
        f"| {sweep.unit or 'condition'} | " + " | ".join(MEMBERS[m][0] for m in members) + " |",
        "| --- |" + " ---: |" * len(members),
    ]
    means = {member: sweep.means(member) for member in members}
    for row, place in enumerate(sweep.places):
        cells = " | ".join(f"{means[member][row]:.3f}" for member in members)
        lines.append(f"| {place} | {cells} |")
    return "\n".join(lines)


def power_table(needed: Mapping[str, Mapping[str, float]]) -> str:
    """Clips needed, a row a member."""
    shares = list(next(iter(needed.values())))
    lines = [
        "| member | " + " | ".join(f"{float(s):.0%} hit" for s in shares) + " |",
        "| --- |" + " ---: |" * len(shares),
    ]
    for member, counts in needed.items():
        cells = " | ".join(f"{counts[share]:.0f}" for share in shares)
        lines.append(f"| {MEMBERS[member][0]} | {cells} |")
    return "\n".join(lines)


def folder_table(folders: Mapping[str, Mapping[str, Interval]]) -> str:
    """Scores of folders, a row a score."""
    lines = [
        "| score | " + " | ".join(folders) + " |",
        "| --- |" + " --- |" * len(folders),
    ]
    clips = " | ".join(
        f"{means['corrected'].clips} of {means['corrected'].clusters} pieces"
        for means in folders.values()
    )
    lines.append(f"| clips | {clips} |")
    for key, title in FOLDER_SCORES.items():
        if all(key in means for means in folders.values()):
            lines.append(f"| {title} | " + " | ".join(str(m[key]) for m in folders.values()) + " |")
    return "\n".join(lines)
