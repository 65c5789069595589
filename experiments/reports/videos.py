"""Videos of a comparison: the same clip of every run, inside the page or linked from it."""

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from experiments.reports.runs import RunRecord, Sample


@dataclass(frozen=True)
class ShownClip:
    """One clip as the runs show it. ``title``: its name, with its data where that is needed."""

    title: str
    videos: list[tuple[RunRecord, Sample]]


def shown_clips(runs: Sequence[RunRecord], most: int) -> list[ShownClip]:
    """The newest video of each clip and run; clips that most runs show come first.

    A clip is known by its name and its data: a clip of that name from other data is another one.

    Args:
        runs: with their samples.
        most: number of clips.
    """
    clips: dict[tuple[str, str], dict[str, tuple[RunRecord, Sample]]] = {}
    for run in runs:
        data = str(run.manifest.get("data_digest") or "")
        for sample in sorted(run.samples, key=lambda s: -1 if s.step is None else s.step):
            clips.setdefault((sample.clip, data), {})[run.name] = (run, sample)
    order = sorted(clips, key=lambda key: (-len(clips[key]), key))[:most]
    names = [clip for clip, _ in order]
    return [
        ShownClip(
            clip if names.count(clip) == 1 else f"{clip} · data {data[:8]}",
            list(clips[clip, data].values()),
        )
        for clip, data in order
    ]


def clips_context(
    clips: Sequence[ShownClip], names: Sequence[str], out: Path, embed: bool
) -> list[dict[str, Any]]:
    """The clips as the template reads them.

    Args:
        clips: from ``shown_clips``.
        names: of all runs.
        out: the page, to which linked videos are relative.
        embed: whether the videos lie in the page, numbered as ``embedded`` gives them.
    """
    context = []
    number = 0
    for clip in clips:
        videos = []
        for run, sample in clip.videos:
            relative = os.path.relpath(sample.path.resolve(), out.parent.resolve())
            videos.append(
                {
                    "index": names.index(run.name),
                    "step": sample.step,
                    "data": f"video-{number}" if embed else "",
                    "source": "" if embed else quote(Path(relative).as_posix()),
                    "music_beats": list(sample.music_beats_s),
                    "motion_beats": list(sample.motion_beats_s),
                }
            )
            number += 1
        context.append({"clip": clip.title, "videos": videos})
    return context


def embedded(clips: Sequence[ShownClip]) -> list[str]:
    """Base64 of each video, which the page decodes when it comes into sight."""
    files = [sample.path for clip in clips for _, sample in clip.videos]
    return [base64.b64encode(path.read_bytes()).decode() for path in files]
