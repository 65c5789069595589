"""Copies of a song are found whatever their encoding, level, beginning and end; other songs not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dance_folder import RATE, SIZE, clicks
from made_videos import clock_frame, encode, encode_song
from numpy.typing import NDArray

from datamodules.doctor import diagnose
from datamodules.index import DatasetSettings
from datamodules.media.song_copies import song_copies
from datamodules.media.spectrum import spectral_features
from datamodules.media.video import read_audio
from datamodules.preparation.prepare import PrepareOptions, prepare
from datamodules.splits import SplitRule


def _song(seed: int, seconds: float = 20.0, bpm: float = 120.0) -> NDArray[np.float32]:
    """Beats at one tempo with notes of some rhythm and pitch between them."""
    rng = np.random.default_rng(seed)
    beats = np.arange(0.1, seconds - 0.1, 60.0 / bpm)
    sound = 0.4 * clicks(beats, seconds)
    for eighth in np.arange(0.1, seconds - 0.5, 30.0 / bpm):
        if rng.random() < 0.6:
            first, time = round(eighth * RATE), np.arange(8000) / RATE
            pitch = 110.0 * 2 ** (rng.integers(0, 36) / 12)
            note = np.sin(2 * np.pi * pitch * time) * np.exp(-time * 12) * rng.uniform(0.1, 0.6)
            sound[first : first + 8000] += note.astype(np.float32)
    return np.clip(sound, -1, 1)


def _features(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    return spectral_features(sound, RATE, round(len(sound) / RATE * 10), 10.0)


def test_copies_are_found_and_other_songs_of_the_tempo_are_not(tmp_path: Path) -> None:
    song = _song(0)
    mp3 = read_audio(encode_song(tmp_path / "a.mp3", 0.5 * song, "libmp3lame"), RATE)
    noise = np.random.default_rng(9).normal(0, 0.003, len(song)).astype(np.float32)
    features = {
        "a": _features(song),
        "encoded": _features(mp3),
        "late": _features(song[round(3.337 * RATE) :]),
        "short": _features(song[round(6.1 * RATE) : round(13.4 * RATE)]),
        "overlapping": _features(np.concatenate([song[RATE * 9 :], _song(7)[: RATE * 9]])),
        "noisy": _features(song + noise),
        **{f"other{n}": _features(_song(n)) for n in range(1, 7)},
        "silence": np.zeros((200, 44), np.float32),
    }
    found = {frozenset(pair[:2]) for pair in song_copies(features, 10.0)}
    for copy in ("encoded", "late", "short", "overlapping", "noisy"):
        assert frozenset(("a", copy)) in found, copy
    assert not any("other" in name for pair in found for name in pair)
    assert not any("silence" in pair for pair in found)


def test_the_doctor_refuses_a_song_in_two_splits_under_two_names(tmp_path: Path) -> None:
    frames = [clock_frame(k / 10) for k in range(100)]
    for number, dancer in enumerate(("anna", "ben", "cleo", "dora")):
        folder = tmp_path / "in" / dancer
        folder.mkdir(parents=True)
        song = _song(0 if number < 2 else number, 10.0)
        if dancer == "ben":
            song = 0.7 * np.concatenate([np.zeros(RATE // 2, np.float32), song])[: 10 * RATE]
        for frame in frames:
            frame[-8:] = 40 * number
        encode(folder / "dance.mp4", frames, sound=song)
    prepare(tmp_path / "in", tmp_path / "out", PrepareOptions(DatasetSettings(size=SIZE)))
    leaks = []
    for seed in range(8):
        diagnosis = diagnose(tmp_path / "out", SplitRule(rule="music", seed=seed))
        (finding,) = [f for f in diagnosis.findings if f.check == "copied_songs"]
        assert finding.names[0].startswith("anna-dance = ben-dance")
        leaks.append(finding.level)
        assert diagnosis.healthy == (finding.level != "error")
    assert {"error"} <= set(leaks)


@pytest.mark.parametrize("fps", [90, 100, 120, 240])
def test_slow_motion_is_explained(tmp_path: Path, fps: int) -> None:
    (tmp_path / "in").mkdir()
    frames = [clock_frame(k / fps) for k in range(2 * fps)]
    encode(tmp_path / "in" / "a.mp4", frames, fps=fps, sound=_song(0, 2.0))
    prepare(tmp_path / "in", tmp_path / "out", PrepareOptions(DatasetSettings(size=SIZE)))
    findings = {f.check: f for f in diagnose(tmp_path / "out").findings}
    assert "frame_rates" not in findings
    assert findings["slow_motion"].level == "note"
    assert "natural speed" in findings["slow_motion"].message
