"""Statistics of paired comparisons by several raters.

- Bradley-Terry model, P(i beats j) = exp(s_i) / (exp(s_i) + exp(s_j)): R. A. Bradley and
  M. E. Terry, Biometrika 39 (1952). A tie counts as half a win for each.
- Krippendorff's alpha, nominal: K. Krippendorff, Content Analysis, 2nd ed. (2004), chapter 11.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def bradley_terry(wins: Floats) -> Floats:
    """Fit the Bradley-Terry model by Newton's method.

    Args:
        wins: (n, n); entry i, j is how often method i was preferred to j, 0.5 for each in a tie.

    Returns:
        Log strengths (n,), which sum to zero; NaN if groups of methods were never compared.
    """
    from scipy.sparse.csgraph import connected_components

    # Strengths are finite if every method is reached from every other along wins (Ford's
    # condition). If not, half a win is added each way between methods that met.
    for table in (wins, wins + 0.5 * ((wins + wins.T) > 0)):
        if connected_components(table > 0, connection="strong")[0] == 1:
            wins = table
            break
    else:
        return np.full(len(wins), np.nan)
    games = wins + wins.T
    strengths = np.zeros(len(wins))
    for _ in range(100):
        chance = 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))
        weight = games * chance * (1 - chance)
        gradient = (wins - games * chance).sum(1)
        # Strengths are defined up to a constant: the pseudoinverse keeps their sum at zero.
        inverse = np.linalg.pinv(np.diag(weight.sum(1)) - weight, hermitian=True)
        step = (inverse @ gradient).clip(-1, 1)
        strengths += step - step.mean()
        if np.abs(step).max() < 1e-10:
            break
    return strengths


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
    margin = counts.sum(0)
    expected = 1 - (margin * (margin - 1)).sum() / (total * (total - 1))
    return 1.0 if expected == 0 else float(1 - (1 - agreeing.sum() / total) / expected)


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Return Spearman's rank correlation; NaN for fewer than three pairs or a constant side."""
    from scipy.stats import spearmanr

    if np.size(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(spearmanr(first, second).statistic)
