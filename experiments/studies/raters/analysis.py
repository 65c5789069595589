"""Analyze the answers of a rater study: preferences, strengths, agreement, and metrics."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.errors import SettingsError
from experiments.studies.raters.answers import read_answers, read_metric_scores
from experiments.studies.raters.statistics import (
    Floats,
    bradley_terry,
    krippendorff_alpha,
    spearman,
)
from metrics.functional.bootstrap import cluster_bootstrap, resampled_intervals

if TYPE_CHECKING:
    from pandas import DataFrame

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


def _question(
    votes: "DataFrame", scores: Mapping[str, "DataFrame"], draws: int
) -> dict[str, Any]:
    """Return the results of one question; intervals are resampled by rater, alpha's by pair."""
    # How many raters gave each answer about each pair of videos.
    counts = votes.groupby(["trial", "score"]).size().unstack(fill_value=0).to_numpy(np.float64)
    (alpha,) = resampled_intervals(
        range(len(counts)), lambda rows: krippendorff_alpha(counts[rows]), draws
    )
    strengths = _strengths(votes, draws)
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
        "strengths": strengths,
        "metrics": _metric_agreement(votes, scores, strengths, draws) if scores else [],
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


def _metric_agreement(
    votes: "DataFrame", scores: Mapping[str, "DataFrame"], strengths: Rows, draws: int
) -> Rows:
    """Return how well every metric that two methods have agrees with the raters, best first.

    ``rank_correlation`` is that of the metric's difference with the share of raters who preferred
    the first method; each pair counts in both orders, so that it does not matter which method is
    called first. ``predicts_majority`` is the share of pairs whose preferred method has the
    larger value (equal values count half, pairs without a majority are ignored). Both are
    resampled by clip. ``over_methods`` is the rank correlation of mean values with strengths.
    """
    import pandas

    table = pandas.concat(scores)  # rows by (method, clip), a column per metric
    pairs = votes.groupby(["clip", "first", "second"], as_index=False)["score"].mean()
    first, second = (
        table.reindex(pandas.MultiIndex.from_frame(pairs[[side, "clip"]])).to_numpy()
        for side in ("first", "second")
    )
    ranks = pandas.Series({row["method"]: row["log_strength"].mean for row in strengths})
    means = table.groupby(level=0).mean()
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
        systems = pandas.concat([means[metric], ranks], axis=1).dropna()
        results.append(
            {
                "metric": str(metric),
                "pairs": len(clips),
                "rank_correlation": resampled_intervals(clips, correlation, draws)[0],
                "predicts_majority": cluster_bootstrap(hits, clips, draws=draws),
                "over_methods": spearman(*systems.to_numpy().T),
            }
        )
    return sorted(results, key=lambda row: -np.nan_to_num(row["rank_correlation"].mean, nan=-2))
