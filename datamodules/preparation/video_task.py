"""Preparation of one video: check it, resample it by time stamp, write the clip and features.

Runs in a worker process. Whatever is wrong with a file becomes the reason in its record; only a
full disk is raised, because the next file would meet it too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules import aist_names, keypoints
from datamodules.errors import DataError
from datamodules.files import is_no_space, write_bytes, write_tensors
from datamodules.index import DatasetSettings
from datamodules.media import video
from datamodules.media.beats import normalized_onset, onset_per_frame
from datamodules.media.sound import SILENCE
from datamodules.media.spectrum import ENVELOPE_RATE_HZ, SAMPLE_RATE, analyze

RECORD_VERSION = 1
_LONGEST_GAP_S = 0.6  # slower than any camera: frames of the dance are missing


@dataclass(frozen=True)
class VideoTask:
    """What a worker needs to prepare one video."""

    name: str
    path: Path
    source: str
    """Path below the source folder, with forward slashes."""
    out: Path
    settings: DatasetSettings
    truth: Path | None = None
    """The renderer's beats and key points of this video, where it is a rendered one."""
    keypoints: Path | None = None
    """AIST++'s keypoints2d of this performance."""
    camera: int = 0
    """Row of the camera in `keypoints`."""


def record_path(out: Path, name: str) -> Path:
    """Return the path of a video's record."""
    return out / "records" / f"{name}.json"


def recorded(out: Path, name: str, key: str) -> float | None:
    """Return a positive number of a video's record, None where there is none (the record was
    written by an earlier version, or is gone).

    Keys: `claimed_fps` (rate that the container states, Hz), `skipped_s` (length of the head of the
    file that cannot be decoded; all times count from the first frame behind it).
    """
    try:
        value = json.loads(record_path(out, name).read_bytes())[key]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return float(value) if isinstance(value, int | float) and value > 0 else None


def fingerprint(task: VideoTask) -> dict[str, Any]:
    """Return what a record must match to be reused by a resumed preparation."""
    stats = [path.stat() for path in (task.path, task.truth, task.keypoints) if path is not None]
    return {
        "version": RECORD_VERSION,
        "settings": task.settings.digest(),
        "source": task.source,
        "files": [[stat.st_size, stat.st_mtime_ns] for stat in stats],
    }


def prepare_video(task: VideoTask) -> dict[str, Any]:
    """Prepare one video and write its record, last.

    Returns:
        The record: `name`, `fingerprint`, and `row` (index columns known without the beats) with
        `claimed_fps` and `skipped_s` (see `video.VideoInfo`), or `reason` (why the video is
        quarantined).

    Raises:
        OSError: The disk is full.
    """
    torch.set_num_threads(1)  # one process a core; more threads would only contend
    record: dict[str, Any] = {"name": task.name, "fingerprint": fingerprint(task)}
    try:
        info = video.probe(task.path)
        record["row"] = _row(task, info)
        # Not in the row: the index, whose digest identifies the data, stays the same without it.
        record["claimed_fps"] = info.claimed_fps
        record["skipped_s"] = round(info.skipped_s, 6)
    except DataError as error:
        record["reason"] = str(error).replace(str(task.path), task.source)
    except Exception as error:  # an unexpected decoder error must not stop the other videos
        if is_no_space(error):
            raise
        record["reason"] = f"{task.source}: unexpected {type(error).__name__}: {error}"
        if isinstance(error, OSError | MemoryError):
            return record  # not the file's fault: without a record, the next run tries again
    content = json.dumps(record, sort_keys=True, indent=1) + "\n"
    write_bytes(record_path(task.out, task.name), content.encode())
    return record


def _row(task: VideoTask, info: video.VideoInfo) -> dict[str, Any]:
    settings = task.settings
    # Rounded time stamps may cost a part of the last frame; it is shown all the same.
    frames = int(info.duration_s * settings.fps + 0.25)
    if info.frames < 2 or frames < 2:
        raise DataError(
            f"{task.source} shows {info.frames} frames in {info.duration_s:.2f} s; "
            "a dance needs more."
        )
    gap = float(np.diff(info.timestamps_s).max())
    if gap > _LONGEST_GAP_S:
        raise DataError(
            f"{task.source} has no frames for {gap:.2f} s in the middle; it is damaged."
        )
    sound = _sound(task, info)
    _write_clip(task, info, frames, sound)
    _write_features(task, frames, sound)
    has_keypoints = _write_keypoints(task, info, frames)
    truth = _true_beats(task)
    return {
        "name": task.name,
        **describe(task.name, task.source),
        "frames": frames,
        "source": task.source,
        "source_digest": _sha256(task.path),
        "source_fps": round(info.fps, 6),
        "source_frames": info.frames,
        "source_width": info.width,
        "source_height": info.height,
        "source_duration_s": round(info.duration_s, 6),
        "source_largest_gap_s": round(gap, 6),
        "audio_duration_s": round(len(sound) / SAMPLE_RATE, 6),
        "audio_rate": info.audio_rate,
        "beats_truth": truth,
        "keypoints": has_keypoints,
    }


def describe(name: str, source: str) -> dict[str, Any]:
    """Return the index columns that a name states: music, dancer, genre, ..., `tempo_name_bpm`."""
    parsed = aist_names.try_parse(name)
    stem = Path(source).stem
    music = aist_names.music_in(name) or aist_names.music_in(stem)
    folder = Path(source).parent.name
    known = parsed is not None
    return {
        "music": music or name,
        "dancer": "+".join(parsed.dancers) if parsed and parsed.dancers else folder or name,
        "genre": (parsed.genre or "") if parsed else music[1:3] if music else "",
        "situation": parsed.situation if parsed else "",
        "camera": parsed.camera if parsed else "",
        "choreography": (parsed.choreography or "") if known and parsed else "",
        "tempo_name_bpm": aist_names.tempo_of(music) if music else None,
    }


def _sound(task: VideoTask, info: video.VideoInfo) -> NDArray[np.float32]:
    if not info.has_audio:
        raise DataError(f"{task.source} has no sound; a dance needs its music.")
    sound = video.read_audio(task.path, SAMPLE_RATE)
    if not len(sound) or float(np.abs(sound).max()) < SILENCE:
        raise DataError(f"{task.source} is silent; a dance needs its music.")
    return sound


def _write_clip(
    task: VideoTask, info: video.VideoInfo, frames: int, sound: NDArray[np.float32]
) -> None:
    """The small clip video: frame k is the source's frame nearest to k / fps seconds."""
    settings = task.settings
    clip = task.out / "clips" / f"{task.name}.mp4"
    if _is_clip_already(task, info, frames):
        for _ in video.stream_frames(task.path, info=info):  # find damage
            pass
        write_bytes(clip, task.path.read_bytes())
        return
    box = video.fit_box(info.height, info.width, settings.size, settings.fit)  # type: ignore[arg-type]

    def images() -> Iterator[Tensor]:
        times = np.arange(frames) / settings.fps
        size = (box.height, box.width)
        for scaled in video.stream_frames(task.path, times, size=size, info=info):
            yield video.place_in_square(scaled, settings.size, box)

    length = round(frames / settings.fps * SAMPLE_RATE)
    video.write_video(clip, images(), settings.fps, sound[:length], SAMPLE_RATE)


def _is_clip_already(task: VideoTask, info: video.VideoInfo, frames: int) -> bool:
    """Whether the source is what a clip would be: rendered at this rate and size by the same
    writer, so that a lossless copy will do."""
    size = task.settings.size
    steady = np.abs(info.timestamps_s - np.arange(info.frames) / task.settings.fps).max() < 1e-3
    same = (info.width, info.height, info.frames) == (size, size, frames)
    return task.truth is not None and same and bool(steady)


def _write_features(task: VideoTask, frames: int, sound: NDArray[np.float32]) -> None:
    fps = task.settings.fps
    spectral, envelope = analyze(sound, SAMPLE_RATE, frames, fps)
    onset = onset_per_frame(normalized_onset(envelope), ENVELOPE_RATE_HZ, frames, fps)
    write_tensors(
        task.out / "features" / f"{task.name}.safetensors",
        {
            "spectral": torch.from_numpy(spectral),
            "onset": torch.from_numpy(onset),
            "envelope": torch.from_numpy(envelope),
        },
    )


def _write_keypoints(task: VideoTask, info: video.VideoInfo, frames: int) -> bool:
    if task.truth is not None:
        points = keypoints.read_truth(task.truth)
        rate = info.fps
        view = (info.width, info.height)
    elif task.keypoints is not None:
        points = keypoints.read_aist(task.keypoints, task.camera)
        rate, view = keypoints.AIST_FPS, keypoints.AIST_VIEW
    else:
        return False
    settings = task.settings
    moved = keypoints.resample(points, rate, frames, settings.fps)
    moved[..., 0] *= info.width / view[0]
    moved[..., 1] *= info.height / view[1]
    box = video.fit_box(info.height, info.width, settings.size, settings.fit)  # type: ignore[arg-type]
    moved[..., 0] = moved[..., 0] * box.scale_x + box.offset_x
    moved[..., 1] = moved[..., 1] * box.scale_y + box.offset_y
    keypoints.write(task.out / "keypoints" / f"{task.name}.npz", moved)
    return True


def _true_beats(task: VideoTask) -> list[float] | None:
    if task.truth is None:
        return None
    return [round(float(beat), 6) for beat in keypoints.read_true_beats(task.truth)]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
