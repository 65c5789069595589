"""The formulas against slow code written from their definitions, on edge cases of every kind.

The code here shares nothing with `metrics.functional`: plain loops over lists of floats, scipy for
smoothing, minima and prominences, and what the published variants do, as they do it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.signal import argrelextrema, peak_prominences
from torch import Tensor

from metrics import functional as F
from metrics.functional.beats import prominences
from metrics.motion_source import beats_of

Beats = list[float]


def padded(beats: Beats, more: int = 3) -> Tensor:
    """(1, N + more) float64, the padding among the beats' end."""
    return torch.tensor([[*beats, *[math.nan] * more]], dtype=torch.float64)


def cases() -> Iterator[tuple[Beats, Beats, int, float]]:
    """Motion beats, music beats, frames and frame rate: random ones and every kind of edge."""
    random = np.random.default_rng(0)
    for _ in range(150):
        fps = float(random.choice([10, 15, 24, 29.97, 60]))
        frames = int(random.integers(4, 5 * fps))
        end = frames / fps
        lists = [
            np.sort(random.uniform(-0.3, end + 0.3, random.integers(0, 12))).tolist()
            for _ in range(2)
        ]
        yield lists[0], lists[1], frames, fps
    yield [], [1.0], 40, 10.0
    yield [1.0], [], 40, 10.0
    yield [], [], 40, 10.0
    yield [0.1, 3.8], [0.1, 3.8], 40, 10.0  # on the window's ends
    yield [0.0999, 3.8001], [0.5], 40, 10.0  # just outside
    yield [1.0], [0.75, 1.25], 40, 10.0  # as far from one as from the other
    yield [1.0, 1.0, 2.0], [1.0, 2.0, 2.0], 40, 10.0  # ties
    yield [1.30], [1.23], 40, 10.0  # 70 ms apart, which floating point calls more
    yield [0.5, 0.55, 0.6], [0.56], 40, 10.0  # three for one
    yield [0.2, 0.3], [0.1, 0.2, 0.3], 3, 10.0  # a window of no length
    yield [0.1], [0.1], 1, 10.0  # a window that ends before it starts


CASES = list(cases())


def inside(beats: Beats, frames: int, fps: float) -> Beats:
    return [b for b in beats if 1 / fps - 1e-9 <= b <= (frames - 2) / fps + 1e-9]


def slow_bas(queries: Beats, targets: Beats, sigma: float) -> float:
    if not queries or not targets:
        return 0.0
    kernel = [math.exp(-(min(abs(q - t) for t in targets) ** 2) / 2 / sigma**2) for q in queries]
    return sum(kernel) / len(kernel)


def slow_chance(targets: Beats, start: float, end: float, sigma: float) -> float:
    if not targets or end <= start:
        return 0.0
    total = 0.0
    for j, beat in enumerate(targets):
        low = start if j == 0 else max(start, (targets[j - 1] + beat) / 2)
        high = end if j == len(targets) - 1 else min(end, (beat + targets[j + 1]) / 2)
        root = sigma * math.sqrt(2)
        area = math.erf((high - beat) / root) - math.erf((low - beat) / root)
        total += sigma * math.sqrt(math.pi / 2) * area
    return total / (end - start)


def corrected(score: float, chance: float) -> float:
    return (score - chance) / (1 - chance)


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.12])
@pytest.mark.parametrize("direction", ["motion_to_music", "music_to_motion"])
def test_alignment(direction: str, sigma: float) -> None:
    for motion, music, frames, fps in CASES:
        window = F.observable_window(frames, fps)
        found = F.align(padded(motion), padded(music, 1), window, sigma, direction)
        seen, heard = inside(motion, frames, fps), inside(music, frames, fps)
        queries, targets = (seen, heard) if direction == "motion_to_music" else (heard, seen)
        raw = slow_bas(queries, targets, sigma)
        chance = slow_chance(targets, 1 / fps, (frames - 2) / fps, sigma)
        expected = corrected(raw, chance) if seen and heard else 0.0
        assert found.motion_beats.item() == len(seen)
        assert found.music_beats.item() == len(heard)
        assert found.raw.item() == pytest.approx(raw, abs=1e-9)
        assert found.chance.item() == pytest.approx(chance, abs=1e-9)
        assert found.corrected.item() == pytest.approx(expected, abs=1e-9)


def most_pairs(first: Beats, second: Beats, tolerance: float) -> int:
    """Largest one-to-one matching, by augmenting paths."""
    owner: dict[int, int] = {}

    def place(i: int, tried: set[int]) -> bool:
        for j, other in enumerate(second):
            if j not in tried and abs(first[i] - other) <= tolerance + 1e-9:
                tried.add(j)
                if j not in owner or place(owner[j], tried):
                    owner[j] = i
                    return True
        return False

    return sum(place(i, set()) for i in range(len(first)))


def slow_f1(motion: Beats, music: Beats) -> float:
    if not motion or not music:
        return 0.0
    return 2 * most_pairs(motion, music, 0.07) / (len(motion) + len(music))


def test_f1_and_its_chance() -> None:
    for motion, music, frames, fps in CASES:
        window = F.observable_window(frames, fps)
        seen, heard = inside(motion, frames, fps), inside(music, frames, fps)
        start, length = 1 / fps, (frames - 3) / fps
        score, chance = slow_f1(seen, heard), 0.0
        if length > 1e-9:
            shifts = [(k + 0.5) * length / 128 for k in range(128)]
            moved = [sorted(start + (b - start + s) % length for b in seen) for s in shifts]
            chance = sum(slow_f1(one, heard) for one in moved) / 128
        assert F.beat_f1(padded(seen), padded(heard)).item() == pytest.approx(score, abs=1e-9)
        assert F.beat_f1_chance(padded(motion), padded(music), window).item() == pytest.approx(
            chance, abs=1e-9
        )
        expected = corrected(score, chance) if seen and heard else 0.0
        found = F.beat_f1_corrected(padded(motion), padded(music), window).item()
        assert found == pytest.approx(expected, abs=1e-9)


def test_phase_cosine() -> None:
    for motion, music, _, _ in CASES:
        music = sorted(set(music))
        terms = []
        for beat in motion:
            for before, after in pairwise(music):
                last = after == music[-1] and beat == after
                if before <= beat < after or last:
                    phase = (beat - before) / (after - before)
                    terms.append(math.cos(2 * math.pi * phase))
        expected = sum(terms) / len(terms) if terms else 0.0
        found = F.phase_cosine(padded(motion), padded(music)).item()
        assert found == pytest.approx(expected, abs=1e-9)


def test_av_align() -> None:
    """The published loops: every onset takes the first free peak strictly within a frame."""
    for motion, music, _, fps in CASES:
        used, pairs = [False] * len(motion), 0
        for onset in music:
            for j, peak in enumerate(motion):
                if not used[j] and abs(onset - peak) < 1 / fps - 1e-9:
                    used[j], pairs = True, pairs + 1
                    break
        union = len(music) + len(motion) - pairs
        expected = pairs / union if union else 0.0
        assert F.av_align(padded(music), padded(motion), fps).item() == pytest.approx(expected)


def test_peaks_of_av_align() -> None:
    random = np.random.default_rng(1)
    for _ in range(50):
        signal = random.choice([0.0, 0.05, 0.1, 0.3, 0.5], 30) + random.choice([0, 0.01], 30)
        signal = np.concatenate([signal[:1], signal])
        expected = [
            i / 24
            for i in range(1, len(signal) - 1)
            if signal[i - 1] < signal[i] > signal[i + 1] and signal[i] >= 0.1
        ]
        found = F.local_peaks(torch.from_numpy(signal), 24)[0]
        assert found[~found.isnan()].tolist() == pytest.approx(expected)


def slow_motion_beats(speed: np.ndarray, fps: float, smoothing_s: float = 0.05) -> Beats:
    if len(speed) < 3:
        return []
    smoothed = gaussian_filter1d(speed, smoothing_s * fps, mode="reflect") if smoothing_s else speed
    low, high = np.percentile(smoothed, [5, 95])
    (minima,) = argrelextrema(smoothed, np.less, order=max(1, round(0.1 * fps)))
    times = []
    for k in minima[(minima > 0) & (minima < len(speed) - 1)]:
        if peak_prominences(-smoothed, [k])[0][0] < 0.1 * (high - low):
            continue
        before, here, after = smoothed[k - 1 : k + 2]
        offset = 0.5 * (before - after) / (before - 2 * here + after)
        times.append((k + 0.5 + min(0.5, max(-0.5, offset))) / fps)
    return times


@pytest.mark.parametrize("fps", [5.0, 10.0, 15.0, 25.0, 29.97, 30.0, 60.0])
@pytest.mark.parametrize("smoothing_s", [0.0, 0.05])
def test_motion_beats(fps: float, smoothing_s: float) -> None:
    random = np.random.default_rng(round(fps))
    for trial in range(40):
        length = int(random.integers(0, 90))
        speed = 30 * random.random(length)
        if trial % 4 == 1:
            speed = np.round(speed / 10) * 10  # plateaus: no strict minimum lies on one
        if trial % 4 == 2:
            speed = 20 + 10 * np.sin(np.arange(length) * 0.6) + 0.2 * speed  # small dips
        expected = slow_motion_beats(speed, fps, smoothing_s)
        row = torch.from_numpy(np.concatenate([speed, np.full(4, np.nan)]))
        found = F.motion_beats(row, fps, smoothing_s=smoothing_s)[0]
        assert found[~found.isnan()].tolist() == pytest.approx(expected, abs=1e-9)


def test_prominence_on_the_threshold_counts() -> None:
    speed = torch.tensor([[10.0, 10, 10, 10, 0, 10, 10, 9, 10, 10, 10, 10]], dtype=torch.float64)
    minima = torch.zeros_like(speed, dtype=torch.bool)
    minima[0, 7] = True
    least = 0.1 * (speed.quantile(0.95) - speed.quantile(0.05)).item()
    assert prominences(speed, minima)[0, 7].item() == 1.0
    share = 1.0 / (least / 0.1)
    assert F.motion_beats(speed, 10, smoothing_s=0, prominence=share).shape[1] == 2
    assert F.motion_beats(speed, 10, smoothing_s=0, prominence=share + 1e-6).shape[1] == 1


def slow_signal(flow: np.ndarray, fps: float, size: int) -> tuple[Beats, float]:
    """Speed of every step and activity of the moving region of flow (S, 2, H, W)."""
    lengths = []
    for step in flow:
        across = step[0] - np.median(step[0])
        down = step[1] - np.median(step[1])
        lengths.append(np.sqrt(across**2 + down**2) * fps)
    stack = np.stack(lengths)
    peak = stack.max(0)
    region = peak > max(2.5 * size / 128, 0.1 * peak.max())
    activity = stack[:, region].mean() if region.any() else 0.0
    return [one.mean() for one in stack], float(activity)


@pytest.mark.parametrize("shape", [(8, 8), (33, 40), (72, 128)])
def test_signal_of_flow_and_its_gate(shape: tuple[int, int]) -> None:
    """An even number of pixels has two middle values: their mean is the median."""
    random = np.random.default_rng(2)
    for fps, strength in ((10.0, 1.0), (30.0, 0.05), (10.0, 0.0)):
        flow = strength * random.normal(size=(6, 2, *shape))
        flow[:, :, : shape[0] // 4] += 3 * strength
        speed, activity = slow_signal(flow, fps, max(shape))
        found = F.motion_from_flow(torch.from_numpy(flow)[None], fps)
        assert found.speed[0].tolist() == pytest.approx(speed, abs=1e-9)
        assert found.activity.item() == pytest.approx(activity, abs=1e-9)
        assert found.moving.item() == (activity >= 2 * max(shape) / 128)


def test_frames_by_the_definition_alone_are_the_flow_of_them() -> None:
    random = np.random.default_rng(3)
    frames = np.cumsum(random.normal(scale=12, size=(7, 3, 40, 56)), 0)
    video = torch.from_numpy(frames - frames.min()).float()
    video = (video / video.max() * 255).to(torch.uint8)[None]
    speed, activity = slow_signal(F.optical_flow(video)[0].double().numpy(), 12.0, 56)
    found = F.motion_from_video(video, 12.0, steady_camera=False, edge=0)
    assert found.speed[0].tolist() == pytest.approx(speed, rel=1e-4)
    assert found.activity.item() == pytest.approx(activity, rel=1e-4)
    magnitude = F.optical_flow(video)[0].norm(dim=1).mean((1, 2))
    both = F.motion_and_magnitude(video, 12.0)
    torch.testing.assert_close(both[1], F.flow_magnitude(video))
    torch.testing.assert_close(both[1][0], torch.cat([magnitude[:1], magnitude]), rtol=1e-4, atol=0)
    torch.testing.assert_close(both[0].speed, F.motion_from_video(video, 12.0).speed)


def test_presets_find_beats_as_published() -> None:
    random = np.random.default_rng(4)
    for frames in (30, 61, 200):
        points = np.cumsum(random.normal(size=(frames, 24, 3)), 0)
        steps = np.linalg.norm(points[1:] - points[:-1], axis=-1)
        mint = np.concatenate([[0.0], steps.sum(1)])
        expected = {
            "mint": argrelextrema(mint, np.less, order=10)[0] / 60,
            "bailando": argrelextrema(gaussian_filter1d(steps.mean(1), 5), np.less)[0] / 60,
            "mace": argrelextrema(gaussian_filter1d(steps.mean(1), 3.5), np.less)[0] / 16,
        }
        for preset, times in expected.items():
            rate = 16 if preset == "mace" else 60
            found = F.preset_motion_beats(torch.from_numpy(points)[None], rate, preset)[0]
            assert found[~found.isnan()].tolist() == pytest.approx(times.tolist(), abs=1e-9)


def test_presets_score_as_published() -> None:
    for motion, music, _, _ in CASES:
        seen, heard = padded(motion), padded(music)
        floored = [math.floor(b * 16 + 1e-4) / 16 for b in music]
        for preset, queries, targets, sigma in (
            ("mint", motion, music, 3 / 60),
            ("bailando", music, motion, 3 / 60),
            ("mace", floored, motion, 3 / 16),
        ):
            found = F.preset_alignment(seen, heard, preset).item()
            assert found == pytest.approx(slow_bas(queries, targets, sigma), abs=1e-9)


def test_bins_of_beat_coverage_and_hit() -> None:
    random = np.random.default_rng(5)
    for _ in range(50):
        made, true = (np.sort(random.uniform(0, 8, random.integers(0, 12))) for _ in range(2))
        bins = [{int(t) for t in times} for times in (made, true)]
        hits = len(bins[0] & bins[1])
        coverage, hit = F.beat_coverage_and_hit(padded(made.tolist()), padded(true.tolist()), 8.0)
        expected = (len(bins[0]) / len(bins[1]), hits / len(bins[1])) if bins[1] else (0.0, 0.0)
        assert (coverage.item(), hit.item()) == pytest.approx(expected, abs=1e-6)


def test_hidden_and_lost_joints_do_not_count() -> None:
    """Mean speed of the joints seen in both frames; a joint without a place is not seen."""
    points = torch.cumsum(torch.randn(1, 8, 5, 2, generator=torch.Generator().manual_seed(6)), 1)
    points[0, 3, 2] = math.nan
    found = F.motion_from_keypoints(points.double(), 10.0)
    for step in range(7):
        lengths = [
            float((points[0, step + 1, j] - points[0, step, j]).norm())
            for j in range(5)
            if not points[0, step : step + 2, j].isnan().any()
        ]
        assert found.speed[0, step].item() == pytest.approx(10 * np.mean(lengths), rel=1e-5)


def test_a_beat_of_the_window_is_dropped_from_both_lists() -> None:
    """The whole road, from a speed to the score, by the slow code."""
    random = np.random.default_rng(7)
    for _ in range(20):
        speed = 40 * random.random(39)
        music = np.sort(random.uniform(0, 4, 8)).tolist()
        signal = F.MotionSignal(torch.from_numpy(speed)[None], torch.tensor([30.0]), 128)
        beats, window = beats_of(signal, 10.0)
        seen = inside(slow_motion_beats(speed, 10.0), 40, 10.0)
        heard = inside(music, 40, 10.0)
        chance = slow_chance(heard, 0.1, 3.8, 0.05)
        expected = corrected(slow_bas(seen, heard, 0.05), chance) if seen and heard else 0.0
        found = F.align(beats, padded(music), window).corrected.item()
        assert found == pytest.approx(expected, abs=1e-9)
