"""Score a folder of videos with sound, made by any method; bad files never stop the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.aist_names import music_in, tempo_of
from datamodules.errors import DataError
from datamodules.files import PassedOver, describe_passed_over, find_videos
from experiments.config.run import RunSettings
from experiments.evaluation.clips import ScoredClip, score_clips
from experiments.evaluation.guarded import GuardedProcess
from experiments.processes.ranks import SINGLE_PROCESS, Ranks
from experiments.processes.share import share_work
from metrics.functional.optical_flow import FlowMethod
from metrics.functional.warping import warp_errors_of_video

#: Sampling rate in hertz at which onsets are detected for AV-Align.
ONSET_RATE = 22050
#: What decoding a damaged file may raise.
DECODING_ERRORS = (OSError, ValueError, RuntimeError, MemoryError)


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
class Failure:
    """A video that could not be scored, and why."""

    name: str
    reason: str

    @classmethod
    def from_error(cls, name: str, error: BaseException) -> Failure:
        """Return the failure of a video that raised an error."""
        return cls(name, " ".join(str(error).split()) or type(error).__name__)


@dataclass(frozen=True)
class FolderScores:
    """Scores of a folder."""

    clips: list[ScoredClip]
    failures: list[Failure]
    kinds: dict[str, list[str]]
    """Frame rates, sizes and lengths that occurred, as text."""
    beat_sources: dict[str, int]
    """Number of videos whose beats were tracked, and of those that came with a file."""


def videos_in(folder: Path, exclude: Path | None = None) -> dict[str, Path]:
    """Return the videos in a folder by name; see `list_videos`."""
    return list_videos(folder, exclude)[0]


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
        FileNotFoundError: There is no such folder.
        NotADirectoryError: It is a file.
        DataError: It holds no videos, or the samples of a run, which show the true and the
            generated dance side by side.
    """
    if not folder.exists():
        raise FileNotFoundError(2, "No such file or directory", str(folder))
    if not folder.is_dir():
        raise NotADirectoryError(20, "Not a directory", str(folder))
    paths, passed_over = find_videos(folder, exclude)
    run = next((place for path in paths if (place := _run_of(path)) is not None), None)
    if run is not None:
        raise DataError(
            f"{run} is a run, whose samples show the true and the generated dance side by side; "
            "score its model with `dabfusion study heldout`, or give a folder of videos."
        )
    if not paths:
        raise DataError(
            f"{folder} holds no videos (.mp4, .mov, .mkv, ...); give a folder of videos with "
            f"sound. {describe_passed_over(passed_over)}".rstrip()
        )
    plain = [path.relative_to(folder).with_suffix("").as_posix() for path in paths]
    taken = Counter(plain)
    found = {
        name if taken[name] == 1 else path.relative_to(folder).as_posix(): path
        for name, path in zip(plain, paths, strict=True)
    }
    return found, passed_over


def _run_of(video: Path) -> Path | None:
    """Return the run whose `samples` folder holds a video, if there is one."""
    run = video.parent.parent
    return run if video.parent.name == "samples" and (run / "config.yaml").is_file() else None


def music_of(name: str) -> str | None:
    """Return the AIST music id that a video's name holds anywhere in it, or None."""
    stem = name.rsplit("/", 1)[-1]
    words = "".join(letter if letter.isalnum() else " " for letter in stem).split()
    found = (music_in(word) for word in [stem, *words])
    return next((music for music in found if music), None)


#: Scores by name, of a video's name and its frames (T, 3, H, W) uint8.
MoreScores = Callable[[str, Tensor], dict[str, float]]
#: A scored clip, its frame rate, size and length as text, and the source of its beats.
_Scored = tuple[ScoredClip, Mapping[str, str], str]


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

        def work(video: tuple[str, Path]) -> _Scored | Failure:
            name, path = video
            try:
                clip, kind, source = guarded.call(_score_video, name, path, scoring, more)
            except DECODING_ERRORS as error:
                return Failure.from_error(name, error)
            return _convert(clip, torch.from_numpy), kind, source

        run = RunSettings(accelerator="cpu")
        done = share_work(list(found.items()), work, run=run, ranks=ranks, progress=progress)
    scored = [result for result in done if not isinstance(result, Failure)]
    kinds = {key: sorted({kind[key] for _, kind, _ in scored}) for key in ("fps", "size", "frames")}
    sources = Counter(source for _, _, source in scored)
    return FolderScores(
        clips=[clip for clip, _, _ in scored],
        failures=[result for result in done if isinstance(result, Failure)],
        kinds=kinds,
        beat_sources={source: sources[source] for source in ("tracked", "file")},
    )


def _convert(clip: ScoredClip, function: Callable[[Any], Any]) -> ScoredClip:
    """Apply a function to the arrays of a clip: they are no tensors between processes."""
    names = ("motion_beats", "music_beats", "window")
    return replace(clip, **{name: function(getattr(clip, name)) for name in names})


def _score_video(name: str, path: Path, options: FolderOptions, more: MoreScores | None) -> _Scored:
    """Score one video in the guarded process; the clip's arrays are NumPy's."""
    music = music_of(name)
    beats_s, onsets_s, source = _beats_and_onsets(name, path, music, options)
    frames, fps = read_scaled(path, options)
    clip = score_clips(
        frames[None], fps, _row(beats_s), [name], [music or name], options.flow, _row(onsets_s)
    )[0]
    # Onsets of a silent video are unknown, which is not the same as a sound without onsets.
    known = {} if onsets_s is not None else {"av_align": float("nan")}
    warped = float(warp_errors_of_video(frames[None], options.flow))
    added = {} if more is None else more(name, frames)
    clip = replace(clip, scores={**clip.scores, **known, "warp_error": warped, **added})
    kind = {
        "fps": f"{fps:.3f}".rstrip("0").rstrip("."),
        "size": f"{frames.shape[-1]}x{frames.shape[-2]}",
        "frames": str(len(frames)),
    }
    return _convert(clip, Tensor.numpy), kind, source


def _beats_and_onsets(
    name: str, path: Path, music: str | None, options: FolderOptions
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, str]:
    """Return beats and onsets in seconds (None for a silent video) and the source of the beats."""
    from datamodules.media.audio import detect_onsets, track_beats
    from datamodules.media.beats import read_beat_file
    from datamodules.media.video import probe, read_audio

    beat_file = _beat_file(options.beats, name)
    # A silent video without a beat file is refused by `read_audio`.
    if beat_file is not None and not probe(path).has_audio:
        return read_beat_file(beat_file), None, "file"
    onsets = detect_onsets(read_audio(path, ONSET_RATE), ONSET_RATE)
    if beat_file is not None:
        return read_beat_file(beat_file), onsets, "file"
    prior = tempo_of(music) if music else None
    return track_beats(read_audio(path, 44100), 44100, start_bpm=prior).beats_s, onsets, "tracked"


def _row(times_s: NDArray[np.float64] | None) -> Tensor:
    """Return N times as a tensor (1, N)."""
    return torch.from_numpy(np.asarray([] if times_s is None else times_s, dtype=np.float64))[None]


def read_scaled(path: Path, options: FolderOptions) -> tuple[Tensor, float]:
    """Return scaled frames (T, 3, H, W) uint8 at evenly spaced times, and their rate.

    Raises:
        DataError: The file is not a video, or is damaged.
    """
    from datamodules.media.video import stream_frames

    reading = plan_reading(path, options)
    times = np.arange(reading.frames) / reading.fps
    size = (reading.height, reading.width)
    frames: Iterator[Tensor] = stream_frames(path, times_s=times, size=size)
    return torch.stack(list(frames)), reading.fps


@dataclass(frozen=True)
class Reading:
    """How many frames of a video are read, at which rate and size in pixels."""

    frames: int
    fps: float
    height: int
    width: int


def plan_reading(path: Path, options: FolderOptions) -> Reading:
    """Return what `read_scaled` would read, without decoding the video.

    Raises:
        DataError: The file is not a video.
    """
    from datamodules.media.video import probe

    info = probe(path)
    fps = options.fps or info.fps
    seconds = min(info.duration_s, options.seconds or info.duration_s)
    shrink = min(1.0, options.size / max(info.height, info.width))
    height, width = (max(1, round(side * shrink)) for side in (info.height, info.width))
    return Reading(max(1, round(seconds * fps)), fps, height, width)


def _beat_file(folder: Path | None, name: str) -> Path | None:
    if folder is None:
        return None
    candidates = [folder / f"{name}.txt", folder / f"{name.rsplit('/', 1)[-1]}.txt"]
    return next((path for path in candidates if path.is_file()), None)
