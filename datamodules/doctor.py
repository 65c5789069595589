"""Checks of a prepared folder before training. They read the index and the feature files, but no
video, so they take seconds.

A finding is an `error` (training would be wrong: leakage, no training split, missing beats), a
`warning` (a person should look), or a `note`. Only errors forbid training.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
from numpy.typing import NDArray

from datamodules.aist_names import missing_cameras, music_in, try_parse
from datamodules.errors import DataError
from datamodules.index import Index, read_index
from datamodules.media.song_copies import MAX_PIECES, song_copies
from datamodules.preparation.beats import MATCH
from datamodules.preparation.video_task import recorded
from datamodules.splits import SPLITS, Split, SplitRule, assign, leaks

Level = Literal["error", "warning", "note"]
_RATES = (10.0, 12.0, 15.0, 23.976, 24.0, 25.0, 29.97, 30.0, 48.0, 50.0, 59.94, 60.0)
_HIGH_RATES = (90.0, 100.0, 119.88, 120.0, 180.0, 200.0, 239.76, 240.0, 480.0, 960.0)
_RATE_TOLERANCE = 0.002
_TEMPO_TOLERANCE = 0.04
_BEAT_TOLERANCE_S = 0.07  # mir_eval's
_OCTAVES = {1 / 3: "a third", 1 / 2: "half", 2 / 3: "two thirds", 3 / 2: "three halves",
            2.0: "twice", 3.0: "three times"}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One result of a check."""

    level: Level
    check: str
    message: str
    names: list[str] = field(default_factory=list)
    """Videos (or pieces) it is about."""


@dataclass(frozen=True)
class Diagnosis:
    """Result of the checks."""

    summary: dict[str, Any]
    findings: list[Finding]

    @property
    def healthy(self) -> bool:
        """Whether training may start (no errors)."""
        return not any(finding.level == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found = [asdict(finding) for finding in self.findings]
        return {"healthy": self.healthy, "summary": self.summary, "findings": found}


@dataclass(frozen=True)
class _Video:
    """A row of the index with the attributes that splits need."""

    row: dict[str, Any]

    @property
    def name(self) -> str:
        return self.row["name"]

    @property
    def music(self) -> str:
        return self.row["music"]

    @property
    def dancer(self) -> str:
        return self.row["dancer"]


def diagnose(root: Path, rule: SplitRule | None = None) -> Diagnosis:
    """Check a prepared folder.

    Args:
        root: The folder.
        rule: How it will be split; None for `auto`.

    Raises:
        DataError: The folder is not prepared, or a split list cannot be read.
    """
    index = read_index(root)
    videos = [_Video(row) for row in index.table.to_pylist()]
    rule = rule or SplitRule()
    splits, used = assign(videos, rule)
    findings = [
        *_files(index),
        *_quarantine(root),
        *_names(videos),
        *_durations(videos),
        *_rates(videos),
        *_claimed_rates(index.root, videos),
        *_skipped_heads(index.root, videos),
        *_beats(videos),
        *_matches(videos),
        *_duplicates(videos, splits),
        *_copied_songs(index, videos, splits, used),
        *_leakage(videos, splits, used, rule.val_by_music),
    ]
    order = {"error": 0, "warning": 1, "note": 2}
    findings.sort(key=lambda finding: order[finding.level])
    return Diagnosis(_summary(index, videos, splits, used), findings)


def _summary(
    index: Index, videos: list[_Video], splits: dict[str, Split], used: str
) -> dict[str, Any]:
    settings = index.settings
    seconds = float(index.frames.sum()) / settings.fps
    summary: dict[str, Any] = {
        "videos": len(videos),
        "hours": round(seconds / 3600.0, 3),
        "fps": settings.fps,
        "size": settings.size,
        "pieces": len(set(index.music)),
        "dancers": len(set(index.dancers)),
        "genres": dict(sorted(Counter(v.row["genre"] or "?" for v in videos).items())),
        "split_rule": used,
        "splits": {split: sum(s == split for s in splits.values()) for split in SPLITS},
        "beat_sources": dict(sorted(Counter(v.row["beat_source"] for v in videos).items())),
    }
    accuracy = _tracker_accuracy(videos)
    if accuracy is not None:
        summary["tracker"] = accuracy
    return summary


def _tracker_accuracy(videos: list[_Video]) -> dict[str, float] | None:
    """How often tracked beats were right, where the true ones are known (rendered videos)."""
    scores, offsets = [], []
    for video in videos:
        truth, beats = video.row["beats_truth"], np.asarray(video.row["beats"])
        if not truth or video.row["beat_source"] == "file":
            continue
        distance = np.abs(np.asarray(truth)[:, None] - beats[None, :])
        near = distance.min(axis=1, initial=np.inf) <= _BEAT_TOLERANCE_S
        scores.append(2.0 * near.sum() / (len(truth) + len(beats)))
        if len(beats):
            offsets += (beats[distance.argmin(axis=1)] - truth)[near].tolist()
    if not scores:
        return None
    return {
        "f_measure": round(float(np.mean(scores)), 4),
        "videos_above_0.9": round(float(np.mean(np.asarray(scores) > 0.9)), 4),
        "median_offset_s": round(float(np.median(offsets)), 4) if offsets else 0.0,
    }


def _files(index: Index) -> Iterator[Finding]:
    paths = (index.clip_path, index.features_path)
    gone = [name for name in index.names if not all(path(name).is_file() for path in paths)]
    if gone:
        yield Finding("error", "files", "clip or feature files are missing; prepare again", gone)


def _quarantine(root: Path) -> Iterator[Finding]:
    try:
        lines = (root / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
        entries = [json.loads(line) for line in lines]
        reasons = [(entry["source"], entry["reason"]) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{root / 'quarantine.jsonl'} cannot be read; run dabfusion prepare again."
        ) from error
    if reasons:
        yield Finding(
            "warning",
            "quarantine",
            f"{len(reasons)} videos were left out; the first: {reasons[0][1]}",
            [source for source, _ in reasons],
        )


def _names(videos: list[_Video]) -> Iterator[Finding]:
    parsed = {video.name: try_parse(video.name) for video in videos}
    odd = [name for name, found in parsed.items() if found is None]
    if odd:
        yield Finding("note", "names", "names are not AIST's, so no rule for them is known", odd)
    lacking = missing_cameras(found for found in parsed.values() if found is not None)
    if lacking:
        shown = [f"{whole}: {','.join(cameras)}" for whole, cameras in lacking.items()]
        yield Finding("note", "cameras", "performances lack cameras", sorted(shown))


def _durations(videos: list[_Video]) -> Iterator[Finding]:
    differing, gaps = [], []
    for video in videos:
        row = video.row
        difference = row["audio_duration_s"] - row["source_duration_s"]
        if abs(difference) > max(0.1, 0.01 * row["source_duration_s"]):
            differing.append(f"{video.name}: {difference:+.2f} s")
        if row["source_largest_gap_s"] > max(0.25, 2.5 / row["source_fps"]):
            gaps.append(f"{video.name}: {row['source_largest_gap_s']:.2f} s")
    if differing:
        message = "sound and video differ in length (sound minus video)"
        yield Finding("warning", "durations", message, differing)
    if gaps:
        message = "frames are missing: a gap between neighboring frames"
        yield Finding("warning", "gaps", message, gaps)


def _rates(videos: list[_Video]) -> Iterator[Finding]:
    odd, high = [], []
    for video in videos:
        fps = video.row["source_fps"]
        if _near(fps, _HIGH_RATES):
            high.append(f"{video.name}: {fps:.3f}")
        elif not _near(fps, _RATES):
            odd.append(f"{video.name}: {fps:.3f}")
    if high:
        yield Finding(
            "note",
            "slow_motion",
            "filmed at a rate for slow motion; this is fine if the dance plays at its natural "
            "speed, in time with its sound, so play one: where it plays slowed down, export it at "
            "natural speed",
            high,
        )
    if odd:
        yield Finding(
            "warning",
            "frame_rates",
            "the frame rate measured by time stamps is not one that cameras have (frames are "
            "missing, or the rate varies); clips are cut by time stamp all the same",
            odd,
        )


def _near(fps: float, rates: Iterable[float]) -> bool:
    return min(abs(fps / rate - 1.0) for rate in rates) <= _RATE_TOLERANCE


def _claimed_rates(root: Path, videos: list[_Video]) -> Iterator[Finding]:
    differing = []
    for video in videos:
        measured, claimed = video.row["source_fps"], recorded(root, video.name, "claimed_fps")
        if claimed is None or abs(claimed / measured - 1.0) <= _RATE_TOLERANCE:
            continue
        # A container that states its length counts the last frame as long as it likes, and a lost
        # frame is a gap, not a rate: the length by both rates must differ by more than that.
        apart_s = abs(1.0 / claimed - 1.0 / measured) * video.row["source_frames"]
        if apart_s > 2.0 / min(claimed, measured):
            differing.append(f"{video.name}: {claimed:.3f} claimed, {measured:.3f} measured")
    if differing:
        yield Finding(
            "warning",
            "claimed_rates",
            "the file claims another frame rate than its time stamps have; clips are cut by time "
            "stamp, so play one: if sound and video drift apart, re-encode it at the true rate",
            differing,
        )


def _skipped_heads(root: Path, videos: list[_Video]) -> Iterator[Finding]:
    seconds = {video.name: recorded(root, video.name, "skipped_s") for video in videos}
    cut = [f"{name}: {skipped:.2f} s" for name, skipped in seconds.items() if skipped]
    if cut:
        yield Finding(
            "note",
            "skipped_heads",
            "the file starts with frames that cannot be decoded, as after a cut; the clip starts, "
            "sound included, at the first frame that can be shown",
            cut,
        )


def _beats(videos: list[_Video]) -> Iterator[Finding]:
    silent, octave, far = [], [], []
    for video in videos:
        row = video.row
        if len(row["beats"]) < 2:
            silent.append(video.name)
            continue
        promised = row["tempo_name_bpm"]
        if not promised:
            continue
        ratio = row["tempo_bpm"] / promised
        octaves = [text for at, text in _OCTAVES.items() if abs(ratio / at - 1) <= 0.06]
        if octaves:
            octave.append(f"{video.name}: {octaves[0]} of {promised:g} bpm")
        elif abs(ratio - 1.0) > _TEMPO_TOLERANCE:
            far.append(f"{video.name}: {row['tempo_bpm']:.1f} for {promised:g} bpm")
    if silent:
        yield Finding("error", "beats", "fewer than two beats were found in the music", silent)
    if octave:
        yield Finding(
            "error", "octaves", "the beats look like an octave error; give a beat file", octave
        )
    if far:
        message = f"the tempo is more than {_TEMPO_TOLERANCE:.0%} off what the name promises"
        yield Finding("warning", "tempo", message, far)


def _matches(videos: list[_Video]) -> Iterator[Finding]:
    other = [
        f"{video.name}: {video.row['music_match']:.2f}"
        for video in videos
        if video.row["music_match"] < MATCH
    ]
    if other:
        yield Finding(
            "warning", "music", "the sound is not that of the piece; tracked by itself", other
        )


def _duplicates(videos: list[_Video], splits: dict[str, Split]) -> Iterator[Finding]:
    by_digest: dict[str, list[str]] = defaultdict(list)
    for video in videos:
        by_digest[video.row["source_digest"]].append(video.name)
    same = [names for names in by_digest.values() if len(names) > 1]
    of = [{splits.get(name) for name in names} for names in same]
    across = [n for n, found in zip(same, of, strict=True) if len(found - {None}) > 1]
    if across:
        message = "one file is in two splits, under two names"
        yield Finding("error", "duplicates", message, _joined(across))
    within = [names for names in same if names not in across]
    if within:
        yield Finding("warning", "duplicates", "one file has several names", _joined(within))


def _copied_songs(
    index: Index, videos: list[_Video], splits: dict[str, Split], used: str
) -> Iterator[Finding]:
    """The same song under two names; AIST's names are trusted where both have one."""
    longest: dict[str, _Video] = {}
    of: dict[str, set[Split]] = defaultdict(set)
    for video in sorted(videos, key=lambda v: (-v.row["audio_duration_s"], v.name)):
        longest.setdefault(video.music, video)
        if video.name in splits:
            of[video.music].add(splits[video.name])
    known = {music for music in longest if music_in(music) is not None}
    if len(known) == len(longest):
        return
    paths = {music: index.features_path(video.name) for music, video in longest.items()}
    pieces = {music: _spectral(path) for music, path in paths.items() if path.is_file()}
    shared: list[str] = []
    within: list[str] = []
    for one, other, match in song_copies(pieces, index.settings.fps):
        if not {one, other} <= known:
            apart = len(of[one] | of[other]) > 1
            (shared if apart else within).append(f"{one} = {other} ({match:.2f})")
    if shared:
        level: Level = "note" if used == "dancer" else "error"
        message = "the same song, under two names, is in two splits; remove one of the copies"
        yield Finding(level, "copied_songs", message, shared)
    if within:
        yield Finding("note", "copied_songs", "the same song has two names", within)
    if len(pieces) > MAX_PIECES:
        message = f"only the first {MAX_PIECES} of {len(pieces)} pieces were compared by sound"
        yield Finding("note", "copied_songs", message)


def _spectral(path: Path) -> NDArray[np.float32]:
    with safetensors.safe_open(path, framework="np") as stored:
        return stored.get_tensor("spectral")


def _joined(groups: Iterable[list[str]]) -> list[str]:
    return [" = ".join(names) for names in groups]


def _leakage(
    videos: list[_Video], splits: dict[str, Split], used: str, val_by_music: bool
) -> Iterator[Finding]:
    sizes = Counter(splits.values())
    if not sizes["train"]:
        yield Finding("error", "splits", f"the rule {used!r} leaves nothing to train on")
    for split in ("val", "test"):
        if not sizes[split]:
            yield Finding("warning", "splits", f"the rule {used!r} leaves no {split} videos")
    outside = len(videos) - sum(sizes.values())
    if outside:
        message = f"{outside} videos belong to no split by the rule {used!r}"
        yield Finding("note", "splits", message)
    # What a rule is meant to keep apart; sharing the rest is reported, not forbidden.
    apart = {"dancer": {"dancer"}, "music": {"music"}}.get(used, {"music", "dance"})
    for pair, shared in leaks(videos, splits).items():
        for kind, values in shared.items():
            if not values:
                continue
            text = {"dance": "choreographies", "dancer": "dancers", "music": "music"}[kind]
            # Whole pieces of the training split validate; their choreographies are danced on.
            by_music = val_by_music and pair == "train/val" and kind != "music"
            if kind in apart and pair.startswith("train") and not by_music:
                level: Level = "error"
            elif pair == "val/test" and kind == "music":
                level = "warning"
                text += " (a model chosen by val has seen the test's; see clips.val_by_music)"
            else:
                level = "note"
            yield Finding(level, "leakage", f"{pair} share {text}", values)
