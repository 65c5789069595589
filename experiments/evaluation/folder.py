"""Score a folder of anyone's videos with sound; a bad file never stops the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.aist_names import music_in, tempo_of
from datamodules.errors import DataError
from datamodules.files import VIDEO_SUFFIXES
from experiments.config.run import RunSettings
from experiments.evaluation.clips import ScoredClip, score_clips
from experiments.processes.ranks import SINGLE_PROCESS, Ranks
from experiments.processes.share import share_work
from metrics.functional.optical_flow import FlowMethod
from metrics.functional.warping import warp_errors_of_video

#: Sampling rate at which AV-Align listens for onsets.
ONSET_RATE = 22050


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
    """Videos of a folder by name: their path below it, without suffix unless two files share it.

    Raises:
        FileNotFoundError: there is no such folder.
        NotADirectoryError: it is a file.
        DataError: it holds no video, or samples of a run, which show truth and result side by side.
    """
    if not folder.exists():
        raise FileNotFoundError(2, "No such file or directory", str(folder))
    if not folder.is_dir():
        raise NotADirectoryError(20, "Not a directory", str(folder))
    paths = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in VIDEO_SUFFIXES
        and not path.name.startswith(".")
        and not path.is_dir()
    ]
    run = next((place for path in paths if (place := _run_of(path)) is not None), None)
    if run is not None:
        raise DataError(
            f"{run} is a run, whose samples show truth and result side by side; score its model "
            "on held-out clips with `dabfusion study heldout`, or give a folder of videos."
        )
    plain = [path.relative_to(folder).with_suffix("").as_posix() for path in paths]
    taken = Counter(plain)
    found = {
        name if taken[name] == 1 else path.relative_to(folder).as_posix(): path
        for name, path in zip(plain, paths, strict=True)
    }
    if not found:
        raise DataError(
            f"{folder} holds no video ({', '.join(sorted(VIDEO_SUFFIXES))}); give a folder of "
            "videos with sound."
        )
    return found


def _run_of(video: Path) -> Path | None:
    """The run whose `samples/` hold a video, if it is such a one."""
    run = video.parent.parent
    return run if video.parent.name == "samples" and (run / "config.yaml").is_file() else None


def music_of(name: str) -> str | None:
    """The AIST piece that a video's name holds, anywhere in it, or None."""
    stem = name.rsplit("/", 1)[-1]
    words = "".join(letter if letter.isalnum() else " " for letter in stem).split()
    found = (music_in(word) for word in [stem, *words])
    return next((music for music in found if music), None)


#: Scores by name of a video's name and its frames (T, 3, H, W), uint8.
MoreScores = Callable[[str, Tensor], dict[str, float]]
#: A scored clip, its frame rate, size and length as text, and where its beats come from.
_Scored = tuple[ScoredClip, Mapping[str, str], str]


def score_folder(
    folder: Path,
    options: FolderOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
    ranks: Ranks = SINGLE_PROCESS,
    more: MoreScores | None = None,
) -> FolderScores:
    """Score every video of a folder; what cannot be scored is listed and never stops it.

    Args:
        folder: any folder of videos with sound, by any method.
        options: how to read and score.
        progress: called with the number done and the number of all.
        ranks: processes that share the videos out; each of them gets all scores.
        more: further scores of a video.
    """
    scoring = options or FolderOptions()

    def work(video: tuple[str, Path]) -> _Scored | Failure:
        name, path = video
        try:
            return _score_video(name, path, scoring, more)
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            # Decoders fail in many ways on damaged files; one file must not cost the others.
            return Failure(name, " ".join(str(error).split()) or type(error).__name__)

    videos = list(videos_in(folder).items())
    run = RunSettings(accelerator="cpu")
    done = share_work(videos, work, run=run, ranks=ranks, progress=progress)
    kinds: dict[str, set[str]] = {"fps": set(), "size": set(), "frames": set()}
    sources = {"tracked": 0, "file": 0}
    scored = [found for found in done if not isinstance(found, Failure)]
    for _, kind, source in scored:
        sources[source] += 1
        for key, value in kind.items():
            kinds[key].add(value)
    failures = [found for found in done if isinstance(found, Failure)]
    ordered = {key: sorted(values) for key, values in kinds.items()}
    return FolderScores([clip for clip, _, _ in scored], failures, ordered, sources)


def _score_video(name: str, path: Path, options: FolderOptions, more: MoreScores | None) -> _Scored:
    music = music_of(name)
    beats_s, onsets_s, source = _listen(name, path, music, options)
    frames, fps = read_scaled(path, options)
    clip = score_clips(
        frames[None], fps, _row(beats_s), [name], [music or name], options.flow, _row(onsets_s)
    )[0]
    # Without sound nothing is known of onsets, which is not the same as hearing none.
    known = {} if onsets_s is not None else {"av_align": float("nan")}
    warped = float(warp_errors_of_video(frames[None], options.flow))
    added = {} if more is None else more(name, frames)
    clip = replace(clip, scores={**clip.scores, **known, "warp_error": warped, **added})
    kind = {
        "fps": f"{fps:.3f}".rstrip("0").rstrip("."),
        "size": f"{frames.shape[-1]}x{frames.shape[-2]}",
        "frames": str(len(frames)),
    }
    return clip, kind, source


def _listen(
    name: str, path: Path, music: str | None, options: FolderOptions
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, str]:
    """Beats and onsets in seconds (no onsets of a silent film), and where the beats come from."""
    from datamodules.media.audio import detect_onsets, track_beats
    from datamodules.media.beats import read_beat_file
    from datamodules.media.video import probe, read_audio

    beat_file = _beat_file(options.beats, name)
    # A silent film without a beat file is refused by `read_audio`, which says so.
    if beat_file is not None and not probe(path).has_audio:
        return read_beat_file(beat_file), None, "file"
    onsets = detect_onsets(read_audio(path, ONSET_RATE), ONSET_RATE)
    if beat_file is not None:
        return read_beat_file(beat_file), onsets, "file"
    prior = tempo_of(music) if music else None
    return track_beats(read_audio(path, 44100), 44100, start_bpm=prior).beats_s, onsets, "tracked"


def _row(times_s: NDArray[np.float64] | None) -> Tensor:
    """(1, N) of N seconds."""
    return torch.from_numpy(np.asarray([] if times_s is None else times_s, dtype=np.float64))[None]


def read_scaled(path: Path, options: FolderOptions) -> tuple[Tensor, float]:
    """Frames (T, 3, H, W) uint8 on an even grid of time, scaled, and their rate.

    Raises:
        DataError: the file is no video, or is damaged.
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
    """What `read_scaled` gives of a video, without decoding it.

    Raises:
        DataError: the file is no video.
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
