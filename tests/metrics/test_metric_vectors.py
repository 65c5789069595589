"""The six published test vectors, to six decimals, in both precisions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from metrics import functional as F

DTYPES = [torch.float32, torch.float64]


def beats(*values: float, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(values, dtype=dtype)[None]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("music", "motion", "mint", "bailando"),
    [
        ([0, 30, 60, 90], [3, 33, 45, 90], 0.553266, 0.553266),
        ([10, 20, 30, 40, 50], [12, 31], 0.873348, 0.357274),
        ([15, 45], list(range(0, 60, 2)), 0.250663, 0.945959),
    ],
)
def test_published_scores(
    music: list[float], motion: list[float], mint: float, bailando: float, dtype: torch.dtype
) -> None:
    heard, seen = beats(*music, dtype=dtype) / 60, beats(*motion, dtype=dtype) / 60
    assert F.preset_alignment(seen, heard, "mint").item() == pytest.approx(mint, abs=1e-6)
    assert F.preset_alignment(seen, heard, "bailando").item() == pytest.approx(bailando, abs=1e-6)
    in_frames = F.beat_alignment(seen * 60, heard * 60, sigma=3)
    assert in_frames.item() == pytest.approx(mint, abs=2e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("fps", "expected"), [(10, 0.571429), (30, 0.222222)])
def test_av_align(fps: int, expected: float, dtype: torch.dtype) -> None:
    audio = beats(0.13, 0.52, 1.03, 1.95, 2.60, dtype=dtype)
    video = beats(0.2, 0.5, 0.6, 1.2, 1.9, 2.6, dtype=dtype)
    assert F.av_align(audio, video, fps).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_own_scores(dtype: torch.dtype) -> None:
    music = beats(*[0.03 + 0.6 * k for k in range(8)], dtype=dtype)
    motion = beats(0.61, 1.31, 1.83, 2.40, 3.05, 3.60, dtype=dtype)
    window = F.observable_window(40, 10.0)
    inside = F.keep_inside(music, window)
    torch.testing.assert_close(
        inside[~inside.isnan()],
        torch.tensor([0.63, 1.23, 1.83, 2.43, 3.03, 3.63], dtype=dtype),
    )
    scores = F.align(motion, music, window)
    assert scores.raw.item() == pytest.approx(0.799135, abs=1e-6)
    assert scores.chance.item() == pytest.approx(0.203229, abs=1e-6)
    assert scores.corrected.item() == pytest.approx(0.747901, abs=1e-6)
    assert F.beat_f1(motion, inside).item() == pytest.approx(0.833333, abs=1e-6)
    corrected = F.beat_f1_corrected(motion, music, window)
    assert corrected.item() == pytest.approx(0.785235, abs=1e-6)
    assert F.phase_cosine(motion, inside).item() == pytest.approx(0.909878, abs=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_subframe_minimum(dtype: torch.dtype) -> None:
    speed = (torch.arange(10, dtype=dtype) - 4.3) ** 2
    found = F.motion_beats(speed, 10.0, smoothing_s=0)
    assert found.shape == (1, 1)
    assert found.item() == pytest.approx(0.48, abs=1e-6)
