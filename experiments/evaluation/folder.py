"""Score a folder of videos with sound, made by any method; bad files never stop the others."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from datamodules.aist_names import music_in, tempo_of
from datamodules.errors import DataError
from datamodules.files import PassedOver, describe_passed_over, find_videos
from experiments.config.run import RunSettings
from experiments.evaluation.clips import ScoredClip, score_clips
from experiments.evaluation.evaluations import protocol_hash
from experiments.evaluation.guarded import Failure, GuardedProcess
from experiments.processes.ranks import SINGLE_PROCESS, Ranks
from experiments.processes.share import share_work
from metrics.functional.optical_flow import FlowMethod
from metrics.functional.warping import warp_errors_of_video

#: Sampling rate in hertz at which onsets are detected for AV-Align.
ONSET_RATE = 22050


@dataclass(frozen=True)
class FolderOptions:
    """How a folder is scored; all of it is part of the protocol."""

    size: int = 128
    """Longer side in pixels to which frames are scaled; smaller videos keep their size."""
    fps: float | None = None
    """Frames a second at which videos are read; None for each video's own rate."""
    seconds: float | None = None
    """Only the first seconds of each video are scored; None for all."""
    flow: FlowMethod = "farneback"
    """Optical flow method."""
    beats: Path | None = None
    """Folder of beat files (NAME.txt, seconds), used instead of tracked beats."""


@dataclass(frozen=True)
class Reading:
    """How many frames of a video are read, at which rate and size in pixels."""

    frames: int
    fps: float
    height: int
    width: int


@dataclass(frozen=True)
class FolderScores:
    """Scores of a folder."""

    clips: list[ScoredClip]
    failures: list[Failure]
    facts: dict[str, Any]
    """The part of the protocol on how the videos were read: the frame rates, sizes and lengths
    that occurred, the number of videos whose `beats` were tracked or came with a file, and more."""


def videos_in(folder: Path) -> dict[str, Path]:
    """Return the videos in a folder by name; see `list_videos`."""
    return list_videos(folder)[0]


def list_videos(
    folder: Path, exclude: Path | None = None
) -> tuple[dict[str, Path], list[PassedOver]]:
    """Find the videos in a folder and its subfolders, linked ones included.

    Args:
        folder: Folder to search.
        exclude: A folder inside that is not searched.

    Returns:
        Videos by name (the path inside the folder, without suffix unless two files share it), and
        the files and folders that were passed over.

    Raises:
        OSError: It cannot be read.
        DataError: It holds no videos, or the samples of a run, which show the true and the
            generated dance side by side.
    """
    os.scandir(folder).close()  # raises what prevents it from being read
    paths, passed_over = find_videos(folder, exclude)
    for path in paths:
        run = path.parent.parent
        if path.parent.name == "samples" and (run / "config.yaml").is_file():
            raise DataError(
                f"{run} is a run, whose samples show the true and the generated dance side by "
                "side; score its model with `dabfusion study heldout`, or give a folder of videos."
            )
    if not paths:
        raise DataError(
            f"{folder} holds no videos (.mp4, .mov, .mkv, ...); give a folder of videos with "
            f"sound. {describe_passed_over(passed_over)}".rstrip()
        )
    full = {path: path.relative_to(folder) for path in paths}
    taken = Counter(name.with_suffix("") for name in full.values())
    videos = {
        (name if taken[name.with_suffix("")] > 1 else name.with_suffix("")).as_posix(): path
        for path, name in full.items()
    }
    return videos, passed_over


def music_of(name: str) -> str | None:
    """Return the AIST music id that a video's name holds anywhere in it, or None."""
    stem = name.rsplit("/", 1)[-1]
    words = "".join(letter if letter.isalnum() else " " for letter in stem).split()
    return next((music for word in [stem, *words] if (music := music_in(word))), None)


#: Scores by name, of a video's name and its frames (T, 3, H, W) uint8.
MoreScores = Callable[[str, Tensor], dict[str, float]]


def score_folder(
    videos: Mapping[str, Path] | Path,
    options: FolderOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
    ranks: Ranks = SINGLE_PROCESS,
    more: MoreScores | None = None,
) -> FolderScores:
    """Score every video; what cannot be scored is listed and never stops the others.

    Args:
        videos: A folder of videos with sound, made by any method, or videos by name.
        options: How to read and score.
        progress: Called with the number done and the total.
        ranks: Processes that share the videos; each of them gets all scores.
        more: Computes further scores of a video; it must be possible to pickle it.
    """
    scoring = options or FolderOptions()
    found = videos_in(videos) if isinstance(videos, Path) else videos
    with GuardedProcess() as guarded:
        done = share_work(
            list(found.items()),
            lambda video: guarded.attempt(video[0], _score_video, *video, scoring, more),
            run=RunSettings(accelerator="cpu"),
            ranks=ranks,
            progress=progress,
        )
    failures = [result for result in done if isinstance(result, Failure)]
    scored = [result for result in done if not isinstance(result, Failure)]
    clips = sorted((clip for clip, _ in scored), key=lambda clip: clip.name)
    beats = [[clip.name, *(round(t, 3) for t in clip.music_beats.tolist())] for clip in clips]
    facts = {
        **{key: sorted({read[key] for _, read in scored}) for key in ("fps", "size", "frames")},
        "beats": dict(Counter(read["beats"] for _, read in scored)),
        "beats_digest": protocol_hash(beats),
        "flow": scoring.flow,
        "bootstrap_seed": 0,
    }
    return FolderScores(clips, failures, facts)


def _score_video(
    name: str, path: Path, options: FolderOptions, more: MoreScores | None
) -> tuple[ScoredClip, dict[str, str]]:
    """Return the scored clip, and how it was read."""
    music = music_of(name)
    beats_s, onsets_s, source = _beats_and_onsets(name, path, music, options)
    frames, fps = read_scaled(path, options)
    onsets = None if onsets_s is None else _row(onsets_s)
    (clip,) = score_clips(
        frames[None], fps, _row(beats_s), [name], [music or name], options.flow, onsets
    )
    # Onsets of a silent video are unknown, which is not the same as a sound without onsets.
    clip.scores.setdefault("av_align", float("nan"))
    clip.scores["warp_error"] = float(warp_errors_of_video(frames[None], options.flow))
    if more is not None:
        clip.scores.update(more(name, frames))
    facts = {
        "fps": f"{fps:.3f}".rstrip("0").rstrip("."),
        "size": f"{frames.shape[-1]}x{frames.shape[-2]}",
        "frames": str(len(frames)),
        "beats": source,
    }
    return clip, facts


def _row(times_s: ArrayLike) -> Tensor:
    """Return N times as a tensor (1, N)."""
    return torch.from_numpy(np.asarray(times_s, dtype=np.float64))[None]


def _beats_and_onsets(
    name: str, path: Path, music: str | None, options: FolderOptions
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, str]:
    """Return beats and onsets in seconds (None for a silent video) and the source of the beats."""
    from datamodules.media.audio import detect_onsets, track_beats
    from datamodules.media.beats import read_beat_file
    from datamodules.media.video import probe, read_audio

    places = [options.beats / f"{word}.txt" for word in (name, Path(name).name) if options.beats]
    beat_file = next((place for place in places if place.is_file()), None)
    # A silent video without a beat file is refused by `read_audio`.
    if beat_file is not None and not probe(path).has_audio:
        return read_beat_file(beat_file), None, "file"
    onsets = detect_onsets(read_audio(path, ONSET_RATE), ONSET_RATE)
    if beat_file is not None:
        return read_beat_file(beat_file), onsets, "file"
    prior = tempo_of(music) if music else None
    return track_beats(read_audio(path, 44100), 44100, start_bpm=prior).beats_s, onsets, "tracked"


def plan_reading(path: Path, options: FolderOptions) -> Reading:
    """Return what `read_scaled` would read; raise a DataError if the file is not a video."""
    from datamodules.media.video import probe

    info = probe(path)
    fps = options.fps or info.fps
    seconds = min(info.duration_s, options.seconds or info.duration_s)
    shrink = min(1.0, options.size / max(info.height, info.width))
    height, width = (max(1, round(side * shrink)) for side in (info.height, info.width))
    return Reading(max(1, round(seconds * fps)), fps, height, width)


def read_scaled(path: Path, options: FolderOptions) -> tuple[Tensor, float]:
    """Return scaled frames (T, 3, H, W) uint8 at evenly spaced times, and their rate."""
    from datamodules.media.video import stream_frames

    plan = plan_reading(path, options)
    times = np.arange(plan.frames) / plan.fps
    frames = stream_frames(path, times_s=times, size=(plan.height, plan.width))
    return torch.stack(list(frames)), plan.fps
