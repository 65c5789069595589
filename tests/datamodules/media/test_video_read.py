"""Reading: both readers agree, time stamps decide, what is damaged says so."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from made_videos import clock_frame, encode, read_clock, rotate_header

from datamodules.errors import DataError
from datamodules.media.video import (
    nearest_frames,
    probe,
    read_audio,
    read_clip,
    read_frames,
    stream_frames,
    write_video,
)

pytest.importorskip("decord", reason="decord has no wheel here")


def _clock_video(path: Path, times_s: list[float], **options: object) -> Path:
    return encode(path, [clock_frame(t) for t in times_s], times_s, **options)  # type: ignore


def test_both_readers_give_the_same_frames(tmp_path: Path) -> None:
    path = _clock_video(tmp_path / "a.mp4", [k / 25 for k in range(60)], fps=25)
    wanted = [17, 3, 59, 3, 0, 40]
    decord, av = (read_frames(path, wanted, reader=r) for r in ("decord", "av"))
    assert torch.equal(decord, av)
    assert [round(read_clock(frame) * 25) for frame in av] == wanted
    assert torch.equal(read_frames(path, reader="decord"), read_frames(path, reader="av"))


@pytest.mark.parametrize("index", [1, 7, 8, 9, 41, 59])
def test_far_frames_are_found_from_the_nearest_key_frame(tmp_path: Path, index: int) -> None:
    options = {"g": "8", "bf": "2", "crf": "10"}
    times = [k / 25 for k in range(60)]
    path = _clock_video(tmp_path / "a.mp4", times, fps=25, options=options)
    for reader in ("decord", "av"):
        found = read_frames(path, [index], reader=reader)[0]
        assert read_clock(found) == pytest.approx(times[index], abs=0.001)


def test_both_readers_agree_on_times_of_a_variable_rate(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.005, 0.09, 70)).round(3)
    path = _clock_video(tmp_path / "v.mp4", (times - times[0]).tolist())
    wanted = np.arange(0, float(times[-1] - times[0]), 0.1)
    decord, av = (read_frames(path, times_s=wanted, reader=r) for r in ("decord", "av"))
    assert torch.equal(decord, av)


def test_sixty_per_second_with_dropped_frames_resamples_by_the_clock(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    times = [k / 60 for k in range(240) if k in (0, 239) or rng.random() > 0.25]
    sound = np.zeros(4 * 44100, np.float32)
    for second in range(1, 4):
        sound[second * 44100 : second * 44100 + 200] = 0.9
    path = _clock_video(tmp_path / "v.mp4", times, fps=60, sound=sound)
    wanted = np.arange(40) / 10
    shown = np.array([read_clock(frame) for frame in stream_frames(path, wanted)])
    nearest = np.array([min(times, key=lambda t, w=w: abs(t - w)) for w in wanted])
    assert np.abs(shown - nearest).max() < 2e-3
    # Counting frames would be off by up to a second; a second of picture is a second of sound.
    assert np.abs(shown - wanted).max() < 0.06
    heard = read_audio(path, 44100)
    for second in range(1, 4):
        around = np.abs(heard[int((second - 0.5) * 44100) : int((second + 0.5) * 44100)])
        assert np.argmax(around > 0.4) / 44100 - 0.5 == pytest.approx(0, abs=0.005)


def test_ties_between_frames_take_the_earlier() -> None:
    assert nearest_frames(np.array([0.0, 0.1, 0.2]), [0.05, 0.15, -1.0, 9.0]).tolist() == [
        0,
        1,
        0,
        2,
    ]


def test_probe_tells_rate_size_sound(tmp_path: Path) -> None:
    frames = torch.zeros(20, 3, 32, 48, dtype=torch.uint8)
    write_video(tmp_path / "a.mp4", frames, 12.5, np.zeros(32000, np.float32), 32000)
    info = probe(tmp_path / "a.mp4")
    assert (info.frames, info.width, info.height, info.rotation) == (20, 48, 32, 0)
    assert info.fps == pytest.approx(12.5)
    assert info.duration_s == pytest.approx(1.6)
    assert (info.has_audio, info.audio_rate) == (True, 32000)
    assert info.audio_duration_s == pytest.approx(1.0, abs=0.05)
    assert np.allclose(info.timestamps_s, np.arange(20) / 12.5, atol=1e-3)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotated_pictures_stand_upright_in_both_readers(tmp_path: Path, degrees: int) -> None:
    frame = np.zeros((32, 48, 3), np.uint8)
    frame[:8, :8] = (255, 40, 40)  # the stored picture's upper left corner
    path = encode(tmp_path / "r.mp4", [frame] * 3, pix_fmt="yuv420p")
    plain = read_frames(path, [1], reader="av")[0]
    rotate_header(path, degrees)
    info = probe(path)
    assert info.rotation == degrees
    assert (info.height, info.width) == ((32, 48) if degrees == 180 else (48, 32))
    upright = torch.rot90(plain, -degrees // 90, (1, 2))
    assert torch.equal(read_frames(path, [1])[0], upright)
    assert torch.equal(read_clip(path, [1])[0], upright)  # decord cannot turn by 180 degrees
    assert next(stream_frames(path, size=(info.height // 2, info.width // 2))).shape[1:] == (
        info.height // 2,
        info.width // 2,
    )


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt", "shape", "count"),
    [
        ("mp4", "libx264", "yuv422p", (48, 112), 5),
        ("mp4", "libx264", "yuv444p", (47, 113), 5),
        ("mp4", "libx264", "yuv420p10le", (48, 112), 5),
        ("mkv", "ffv1", "yuv420p", (49, 111), 4),
        ("avi", "mpeg4", "yuv420p", (48, 112), 6),
        ("mp4", "libx264", "yuv420p", (48, 112), 1),
    ],
)
def test_formats_sizes_and_single_frames(
    tmp_path: Path, suffix: str, codec: str, pix_fmt: str, shape: tuple[int, int], count: int
) -> None:
    frames = [clock_frame(k / 10, *shape) for k in range(count)]
    options = None if codec == "libx264" else {}
    path = encode(tmp_path / f"a.{suffix}", frames, codec=codec, pix_fmt=pix_fmt, options=options)
    info = probe(path)
    assert (info.frames, info.height, info.width) == (count, *shape)
    assert not info.has_audio
    for reader in ("av", "decord"):
        found = read_frames(path, reader=reader)
        assert found.shape == (count, 3, *shape)
        assert [round(read_clock(frame) * 10) for frame in found] == list(range(count))


@pytest.mark.parametrize(("matrix", "full_range"), [(1, False), (1, True), (5, False), (5, True)])
def test_color_tags_are_honoured(tmp_path: Path, matrix: int, full_range: bool) -> None:
    """BT.709 (1) and BT.601 (5), limited and full range, all mean the same red."""
    red = np.full((64, 64, 3), (200, 60, 30), np.uint8)
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = 2 if full_range else 1
        for _ in range(3):
            picture = av.VideoFrame.from_ndarray(red, format="rgb24").reformat(
                format="yuv420p",
                dst_colorspace="ITU709" if matrix == 1 else "ITU601",
                dst_color_range="JPEG" if full_range else "MPEG",
            )
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    for reader in ("av", "decord"):
        found = read_frames(path, [1], reader=reader)[0, :, 30, 30]
        assert found.tolist() == pytest.approx([200, 60, 30], abs=3)


def test_scaling_while_decoding_averages_areas(tmp_path: Path) -> None:
    frame = np.zeros((64, 64, 3), np.uint8)
    frame[::2] = 255
    path = encode(tmp_path / "a.mp4", [frame] * 2, pix_fmt="yuv444p")
    small = next(stream_frames(path, size=(16, 16)))
    assert small.shape == (3, 16, 16)
    assert small.float().sub(127.5).abs().max() < 12


def test_frames_that_are_not_there(tmp_path: Path) -> None:
    path = _clock_video(tmp_path / "a.mp4", [0.0, 0.1, 0.2])
    for reader in ("av", "decord"):
        with pytest.raises(DataError, match=r"a\.mp4 has 3 frames, so frame 3 does not exist"):
            read_frames(path, [3], reader=reader)


def test_files_that_are_no_videos(tmp_path: Path) -> None:
    text = tmp_path / "words.mp4"
    text.write_text("this is no video " * 99)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    for path in (text, empty):
        for read in (probe, read_frames, lambda p: read_audio(p, 16000)):
            with pytest.raises(DataError, match=path.name):
                read(path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        probe(tmp_path / "nowhere.mp4")
    with pytest.raises(DataError, match="is a folder"):
        probe(tmp_path)
    song = encode_sound(tmp_path / "song.wav")
    with pytest.raises(DataError, match="no video track"):
        probe(song)


def encode_sound(path: Path) -> Path:
    from scipy.io import wavfile

    wavfile.write(path, 22050, (np.sin(np.arange(22050) / 10) * 20000).astype(np.int16))
    return path


def test_truncated_video_is_refused_not_shortened(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    rng = np.random.default_rng(0)
    write_video(path, rng.integers(0, 255, (30, 3, 64, 64), dtype=np.uint8), 10)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])  # the index is in front and whole
    with pytest.raises(DataError, match=r"a\.mp4"):
        list(stream_frames(path))


def test_sound_of_songs_and_of_videos_without(tmp_path: Path) -> None:
    song = encode_sound(tmp_path / "song.wav")
    sound = read_audio(song, 44100)
    assert sound.dtype == np.float32
    assert len(sound) == pytest.approx(44100, abs=64)
    assert np.abs(sound).max() == pytest.approx(20000 / 32768, rel=0.02)
    assert read_audio(song, 44100, mono=False).shape[0] == 2
    silent = _clock_video(tmp_path / "v.mp4", [0.0, 0.1])
    with pytest.raises(DataError, match="no sound"):
        read_audio(silent, 44100)


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("mp3", "libmp3lame"), ("m4a", "aac"), ("flac", "flac"), ("wav", "pcm_s16le")],
)
def test_a_song_is_heard_when_it_sounds(suffix: str, codec: str, tmp_path: Path) -> None:
    """Also where the coder has put samples in front of it, as MP3's does."""
    clicks = np.zeros((1, 3 * 44100), dtype=np.float32)
    for second in (0.5, 1.0, 2.0):
        clicks[0, round(second * 44100) :][:40] = 0.9
    path = tmp_path / f"song.{suffix}"
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=44100)
        track.layout = "mono"
        size = track.codec_context.frame_size or 1024
        resampler = av.AudioResampler(track.format, "mono", 44100, frame_size=size)
        frame = av.AudioFrame.from_ndarray(clicks, format="fltp", layout="mono")
        frame.rate, frame.pts = 44100, 0
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(track.encode(piece))
        container.mux(track.encode(None))
    sound = np.abs(read_audio(path, 44100))
    for second in (0.5, 1.0, 2.0):
        near = sound[round((second - 0.2) * 44100) : round((second + 0.2) * 44100)]
        assert near.argmax() / 44100 - 0.2 == pytest.approx(0.0, abs=0.003)


def test_sound_with_values_that_are_no_numbers(tmp_path: Path) -> None:
    sound = np.sin(np.arange(44100) / 20).astype(np.float32)
    sound[1000:2000] = np.nan
    sound[3000] = np.inf
    path = tmp_path / "a.mkv"
    frames = [clock_frame(k / 10) for k in range(10)]
    encode(path, frames, sound=sound, sound_codec="pcm_f32le", sound_format="flt")
    heard = read_audio(path, 44100)
    assert np.isfinite(heard).all()
    assert np.abs(heard).max() <= 1.0
    assert not heard[1100:1900].any()


def test_sound_that_starts_late_is_moved_to_the_first_frame(tmp_path: Path) -> None:
    """The first frame is shown 0.5 s after the sound's start, so that much sound is left out."""
    times = [0.5 + k / 10 for k in range(20)]
    sound = np.zeros(3 * 44100, np.float32)
    sound[44100 : 44100 + 100] = 0.9
    path = tmp_path / "late.mkv"
    encode(path, [clock_frame(t) for t in times], times, sound=sound, sound_codec="flac")
    heard = read_audio(path, 44100)
    assert np.argmax(np.abs(heard) > 0.4) / 44100 == pytest.approx(0.5, abs=0.005)
    assert read_clock(read_frames(path, times_s=[0.5])[0]) == pytest.approx(1.0, abs=0.01)
