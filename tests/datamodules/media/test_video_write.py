"""Writing: playable anywhere, colors and beats where they were, whole files or none."""

from __future__ import annotations

import os
import resource
import struct
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from datamodules.media.video import probe, read_audio, read_frames, write_video
from datamodules.synthetic.dataset import DanceSpec, render_clip


def _boxes(path: Path) -> list[str]:
    content, at, names = path.read_bytes(), 0, []
    while at < len(content):
        size, name = struct.unpack(">I4s", content[at : at + 8])
        names.append(name.decode())
        at += size
    return names


def test_a_dance_comes_back_in_its_colors(tmp_path: Path) -> None:
    clip = render_clip(DanceSpec(size=128, seconds=1))
    write_video(tmp_path / "a.mp4", clip.frames, clip.fps, clip.audio, clip.sample_rate)
    back = read_frames(tmp_path / "a.mp4")
    assert back.shape == clip.frames.shape
    error = back.float() - clip.frames.float()
    assert error.abs().mean() < 2.5
    assert error.mean(dim=(0, 2, 3)).abs().max() < 1.7  # FFmpeg rounds down


@pytest.mark.parametrize(
    "color", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (9, 9, 9)]
)
def test_plain_colors_within_three_levels(tmp_path: Path, color: tuple[int, int, int]) -> None:
    frames = torch.tensor(color, dtype=torch.uint8)[None, :, None, None].expand(2, 3, 32, 32)
    write_video(tmp_path / "a.mp4", frames, 10)
    back = read_frames(tmp_path / "a.mp4").float()
    assert (back - frames.float()).abs().max() <= 3


def test_what_players_need(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / "a.mp4"
    frames = torch.zeros(5, 3, 33, 47, dtype=torch.uint8)
    frames[..., -1] = 200
    write_video(path, frames, 10, torch.zeros(22050), 44100)
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert audio.codec_context.name == "aac"
        assert (video.codec_context.height, video.codec_context.width) == (34, 48)
    boxes = _boxes(path)
    assert boxes.index("moov") < boxes.index("mdat")
    assert read_frames(path)[0, 0, :33, 47].float().mean() > 150  # the repeated last column


@pytest.mark.parametrize("sample_rate", [16000, 22050, 44100, 48000, 37000])
def test_sound_stays_with_the_picture(tmp_path: Path, sample_rate: int) -> None:
    """AAC delays sound by a block of 1024 samples; beats must not move by it."""
    clicks = np.zeros(3 * sample_rate, np.float32)
    for second in (0.25, 1.0, 2.5):
        at = round(second * sample_rate)
        clicks[at : at + 40] = np.hanning(40) * 0.9
    frames = torch.zeros(30, 3, 32, 32, dtype=torch.uint8)
    write_video(tmp_path / "a.mp4", frames, 10, clicks, sample_rate)
    heard = read_audio(tmp_path / "a.mp4", 48000)
    for second in (0.25, 1.0, 2.5):
        window = heard[int((second - 0.1) * 48000) : int((second + 0.1) * 48000)]
        middle = second + 20 / sample_rate
        found = second - 0.1 + float(np.argmax(np.abs(window))) / 48000
        assert found == pytest.approx(middle, abs=0.002)
    assert len(heard) / 48000 == pytest.approx(3.0, abs=0.05)


def test_odd_rates_and_streams_of_frames(tmp_path: Path) -> None:
    frames = (torch.full((3, 32, 32), 10 * k, dtype=torch.uint8) for k in range(12))
    write_video(tmp_path / "a.mp4", frames, 29.97)
    info = probe(tmp_path / "a.mp4")
    assert info.frames == 12
    assert info.fps == pytest.approx(29.97, rel=1e-3)
    assert not info.has_audio


def test_stereo_and_values_beyond_full_scale(tmp_path: Path) -> None:
    sound = np.stack([np.full(44100, 3.0), np.full(44100, np.nan)]).astype(np.float32)
    frames = torch.zeros(10, 3, 32, 32, dtype=torch.uint8)
    write_video(tmp_path / "a.mp4", frames, 10, sound, 44100)
    left, right = read_audio(tmp_path / "a.mp4", 44100, mono=False)
    assert np.abs(left).max() <= 1.0
    assert np.abs(right).max() < 0.05


def test_nothing_half_is_left(tmp_path: Path) -> None:
    def frames() -> object:
        yield torch.zeros(3, 32, 32, dtype=torch.uint8)
        raise RuntimeError("the model ran out of ideas")

    with pytest.raises(RuntimeError, match="ideas"):
        write_video(tmp_path / "a.mp4", frames(), 10)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="No frames"):
        write_video(tmp_path / "a.mp4", torch.zeros(0, 3, 8, 8, dtype=torch.uint8), 10)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_os_error_and_leaves_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (40, 3, 128, 128), dtype=np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A limit on file sizes meets the writer as a full disk does, in the middle of a file.
    import signal

    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"a\.mp4"):
            write_video(tmp_path / "a.mp4", frames, 10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert list(tmp_path.iterdir()) == []


def panned(seed: int, side: int) -> torch.Tensor:
    """A window that wanders over blotches, (24, 3, side, side)."""
    generator = torch.Generator().manual_seed(seed)
    blotches = torch.rand(1, 3, 16, 16, generator=generator)
    ground = torch.nn.functional.interpolate(blotches, size=(96, 96), mode="bicubic")
    levels = (255 * ground[0].clamp(0, 1)).to(torch.uint8)
    steps = torch.randint(-3, 4, (24, 2), generator=generator).cumsum(0) % (96 - side)
    return torch.stack([levels[:, y : y + side, x : x + side] for y, x in steps.tolist()])


def write_again_and_again(folder: Path, rounds: int) -> set[tuple[int, str]]:
    """Clip and digest of each file that comes of writing eight clips in turn."""
    clips = [panned(seed, 16) for seed in range(8)]
    path, written = folder / "a.mp4", set()
    for _ in range(rounds):
        for number, frames in enumerate(clips):
            write_video(path, frames, 10.0)
            written.add((number, sha256(path.read_bytes()).hexdigest()))
    return written


@pytest.mark.long
def test_what_lies_in_memory_leaves_no_trace(tmp_path: Path) -> None:
    """x264's AVX-512 code takes what lies behind a row of blocks for blocks: about every second
    process then writes other bytes for the same frames."""
    context = get_context("spawn")
    written: set[tuple[int, str]] = set()
    for _ in range(8):
        with ProcessPoolExecutor(1, context) as pool:
            written |= pool.submit(write_again_and_again, tmp_path, 30).result()
    assert len(written) == 8


def write_wide(path: Path, cores: int) -> str:
    """Digest of a video of 640 x 384 pixels written by a process that may use some cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    write_video(path, panned(0, 64).repeat(1, 1, 6, 10), 10.0)
    return sha256(path.read_bytes()).hexdigest()


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="takes a machine that can give a process one of its cores",
)
def test_the_number_of_cores_leaves_no_trace(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        written = [pool.submit(write_wide, tmp_path / "a.mp4", n).result() for n in (1, 2)]
    assert written[0] == written[1]
