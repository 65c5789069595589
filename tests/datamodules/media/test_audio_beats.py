"""Beats on click trains of known tempo, and features a frame against what they must be."""

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from dance_folder import RATE, beats_of, clicks

from datamodules.batch import BEAT_FEATURES
from datamodules.errors import DataError
from datamodules.media.audio import (
    _load_librosa,
    _mean_tempogram,
    onset_envelope,
    track_beats,
    track_envelope,
)
from datamodules.media.beats import beat_features, onset_per_frame, read_beat_file
from datamodules.media.spectrum import ENVELOPE_RATE_HZ, analyze, spectral_features

IMPULSE, SIN, COS, SIN2, COS2, ONSET, INTERVAL = range(len(BEAT_FEATURES))


def test_the_envelope_is_librosas() -> None:
    librosa = _load_librosa()
    rng = np.random.default_rng(0)
    sound = clicks(np.arange(0.3, 5, 0.41), 5.0) + 0.05 * rng.standard_normal(5 * RATE)
    ours = onset_envelope(sound.astype(np.float32), RATE)
    theirs = librosa.onset.onset_strength(
        y=sound.astype(np.float32), sr=RATE, hop_length=441, aggregate=np.median
    )
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours[:-2], theirs[:-2], atol=1e-3)


@pytest.mark.parametrize("bpm", [80, 95, 110, 135])
@pytest.mark.parametrize("seconds", [1.5, 4.0, 12.0])
def test_clicks_are_found_to_the_last_one(bpm: int, seconds: float) -> None:
    truth = np.arange(0.15, seconds - 0.05, 60 / bpm)
    track = track_beats(clicks(truth, seconds), RATE, start_bpm=bpm)
    assert len(track.beats_s) == len(truth)
    np.testing.assert_allclose(track.beats_s, truth, atol=0.02)
    if len(truth) > 3:
        assert track.tempo_bpm == pytest.approx(bpm, rel=0.02)
    assert track.envelope_rate_hz == 100.0


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_any_sample_rate_gives_the_same_beats(rate: int) -> None:
    truth = np.arange(0.2, 6.0, 0.5)
    sound = np.zeros(6 * rate, dtype=np.float32)
    for beat in truth:
        first = round(beat * rate)
        sound[first : first + rate // 50] = np.linspace(1, 0, rate // 50)
    np.testing.assert_allclose(track_beats(sound, rate, 120).beats_s, truth, atol=0.03)


def test_the_known_tempo_forbids_octave_errors() -> None:
    """Off-beats as loud as beats: a guess may take double tempo, the name may not."""
    truth = np.arange(0.2, 12.0, 60 / 80)
    sound = clicks(np.sort(np.concatenate([truth, truth + 30 / 80])), 12.5)
    assert track_beats(sound, RATE, start_bpm=80).tempo_bpm == pytest.approx(80, rel=0.03)


def test_silence_around_music_has_no_beats() -> None:
    sound = np.zeros(9 * RATE, dtype=np.float32)
    truth = 3.0 + np.arange(0.1, 3.0, 0.5)
    sound[3 * RATE : 6 * RATE] = clicks(truth - 3.0, 3.0)
    np.testing.assert_allclose(track_beats(sound, RATE, 120).beats_s, truth, atol=0.02)


@pytest.mark.parametrize("samples", [0, 1, 100, 4 * RATE])
def test_silence_has_no_beats_and_no_tempo(samples: int) -> None:
    track = track_beats(np.zeros(samples, dtype=np.float32), RATE)
    assert track.beats_s.shape == (0,)
    assert track.tempo_bpm == 0.0


def test_a_single_click_is_no_rhythm() -> None:
    track = track_beats(clicks(np.asarray([1.0]), 3.0), RATE)
    assert len(track.beats_s) <= 1
    assert track_envelope(np.zeros(300)).tempo_bpm == 0.0


def test_sound_that_is_no_sound_is_refused() -> None:
    for sound in (np.full(RATE, np.nan), np.zeros((2, RATE))):
        with pytest.raises(ValueError, match=r"finite|mono"):
            track_beats(sound.astype(np.float32), RATE)


def test_the_users_beats_win(tmp_path: Path) -> None:
    path = tmp_path / "beats.txt"
    path.write_text("# my beats\n0.25, 1\n\n1.0; 2\n1.75\t3\n")
    track = track_beats(clicks(np.arange(0.1, 4, 0.5), 4.0), RATE, beat_file=path)
    assert track.beats_s.tolist() == [0.25, 1.0, 1.75]
    assert track.tempo_bpm == pytest.approx(80.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no beat"),
        ("one\n", "Line 1"),
        ("1.0\n0.5\n", "must ascend"),
        ("1.0\n1.0\n", "must ascend"),
        ("-1\n", "from 0"),
        ("nan\n", "from 0"),
        ("inf\n", "from 0"),
    ],
)
def test_a_wrong_beat_file_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "beats.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        read_beat_file(path)


def features(beats: list[float], frames: int = 20, start: float = 0.0) -> np.ndarray:
    return beat_features(np.asarray(beats), np.zeros(300), 100.0, frames, 10.0, start)


def test_impulses_lie_where_the_beats_lie() -> None:
    found = features([0.3, 0.85, 1.1])
    assert found[3, IMPULSE] == pytest.approx(1.0)
    assert found[8, IMPULSE] == pytest.approx(0.5, abs=1e-6)
    assert found[9, IMPULSE] == pytest.approx(0.5, abs=1e-6)
    assert found[:, IMPULSE].sum() == pytest.approx(3.0, abs=1e-5)
    # The mean place of the impulses is the mean place of the beats.
    place = (found[:, IMPULSE] * np.arange(20)).sum() / 3
    assert place == pytest.approx((3 + 8.5 + 11) / 3, abs=1e-5)


def test_phase_runs_from_beat_to_beat_and_beyond_the_ends() -> None:
    found = features([0.5, 1.0, 1.5])
    for frame, phase in ((5, 0.0), (6, 0.2), (10, 0.0), (12, 0.4), (0, 0.0), (2, 0.4), (18, 0.6)):
        assert found[frame, SIN] == pytest.approx(np.sin(2 * np.pi * phase), abs=1e-5)
        assert found[frame, COS] == pytest.approx(np.cos(2 * np.pi * phase), abs=1e-5)
        assert found[frame, SIN2] == pytest.approx(np.sin(4 * np.pi * phase), abs=1e-5)
        assert found[frame, COS2] == pytest.approx(np.cos(4 * np.pi * phase), abs=1e-5)
    np.testing.assert_allclose(found[:, INTERVAL], 0.5, atol=1e-6)


def test_a_later_start_is_a_slice() -> None:
    beats = [0.21, 0.7, 1.33, 1.9, 2.4]
    whole = features(beats, 30)
    np.testing.assert_allclose(features(beats, 20, start=0.7), whole[7:27], atol=1e-4)


def test_without_rhythm_there_is_no_phase() -> None:
    assert not features([]).any()
    alone = features([0.5])
    assert alone[5, IMPULSE] == 1.0
    assert not alone[:, [SIN, COS, SIN2, COS2, INTERVAL]].any()
    assert beat_features(np.zeros(0), np.zeros(0), 100.0, 0, 10.0).shape == (0, 7)


def test_onset_strength_peaks_on_the_clicks() -> None:
    beats = np.asarray([0.5, 1.2, 1.9])
    envelope = onset_envelope(clicks(beats, 3.0), RATE)
    found = beat_features(beats, envelope, ENVELOPE_RATE_HZ, 30, 10.0)[:, ONSET]
    assert set(np.flatnonzero(found > 0.5)) <= {4, 5, 12, 19}
    assert (found[[5, 12, 19]] > 0.5).all()
    assert found.min() >= 0.0
    assert found.max() <= 1.0


def test_onsets_outside_the_sound_are_zero() -> None:
    ones = np.ones(100)
    found = onset_per_frame(ones, 100.0, 30, 10.0, start_s=-1.0)
    assert found[:9].tolist() == [0.0] * 9
    assert found[11:19].tolist() == [1.0] * 8
    assert not found[21:].any()


def test_spectral_features_tell_pitch_and_level() -> None:
    time = np.arange(2 * RATE) / RATE
    tone = np.where(time < 1.0, np.sin(2 * np.pi * 440 * time), 0.0).astype(np.float32)
    found = spectral_features(tone, RATE, 20, 10.0)
    assert found.shape == (20, 44)
    assert found.min() >= 0.0
    assert found.max() <= 1.0
    chroma = found[2:8, 32:]
    assert set(chroma.argmax(axis=1)) == {9}  # A
    assert found[2:8, :32].max() > 0.9
    assert not found[13:].any()
    quiet = spectral_features(0.1 * tone, RATE, 20, 10.0)
    loudest = found[5, :32].argmax()
    assert found[5, loudest] - quiet[5, loudest] == pytest.approx(20 / 80, abs=0.01)


def test_one_transform_gives_the_same_as_two() -> None:
    sound = clicks(beats_of("mBR4", 3.0), 3.0)
    spectral, envelope = analyze(sound, RATE, 30, 10.0)
    np.testing.assert_allclose(spectral, spectral_features(sound, RATE, 30, 10.0), atol=1e-5)
    np.testing.assert_allclose(envelope, onset_envelope(sound, RATE), atol=1e-4)


def test_beats_are_compiled_for_the_baseline_processor_unless_the_user_names_one() -> None:
    """Code that numba generates for some processors ends the process (SIGSEGV)."""
    code = (
        "from datamodules.media.audio import warm_up; warm_up(); "
        "import numba; print(numba.config.CPU_NAME)"
    )
    for named, expected in ((None, "generic"), ("nocona", "nocona")):
        environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CPU_NAME"}
        environment.update({} if named is None else {"NUMBA_CPU_NAME": named})
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment
        )
        assert done.stdout.strip() == expected, (done.returncode, done.stderr)


@pytest.mark.parametrize("seconds", [3.0, 29.0, 30.0, 31.5, 95.0])
def test_the_tempogram_is_librosas_whatever_the_sections(seconds: float) -> None:
    librosa = _load_librosa()
    rng = np.random.default_rng(round(seconds))
    envelope = rng.uniform(0, 0.3, round(seconds * 100)).astype(np.float32)
    envelope[:: rng.integers(40, 70)] += 1.0
    whole = librosa.feature.tempogram(
        onset_envelope=envelope, sr=RATE, hop_length=441, win_length=800
    ).mean(axis=-1, keepdims=True)
    np.testing.assert_allclose(_mean_tempogram(envelope, librosa), whole, rtol=1e-5, atol=1e-7)


def test_a_long_song_is_tracked_in_bounded_memory() -> None:
    """An hour took 14 GB: 0.23 GB a minute."""
    envelope = np.full(20 * 60 * 100, 0.01, dtype=np.float32)
    envelope[::50] = 1.0
    track_envelope(envelope[:1000])
    tracemalloc.start()
    track = track_envelope(envelope)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert track.tempo_bpm == pytest.approx(120.0, rel=0.01)
    assert len(track.beats_s) > 2390
    assert peak < 200 * 2**20
