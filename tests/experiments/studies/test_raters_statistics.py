"""Known answers: published examples, and values computed by hand from the formulas."""

import numpy as np
import pytest
from scipy.optimize import minimize

from experiments.studies.raters.statistics import (
    add_prior_wins,
    bradley_terry,
    is_connected,
    krippendorff_alpha,
    resampled_intervals,
    spearman,
    wilson_interval,
)

NAN = np.nan
# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), example C: four observers.
FOUR_OBSERVERS = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
)


def counts_of(ratings: np.ndarray) -> np.ndarray:
    """Count (raters, units) categories into (units, categories)."""
    categories = np.unique(ratings[~np.isnan(ratings)])
    return np.stack([(ratings == category).sum(0) for category in categories], -1).astype(float)


def test_krippendorff_published_example() -> None:
    assert krippendorff_alpha(counts_of(FOUR_OBSERVERS)) == pytest.approx(0.743, abs=5e-4)


def test_krippendorff_edges() -> None:
    assert krippendorff_alpha(counts_of(np.array([[0.0, 1, 1], [0, 1, 1]]))) == 1.0
    assert krippendorff_alpha(counts_of(np.array([[1.0, 1], [1, 1]]))) == 1.0
    assert krippendorff_alpha(counts_of(np.array([[0.0, 1], [1, 0]]))) < 0
    assert np.isnan(krippendorff_alpha(counts_of(np.array([[0.0, NAN], [NAN, 1]]))))


def test_krippendorff_is_zero_by_chance() -> None:
    ratings = np.random.default_rng(0).integers(0, 2, (5, 4000)).astype(float)
    assert abs(krippendorff_alpha(counts_of(ratings))) < 0.02


def test_wilson_known_values() -> None:
    # 8 of 10: [0.4902, 0.9433] (Brown, Cai, DasGupta 2001, by their formula 4).
    interval = wilson_interval([1.0] * 8 + [0.0] * 2)
    assert (interval.low, interval.high) == pytest.approx((0.490162, 0.943318), abs=1e-5)
    assert wilson_interval([0.0] * 5).low == 0.0
    assert np.isnan(wilson_interval([]).mean)
    tied, won = wilson_interval([0.5, 0.5]), wilson_interval([1.0, 0.0])
    assert (tied.low, tied.high) == (won.low, won.high)


def test_wilson_covers() -> None:
    generator = np.random.default_rng(1)
    wins = generator.binomial(30, 0.7, 4000)
    intervals = [wilson_interval([1.0] * w + [0.0] * (30 - w)) for w in wins]
    inside = [interval.low <= 0.7 <= interval.high for interval in intervals]
    assert 0.93 <= np.mean(inside) <= 0.975


def test_two_methods_are_the_log_odds() -> None:
    wins = np.array([[0.0, 30], [10, 0]])
    strengths, errors = bradley_terry(wins)
    assert strengths[0] - strengths[1] == pytest.approx(np.log(3), abs=1e-8)
    # The log odds' variance is 1/30 + 1/10; each centred strength is half the difference.
    expected = 0.5 * np.sqrt(1 / 30 + 1 / 10)
    assert errors == pytest.approx([expected] * 2, rel=1e-6)


def test_bradley_terry_is_the_maximum_of_its_likelihood() -> None:
    wins = np.random.default_rng(2).integers(1, 20, (4, 4)).astype(float)
    np.fill_diagonal(wins, 0)

    def loss(free: np.ndarray) -> float:
        s = np.append(free, -free.sum())
        return float((wins * np.log1p(np.exp(s[None] - s[:, None]))).sum())

    best = minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-9}).x
    assert bradley_terry(wins)[0][:3] == pytest.approx(best, abs=1e-5)


def test_bradley_terry_recovers_strengths_within_its_errors() -> None:
    truth = np.array([0.8, 0.1, -0.9])
    generator = np.random.default_rng(3)
    inside = []
    for _ in range(200):
        wins = np.zeros((3, 3))
        for i, j in ((0, 1), (0, 2), (1, 2)):
            won = generator.binomial(40, 1 / (1 + np.exp(truth[j] - truth[i])))
            wins[i, j], wins[j, i] = won, 40 - won
        fitted, errors = bradley_terry(wins)
        inside.append(np.abs(fitted - truth) < 1.96 * errors)
    assert 0.92 <= np.mean(inside) <= 0.98


def test_unbeaten_method_needs_prior_wins() -> None:
    wins = np.array([[0.0, 10, 10], [0, 0, 5], [0, 5, 0]])
    assert not is_connected(wins)
    with pytest.raises(ValueError, match="finite maximum"):
        bradley_terry(wins)
    strengths, _ = bradley_terry(add_prior_wins(wins))
    assert np.isfinite(strengths).all()
    assert strengths[0] == strengths.max()


def test_resampled_raters_give_wider_intervals_than_answers() -> None:
    generator = np.random.default_rng(4)
    # Each of twelve raters always answers the same: 240 answers hold the information of twelve.
    answers = np.repeat(generator.integers(0, 2, 12), 20).astype(float)
    raters = np.repeat(np.arange(12), 20)

    def statistic(rows: np.ndarray) -> list[float]:
        return [answers[rows].mean(), np.nan]

    clustered, undefined = resampled_intervals(raters.tolist(), statistic)
    single = resampled_intervals(list(range(240)), statistic)[0]
    assert clustered.mean == single.mean == answers.mean()
    assert clustered.high - clustered.low > 3 * (single.high - single.low)
    assert np.isnan(undefined.low)
    assert np.isnan(resampled_intervals(["one"] * 240, statistic)[0].low)


def test_spearman() -> None:
    assert spearman(np.array([1.0, 2, 3, 4]), np.array([10.0, 20, 25, 90])) == pytest.approx(1)
    assert np.isnan(spearman(np.array([1.0, 1, 1]), np.array([1.0, 2, 3])))
