"""Score clips against their music: tensors in memory, or a folder of anyone's videos with sound.

    clips = score_clips(frames, fps, music_beats, names, music_ids)
    rows = clip_rows(clips)              # one dictionary a clip, controls included
    means = summarise(rows)              # means with intervals clustered by music

Motion is read from the frames, so methods are compared by what can be seen, whatever made it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.aist_names import music_in, tempo_of
from datamodules.errors import DataError
from metrics.functional.bootstrap import Interval, cluster_bootstrap
from metrics.functional.matching import beat_f1, beat_f1_corrected
from metrics.functional.motion import MotionSignal
from metrics.functional.optical_flow import FlowMethod, motion_from_video
from metrics.functional.phase import phase_cosine
from metrics.functional.presets import preset_alignment, preset_motion_beats
from metrics.functional.warping import signal_jerk
from metrics.motion_music_alignment import clip_scores
from metrics.motion_source import beats_of

#: Number of other pieces of music that each clip is scored with.
OTHER_PIECES = 16
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")

Row = dict[str, Any]


@dataclass(frozen=True)
class ScoredClip:
    """One clip's numbers, and its beats for the controls."""

    name: str
    music_id: str
    scores: dict[str, float]
    motion_beats: Tensor
    """(M,) seconds."""
    music_beats: Tensor
    """(N,) seconds."""
    window: Tensor
    """(2,) seconds in which beats count."""


def score_clips(
    frames: Tensor,
    fps: float,
    music_beats: Tensor,
    names: Sequence[str],
    music_ids: Sequence[str],
    flow: FlowMethod = "farneback",
) -> list[ScoredClip]:
    """Score clips of equal length that are in memory.

    Args:
        frames: (B, T, 3, H, W) uint8 or floating point in [0, 1].
        fps: frames a second.
        music_beats: (B, N) seconds from each clip's first frame, NaN-padded. Track them on the
            whole piece and slice; keep a beat before and after the clip for the controls.
        names: name of each clip.
        music_ids: piece of music of each clip.
        flow: optical flow method.
    """
    return score_motion(
        motion_from_video(frames, fps, method=flow), fps, music_beats, names, music_ids
    )


def score_motion(
    signal: MotionSignal,
    fps: float,
    music_beats: Tensor,
    names: Sequence[str],
    music_ids: Sequence[str],
) -> list[ScoredClip]:
    """`score_clips` for motion that is known already, for instance from latent flow.

    Args:
        signal: motion of B clips.
        fps: frames a second.
        music_beats: (B, N) seconds from each clip's first frame, NaN-padded.
        names: name of each clip.
        music_ids: piece of music of each clip.

    Raises:
        ValueError: different numbers of clips, beats, names and music ids.
    """
    counts = {len(signal.speed), len(music_beats), len(names), len(music_ids)}
    if len(counts) != 1:
        raise ValueError(
            f"{len(signal.speed)} clips came with {len(music_beats)} rows of beats, {len(names)} "
            f"names and {len(music_ids)} music ids; expected one of each a clip."
        )
    beats, window = beats_of(signal, fps)
    music = music_beats.to(beats)
    inside = torch.where((music >= window[:, :1]) & (music <= window[:, 1:]), music, torch.nan)
    table = clip_scores(signal, fps, music)
    table["f1"] = beat_f1(beats, inside)
    table["f1_corrected"] = beat_f1_corrected(beats, music, window)
    table["phase_cosine"] = phase_cosine(beats, inside)
    for preset in ("mint", "bailando"):
        seen = preset_motion_beats(signal.speed, fps, preset)
        table[f"bas_{preset}"] = preset_alignment(seen, music, preset, fps)
    table["speed"] = signal.speed.nanmean(-1).nan_to_num(0.0)
    table["jerk"] = signal_jerk(signal.speed, fps)
    table["seconds"] = signal.frames / fps
    return [
        ScoredClip(
            name=names[place],
            music_id=music_ids[place],
            scores={key: float(values[place]) for key, values in table.items()},
            motion_beats=beats[place][~beats[place].isnan()].cpu(),
            music_beats=music[place][~music[place].isnan()].cpu(),
            window=window[place].cpu(),
        )
        for place in range(len(names))
    ]


def clip_rows(clips: Sequence[ScoredClip]) -> list[Row]:
    """One dictionary a clip: name, music, scores, and the score with other clips' music.

    `other_music` is the corrected score with the beats of up to 16 other pieces, evenly taken
    from the clips in order of their names, and `other_difference` what the clip's own music adds
    to it; NaN where all clips share one piece. Beats are those of the first seconds of the other
    clip, so clips of one method should be of one length.
    """
    ordered = sorted(clips, key=lambda clip: clip.name)
    rows: list[Row] = []
    for clip in ordered:
        others = [other for other in ordered if other.music_id != clip.music_id]
        picked = others[:: max(1, -(-len(others) // OTHER_PIECES))]
        wrong = _with_other_music(clip, picked)
        rows.append(
            {
                "clip": clip.name,
                "music_id": clip.music_id,
                **clip.scores,
                "other_music": wrong,
                "other_difference": clip.scores["corrected"] - wrong,
            }
        )
    return rows


def _with_other_music(clip: ScoredClip, others: Sequence[ScoredClip]) -> float:
    from metrics.functional.controls import align_across

    if not others:
        return float("nan")
    beats = torch.nn.utils.rnn.pad_sequence(
        [other.music_beats for other in others], batch_first=True, padding_value=torch.nan
    )
    found = align_across(clip.motion_beats[None], beats, clip.window[None])
    return float(found.corrected.mean())


def summarise(rows: Sequence[Row], draws: int = 2000, seed: int = 0) -> dict[str, Interval]:
    """Mean of every score with its 95% interval, redrawing pieces of music.

    Args:
        rows: as from `clip_rows`.
        draws: bootstrap draws.
        seed: seed of the draws.
    """
    music = [str(row["music_id"]) for row in rows]
    names = [key for key, value in (rows[0] if rows else {}).items() if isinstance(value, float)]
    return {
        name: cluster_bootstrap([row[name] for row in rows], music, draws=draws, seed=seed)
        for name in names
    }


@dataclass(frozen=True)
class FolderOptions:
    """How a folder is scored; all of it is part of the protocol."""

    size: int = 128
    """Longer side in pixels to which frames are scaled; smaller videos stay as they are."""
    fps: float | None = None
    """Frames a second at which videos are read; None for their own rate."""
    seconds: float | None = None
    """Only so much of each video is scored; None for all."""
    flow: FlowMethod = "farneback"
    """Optical flow method."""
    beats: Path | None = None
    """Folder of beat files (NAME.txt, seconds) that win over tracking."""


@dataclass(frozen=True)
class Failure:
    """A video that could not be scored, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class FolderScores:
    """What came of a folder."""

    clips: list[ScoredClip]
    failures: list[Failure]
    kinds: dict[str, list[str]]
    """Frame rates, sizes and lengths that occurred, as text."""
    beat_sources: dict[str, int]
    """How many videos had their beats tracked, and how many came with a file."""


def videos_in(folder: Path) -> dict[str, Path]:
    """Videos of a folder by name: their path below it, without suffix, in order.

    Raises:
        FileNotFoundError: there is no such folder.
        NotADirectoryError: it is a file.
        DataError: it holds no video, or is a run, whose samples show truth and result side by side.
    """
    if not folder.exists():
        raise FileNotFoundError(2, "No such file or directory", str(folder))
    if not folder.is_dir():
        raise NotADirectoryError(20, "Not a directory", str(folder))
    if (folder / "config.yaml").is_file() and (folder / "samples").is_dir():
        raise DataError(
            f"{folder} is a run, whose samples show truth and result side by side; score its "
            "model on held-out clips with `dabfusion study heldout`, or give a folder of videos."
        )
    found = {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")
    }
    if not found:
        raise DataError(
            f"{folder} holds no video ({', '.join(VIDEO_SUFFIXES)}); give a folder of videos with "
            "sound."
        )
    return found


def music_of(name: str) -> str | None:
    """The AIST piece that a video's name holds, anywhere in it, or None."""
    stem = name.rsplit("/", 1)[-1]
    words = "".join(letter if letter.isalnum() else " " for letter in stem).split()
    found = (music_in(word) for word in [stem, *words])
    return next((music for music in found if music), None)


def score_folder(
    folder: Path,
    options: FolderOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FolderScores:
    """Score every video of a folder; what cannot be scored is listed and never stops it.

    Args:
        folder: any folder of videos with sound, by any method; or a run folder.
        options: how to read and score.
        progress: called with the number done and the number of all.
    """
    options = options or FolderOptions()
    videos = videos_in(folder)
    clips: list[ScoredClip] = []
    failures: list[Failure] = []
    kinds: dict[str, set[str]] = {"fps": set(), "size": set(), "frames": set()}
    sources = {"tracked": 0, "file": 0}
    for done, (name, path) in enumerate(videos.items(), start=1):
        try:
            clip, kind, source = _score_video(name, path, options)
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            # Decoders fail in many ways on damaged files; one file must not cost the others.
            failures.append(Failure(name, " ".join(str(error).split()) or type(error).__name__))
        else:
            clips.append(clip)
            sources[source] += 1
            for key, value in kind.items():
                kinds[key].add(value)
        if progress is not None:
            progress(done, len(videos))
    ordered = {key: sorted(values) for key, values in kinds.items()}
    return FolderScores(clips, failures, ordered, sources)


def _score_video(
    name: str, path: Path, options: FolderOptions
) -> tuple[ScoredClip, Mapping[str, str], str]:
    from datamodules.audio import track_beats
    from datamodules.beats import read_beat_file
    from datamodules.video import read_audio

    music = music_of(name)
    beat_file = _beat_file(options.beats, name)
    if beat_file is not None:
        beats_s, source = read_beat_file(beat_file), "file"
    else:
        sound = read_audio(path, 44100)
        prior = tempo_of(music) if music else None
        beats_s, source = track_beats(sound, 44100, start_bpm=prior).beats_s, "tracked"
    frames, fps = read_scaled(path, options)
    beats = torch.from_numpy(np.asarray(beats_s, dtype=np.float64))[None]
    clip = score_clips(frames[None], fps, beats, [name], [music or name], options.flow)[0]
    kind = {
        "fps": f"{fps:.3f}".rstrip("0").rstrip("."),
        "size": f"{frames.shape[-1]}x{frames.shape[-2]}",
        "frames": str(len(frames)),
    }
    return clip, kind, source


def read_scaled(path: Path, options: FolderOptions) -> tuple[Tensor, float]:
    """Frames (T, 3, H, W) uint8 on an even grid of time, scaled, and their rate.

    Raises:
        DataError: the file is no video, or is damaged.
    """
    from datamodules.video import probe, stream_frames

    info = probe(path)
    fps = options.fps or info.fps
    seconds = min(info.duration_s, options.seconds or info.duration_s)
    times = np.arange(max(1, round(seconds * fps))) / fps
    shrink = min(1.0, options.size / max(info.height, info.width))
    size = (max(1, round(info.height * shrink)), max(1, round(info.width * shrink)))
    frames: Iterator[Tensor] = stream_frames(path, times_s=times, size=size)
    return torch.stack(list(frames)), fps


def _beat_file(folder: Path | None, name: str) -> Path | None:
    if folder is None:
        return None
    candidates = [folder / f"{name}.txt", folder / f"{name.rsplit('/', 1)[-1]}.txt"]
    return next((path for path in candidates if path.is_file()), None)
