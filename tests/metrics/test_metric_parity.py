"""The same numbers as others compute: scipy, mir_eval, torchmetrics, and direct sums."""

from __future__ import annotations

import mir_eval
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.signal import argrelextrema, peak_prominences
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from metrics import FrechetVideoDistance, KernelVideoDistance
from metrics import functional as F
from metrics.functional.beats import prominences, smooth, strict_minima
from metrics.functional.matching import match_count


def test_f1_equals_mir_eval_on_1000_lists() -> None:
    random = np.random.default_rng(0)
    seen = []
    for _ in range(1000):
        motion = np.sort(random.uniform(0, 6, random.integers(1, 25)))
        music = np.sort(random.uniform(0, 6, random.integers(1, 25)))
        expected = mir_eval.beat.f_measure(music, motion)
        found = F.beat_f1(torch.from_numpy(motion), torch.from_numpy(music)).item()
        assert found == pytest.approx(expected, abs=1e-12)
        seen.append(found)
    assert 0.1 < np.mean(seen) < 0.9


def test_padded_batches_match_like_mir_eval() -> None:
    random = torch.Generator().manual_seed(0)
    motion = torch.rand(50, 12, generator=random, dtype=torch.float64) * 4
    music = torch.rand(50, 9, generator=random, dtype=torch.float64) * 4
    motion[motion > 3.5] = torch.nan
    music[music > 3.5] = torch.nan
    found = F.beat_f1(motion, music)
    for row in range(50):
        one = motion[row][~motion[row].isnan()].sort().values.numpy()
        two = music[row][~music[row].isnan()].sort().values.numpy()
        assert found[row].item() == pytest.approx(mir_eval.beat.f_measure(two, one), abs=1e-12)


def test_the_edge_of_the_tolerance() -> None:
    first = torch.tensor([[1.30]], dtype=torch.float64)
    second = torch.tensor([[1.23]], dtype=torch.float64)
    for one, two in ((first, second), (first.float(), second.float())):
        assert match_count(one, two, 0.07).item() == 1
        assert match_count(one, two, 0.07, strict=True).item() == 0
        assert match_count(one, two, 0.0699).item() == 0


def test_smoothing_minima_and_prominences_equal_scipy() -> None:
    random = np.random.default_rng(1)
    for length in (3, 5, 17, 80):
        for order in (1, 3, 6):
            signal = random.normal(size=length)
            tensor = torch.from_numpy(signal)[None]
            np.testing.assert_allclose(
                smooth(tensor, 1.7)[0].numpy(), gaussian_filter1d(signal, 1.7), atol=1e-12
            )
            minima = strict_minima(tensor, order)
            (expected,) = argrelextrema(signal, np.less, order=order)
            expected = expected[(expected > 0) & (expected < length - 1)]
            assert minima[0].nonzero()[:, 0].tolist() == expected.tolist()
            depth = prominences(tensor, minima)[0][minima[0]].numpy()
            np.testing.assert_allclose(depth, peak_prominences(-signal, expected)[0])


class Columns(nn.Module):
    """Takes an image's pixels as its features."""

    num_features = 32

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :32]


@pytest.mark.parametrize("dimension", [4, 32, 64])
def test_frechet_equals_torchmetrics_fid(dimension: int) -> None:
    random = torch.Generator().manual_seed(dimension)
    count = 5 * dimension
    true = torch.randn(count, dimension, generator=random, dtype=torch.float64)
    mixing = torch.randn(dimension, dimension, generator=random, dtype=torch.float64)
    made = 0.3 + torch.randn(count, dimension, generator=random, dtype=torch.float64) @ mixing
    network = Columns()
    network.num_features = dimension
    network.forward = lambda images: images.flatten(1)  # type: ignore[method-assign]
    fid = FrechetInceptionDistance(
        feature=network, normalize=True, input_img_size=(1, 1, dimension)
    ).set_dtype(torch.float64)
    fvd = FrechetVideoDistance(dimension=dimension)
    for features, real in ((true, True), (made, False)):
        for part in features.split(17):
            fid.update(part[:, None, None], real=real)
            fvd.update(part, real=real)
    expected = fid.compute().item()
    assert fvd.compute().item() == pytest.approx(expected, rel=1e-6)
    assert F.frechet_distance(true, made).item() == pytest.approx(expected, rel=1e-6)


def test_kernel_distance_equals_a_direct_sum() -> None:
    random = np.random.default_rng(2)
    true, made = random.normal(size=(13, 5)), 0.4 + random.normal(size=(9, 5))

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 5 + 1) ** 3)

    within_true = [kernel(a, b) for i, a in enumerate(true) for j, b in enumerate(true) if i != j]
    within_made = [kernel(a, b) for i, a in enumerate(made) for j, b in enumerate(made) if i != j]
    across = [kernel(a, b) for a in true for b in made]
    expected = np.mean(within_true) + np.mean(within_made) - 2 * np.mean(across)
    metric = KernelVideoDistance(dimension=5, capacity=16)
    for start in range(0, 13, 4):
        metric.update(torch.from_numpy(true[start : start + 4]), real=True)
    metric.update(torch.from_numpy(made), real=False)
    assert metric.compute().item() == pytest.approx(expected, rel=1e-12)


def test_kernel_distance_of_one_distribution_is_zero_on_average() -> None:
    random = torch.Generator().manual_seed(7)
    found = torch.stack(
        [
            F.kernel_distance(
                torch.randn(12, 6, generator=random), torch.randn(12, 6, generator=random)
            )
            for _ in range(200)
        ]
    )
    assert abs(found.mean()) < 4 * found.std() / 200**0.5
    assert found.min() < 0


def test_bootstrap_of_distances_holds_the_distance() -> None:
    random = torch.Generator().manual_seed(8)
    true = torch.randn(80, 4, generator=random)
    made = 0.5 + torch.randn(80, 4, generator=random)
    for distance in (F.frechet_distance, F.kernel_distance):
        low, high = F.bootstrap_distance(true, made, distance, draws=50)
        assert low < distance(true, made).item() < high
        assert low > 0
