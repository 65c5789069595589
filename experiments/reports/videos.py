"""Videos in a comparison: the same clip of every run, embedded in the page or linked from it."""

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from experiments.reports.runs import RunRecord, Sample


@dataclass(frozen=True)
class ShownClip:
    """One clip with the videos of the runs; the title names its data if that is ambiguous."""

    title: str
    videos: list[tuple[RunRecord, Sample]]


def shown_clips(runs: Sequence[RunRecord], max_clips: int) -> list[ShownClip]:
    """Return the newest video of each clip and run, clips that most runs have first.

    Clips with the same name from different data are different clips.

    Args:
        runs: Runs with their samples.
        max_clips: Number of clips.
    """
    clips: dict[tuple[str, str], dict[str, tuple[RunRecord, Sample]]] = {}
    for run in runs:
        data = str(run.manifest.get("data_digest") or "")
        for sample in sorted(run.samples, key=lambda s: -1 if s.step is None else s.step):
            clips.setdefault((sample.clip, data), {})[run.name] = (run, sample)
    order = sorted(clips, key=lambda key: (-len(clips[key]), key))[:max_clips]
    names = [clip for clip, _ in order]
    return [
        ShownClip(
            clip if names.count(clip) == 1 else f"{clip} · data {data[:8]}",
            list(clips[clip, data].values()),
        )
        for clip, data in order
    ]


def link_to(video: Path, page: Path) -> str:
    """Return the address of a video relative to the page."""
    relative = os.path.relpath(video.resolve(), page.parent.resolve())
    return quote(Path(relative).as_posix())


def base64_of(video: Path) -> str:
    """Return the contents of a video in base64; the page decodes it when it comes into view."""
    return base64.b64encode(video.read_bytes()).decode()
