"""How well automatic metrics agree with the preferences of human raters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.studies.raters.statistics import Floats, resampled_intervals, spearman
from metrics.functional.bootstrap import Interval, cluster_bootstrap

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class MetricAgreement:
    """How well one metric agrees with the raters.

    ``spearman`` is the rank correlation of the metric's difference with the share of raters who
    preferred the first method; each pair counts in both orders, so that it does not matter which
    method is called first. ``accuracy`` is the share of pairs whose preferred method has the
    larger value (equal values count half, pairs without a majority are ignored). Both intervals
    are resampled by clip. ``system`` is the rank correlation of the methods' mean values with
    their strengths; NaN for fewer than three methods. Metrics for which smaller is better have
    negative correlations and accuracies below 0.5.
    """

    metric: str
    pairs: int
    spearman: Interval
    accuracy: Interval
    system: float


def metric_agreement(
    votes: "DataFrame",
    scores: Mapping[str, "DataFrame"],
    strengths: Mapping[str, float],
    draws: int,
    seed: int,
) -> list[MetricAgreement]:
    """Return the agreement of every metric that two methods have, the best first.

    Args:
        votes: As returned by ``votes_on``.
        scores: Of each method, as returned by ``read_metric_scores``.
        strengths: Bradley-Terry log strength of each method.
        draws: Bootstrap draws.
        seed: Seed of the bootstrap.
    """
    import pandas

    pairs = votes.groupby(["clip", "first", "second"], as_index=False)["score"].mean()
    results = []
    for metric in sorted({str(name) for frame in scores.values() for name in frame}):
        # Rows by clip, a column per method.
        values = pandas.DataFrame({m: f[metric] for m, f in scores.items() if metric in f})
        sides = [
            values.stack().reindex([pairs["clip"], pairs[side]]).to_numpy()
            for side in ("first", "second")
        ]
        known = np.isfinite(sides[0] - sides[1])
        if not known.any():
            continue
        clips = pairs["clip"][known].tolist()
        difference = (sides[0] - sides[1])[known]
        # Rounded, so that 1/3 - 1/2 and 1/2 - 2/3 have the same rank.
        preference = (pairs["score"][known].to_numpy() - 0.5).round(9)

        def correlation(rows: Any, d: Floats = difference, p: Floats = preference) -> float:
            both = np.concatenate([d[rows], -d[rows]]), np.concatenate([p[rows], -p[rows]])
            return spearman(*both)

        hits = 0.5 + 0.5 * np.sign(difference) * np.sign(preference)
        hits[preference == 0] = np.nan
        compared = [method for method in strengths if method in values]
        results.append(
            MetricAgreement(
                metric,
                len(clips),
                resampled_intervals(clips, correlation, draws, seed)[0],
                cluster_bootstrap(hits, clips, draws=draws, seed=seed),
                spearman(
                    [values[method].mean() for method in compared],
                    [strengths[method] for method in compared],
                ),
            )
        )
    return sorted(results, key=lambda r: -np.nan_to_num(r.spearman.mean, nan=-2.0))
