"""The report of the metric study, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.studies.metric_departures import Departures, departures_text
from experiments.studies.metric_members import MEMBERS
from experiments.studies.metric_sweeps import Sweep
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
    parts += [f"### {_capital(sweep.title)}\n\n{sweep_table(sweep)}" for sweep in sweeps]
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


def conclude(
    sweeps: Sequence[Sweep],
    needed: Mapping[str, Mapping[str, float]],
    folders: Mapping[str, Mapping[str, Interval]],
) -> list[str]:
    """Sentences filled from the numbers, and nothing that was not measured."""
    by_key = {sweep.key: sweep for sweep in sweeps}

    def at(key: str, place: str, member: str = "corrected") -> float:
        sweep = by_key[key]
        return sweep.means(member)[sweep.places.index(place)]

    def span(key: str, member: str = "corrected") -> str:
        means = by_key[key].means(member)
        return f"{min(means):.3f} to {max(means):.3f}"

    other = "other clip's music"
    found = [
        f"**On and off the beat.** The corrected score is {at('wrong', 'on the beat'):.3f} on the "
        f"beat, {at('wrong', 'half a beat off'):.3f} half a beat off, "
        f"{at('wrong', other):.3f} with another clip's music and "
        f"{at('wrong', 'still'):.3f} for still videos ({at('wrong', 'still, with noise'):.3f} with "
        "noise). The raw BAS with another clip's music is "
        f"{at('wrong', other, 'raw'):.3f}: that is what nothing looks like."
    ]
    found += [
        "**Frame rate.** "
        + ", ".join(
            f"{by_key['fps'].interval('corrected', rate)} at {rate}"
            for rate in ("10", "20", "30", "60")
        )
        + f" frames a second; half a beat off {span('fps_off')}. Published variants over all "
        "rates: "
        f"mint at {span('fps', 'mint')}, Bailando's at {span('fps', 'bailando')}, MACE-Dance's at "
        f"{span('fps', 'mace')}, AV-Align at {span('fps', 'av_align')}.",
        f"**Camera.** With 1 px of shake it is {at('shake', '1'):.3f} against "
        f"{at('shake', '0'):.3f} without; from key points, which know of no camera, "
        f"{at('shake', '1', 'corrected_keypoints'):.3f}. A pan and zoom of a tenth of the width "
        f"leaves {at('pan', '0.1'):.3f}.",
        f"**Jitter.** A dancer half a beat off who shakes by 1 px rises from "
        f"{at('jitter_off', '0'):.3f} to {at('jitter_off', '1'):.3f} in the corrected score; from "
        f"{at('jitter_off', '0', 'bailando'):.3f} to {at('jitter_off', '1', 'bailando'):.3f} in "
        f"Bailando's, from {at('jitter_off', '0', 'mint'):.3f} to "
        f"{at('jitter_off', '1', 'mint'):.3f} in mint.",
        "**AV-Align looks at peaks of motion, not at rests.** A dancer on the beat gets "
        f"{at('wrong', 'on the beat', 'av_align'):.3f}, one half a beat off "
        f"{at('wrong', 'half a beat off', 'av_align'):.3f}: it does not measure this.",
        f"**Resolution, noise, compression.** 32 to 256 pixels: {span('size')}. Noise up to 16 of "
        f"255: {span('noise')}. H.264 at rate factor 44: {at('compression', '44'):.3f}.",
        f"**Wrong tempo.** At 2% off it is {at('tempo', '+2'):.3f}, at 5% {at('tempo', '+5'):.3f}, "
        f"at 10% {at('tempo', '+10'):.3f}. Beats at half time give {at('metre', 'half'):.3f}, at "
        f"double time {at('metre', 'double'):.3f}: give the tracker the tempo where it is known.",
        f"**Few limbs on the beat.** With half of the limbs on the beat and half off it is "
        f"{at('limbs', '0.5'):.3f}: the score sees the whole figure's speed, not single limbs.",
        "**Rhythms.** With true beats: "
        + ", ".join(
            f"{place} {at('rhythms', place):.3f} (tracked {at('rhythms', f'{place}, tracked'):.3f})"
            for place in by_key["rhythms"].places
            if not place.endswith("tracked")
        )
        + ".",
        "**Power.** To find a dancer who hits 20% of the beats takes "
        + ", ".join(f"{counts['0.2']:.0f} clips by {MEMBERS[m][0]}" for m, counts in needed.items())
        + ".",
    ]
    found += [_folder_sentence(title, means) for title, means in folders.items()]
    return [*found, _advice()]


def _folder_sentence(title: str, means: Mapping[str, Interval]) -> str:
    corrected, other = means["corrected"], means["other_difference"]
    beats = corrected.low > 0
    verdict = (
        "above chance"
        if beats
        else "below chance"
        if corrected.high < 0
        else "not told from chance"
    )
    return (
        f"**{_capital(title)}.** {corrected.clips} clips: corrected {corrected}, minus other music "
        f"{other}, raw {means['raw']} at a chance level of {means['chance']}: {verdict}."
    )


def _advice() -> str:
    return (
        "**Which to use.** Between methods: the corrected score with its two control differences, "
        "from frames. In validation during training: the same from latent flow. Beside it the "
        "phase cosine, which has no tolerance to choose and tells off-beat from random. Published "
        "variants only to read the literature, at their native frame rate, and never without the "
        "same score for other music."
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
