"""Music moved by parts of a beat, other clips' music, the bootstrap over pieces."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from metrics import functional as F

WINDOW = torch.tensor([[0.1, 3.8]])


def test_shifting_by_whole_and_part_beats() -> None:
    beats = torch.tensor([[0.5, 1.0, 1.6, torch.nan]])
    half = F.shift_beats(beats, 0.5)
    expected = torch.tensor([[0.25, 0.75, 1.3, 1.9, torch.nan]])
    torch.testing.assert_close(half, expected, equal_nan=True)
    torch.testing.assert_close(F.shift_beats(beats, 0.0)[:, 1:4], beats[:, :3])
    torch.testing.assert_close(F.shift_beats(beats, 1.0)[:, :3], beats[:, :3])


def test_shifting_lists_of_one_and_none() -> None:
    one = F.shift_beats(torch.tensor([[1.0, torch.nan]]), 0.5)
    assert set(one[~one.isnan()].tolist()) == {1.0}
    assert F.shift_beats(torch.zeros(2, 0), 0.5).isnan().all()


def test_shifted_scores_average_to_chance() -> None:
    music = (0.13 + 0.5 * torch.arange(9, dtype=torch.float64))[None] - 0.5
    own = music[:, 1:-1]
    shifted = F.align_shifted(own, music, WINDOW)
    assert shifted.shape == (1, 16)
    assert abs(shifted.mean().item()) < 0.02
    fractions = torch.arange(16, dtype=torch.float64) / 16
    curve = F.align_shifted(own, music, WINDOW, fractions)[0]
    assert curve[0] == pytest.approx(1, abs=1e-6)
    assert curve[0] == curve.max()
    assert curve[5:12].max() < -0.2


def test_other_music_pairs_every_clip_with_every_piece() -> None:
    random = torch.Generator().manual_seed(0)
    motion = torch.rand(3, 5, generator=random) * 3.7 + 0.1
    music = torch.rand(4, 6, generator=random) * 3.7 + 0.1
    across = F.align_across(motion, music, WINDOW)
    for row in range(3):
        for column in range(4):
            one = F.align(motion[[row]], music[[column]], WINDOW)
            torch.testing.assert_close(across.corrected[row, column], one.corrected[0])
    other = F.other_music(["a", "b", "a"])
    assert other.tolist() == [[False, True, False], [True, False, True], [False, True, False]]


def test_bootstrap_covers_the_mean_of_clustered_values() -> None:
    """Clips of a piece share an error: intervals over pieces hold, intervals over clips do not."""
    random = np.random.default_rng(0)
    held = {"pieces": 0, "clips": 0}
    for trial in range(100):
        pieces = np.repeat(np.arange(20), 10)
        values = random.normal(size=20)[pieces] + 0.3 * random.normal(size=200)
        names = [f"m{piece}" for piece in pieces]
        for key, clusters in (("pieces", names), ("clips", None)):
            found = F.cluster_bootstrap(values, clusters, draws=200, seed=trial)
            held[key] += found.low <= 0 <= found.high
    assert held["pieces"] >= 85
    assert held["clips"] < 60


def test_bootstrap_edges() -> None:
    nothing = F.cluster_bootstrap([], [])
    assert math.isnan(nothing.mean)
    single = F.cluster_bootstrap([0.2, 0.4], ["a", "a"])
    assert single.mean == pytest.approx(0.3)
    assert math.isnan(single.low)
    known = F.cluster_bootstrap([1.0, float("nan"), 3.0], ["a", "b", "c"])
    assert known.mean == 2.0
    assert known.clips == 2
    assert F.cluster_bootstrap([1, 2, 4], None) == F.cluster_bootstrap([1, 2, 4], None)
    with pytest.raises(ValueError, match="one per value"):
        F.cluster_bootstrap([1.0], ["a", "b"])
