"""What every alignment score must do: perfect, off-beat, random, empty, shifted, batched."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from metrics import functional as F
from metrics.motion_music_alignment import clip_scores

WINDOW = torch.tensor([[0.1, 3.8]], dtype=torch.float64)


def ladder(period: float = 0.5, first: float = 0.15, count: int = 8) -> Tensor:
    return (first + period * torch.arange(count, dtype=torch.float64))[None]


def dip_speed(beats: Tensor, fps: float, frames: int, px_s: float = 40.0) -> Tensor:
    """A speed that touches zero on every beat and peaks halfway between them."""
    time = (torch.arange(frames - 1, dtype=torch.float64) + 0.5) / fps
    period, first = beats[0, 1] - beats[0, 0], beats[0, 0]
    return px_s * torch.sin(torch.pi * (time - first) / period).abs()[None]


def test_identical_beats_score_one() -> None:
    beats = ladder()
    scores = F.align(beats, beats, WINDOW)
    assert scores.raw.item() == pytest.approx(1)
    assert scores.corrected.item() == pytest.approx(1)
    assert F.align(beats, beats, WINDOW, direction="music_to_motion").corrected == pytest.approx(1)
    assert F.beat_f1(beats, beats).item() == 1
    assert F.beat_f1_corrected(beats, beats, WINDOW).item() == pytest.approx(1)
    assert F.phase_cosine(beats, beats).item() == pytest.approx(1)
    assert F.av_align(beats, beats, 10).item() == 1


def test_half_a_beat_off() -> None:
    beats = ladder()
    off = beats + 0.25
    assert F.align(off, beats, WINDOW).corrected.item() < 0
    assert F.beat_f1_corrected(off, beats, WINDOW).item() < 0
    assert F.phase_cosine(off[:, :-1], beats).item() == pytest.approx(-1)


def test_the_curve_falls_to_half_a_beat() -> None:
    beats = ladder(first=0.4, count=7)
    shifts = [k / 32 * 0.5 for k in range(17)]
    curve = [F.align(beats[:, 1:-1] + s, beats, WINDOW).corrected.item() for s in shifts]
    # Beyond four sigma the kernel is zero to six digits, so the curve only has to keep low there.
    assert all(a > b - 1e-9 for a, b in pairwise(curve))
    assert all(a > b for a, b in pairwise(curve[:11]))
    cosine = [F.phase_cosine(beats[:, 1:-1] + s, beats).item() for s in shifts]
    assert all(a > b for a, b in pairwise(cosine))


@pytest.mark.parametrize("count", [1, 3, 10, 100, 1000])
@pytest.mark.parametrize("direction", ["motion_to_music", "music_to_motion"])
def test_random_floods_score_zero(count: int, direction: str) -> None:
    """Beats of the asking list are random: their score is zero whatever their number."""
    random = torch.Generator().manual_seed(count)
    clips = max(400, 4000 // count)
    flood = 0.1 + 3.7 * torch.rand(clips, count, generator=random, dtype=torch.float64)
    music = ladder().expand(clips, -1)
    if direction == "motion_to_music":
        found = F.align(flood, music, WINDOW).corrected
    else:
        found = F.align(music, flood, WINDOW, direction="music_to_motion").corrected
    if direction == "music_to_motion" and count == 1:
        # Few targets: the fixed music is no random sample, but its mean over floods is.
        found = found - found.mean()
    error = found.std() / clips**0.5
    assert abs(found.mean().item()) < 4 * error.item() + 2e-3


def test_random_phase_cosine_and_f1_are_zero() -> None:
    random = torch.Generator().manual_seed(0)
    flood = 0.1 + 3.7 * torch.rand(3000, 7, generator=random, dtype=torch.float64)
    music = ladder().expand(3000, -1)
    assert abs(F.phase_cosine(flood, music).mean().item()) < 0.03
    assert abs(F.beat_f1_corrected(flood[:500], music[:500], WINDOW).mean().item()) < 0.05


@pytest.mark.parametrize("direction", ["motion_to_music", "music_to_motion"])
def test_chance_is_the_mean_over_the_window(direction: str) -> None:
    """The closed form against a plain sum over a fine grid of query times."""
    del direction
    random = torch.Generator().manual_seed(3)
    for targets in (ladder(), ladder(0.33, 0.2, 3), torch.rand(1, 12, generator=random) * 3.8):
        targets = targets.double().sort(-1).values
        grid = torch.linspace(0.1, 3.8, 200_001, dtype=torch.float64)[None]
        plain = F.beat_alignment(grid, targets)
        assert F.alignment_chance(targets, WINDOW).item() == pytest.approx(plain.item(), abs=2e-5)


def test_targets_outside_count_for_chance_of_plain_lists() -> None:
    targets = torch.tensor([[-1.0, 0.5, 9.0]], dtype=torch.float64)
    grid = torch.linspace(0.1, 3.8, 100_001, dtype=torch.float64)[None]
    plain = F.beat_alignment(grid, targets)
    assert F.alignment_chance(targets, WINDOW).item() == pytest.approx(plain.item(), abs=2e-5)


def test_empty_lists() -> None:
    none, beats = torch.zeros(1, 0, dtype=torch.float64), ladder()
    for motion, music in ((none, beats), (beats, none), (none, none)):
        scores = F.align(motion, music, WINDOW)
        assert scores.raw.item() == 0
        assert scores.corrected.item() == 0
        assert F.beat_f1(motion, music).item() == 0
        assert F.beat_f1_corrected(motion, music, WINDOW).item() == 0
        assert F.phase_cosine(motion, music).item() == 0
        assert F.av_align(music, motion, 10).item() == 0
    padded = torch.full((1, 3), torch.nan, dtype=torch.float64)
    assert F.align(padded, beats, WINDOW).motion_beats.item() == 0


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_clips_of_a_few_frames(frames: int) -> None:
    signal = F.MotionSignal(torch.rand(2, frames - 1), torch.full((2,), 50.0), 128)
    scores = clip_scores(signal, 10, torch.tensor([[0.1, 0.2], [0.3, torch.nan]]))
    assert all(value.isfinite().all() for value in scores.values())
    assert scores["corrected"].tolist() == [0, 0]
    assert scores["empty_motion"].tolist() == [1, 1]


def test_silence() -> None:
    speed = dip_speed(ladder(), 10, 40)
    signal = F.MotionSignal(speed, torch.tensor([20.0]), 128)
    scores = clip_scores(signal, 10, torch.zeros(1, 0))
    assert scores["empty_music"].item() == 1
    assert scores["corrected"].item() == 0
    assert scores["chance"].item() == 0


def test_shifting_everything_changes_nothing() -> None:
    random = torch.Generator().manual_seed(1)
    motion = 0.1 + 3.7 * torch.rand(5, 6, generator=random, dtype=torch.float64)
    music = ladder().expand(5, -1)
    for shift in (0.37, -4.0, 1000.0):
        here = F.align(motion, music, WINDOW)
        there = F.align(motion + shift, music + shift, WINDOW + shift)
        for name, value in vars(here).items():
            torch.testing.assert_close(value, getattr(there, name), atol=1e-9, rtol=0)
        torch.testing.assert_close(
            F.beat_f1_corrected(motion, music, WINDOW),
            F.beat_f1_corrected(motion + shift, music + shift, WINDOW + shift),
        )


@pytest.mark.parametrize("scale", [0.2, 3.0, 50.0])
def test_scaling_the_speed_changes_nothing(scale: float) -> None:
    random = torch.Generator().manual_seed(2)
    speed = 20 * torch.rand(8, 60, generator=random, dtype=torch.float64)
    found, scaled = F.motion_beats(speed, 15.0), F.motion_beats(speed * scale, 15.0)
    torch.testing.assert_close(found, scaled, equal_nan=True)
    assert found.shape[-1] > 3


@pytest.mark.parametrize("fps", [10, 15, 20, 25, 29.97, 30, 60])
def test_frame_rates_agree(fps: float) -> None:
    """A speed that is known at any time, read at any rate, has its beats in the same places."""
    beats = ladder(0.52, 0.33, 7)
    speed = dip_speed(beats, fps, round(4 * fps))
    signal = F.MotionSignal(speed, torch.tensor([20.0], dtype=torch.float64), 128)
    scores = clip_scores(signal, fps, beats)
    assert scores["corrected"].item() == pytest.approx(0.985, abs=0.015)


def test_a_batch_equals_its_singles_in_any_order_padded_or_not() -> None:
    random = torch.Generator().manual_seed(4)
    lengths = [39, 20, 3, 39, 0, 11]
    speeds = [20 * torch.rand(n, generator=random) for n in lengths]
    music = torch.rand(6, 7, generator=random).sort(-1).values * 3.9
    music[2, 4:] = torch.nan

    def scored(order: list[int], padding: int) -> dict[str, Tensor]:
        rows = torch.full((len(order), max(lengths[i] for i in order) + padding), torch.nan)
        for row, clip in zip(rows, order, strict=True):
            row[: lengths[clip]] = speeds[clip]
        signal = F.MotionSignal(rows, torch.full((len(order),), 10.0), 128)
        beats = torch.nn.functional.pad(music[order], (0, padding), value=torch.nan)
        return clip_scores(signal, 10, beats)

    together = scored(list(range(6)), 0)
    assert together["motion_beats"].max() > 3
    for order, padding in (([5, 3, 1, 0, 2, 4], 0), (list(range(6)), 9)):
        again = scored(order, padding)
        for name, value in together.items():
            torch.testing.assert_close(again[name], value[order], msg=name)
    for clip in range(6):
        alone = scored([clip], 2)
        for name, value in together.items():
            torch.testing.assert_close(alone[name], value[[clip]], msg=name)


def test_both_precisions_agree() -> None:
    random = torch.Generator().manual_seed(5)
    speed = 20 * torch.rand(10, 59, generator=random, dtype=torch.float64)
    music = torch.rand(10, 8, generator=random, dtype=torch.float64).sort(-1).values * 3.9
    results = []
    for dtype in (torch.float64, torch.float32):
        signal = F.MotionSignal(speed.to(dtype), torch.full((10,), 9.0, dtype=dtype), 128)
        results.append(clip_scores(signal, 15.0, music.to(dtype)))
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name].double(), value.double(), atol=1e-4, rtol=0)


def test_the_kernel_is_differentiable() -> None:
    motion = torch.tensor([[0.6, 1.31, torch.nan]], dtype=torch.float64, requires_grad=True)
    F.beat_alignment(motion, ladder()).sum().backward()
    assert motion.grad is not None
    assert motion.grad.isfinite().all()
    assert motion.grad[0, 0] > 0  # 0.60 lies before the beat at 0.65: later is better
    assert motion.grad[0, 1] == pytest.approx(0, abs=0.5) or motion.grad[0, 1] < 0


def test_inputs_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="direction"):
        F.align(ladder(), ladder(), WINDOW, direction="sideways")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2 clips"):
        F.align(ladder(), ladder().expand(2, -1), WINDOW)
    with pytest.raises(ValueError, match="fps"):
        F.motion_beats(torch.rand(1, 9), 0.0)
    with pytest.raises(ValueError, match="shape"):
        F.motion_beats(torch.rand(1, 9, 2), 10.0)
    with pytest.raises(ValueError, match="preset"):
        F.preset_alignment(ladder(), ladder(), "nobody")
