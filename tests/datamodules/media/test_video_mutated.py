"""Mutated videos and sound tracks: refused with a reason or read correctly, never anything else.

A sample of one of each kind runs by default, all five hundred with `-m long`.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from made_videos import clock_frame, read_clock
from mutated_videos import SONG_S, Mutated, mutate, mutate_song
from torch.nn.functional import interpolate

from datamodules.errors import DataError
from datamodules.index import DatasetSettings, read_index
from datamodules.media.video import (
    fit_box,
    probe,
    read_audio,
    read_clip,
    read_frames,
    stream_frames,
)
from datamodules.preparation.prepare import PrepareOptions, prepare

ALL = 500
SAMPLE = 26
_PATIENCE_S = 120.0


def _nearest(video: Mutated, time_s: float) -> float:
    return min(video.times_s, key=lambda shown: abs(shown - time_s))


def _check_frame(frame: torch.Tensor, time_s: float) -> None:
    expected = torch.from_numpy(clock_frame(time_s, *frame.shape[1:])).permute(2, 0, 1)
    assert read_clock(frame) == pytest.approx(time_s, abs=0.0015)
    assert (frame.float() - expected.float()).abs().mean() < 8


def _check_sound(sound: np.ndarray, rate: int) -> None:
    """A click sounds half a second after the first frame."""
    around = np.abs(sound[round(0.4 * rate) : round(0.6 * rate)])
    assert np.argmax(around > 0.5) / rate + 0.4 == pytest.approx(0.5, abs=0.005)


def _reason(video: Mutated, refusal: DataError) -> str:
    assert video.damaged, f"{video.kind}: {refusal}"
    assert video.path.name in str(refusal)
    return str(refusal)


def _read(number: int, folder: str) -> str:
    """Read a mutation in every way; returns the reason of a refusal, else nothing."""
    video = mutate(number, Path(folder))
    try:
        info = probe(video.path)
        frames = list(stream_frames(video.path))
        sound = read_audio(video.path, 44100) if info.has_audio else None
    except DataError as error:
        return _reason(video, error)
    assert len(frames) == info.frames == len(info.timestamps_s)
    if not video.damaged:
        assert np.allclose(info.timestamps_s, video.times_s, atol=0.03)
        assert info.rotation == video.rotation
        assert info.has_audio == video.sound
        if sound is not None and "NaN" not in video.kind and len(sound) > 0.7 * 44100:
            _check_sound(sound, 44100)
    for frame, shown in zip(frames, info.timestamps_s, strict=True):
        _check_frame(torch.rot90(frame, info.rotation // 90, (1, 2)), _nearest(video, shown))
        assert abs(_nearest(video, shown) - shown) < 0.03
    assert sound is None or np.isfinite(sound).all()
    # The fast reader agrees, or hands over to the strict one; of 10 bits it rounds otherwise.
    apart = (read_clip(video.path, range(len(frames))).float() - torch.stack(frames).float()).abs()
    assert apart.max() == 0 or (video.kind == "chroma" and apart.mean() < 1.0)
    return ""


def _hear(number: int, folder: str) -> str:
    """Read a damaged song; returns the reason of a refusal, else nothing."""
    path = mutate_song(number, Path(folder))
    try:
        sound = read_audio(path, 22050)
    except DataError as refusal:
        return str(refusal)
    assert sound.dtype == np.float32
    assert np.isfinite(sound).all()
    assert np.abs(sound).max() <= 1.0
    assert len(sound) < 2 * SONG_S * 22050, f"{path.name} grew"
    return ""


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessPoolExecutor]:
    """A crash of a decoder ends this process and fails the test, not the run."""
    pool = ProcessPoolExecutor(1, get_context("spawn"))
    pool.submit(
        _hear, 0, str(tmp_path_factory.mktemp("warm"))
    ).result()  # imports take their time on a busy machine
    yield pool
    for process in list(pool._processes.values()):
        process.kill()


def _read_all(child: ProcessPoolExecutor, numbers: range, folder: Path) -> list[str]:
    return [
        child.submit(_read, number, str(folder)).result(timeout=_PATIENCE_S) for number in numbers
    ]


def test_one_of_each_kind_is_read_or_refused(child: ProcessPoolExecutor, tmp_path: Path) -> None:
    refusals = _read_all(child, range(SAMPLE), tmp_path)
    assert 5 <= sum(map(bool, refusals)) <= 15


@pytest.mark.long
def test_all_mutations_are_read_or_refused(child: ProcessPoolExecutor, tmp_path: Path) -> None:
    refusals = _read_all(child, range(SAMPLE, ALL), tmp_path)
    assert 0.3 < sum(map(bool, refusals)) / len(refusals) < 0.6


@pytest.mark.parametrize(
    "numbers", [range(15), pytest.param(range(15, 150), marks=pytest.mark.long)]
)
def test_damaged_songs_are_heard_or_refused(
    child: ProcessPoolExecutor, tmp_path: Path, numbers: range
) -> None:
    folder = str(tmp_path)
    found = [child.submit(_hear, n, folder).result(timeout=_PATIENCE_S) for n in numbers]
    for number, reason in zip(numbers, found, strict=True):
        assert not reason or f"song{number:03d}" in reason
    assert any(found)
    assert not all(found)


def _prepare(numbers: range, folder: Path) -> None:
    videos = [mutate(number, folder / "in") for number in numbers]
    by_name = {f"{video.path.stem}": video for video in videos}
    settings = DatasetSettings(fps=10.0, size=128, fit="letterbox")
    report = prepare(folder / "in", folder / "out", PrepareOptions(settings, workers=2))
    index = read_index(folder / "out")
    reasons = {entry["name"]: entry["reason"] for entry in report.quarantined}
    assert sorted([*index.names, *reasons]) == sorted(by_name)
    for name, reason in reasons.items():
        video = by_name[name]
        assert "unexpected" not in reason, f"{video.kind}: {reason}"
        assert "crash" not in reason, f"{video.kind}: {reason}"
        expected = video.damaged or video.kind in ("one frame", "no sound")
        assert expected, f"{video.kind}: {reason}"
    for name in index.names:
        _check_clip(by_name[name], index.clip_path(name))


def _check_clip(video: Mutated, clip: Path) -> None:
    frames = read_frames(clip)
    source = probe(video.path)
    box = fit_box(source.height, source.width, 128, "letterbox")
    shape = (source.height, source.width)
    for k, frame in enumerate(frames):
        shown = frame[:, box.top : box.top + box.height, box.left : box.left + box.width]
        sized = interpolate(shown[None].float(), shape, mode="bilinear")[0]
        clock = read_clock(torch.rot90(sized, source.rotation // 90, (1, 2)))
        assert clock == pytest.approx(_nearest(video, clock), abs=0.0015), video.kind
        assert abs(clock - k / 10) < np.abs(source.timestamps_s - k / 10).min() + 0.03, video.kind


def test_one_of_each_kind_is_prepared_or_quarantined(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    _prepare(range(SAMPLE), tmp_path)


@pytest.mark.long
def test_all_mutations_are_prepared_or_quarantined(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    _prepare(range(ALL), tmp_path)
