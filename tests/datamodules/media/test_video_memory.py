"""Opening clips for hours costs no memory: no reader, frame or container is kept."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from datamodules.media.video import read_audio, read_frames, write_video
from datamodules.synthetic.dataset import DanceSpec, render_clip

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def _growth(path: str, opens: int, reader: str) -> float:
    """MiB by which this process grows while it opens a clip `opens` times."""
    rng = np.random.default_rng(0)

    def open_once(k: int) -> None:
        start = int(rng.integers(0, 70))
        read_frames(path, range(start, start + 10), reader=reader)  # type: ignore[arg-type]
        if k % 10 == 0:
            read_audio(path, 44100)

    for k in range(60):
        open_once(k)
    before = _resident_mib()
    for k in range(opens):
        open_once(k)
    return _resident_mib() - before


def _measure(path: Path, opens: int, reader: str) -> float:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_growth, str(path), opens, reader).result()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("memory") / "clip.mp4"
    rendered = render_clip(DanceSpec(size=64, seconds=8))
    write_video(path, rendered.frames, rendered.fps, rendered.audio, rendered.sample_rate)
    return path


@pytest.mark.parametrize("reader", ["decord", "av"])
def test_memory_stays_flat(clip: Path, reader: str) -> None:
    """A leaked reader costs some 200 KiB; a hundred of them would show."""
    if reader == "decord":
        pytest.importorskip("decord")
    assert _measure(clip, 100, reader) < 8


@pytest.mark.long
@pytest.mark.parametrize("reader", ["decord", "av"])
def test_memory_stays_flat_over_ten_thousand_clips(clip: Path, reader: str) -> None:
    if reader == "decord":
        pytest.importorskip("decord")
    growth = _measure(clip, 10_000, reader)
    print(f"{reader}: {growth:.1f} MiB over 10,000 opened clips")
    assert growth < 25
