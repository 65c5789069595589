"""What the distances over each feature network notice, and the report of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.studies.features.corruptions import DAMAGES, Noticed, notice
from metrics.extractors import FeatureExtractor

DISTANCES = {"frechet": "Frechet distance", "kernel": "kernel distance"}


@dataclass(frozen=True)
class FeatureComparison:
    """The trained network beside the random one."""

    digests: dict[str, str]
    """Network to its digest."""
    noticed: dict[str, dict[str, Noticed]]
    """Network, distance: what was noticed."""

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {
            network: {
                "digest": self.digests[network],
                **{distance: asdict(one) for distance, one in by_distance.items()},
            }
            for network, by_distance in self.noticed.items()
        }


def measure_all(weights: Path, videos: int, seed: int) -> FeatureComparison:
    """Both distances over the trained and over the random network, on dances neither has seen."""
    from experiments.studies.features.training import render_dancers
    from metrics.dancer_features import DancerVideoFeatures
    from metrics.fixed_features import FixedVideoFeatures
    from metrics.functional.distances import frechet_distance, kernel_distance

    frames = render_dancers(videos, seed + 90_000).frames
    networks: dict[str, FeatureExtractor] = {
        "trained on rendered dancers": DancerVideoFeatures(weights),
        "random convolutions": FixedVideoFeatures(),
    }
    distances = {"frechet": frechet_distance, "kernel": kernel_distance}
    noticed = notice(networks, frames, distances, seed)
    return FeatureComparison({name: n.digest for name, n in networks.items()}, noticed)


def write_report(
    found: FeatureComparison, skill: Mapping[str, float] | None, settings: Mapping[str, int]
) -> str:
    """The report, as Markdown.

    Args:
        found: what was noticed.
        skill: of the trained network on held-out dances, if it was trained just now.
        settings: what the study was run with.
    """
    parts = ["# What do the video distances over the small feature networks notice?"]
    parts.append(
        f"`dabfusion study features --videos {settings['videos']} --seed {settings['seed']}`: "
        "videos of rendered dancers (4 s, 64 pixels, 10 frames a second) that no network has seen; "
        "one half is damaged and its distance to the other half measured. Figures are standard "
        "scores: how far the distance rises above that of two undamaged halves, in standard "
        "deviations of the latter over random halves. None of the damage was trained on."
    )
    if skill is not None:
        parts.append(
            f"The network learnt from {settings['clips']} dances in {settings['steps']} steps of "
            f"16 windows. On dances it has not seen it explains {skill['pose']:.0%} of the spread "
            f"of poses and speeds, names the genre in {skill['genre']:.0%} (10% by guessing) and "
            f"the playback rate in {skill['rate']:.0%} (50% by guessing)."
        )
    for distance, title in DISTANCES.items():
        parts += [f"## {title[:1].upper()}{title[1:]}", _table(found, distance)]
    parts += ["## What follows", "\n".join(f"- {line}" for line in _conclusions(found))]
    parts.append("\n".join(f"- {name}: `{digest}`" for name, digest in found.digests.items()))
    return "\n\n".join(parts) + "\n"


def _table(found: FeatureComparison, distance: str) -> str:
    lines = ["| damage | level | " + " | ".join(found.noticed) + " |"]
    lines.append("| --- | ---: |" + " ---: |" * len(found.noticed))
    for damage, (_, levels) in DAMAGES.items():
        columns = [one[distance].standard_scores(damage) for one in found.noticed.values()]
        for place, level in enumerate(levels):
            cells = " | ".join(f"{column[place]:.1f}" for column in columns)
            lines.append(f"| {damage} | {level:g} | {cells} |")
    return "\n".join(lines)


def _conclusions(found: FeatureComparison) -> list[str]:
    lines = []
    for network, by_distance in found.noticed.items():
        for distance, one in by_distance.items():
            rising = [damage for damage in DAMAGES if one.is_monotone(damage)]
            rest = [damage for damage in DAMAGES if damage not in rising]
            clear = sum(score > 3 for damage in DAMAGES for score in one.standard_scores(damage))
            total = sum(len(levels) for _, levels in DAMAGES.values())
            lines.append(
                f"{DISTANCES[distance]}, {network}: grows with every level of "
                f"{', '.join(rising) or 'nothing'}"
                + (f", but not of {', '.join(rest)}" if rest else "")
                + f"; {clear} of {total} kinds and levels lie more than three standard deviations "
                "above clean."
            )
    return lines
