"""The metric study's page and figures, made from the numbers in `results.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.reports.tables import markdown_table
from experiments.studies.metric.members import MEMBERS
from experiments.studies.metric.sweeps import SWEEPS
from experiments.studies.page import interval, markdown_page, new_figure, paragraph, save_figure

#: Rows of the summary: title, sweep and condition.
SUMMARY = (
    ("on the beat", "wrong", "on the beat"),
    ("shifted by half a beat", "wrong", "shifted by half a beat"),
    ("another clip's music", "wrong", "other clip's music"),
    ("still video with noise", "wrong", "still, with noise"),
    ("60 frames/s", "fps", "60"),
    ("camera shake of 1 px", "shake", "1"),
    ("pan and zoom of a tenth of the width", "pan", "0.1"),
    ("jitter of 1 px, shifted by half a beat", "jitter_off", "1"),
    ("32 pixels", "size", "32"),
    ("H.264 at rate factor 44", "compression", "44"),
    ("tempo 2% too fast", "tempo", "+2"),
    ("tempo 5% too fast", "tempo", "+5"),
    ("beats at half time", "metre", "half"),
    ("half of the limbs on the beat", "limbs", "0.5"),
)
SUMMARY_MEMBERS = ("corrected", "raw", "phase_cosine", "mint", "bailando", "av_align")
#: Rows of the table of folders: score and title.
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
SETTING = """{clips} rendered dancers for each condition (seed {seed}; 4 s, 128 pixels, 10 frames a
second unless these are varied; true beats unless tracked ones are named; metric version
{metric_version}). Rendered dancers turn on the beat, and their beats, joints and flow are known, so
the right score is known."""
READING = """A valid score is near 1 on the beat, negative when shifted by half a beat, near 0 with
other music and for still videos, and the same for any frame rate, resolution, camera and
compression. AV-Align measures peaks of motion, not rests, so it is lowest for a dancer who rests on
the beat."""
ADVICE = """**Which score to use.** To compare methods: the corrected score with its two control
differences, from frames. For validation during training: the same score from latent flow. In
addition, the phase cosine, which has no tolerance to choose and distinguishes off-beat from random.
Published variants only to read the literature, at their native frame rate, and always with the same
score for other music."""
DEPARTURES = """The definition takes the spatial median of the flow as the camera's motion, and its
gate uses every pixel. Frames are stabilized before that, and the gate excludes five pixels at the
edge; `motion_from_video(..., steady_camera=False, edge=0)` is the definition alone, and so is
`motion_from_flow` on any flow."""


def page(results: Mapping[str, Any], command: str) -> str:
    """Return the report of the numbers in `results.json`."""
    sweeps, needed = results["sweeps"], results["clips_needed"]
    summary = []
    for title, key, place in SUMMARY:
        row = sweeps[key]["places"].index(place)
        means = [sweeps[key]["means"][member][row] for member in SUMMARY_MEMBERS]
        summary.append([title, *(f"{mean:.3f}" for mean in means)])
    parts = [
        paragraph(SETTING, **results["settings"]),
        "## Summary",
        paragraph(READING),
        markdown_table(["condition", *(MEMBERS[m] for m in SUMMARY_MEMBERS)], summary),
        paragraph(ADVICE),
        "## Everything that was varied",
        "![Scores by condition](sweeps.png)",
    ]
    for key, sweep in sweeps.items():
        columns = [SWEEPS[key].unit or "condition", *(MEMBERS[m] for m in sweep["means"])]
        rows = zip(sweep["places"], *sweep["means"].values(), strict=True)
        title = SWEEPS[key].title
        parts.append(f"### {title[0].upper()}{title[1:]}")
        parts.append(markdown_table(columns, [[p, *(f"{x:.3f}" for x in row)] for p, *row in rows]))
    shares = list(next(iter(needed.values())))
    parts += [
        "## How many clips are needed?",
        "Clips needed to distinguish a dancer who hits a share of the music beats, with the other "
        "beats anywhere, from one who hits none (80% power, two-sided 5%; simulated lists of beats "
        "for the music of the same clips).",
        "![Clips needed](power.png)",
        markdown_table(
            ["member", *(f"{float(share):.0%} hit" for share in shares)],
            [[MEMBERS[m], *(f"{n:.0f}" for n in counts.values())] for m, counts in needed.items()],
        ),
        "## Where frames are read differently from the definition",
        paragraph(DEPARTURES),
        markdown_table(
            ["camera, 10 frames/s", "corrected, stabilized first", "by the median alone"],
            [[n, f"{a:.3f}", f"{b:.3f}"] for n, a, b in results["departures"]["cameras"]],
        ),
        markdown_table(
            ["noise on still videos (of 255)", "moving, edge excluded", "moving, edge included"],
            [[f"{n:g}", f"{a:.0%}", f"{b:.0%}"] for n, a, b in results["departures"]["noises"]],
        ),
    ]
    if results["folders"]:
        parts += [
            "## Videos of other methods",
            "Beats tracked in each video's own sound, motion from its frames; means with 95% "
            "bootstrap intervals, resampled by song.",
            _folder_table(results["folders"]),
        ]
    return markdown_page("Is the alignment score valid?", command, parts)


def _folder_table(folders: Mapping[str, Mapping[str, Any]]) -> str:
    counts = [interval(means["corrected"]) for means in folders.values()]
    rows = [["clips", *(f"{count.clips} of {count.clusters} songs" for count in counts)]]
    for key, title in FOLDER_SCORES.items():
        if all(key in means for means in folders.values()):
            rows.append([title, *(interval(means[key]).text(3) for means in folders.values())])
    return markdown_table(["score", *folders], rows)


def _style(member: str) -> dict[str, Any]:
    """Color and line of a member; those of others are dashed."""
    number = list(MEMBERS).index(member)
    published = member in ("mint", "bailando", "mace", "av_align")
    color = f"C{number}" if number < 10 else "black"
    return {"color": color, "linestyle": "--" if published else "-"}


def draw_sweeps(sweeps: Mapping[str, Any], path: Path, columns: int = 3) -> None:
    """Draw a panel for each sweep: the mean of every member over what is varied."""
    rows = -(-len(sweeps) // columns)
    figure, panels = new_figure(rows, columns, 4.6 * columns + 0.4, 3.5 * rows + 0.6)
    for axes in panels[len(sweeps) :]:
        axes.set_axis_off()
    legend: dict[str, Any] = {}
    for axes, (key, sweep) in zip(panels, sweeps.items(), strict=False):
        places = sweep["places"]
        numeric = not any(character.isalpha() for character in "".join(places))
        x = [float(place) for place in places] if numeric else list(range(len(places)))
        for member, means in sweep["means"].items():
            style = _style(member) | {"marker": ".", "markersize": 4}
            if not numeric:  # named conditions have no order, so no line connects them
                style |= {"linestyle": " ", "markersize": 7}
            (artist,) = axes.plot(x, means, **style)
            legend.setdefault(MEMBERS[member], artist)
        axes.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        axes.set_title(SWEEPS[key].title, fontsize=10)
        axes.set_xlabel(SWEEPS[key].unit, fontsize=9)
        axes.set_ylim(-1.05, 1.05)
        axes.tick_params(labelsize=8)
        if not numeric:
            axes.set_xticks(x, places, rotation=40, ha="right")
    place: dict[str, Any] = {"loc": "outside lower center", "frameon": False, "ncols": 4}
    figure.legend(list(legend.values()), list(legend), fontsize=8, **place)
    save_figure(figure, path, dpi=90)


def draw_power(needed: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw the clips needed over the share of beats hit."""
    figure, (axes,) = new_figure(1, 1, 5, 4.1)
    for member, counts in needed.items():
        shares = [float(share) for share in counts]
        style = _style(member) | {"marker": "o", "markersize": 4}
        axes.plot(shares, list(counts.values()), label=MEMBERS[member], **style)
    axes.set(xscale="log", yscale="log", xlabel="share of beats hit")
    axes.set_ylabel("clips needed (80% power, 5% level)")
    axes.set_xticks(shares, [f"{share:g}" for share in shares])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False)
    save_figure(figure, path, dpi=90)
