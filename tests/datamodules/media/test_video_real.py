"""What real files do: odd orders of frames, cuts, several tracks, channels, names."""

from __future__ import annotations

import io
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from made_videos import clock_frame, encode, encode_song, read_clock

from datamodules.errors import DataError
from datamodules.media.video import (
    probe,
    read_audio,
    read_clip,
    read_frames,
    stream_frames,
    write_video,
)

RATE = 44_100
FPS = 25
X264 = {"crf": "10", "bf": "3", "g": "12", "b-adapt": "0", "x264-params": "b-pyramid=none"}
OPEN = {**X264, "x264-params": "open-gop=1:keyint=12:min-keyint=12:scenecut=0:b-adapt=0"}
MPEG = {"bf": "2", "g": "12"}
X265 = {"x265-params": "bframes=3:keyint=12:min-keyint=12:open-gop=1:scenecut=0:log-level=none"}


def _film(
    path: Path, codec: str = "libx264", options: dict[str, str] | None = None, count: int = 60
) -> Path:
    """A clock at 25 frames a second; `bf` and `g` are set for every encoder."""
    options = X264 if options is None else options
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = 112, 64, "yuv420p"
        stream.codec_context.max_b_frames = int(options.get("bf", 0))
        stream.codec_context.gop_size = int(options.get("g", 12))
        for number in range(count):
            image = av.VideoFrame.from_ndarray(clock_frame(number / FPS, 64), format="rgb24")
            image = image.reformat(format="yuv420p")
            image.pts, image.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))
    return path


def _shown(frames: object) -> list[int]:
    return [round(read_clock(frame) * FPS) for frame in frames]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("h264.avi", "libx264", X264),
        ("h264.asf", "libx264", X264),
        ("h264.wmv", "libx264", X264),
        ("h264.h264", "libx264", X264),
        ("h264.ts", "libx264", X264),
        ("h264.flv", "libx264", X264),
        ("h264.mkv", "libx264", X264),
        ("hevc.hevc", "libx265", X265),
        ("hevc.mkv", "libx265", X265),
        ("mpeg4.avi", "mpeg4", MPEG),
        ("mpeg4.m4v", "mpeg4", MPEG),
        ("mpeg2.avi", "mpeg2video", MPEG),
        ("mpeg2.m2v", "mpeg2video", MPEG),
        ("mpeg2.mpg", "mpeg2video", MPEG),
        ("mpeg2.vob", "mpeg2video", MPEG),
        ("mpeg1.avi", "mpeg1video", MPEG),
        ("old.avi", "msmpeg4v3", {"g": "12"}),
        ("wmv2.wmv", "wmv2", {"g": "12"}),
    ],
)
def test_frames_come_in_display_order_whatever_order_they_are_stored_in(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    path = _film(tmp_path / name, codec, options)
    info = probe(path)
    assert info.frames == 60
    assert _shown(read_frames(path)) == list(range(60))
    assert _shown(read_frames(path, [40, 3, 13, 59, 0])) == [40, 3, 13, 59, 0]
    assert _shown(read_frames(path, [31])) == [31]
    # MPEG-1 in AVI counts the delay of its decoder as a frame between the first and the second.
    expected = np.arange(60) / FPS
    assert np.abs(info.timestamps_s - expected).max() < (1.1 if "mpeg1" in name else 0.1) / FPS


def test_packed_b_frames_in_avi_come_in_display_order(tmp_path: Path) -> None:
    """DivX and old XviD stored a frame and its B-frame in one chunk, and then an empty chunk."""
    source = _film(tmp_path / "plain.avi", "mpeg4", {"bf": "1", "g": "30"}, count=31)
    with av.open(str(source)) as plain:
        stream = plain.streams.video[0]
        packets = [bytes(packet) for packet in plain.demux(stream) if packet.size]
        extradata = stream.codec_context.extradata
        chunks, rest = [packets[0]], packets[1:]
        for forward, between in zip(rest[::2], rest[1::2], strict=False):
            chunks += [forward + between, b"\x00\x00\x01\xb6\x50\x00"]
        path = tmp_path / "packed.avi"
        with av.open(str(path), "w") as packed:
            copy = packed.add_stream_from_template(stream)
            copy.codec_context.extradata = (extradata or b"") + b"\x00\x00\x01\xb2DivX503b1393p"
            for number, chunk in enumerate(chunks):
                packet = av.Packet(chunk)
                packet.pts = packet.dts = number
                packet.time_base, packet.stream = Fraction(1, FPS), copy
                packet.is_keyframe = number == 0
                packed.mux(packet)
    shown = _shown(read_frames(path))
    assert shown == sorted(shown)
    assert len(shown) == probe(path).frames >= 30


def test_the_clip_reader_agrees_on_clips_of_this_project(tmp_path: Path) -> None:
    frames = np.stack([clock_frame(k / FPS) for k in range(30)]).transpose(0, 3, 1, 2)
    write_video(tmp_path / "a.mp4", torch.from_numpy(frames.copy()), FPS)
    wanted = [7, 3, 29, 0]
    assert torch.equal(
        read_clip(tmp_path / "a.mp4", wanted), read_frames(tmp_path / "a.mp4", wanted)
    )


def _without_head(source: Path, path: Path, dropped: int) -> Path:
    """Copy a file without the first packets of its video."""
    with av.open(str(source)) as whole, av.open(str(path), "w") as cut:
        streams = {s.index: cut.add_stream_from_template(s) for s in whole.streams}
        seen = 0
        for packet in whole.demux():
            if not packet.size:
                continue
            seen += packet.stream.type == "video"
            if packet.stream.type != "video" or seen > dropped:
                packet.stream = streams[packet.stream.index]
                cut.mux(packet)
    return path


@pytest.mark.parametrize("dropped", [3, 5, 12])
@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("open.ts", "libx264", OPEN),
        ("open.mkv", "libx264", OPEN),
        ("open.mp4", "libx264", OPEN),
        ("open.avi", "libx264", OPEN),
        ("open.flv", "libx264", OPEN),
        ("hevc.ts", "libx265", X265),
        ("hevc.mkv", "libx265", X265),
        ("mpeg2.ts", "mpeg2video", MPEG),
        ("mpeg2.mpg", "mpeg2video", MPEG),
        ("mpeg4.avi", "mpeg4", MPEG),
        ("vp9.webm", "libvpx-vp9", {"g": "12", "cpu-used": "8", "crf": "10", "b": "0"}),
    ],
)
def test_a_cut_video_starts_at_the_first_frame_that_can_be_shown(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], dropped: int
) -> None:
    whole = _film(tmp_path / f"whole_{name}", codec, options)
    path = _without_head(whole, tmp_path / name, dropped)
    info = probe(path)
    shown = _shown(stream_frames(path, info=info))
    first = shown[0]
    assert first in (12, 24)
    assert shown == list(range(first, 60))
    assert info.frames == len(shown)
    assert np.allclose(info.timestamps_s, np.arange(len(shown)) / FPS, atol=2e-3)
    assert 0 <= info.skipped_s * FPS <= 26
    if first > dropped + 1:
        assert info.skipped_s > 0
    assert _shown(read_frames(path, [15, 2, 30])) == [first + 15, first + 2, first + 30]


@pytest.mark.parametrize("name", ["cut.ts", "cut.mkv", "cut.mp4"])
def test_the_sound_of_a_cut_video_starts_with_the_first_frame_shown(
    tmp_path: Path, name: str
) -> None:
    sound = np.zeros(3 * RATE, np.float32)
    sound[RATE : RATE + 200] = 0.9
    options = {"g": "12", "preset": "ultrafast", "crf": "10"}
    images = [clock_frame(k / FPS) for k in range(70)]
    kind = Path(name).suffix
    whole = encode(tmp_path / f"whole{kind}", images, fps=FPS, options=options, sound=sound)
    path = _without_head(whole, tmp_path / name, 5)
    first = _shown(read_frames(path, [0]))[0]
    assert first == 12
    heard = np.argmax(np.abs(read_audio(path, RATE)) > 0.4) / RATE
    assert heard == pytest.approx(1.0 - first / FPS, abs=0.03)


def test_a_transport_stream_cut_at_any_byte_is_read_from_its_first_whole_group(
    tmp_path: Path,
) -> None:
    content = _film(tmp_path / "whole.ts", options=OPEN).read_bytes()
    for place in (100, 188 * 7, len(content) // 5, len(content) // 3):
        path = tmp_path / f"{place}.ts"
        path.write_bytes(content[place:])
        shown = _shown(stream_frames(path))
        assert shown == list(range(shown[0], 60))
        assert shown[0] % 12 == 0


def _tracks(path: Path, sounds: list[np.ndarray], default: int | None = None) -> Path:
    """A film with several sound tracks, one of them marked as default."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 112, 48, "yuv420p"
        tracks = []
        for number, _ in enumerate(sounds):
            track = container.add_stream("aac", rate=RATE)
            track.layout = "mono"
            flag = av.stream.Disposition.default if number == default else 0
            track.disposition = av.stream.Disposition(flag)
            tracks.append(track)
        for number in range(20):
            image = av.VideoFrame.from_ndarray(clock_frame(number / 10), format="rgb24")
            container.mux(stream.encode(image.reformat(format="yuv420p")))
        container.mux(stream.encode(None))
        for track, sound in zip(tracks, sounds, strict=True):
            piece = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            piece.rate, piece.pts = RATE, 0
            container.mux(track.encode(piece))
            container.mux(track.encode(None))
    return path


def _tone(hertz: float, seconds: float = 2.0, level: float = 0.5) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (level * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def _pitch(sound: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(sound[RATE // 2 : RATE // 2 + RATE]))
    return float(spectrum.argmax())


@pytest.mark.parametrize("kind", ["mkv", "mp4", "mov"])
@pytest.mark.parametrize(
    ("sounds", "default", "expected"),
    [
        (("silence", 440), None, 440),
        (("silence", 440), 0, 440),
        ((220, 440), 1, 440),
        ((220, 440), 0, 220),
        (("silence", "silence", 440), 1, 440),
        (("silence", 440), 1, 440),
    ],
)
def test_the_sound_track_that_plays_is_read(
    tmp_path: Path, kind: str, sounds: tuple, default: int | None, expected: float
) -> None:
    made = [np.zeros(2 * RATE, np.float32) if s == "silence" else _tone(s) for s in sounds]
    path = _tracks(tmp_path / f"a.{kind}", made, default)
    assert _pitch(read_audio(path, RATE)) == pytest.approx(expected, abs=2)
    assert probe(path).has_audio


@pytest.mark.parametrize("kind", ["mkv", "mp4"])
@pytest.mark.parametrize("attached", [True, False])
def test_a_cover_in_front_of_the_film_is_not_the_film(
    tmp_path: Path, kind: str, attached: bool
) -> None:
    path = tmp_path / f"a.{kind}"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=10)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        if attached:
            cover.disposition = av.stream.Disposition.attached_pic
        film = container.add_stream("libx264", rate=10)
        film.width, film.height, film.pix_fmt = 112, 48, "yuv420p"
        red = np.full((64, 64, 3), (200, 0, 0), np.uint8)
        image = av.VideoFrame.from_ndarray(red, format="rgb24").reformat(format="yuvj420p")
        image.pts, image.time_base = 0, Fraction(1, 10)
        container.mux(cover.encode(image))
        container.mux(cover.encode(None))
        for number in range(20):
            image = av.VideoFrame.from_ndarray(clock_frame(number / 10), format="rgb24")
            container.mux(film.encode(image.reformat(format="yuv420p")))
        container.mux(film.encode(None))
    info = probe(path)
    assert (info.frames, info.width, info.height) == (20, 112, 48)
    assert [round(read_clock(f) * 10) for f in read_frames(path)] == list(range(20))


def _wav(path: Path, channels: list[np.ndarray]) -> Path:
    samples = (np.stack(channels, axis=1) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return path


TONE = _tone(440)
QUIET = np.zeros_like(TONE)
HALF = np.concatenate([TONE[:RATE], -TONE[RATE:]])


@pytest.mark.parametrize(
    "channels",
    [
        [TONE, -TONE],
        [TONE, -0.9 * TONE],
        [TONE, HALF],
        [TONE, QUIET],
        [QUIET, TONE],
        [TONE, -TONE, QUIET, QUIET, TONE, -TONE],
        [QUIET, QUIET, TONE, QUIET, QUIET, QUIET],
        [TONE] * 9,
        [TONE] * 16,
        [TONE, -TONE] * 8,
    ],
    ids=["opposite", "nearly", "half", "left", "right", "5.1", "center", "9", "16", "16 opposite"],
)
def test_channels_are_mixed_so_that_the_sound_is_heard(
    tmp_path: Path, channels: list[np.ndarray]
) -> None:
    sound = read_audio(_wav(tmp_path / "a.wav", channels), RATE)
    loud = np.abs(sound).reshape(20, -1).max(axis=1)
    assert (loud > 0.2).all()
    assert _pitch(sound) == pytest.approx(440, abs=2)
    assert read_audio(tmp_path / "a.wav", RATE, mono=False).shape == (2, len(sound))


def test_uncorrelated_stereo_is_the_mean_of_both(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    left, right = rng.uniform(-0.9, 0.9, (2, RATE)).astype(np.float32)
    sound = read_audio(_wav(tmp_path / "a.wav", [left, right]), RATE)
    assert np.abs(sound - (left + right) / 2).max() < 1e-3
    both = read_audio(_wav(tmp_path / "b.wav", [left, left]), RATE)
    assert np.abs(both - left).max() < 1e-3  # not clipped


def test_ambisonic_sound_is_mixed(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        track = container.add_stream("pcm_s16le", rate=RATE)
        track.layout = "ambisonic 1"
        data = np.stack([TONE, QUIET, QUIET, QUIET]) * 32767
        piece = av.AudioFrame.from_ndarray(
            data.T.reshape(1, -1).astype(np.int16), format="s16", layout="ambisonic 1"
        )
        piece.rate, piece.pts = RATE, 0
        container.mux(track.encode(piece))
        container.mux(track.encode(None))
    assert _pitch(read_audio(path, RATE)) == pytest.approx(440, abs=2)


@pytest.mark.parametrize(
    "name",
    ["Artist: Song", "concat:a|b", "data:audio", "http://song", "50%d off", "pipe:1", "#1?a"],
)
def test_names_that_look_like_protocols_are_names(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(f"{name}.wav")
    path.parent.mkdir(parents=True, exist_ok=True)
    _wav(path, [TONE])
    assert _pitch(read_audio(path, RATE)) == pytest.approx(440, abs=2)
    video = Path(f"{name}.mp4")
    frames = np.stack([clock_frame(k / 10) for k in range(5)]).transpose(0, 3, 1, 2)
    write_video(video, torch.from_numpy(frames.copy()), 10, TONE, RATE)
    assert probe(video).frames == len(read_frames(video)) == len(read_clip(video, range(5))) == 5
    inside = Path("data: mine")
    inside.mkdir()
    _wav(inside / "a.wav", [TONE])
    assert len(read_audio(inside / "a.wav", RATE))


def _tail(kind: str) -> bytes:
    id3v1 = b"TAG" + bytes(125)
    lyrics = b"LYRICSBEGIN" + b"IND00003110ETT00005hello" + b"000038LYRICS200"
    ape = b"APETAGEX" + (2000).to_bytes(4, "little") + bytes(20) + b"x" * 100
    return {
        "ID3v1": id3v1,
        "Lyrics3": lyrics + id3v1,
        "APE": ape,
        "padding": bytes(5000),
        "text": b"downloaded from somewhere\n" * 40,
    }[kind]


@pytest.mark.parametrize("kind", ["ID3v1", "Lyrics3", "APE", "padding", "text", "cut", "joined"])
def test_songs_with_a_flawed_end_are_played(tmp_path: Path, kind: str) -> None:
    song = encode_song(tmp_path / "song.mp3", _tone(440, 3.0), "libmp3lame")
    content = song.read_bytes()
    if kind == "cut":
        song.write_bytes(content[:-150])
    elif kind == "joined":
        other = encode_song(tmp_path / "b.mp3", _tone(880), "libmp3lame", rate=48000)
        song.write_bytes(content + _tail("ID3v1") + other.read_bytes())
    else:
        song.write_bytes(content + _tail(kind))
    sound = read_audio(song, RATE, strict=False)
    assert _pitch(sound) == pytest.approx(440, abs=2)
    assert len(sound) / RATE > 2.8


@pytest.mark.parametrize("kind", ["flac", "ogg", "m4a", "wav"])
def test_songs_with_damage_inside_play_what_is_whole(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    codec = {"flac": "flac", "ogg": "vorbis", "m4a": "aac", "wav": "pcm_s16le"}[kind]
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=RATE, options={"strict": "experimental"})
        track.layout = "stereo"
        size = track.codec_context.frame_size or 1024
        resampler = av.AudioResampler(track.format, "stereo", RATE, frame_size=size)
        piece = av.AudioFrame.from_ndarray(_tone(440, 6.0)[None], format="fltp", layout="mono")
        piece.rate, piece.pts = RATE, 0
        for part in [*resampler.resample(piece), *resampler.resample(None)]:
            container.mux(track.encode(part))
        container.mux(track.encode(None))
    content = bytearray(path.read_bytes())
    middle = len(content) * 3 // 4
    content[middle : middle + 64] = np.random.default_rng(0).bytes(64)
    path.write_bytes(content)
    sound = read_audio(path, RATE, strict=False)
    assert len(sound) / RATE > 3.0
    assert _pitch(sound) == pytest.approx(440, abs=2)


def test_what_is_no_song_is_refused_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(io.BytesIO(b"no song at all" * 99).getvalue())
    with pytest.raises(DataError, match=r"a\.mp3"):
        read_audio(tmp_path / "a.mp3", RATE, strict=False)
