"""Known answers: published examples, and what follows by hand from the formulas."""

import numpy as np
import pytest
from scipy.optimize import minimize

from experiments.studies.raters.statistics import (
    bradley_terry,
    bradley_terry_errors,
    cluster_bootstrap,
    fleiss_kappa,
    is_connected,
    krippendorff_alpha,
    prior_wins,
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
# Fleiss (1971) as retold with 14 raters, 10 subjects, 5 categories: kappa 0.210.
FOURTEEN_RATERS = np.array(
    [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ],
    dtype=float,
)


def test_krippendorff_published_example() -> None:
    assert krippendorff_alpha(FOUR_OBSERVERS) == pytest.approx(0.743, abs=5e-4)


def test_krippendorff_edges() -> None:
    assert krippendorff_alpha(np.array([[0.0, 1, 1], [0, 1, 1]])) == 1.0
    assert krippendorff_alpha(np.array([[1.0, 1], [1, 1]])) == 1.0
    assert krippendorff_alpha(np.array([[0.0, 1], [1, 0]])) < 0
    assert np.isnan(krippendorff_alpha(np.array([[0.0, NAN], [NAN, 1]])))


def test_krippendorff_is_zero_by_chance() -> None:
    ratings = np.random.default_rng(0).integers(0, 2, (5, 4000)).astype(float)
    assert abs(krippendorff_alpha(ratings)) < 0.02


def test_fleiss_published_example() -> None:
    assert fleiss_kappa(FOURTEEN_RATERS) == pytest.approx(0.210, abs=5e-4)
    with pytest.raises(ValueError, match="as many"):
        fleiss_kappa(np.array([[2.0, 0], [1, 2]]))


def test_wilson_known_values() -> None:
    # 8 of 10: [0.4902, 0.9433] (Brown, Cai, DasGupta 2001, by their formula 4).
    interval = wilson_interval(8, 10)
    assert (interval.low, interval.high) == pytest.approx((0.490162, 0.943318), abs=1e-5)
    assert wilson_interval(0, 5).low == 0.0
    assert np.isnan(wilson_interval(0, 0).value)


def test_wilson_covers() -> None:
    generator = np.random.default_rng(1)
    wins = generator.binomial(30, 0.7, 4000)
    inside = [wilson_interval(w, 30).low <= 0.7 <= wilson_interval(w, 30).high for w in wins]
    assert 0.93 <= np.mean(inside) <= 0.975


def test_two_methods_are_the_log_odds() -> None:
    wins = np.array([[0.0, 30], [10, 0]])
    strengths = bradley_terry(wins)
    assert strengths[0] - strengths[1] == pytest.approx(np.log(3), abs=1e-8)
    # The log odds' variance is 1/30 + 1/10; each centred strength is half the difference.
    expected = 0.5 * np.sqrt(1 / 30 + 1 / 10)
    assert bradley_terry_errors(wins, strengths) == pytest.approx([expected] * 2, rel=1e-6)


def test_bradley_terry_is_the_maximum_of_its_likelihood() -> None:
    wins = np.random.default_rng(2).integers(1, 20, (4, 4)).astype(float)
    np.fill_diagonal(wins, 0)

    def loss(free: np.ndarray) -> float:
        s = np.append(free, -free.sum())
        return float((wins * np.log1p(np.exp(s[None] - s[:, None]))).sum())

    best = minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-9}).x
    assert bradley_terry(wins)[:3] == pytest.approx(best, abs=1e-5)


def test_bradley_terry_recovers_strengths_within_its_errors() -> None:
    truth = np.array([0.8, 0.1, -0.9])
    generator = np.random.default_rng(3)
    inside = []
    for _ in range(200):
        wins = np.zeros((3, 3))
        for i, j in ((0, 1), (0, 2), (1, 2)):
            won = generator.binomial(40, 1 / (1 + np.exp(truth[j] - truth[i])))
            wins[i, j], wins[j, i] = won, 40 - won
        fitted = bradley_terry(wins)
        inside.append(np.abs(fitted - truth) < 1.96 * bradley_terry_errors(wins, fitted))
    assert 0.92 <= np.mean(inside) <= 0.98


def test_unbeaten_method_needs_prior_wins() -> None:
    wins = np.array([[0.0, 10, 10], [0, 0, 5], [0, 5, 0]])
    assert not is_connected(wins)
    with pytest.raises(ValueError, match="finite maximum"):
        bradley_terry(wins)
    strengths = bradley_terry(wins + prior_wins(wins))
    assert np.isfinite(strengths).all()
    assert strengths[0] == strengths.max()


def test_bootstrap_over_clusters_is_wider_than_over_answers() -> None:
    generator = np.random.default_rng(4)
    # Twelve raters, each of one mind: 240 answers hold the information of twelve.
    raters = [[float(mind)] * 20 for mind in generator.integers(0, 2, 12)]

    def mean(values: list[float]) -> float:
        return float(np.mean(values))

    clustered = cluster_bootstrap(raters, mean)
    single = cluster_bootstrap([[value] for rater in raters for value in rater], mean)
    assert clustered.value == single.value
    assert clustered.high - clustered.low > 3 * (single.high - single.low)
    assert np.isnan(cluster_bootstrap(raters[:1], mean).low)


def test_spearman() -> None:
    assert spearman(np.array([1.0, 2, 3, 4]), np.array([10.0, 20, 25, 90])) == pytest.approx(1)
    assert np.isnan(spearman(np.array([1.0, 1, 1]), np.array([1.0, 2, 3])))
