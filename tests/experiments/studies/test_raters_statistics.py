"""Known answers: published examples, and values computed by hand from the formulas."""

import numpy as np
import pytest
from scipy.optimize import minimize

from experiments.studies.raters.analysis import bradley_terry, krippendorff_alpha, spearman
from metrics.functional.bootstrap import resampled_intervals

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


def test_two_methods_are_the_log_odds() -> None:
    strengths = bradley_terry(np.array([[0.0, 30], [10, 0]]))
    assert strengths == pytest.approx([np.log(3) / 2, -np.log(3) / 2], abs=1e-8)


def test_bradley_terry_is_the_maximum_of_its_likelihood() -> None:
    wins = np.random.default_rng(2).integers(1, 20, (4, 4)).astype(float)
    np.fill_diagonal(wins, 0)

    def loss(free: np.ndarray) -> float:
        s = np.append(free, -free.sum())
        return float((wins * np.log1p(np.exp(s[None] - s[:, None]))).sum())

    best = minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-9}).x
    assert bradley_terry(wins)[:3] == pytest.approx(best, abs=1e-5)


def test_a_method_that_never_lost_has_a_finite_strength() -> None:
    strengths = bradley_terry(np.array([[0.0, 10, 10], [0, 0, 5], [0, 5, 0]]))
    assert np.isfinite(strengths).all()
    assert strengths[0] == strengths.max()
    # The same as with half a win each way between methods that met.
    with_prior = bradley_terry(np.array([[0.0, 10.5, 10.5], [0.5, 0, 5.5], [0.5, 5.5, 0]]))
    assert strengths == pytest.approx(with_prior)


def test_methods_that_were_never_compared_have_no_strengths() -> None:
    wins = np.zeros((4, 4))
    wins[0, 1] = wins[2, 3] = 5
    assert np.isnan(bradley_terry(wins)).all()


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
    assert np.isnan(resampled_intervals([], lambda rows: np.nan)[0].mean)


def test_spearman() -> None:
    assert spearman(np.array([1.0, 2, 3, 4]), np.array([10.0, 20, 25, 90])) == pytest.approx(1)
    assert np.isnan(spearman(np.array([1.0, 1, 1]), np.array([1.0, 2, 3])))
