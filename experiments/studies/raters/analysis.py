"""Analyze the answers of a rater study: preferences, strengths, agreement, and metrics.

- Bradley-Terry model, P(i beats j) = exp(s_i) / (exp(s_i) + exp(s_j)): R. A. Bradley and
  M. E. Terry, Biometrika 39 (1952). A tie counts as half a win for each.
- Krippendorff's alpha, nominal: K. Krippendorff, Content Analysis, 2nd ed. (2004), chapter 11.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from experiments.errors import SettingsError
from experiments.studies.raters.answers import read_answers, read_metric_scores
from metrics.functional.bootstrap import cluster_bootstrap, resampled_intervals

if TYPE_CHECKING:
    from pandas import DataFrame

Floats = NDArray[np.float64]
#: A table: for each row, its texts, numbers and intervals by column.
Rows = list[dict[str, Any]]


def analyze_study(
    key: Mapping[str, Any],
    folder: Path,
    metrics: Mapping[str, Path],
    max_failed: float = 0.25,
    draws: int = 1000,
) -> dict[str, Any]:
    """Analyze a folder of participants' files, with per-clip CSVs of the methods, if any.

    Raters who failed more than ``max_failed`` of the catch trials are left out. Returns the
    contents of ``analysis.json``, with intervals as ``Interval``.
    """
    unknown = sorted(set(metrics) - set(key["methods"]))
    if unknown:
        raise SettingsError(
            f"--metrics names {', '.join(unknown)}; the study's methods are "
            f"{', '.join(key['methods'])}."
        )
    scores = {method: read_metric_scores(path) for method, path in metrics.items()}
    answers = read_answers(key, folder)
    questions = {question["name"]: question["text"] for question in key["plan"]["questions"]}
    first_answers = answers[answers["question"] == next(iter(questions))]
    raters = [_rater(name, own, max_failed) for name, own in first_answers.groupby("rater")]
    used = [rater["rater"] for rater in raters if rater["used"]]
    if not used:
        raise SettingsError(
            f"All {len(raters)} raters failed more than {max_failed:.0%} of the catch trials; "
            "raise --max-failed to analyze their answers anyway."
        )
    votes = answers[~answers["check"] & ~answers["repeat"] & answers["rater"].isin(used)]
    results = [
        {"name": name, "text": text} | _question(votes[votes["question"] == name], scores, draws)
        for name, text in questions.items()
    ]
    pairs = sum(trial["kind"] == "pair" for trial in key["trials"].values())
    unseen = pairs - votes["trial"].nunique()
    return {"study": key["study"], "raters": raters, "questions": results, "unseen_pairs": unseen}


def _rater(name: Any, answers: "DataFrame", max_failed: float) -> dict[str, Any]:
    checks, pairs = answers[answers["check"]], answers[~answers["check"]]
    failed = int((checks["score"] == 0).sum())
    twice = pairs[pairs["repeat"]].merge(pairs[~pairs["repeat"]], on="trial")
    return {
        "rater": str(name),
        "answers": len(answers),
        "checks": len(checks),
        "checks_failed": failed,
        "repeats_same": float((twice["score_x"] == twice["score_y"]).mean()),
        "seconds_per_pair": float(answers["seconds"].median()),
        "used": failed <= max_failed * len(checks),
    }


def _question(votes: "DataFrame", scores: Mapping[str, "DataFrame"], draws: int) -> dict[str, Any]:
    """Return the results of one question; intervals are resampled by rater, alpha's by pair."""
    # How many raters gave each answer about each pair of videos.
    counts = votes.groupby(["trial", "score"]).size().unstack(fill_value=0).to_numpy(np.float64)
    (alpha,) = resampled_intervals(
        range(len(counts)), lambda rows: krippendorff_alpha(counts[rows]), draws
    )
    return {
        "votes": len(votes),
        "left_share": cluster_bootstrap(votes["left"], votes["rater"].tolist(), draws=draws),
        "alpha": alpha,
        "preferences": [
            {
                "preferred": first,
                "to": second,
                "answers": len(pair),
                "rate": cluster_bootstrap(pair["score"], pair["rater"].tolist(), draws=draws),
            }
            for (first, second), pair in votes.groupby(["first", "second"])
        ],
        "strengths": _strengths(votes, draws),
        "metrics": _metric_agreement(votes, scores, draws) if scores else [],
    }


def _strengths(votes: "DataFrame", draws: int) -> Rows:
    """Return the Bradley-Terry log strengths of three or more methods, the strongest first."""
    methods = sorted({*votes["first"], *votes["second"]})
    if len(methods) < 3:
        return []
    first, second = (np.searchsorted(methods, votes[side]) for side in ("first", "second"))
    score = votes["score"].to_numpy()

    def fit(rows: Any) -> Floats:
        wins = np.zeros((len(methods), len(methods)))
        np.add.at(wins, (first[rows], second[rows]), score[rows])
        np.add.at(wins, (second[rows], first[rows]), 1 - score[rows])
        return bradley_terry(wins)

    intervals = resampled_intervals(votes["rater"].tolist(), fit, draws)
    rows = zip(methods, intervals, strict=True)
    return [{"method": m, "log_strength": i} for m, i in sorted(rows, key=lambda row: -row[1].mean)]


def _metric_agreement(votes: "DataFrame", scores: Mapping[str, "DataFrame"], draws: int) -> Rows:
    """Return how well every metric that two methods have agrees with the raters, best first.

    ``rank_correlation`` is that of the metric's difference with the share of raters who preferred
    the first method; each pair counts in both orders, so that it does not matter which method is
    called first. ``predicts_majority`` is the share of pairs whose preferred method has the
    larger value (equal values count half, pairs without a majority are ignored). Both are
    resampled by clip.
    """
    import pandas

    table = pandas.concat(scores)  # rows by (method, clip), a column per metric
    pairs = votes.groupby(["clip", "first", "second"], as_index=False)["score"].mean()
    first, second = (
        table.reindex(pandas.MultiIndex.from_arrays([pairs[side], pairs["clip"]])).to_numpy()
        for side in ("first", "second")
    )
    results = []
    for metric, difference in zip(table, (first - second).T, strict=True):
        known = np.isfinite(difference)
        if not known.any():
            continue
        gain, clips = difference[known], pairs["clip"][known].tolist()
        # Rounded, so that 1/3 - 1/2 and 1/2 - 2/3 have the same rank.
        preference = (pairs["score"][known].to_numpy() - 0.5).round(9)
        both = np.stack([gain, preference])

        def correlation(rows: Any, both: Floats = both) -> float:
            return spearman(*np.concatenate([both[:, rows], -both[:, rows]], axis=1))

        hits = np.where(preference == 0, np.nan, 0.5 + 0.5 * np.sign(gain * preference))
        results.append(
            {
                "metric": str(metric),
                "pairs": len(clips),
                "rank_correlation": resampled_intervals(clips, correlation, draws)[0],
                "predicts_majority": cluster_bootstrap(hits, clips, draws=draws),
            }
        )
    return sorted(results, key=lambda row: -np.nan_to_num(row["rank_correlation"].mean, nan=-2))


def bradley_terry(wins: Floats) -> Floats:
    """Fit the Bradley-Terry model.

    Args:
        wins: (n, n); entry i, j is how often method i was preferred to j, 0.5 for each in a tie.

    Returns:
        Log strengths (n,), which sum to zero; NaN if groups of methods were never compared.
    """
    from scipy.optimize import minimize
    from scipy.sparse.csgraph import connected_components
    from scipy.special import expit

    # Strengths are finite if every method is reached from every other along wins (Ford's
    # condition). If not, half a win is added each way between methods that met.
    for table in (wins, wins + 0.5 * ((wins + wins.T) > 0)):
        if connected_components(table > 0, connection="strong")[0] == 1:
            wins = table
            break
    else:
        return np.full(len(wins), np.nan)
    games = wins + wins.T

    def loss(strengths: Floats) -> tuple[float, Floats]:
        gap = strengths[:, None] - strengths[None, :]
        gradient = (games * expit(gap) - wins).sum(1)
        return float((wins * np.logaddexp(0, -gap)).sum()), gradient

    # The gradient sums to zero, and therefore the strengths do, too.
    return minimize(loss, np.zeros(len(wins)), jac=True, options={"gtol": 1e-7}).x


def krippendorff_alpha(counts: Floats) -> float:
    """Return Krippendorff's alpha for categories without order.

    Args:
        counts: (units, categories), how many raters chose each category. Units with fewer than
            two answers are ignored.

    Returns:
        1 for perfect agreement, 0 for agreement by chance; NaN if no unit has two answers. Also 1
        if all answers are of one category, because nobody could disagree.
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
