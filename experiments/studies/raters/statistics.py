"""Statistics of paired comparisons by several raters: numpy and scipy only, no files.

Background
----------
A rater sees two videos and says which is better. Answers of one rater hang together, and so do
answers about one clip; an interval that forgets it is too narrow. Rates therefore carry two
intervals: Wilson's, which takes every answer as independent, and a bootstrap over raters.

- Wilson score interval: E. B. Wilson, J. Am. Stat. Assoc. 22 (1927).
- Bradley-Terry model, P(i beats j) = exp(s_i) / (exp(s_i) + exp(s_j)): R. A. Bradley and
  M. E. Terry, Biometrika 39 (1952); fitted by the minorisation-maximisation steps of
  D. R. Hunter, Ann. Stat. 32 (2004). A tie counts as half a win for each.
- Fleiss' kappa: J. L. Fleiss, Psychological Bulletin 76 (1971).
- Krippendorff's alpha, nominal: K. Krippendorff, Content Analysis, 2nd ed. (2004), chapter 11.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its interval (NaN where there is none)."""

    value: float
    low: float
    high: float


def wilson_interval(wins: float, total: float, level: float = 0.95) -> Interval:
    """Share of wins with Wilson's score interval; NaN for no answers.

    Args:
        wins: number of wins, ties counted as half, 0 <= wins <= total.
        total: number of answers.
        level: coverage in (0, 1).
    """
    if total <= 0:
        return Interval(np.nan, np.nan, np.nan)
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = wins / total
    centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return Interval(share, max(0.0, float(centre - half)), min(1.0, float(centre + half)))


def cluster_bootstrap(
    clusters: list[list[Item]],
    statistic: Callable[[list[Item]], float],
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of ``statistic`` when whole clusters (raters, clips) are redrawn.

    Draws in which the statistic is not defined (NaN) are left out; with fewer than two clusters,
    or fewer than half of the draws left, the interval is NaN.
    """
    value = statistic([item for cluster in clusters for item in cluster])
    if len(clusters) < 2:
        return Interval(value, np.nan, np.nan)
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(draws):
        chosen = generator.integers(0, len(clusters), len(clusters))
        values.append(statistic([item for index in chosen for item in clusters[index]]))
    kept = np.asarray(values)[~np.isnan(values)]
    if len(kept) < draws / 2:
        return Interval(value, np.nan, np.nan)
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def is_connected(wins: Floats) -> bool:
    """Whether every method can be reached from every other along wins (Ford's condition).

    Only then has the Bradley-Terry likelihood a finite maximum.
    """
    reach = (wins > 0) | np.eye(len(wins), dtype=bool)
    for middle in range(len(wins)):
        reach |= reach[:, middle : middle + 1] & reach[middle : middle + 1, :]
    return bool(reach.all())


def bradley_terry(wins: Floats, tolerance: float = 1e-10, steps: int = 10_000) -> Floats:
    """Log strengths of n methods, summing to zero.

    Args:
        wins: (n, n), entry i, j: how often i was preferred to j, a tie 0.5 to each.

    Raises:
        ValueError: wins is not square, or Ford's condition fails (add ``prior_wins`` first).
    """
    if wins.ndim != 2 or wins.shape[0] != wins.shape[1]:
        raise ValueError(f"wins has shape {wins.shape}; it must be square, methods x methods.")
    if not is_connected(wins):
        raise ValueError(
            "Some group of methods never lost to the others, so strengths have no finite maximum; "
            "add prior_wins(wins) to wins."
        )
    games = wins + wins.T
    np.fill_diagonal(games, 0.0)
    total = wins.sum(1) - np.diag(wins)
    strength = np.ones(len(wins))
    for _ in range(steps):
        new = total / (games / (strength[:, None] + strength[None, :])).sum(1)
        new /= np.exp(np.log(new).mean())
        done = np.abs(np.log(new) - np.log(strength)).max() < tolerance
        strength = new
        if done:
            break
    return np.asarray(np.log(strength))


def prior_wins(wins: Floats) -> Floats:
    """Half a win each way between methods that met: keeps strengths finite, pulls them together."""
    met = (wins + wins.T) > 0
    np.fill_diagonal(met, False)
    return 0.5 * met.astype(np.float64)


def bradley_terry_errors(wins: Floats, strengths: Floats) -> Floats:
    """Standard errors of the centred log strengths, from the observed information, (n,)."""
    games = wins + wins.T
    np.fill_diagonal(games, 0.0)
    chance = 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))
    weight = games * chance * (1 - chance)
    information = np.diag(weight.sum(1)) - weight
    # Strengths are fixed up to a constant: the pseudo-inverse is the covariance under sum zero.
    return np.asarray(np.sqrt(np.diag(np.linalg.pinv(information))))


def krippendorff_alpha(ratings: Floats) -> float:
    """Krippendorff's alpha for categories without order.

    Args:
        ratings: (raters, units) category numbers, NaN where a rater did not answer. Units with
            fewer than two answers say nothing and drop out.

    Returns:
        1 for perfect agreement, 0 for agreement by chance; NaN where fewer than two answers can
        be paired. 1 also where all answers are of one category, as there is no disagreement.
    """
    categories = np.unique(ratings[~np.isnan(ratings)])
    counts = np.stack([(ratings == category).sum(0) for category in categories], -1)
    counts = counts[counts.sum(1) >= 2].astype(np.float64)
    answers = counts.sum(1)
    total = answers.sum()
    if total < 2:
        return float("nan")
    agreeing = (counts * (counts - 1)).sum(1) / (answers - 1)
    observed = 1 - agreeing.sum() / total
    margin = counts.sum(0)
    expected = 1 - (margin * (margin - 1)).sum() / (total * (total - 1))
    return 1.0 if expected == 0 else float(1 - observed / expected)


def fleiss_kappa(counts: Floats) -> float:
    """Fleiss' kappa of (units, categories) counts, every unit answered by the same number.

    Raises:
        ValueError: units with different numbers of answers, or fewer than two.
    """
    answers = counts.sum(1)
    if len(counts) == 0 or answers[0] < 2 or not np.all(answers == answers[0]):
        raise ValueError("Fleiss' kappa needs two or more answers a unit, as many for each unit.")
    share = counts.sum(0) / counts.sum()
    within = ((counts**2).sum(1) - answers) / (answers * (answers - 1))
    expected = (share**2).sum()
    return 1.0 if expected == 1 else float((within.mean() - expected) / (1 - expected))


def spearman(first: Floats, second: Floats) -> float:
    """Spearman's rank correlation; NaN for fewer than three pairs or a constant side."""
    from scipy.stats import rankdata

    if len(first) < 3:
        return float("nan")
    a, b = rankdata(first), rankdata(second)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
