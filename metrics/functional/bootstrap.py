"""Confidence intervals for means over clips that share songs.

Clips of the same song are not independent: their music beats, and often their choreographies, are
the same. The bootstrap therefore resamples songs instead of clips.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Interval:
    """A mean with its bootstrap interval."""

    mean: float
    low: float
    high: float
    clips: int
    clusters: int

    def __str__(self) -> str:
        return self.text(3)

    def text(self, digits: int = 2, factor: float = 1.0) -> str:
        """`mean [low, high]`; only the mean if the interval is unknown.

        Args:
            digits: Decimals.
            factor: Multiplies the three numbers, for other units.
        """
        mean = f"{self.mean * factor:.{digits}f}"
        if math.isnan(self.low):
            return mean
        return f"{mean} [{self.low * factor:.{digits}f}, {self.high * factor:.{digits}f}]"


def cluster_bootstrap(
    values: ArrayLike,
    clusters: Sequence[str] | None = None,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean of per-clip values with a percentile interval from resampled clusters.

    Args:
        values: One number per clip; NaN entries are left out.
        clusters: The cluster of each clip, usually its music id; None makes every clip its own.
        level: Share of the draws inside the interval.
        draws: Number of bootstrap draws.
        seed: Seed of the draws: the same values give the same interval.

    Returns:
        The mean and its interval; NaN without values, and an interval of NaN where
        there is only one cluster, about whose spread nothing is known.

    Raises:
        ValueError: `clusters` has another length than `values`.
    """
    numbers = np.asarray(values, dtype=np.float64).ravel()
    names = np.asarray(
        [str(i) for i in range(len(numbers))] if clusters is None else [str(c) for c in clusters],
        dtype=object,
    )
    if len(names) != len(numbers):
        raise ValueError(
            f"{len(numbers)} values came with {len(names)} cluster names; expected one per value."
        )
    keep = ~np.isnan(numbers)
    numbers, names = numbers[keep], names[keep]
    if len(numbers) == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0, 0)
    found, place = np.unique(names.astype(str), return_inverse=True)
    sums = np.bincount(place, weights=numbers)
    counts = np.bincount(place).astype(np.float64)
    mean = float(numbers.mean())
    if len(found) == 1:
        return Interval(mean, float("nan"), float("nan"), len(numbers), 1)
    drawn = np.random.default_rng(seed).integers(0, len(found), (draws, len(found)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high), len(numbers), len(found))


def resampled_intervals(
    clusters: Sequence[object],
    statistic: Callable[[NDArray[np.intp]], ArrayLike],
    draws: int = 2000,
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
    groups = [np.flatnonzero(place == group) for group in np.unique(place)]
    values = np.atleast_1d(np.asarray(statistic(np.arange(len(place))), dtype=np.float64))
    ends = np.full((2, len(values)), np.nan)
    if len(groups) > 1:
        chosen = np.random.default_rng(seed).integers(0, len(groups), (draws, len(groups)))
        rows = (np.concatenate([groups[index] for index in draw]) for draw in chosen)
        drawn = np.stack([np.atleast_1d(statistic(row)) for row in rows])
        enough = np.isfinite(drawn).sum(0) >= draws / 2
        ends[:, enough] = np.nanquantile(drawn[:, enough], [0.025, 0.975], axis=0)
    return [
        Interval(float(value), float(low), float(high), len(place), len(groups))
        for value, low, high in zip(values, *ends, strict=True)
    ]


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Mean of a few repetitions (seeds) with Student's interval; NaN ends for a single one."""
    from scipy.stats import t

    numbers = np.asarray(values, dtype=np.float64)
    numbers = numbers[~np.isnan(numbers)]
    count = len(numbers)
    if count == 0:
        return Interval(math.nan, math.nan, math.nan, 0, 0)
    mean = float(numbers.mean())
    if count == 1:
        return Interval(mean, math.nan, math.nan, 1, 1)
    half = float(t.ppf(0.5 + level / 2, count - 1) * numbers.std(ddof=1) / math.sqrt(count))
    return Interval(mean, mean - half, mean + half, count, count)
