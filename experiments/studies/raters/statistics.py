"""Statistics of paired comparisons by several raters.

Answers of one rater are not independent, and neither are answers about one clip. Intervals are
therefore also given by a bootstrap that resamples whole raters or clips.

- Wilson score interval: E. B. Wilson, J. Am. Stat. Assoc. 22 (1927).
- Bradley-Terry model, P(i beats j) = exp(s_i) / (exp(s_i) + exp(s_j)): R. A. Bradley and
  M. E. Terry, Biometrika 39 (1952). A tie counts as half a win for each.
- Krippendorff's alpha, nominal: K. Krippendorff, Content Analysis, 2nd ed. (2004), chapter 11.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metrics.functional.bootstrap import Interval

Floats = NDArray[np.float64]
#: Normal quantile of a two-sided interval of 95%.
Z95 = 1.959963984540054


def wilson_interval(scores: ArrayLike) -> Interval:
    """Return the mean of independent answers in [0, 1] with Wilson's 95% score interval.

    Unlike ``scipy.stats.binomtest`` it accepts ties, which count as half a win.
    """
    values = np.asarray(scores, dtype=np.float64)
    total = len(values)
    if total == 0:
        return Interval(math.nan, math.nan, math.nan, 0, 0)
    share, scale = float(values.mean()), 1 + Z95**2 / total
    center = (share + Z95**2 / (2 * total)) / scale
    half = Z95 / scale * math.sqrt(share * (1 - share) / total + Z95**2 / (4 * total**2))
    return Interval(share, max(0.0, center - half), min(1.0, center + half), total, total)


def resampled_intervals(
    clusters: Sequence[object],
    statistic: Callable[[NDArray[np.intp]], ArrayLike],
    draws: int = 1000,
    seed: int = 0,
) -> list[Interval]:
    """Return 95% percentile intervals of a statistic when whole clusters are resampled.

    Args:
        clusters: Cluster of each row (its rater or clip).
        statistic: Returns one or more numbers for an array of row positions; NaN where it is not
            defined, and such draws are ignored.
        draws: Number of bootstrap draws.
        seed: Seed of the draws.

    Returns:
        One interval per number; its ends are NaN if there is only one cluster or the statistic
        is defined in fewer than half of the draws.
    """
    _, place = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    groups = [np.flatnonzero(place == group) for group in range(place.max() + 1)]
    values = np.atleast_1d(np.asarray(statistic(np.arange(len(place))), dtype=np.float64))
    ends = np.full((2, len(values)), np.nan)
    if len(groups) > 1:
        generator = np.random.default_rng(seed)
        drawn = np.stack(
            [
                np.atleast_1d(statistic(np.concatenate([groups[index] for index in chosen])))
                for chosen in generator.integers(0, len(groups), (draws, len(groups)))
            ]
        )
        enough = np.isfinite(drawn).sum(0) >= draws / 2
        ends[:, enough] = np.nanquantile(drawn[:, enough], [0.025, 0.975], axis=0)
    return [
        Interval(float(value), float(low), float(high), len(place), len(groups))
        for value, low, high in zip(values, *ends, strict=True)
    ]


def is_connected(wins: Floats) -> bool:
    """Whether every method can be reached from every other one along wins (Ford's condition).

    Only then does the Bradley-Terry likelihood have a finite maximum.
    """
    from scipy.sparse.csgraph import connected_components

    return bool(connected_components(wins > 0, connection="strong")[0] == 1)


def add_prior_wins(wins: Floats) -> Floats:
    """Add half a win each way between methods that met: strengths become finite and smaller."""
    met = (wins + wins.T) > 0
    return wins + 0.5 * (met & ~np.eye(len(wins), dtype=bool))


def bradley_terry(wins: Floats, steps: int = 100) -> tuple[Floats, Floats]:
    """Fit the Bradley-Terry model by Newton's method.

    Args:
        wins: (n, n); entry i, j is how often method i was preferred to j, 0.5 for each in a tie.
        steps: Maximum number of steps.

    Returns:
        Log strengths (n,), which sum to zero, and their standard errors (n,).

    Raises:
        ValueError: Ford's condition does not hold (use ``add_prior_wins`` first).
    """
    if not is_connected(wins):
        raise ValueError(
            "Some methods never lost to the others, so strengths have no finite maximum; use "
            "add_prior_wins(wins)."
        )
    games = wins + wins.T
    np.fill_diagonal(games, 0.0)
    strengths = np.zeros(len(wins))
    for _ in range(steps):
        chance = 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))
        weight = games * chance * (1 - chance)
        information = np.diag(weight.sum(1)) - weight
        # Strengths are defined up to a constant: the pseudoinverse keeps their sum at zero.
        covariance = np.linalg.pinv(information, hermitian=True)
        gradient = wins.sum(1) - np.diag(wins) - (games * chance).sum(1)
        step = (covariance @ gradient).clip(-1, 1)
        strengths += step - step.mean()
        if np.abs(step).max() < 1e-10:
            break
    return strengths, np.sqrt(np.diag(covariance))


def krippendorff_alpha(counts: Floats) -> float:
    """Return Krippendorff's alpha for categories without order.

    Args:
        counts: (units, categories), how many raters chose each category. Units with fewer than
            two answers are ignored.

    Returns:
        1 for perfect agreement, 0 for agreement by chance; NaN if no unit has two answers. Also 1
        if all answers are of one category, because there is no disagreement.
    """
    counts = counts[counts.sum(1) >= 2]
    answers = counts.sum(1)
    total = answers.sum()
    if total < 2:
        return math.nan
    agreeing = (counts * (counts - 1)).sum(1) / (answers - 1)
    observed = 1 - agreeing.sum() / total
    margin = counts.sum(0)
    expected = 1 - (margin * (margin - 1)).sum() / (total * (total - 1))
    return 1.0 if expected == 0 else float(1 - observed / expected)


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Return Spearman's rank correlation; NaN for fewer than three pairs or a constant side."""
    from scipy.stats import spearmanr

    if np.size(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(spearmanr(first, second).statistic)
