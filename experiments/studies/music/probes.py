"""Linear probes and canonical correlation, cross-validated by song.

A probe is fitted on some songs and tested on others, so that it cannot use what identifies a song
and its one choreography. Everything is standardized with the training folds alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]

PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10_000.0)


def folds(groups: Sequence[str], count: int = 5, seed: int = 0) -> Iterator[NDArray[np.bool_]]:
    """Yield masks (N,) of the held-out rows; each group is held out as a whole."""
    names, group = np.unique(groups, return_inverse=True)
    if len(names) < count:
        raise ValueError(f"{len(names)} groups cannot make {count} folds.")
    place = np.argsort(np.random.default_rng(seed).permutation(len(names)))
    for number in range(count):
        yield place[group] % count == number


def ridge(x: Array, y: Array, penalty: float) -> tuple[Array, Array]:
    """Return weights (D, K) and offset (K,) of a ridge regression of y (N, K) on x (N, D)."""
    centered = x - x.mean(0)
    gram = centered.T @ centered + penalty * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, centered.T @ (y - y.mean(0)))
    return weights, y.mean(0) - x.mean(0) @ weights


def held_out(x: Array, y: Array, groups: Sequence[str]) -> Array:
    """Return ridge predictions (N, K), each by a probe that was fitted without the row's group.

    The penalty is chosen within each training part, also by group.
    """
    predictions = np.empty_like(y)
    names = np.array(groups)
    for test in folds(groups):
        train = ~test
        scaled, scaled_test = _standardize(x[train], x[test])
        errors = dict.fromkeys(PENALTIES, 0.0)
        for part in folds(names[train].tolist(), 2, seed=1):
            for penalty in PENALTIES:
                weights, offset = ridge(scaled[~part], y[train][~part], penalty)
                residual = y[train][part] - scaled[part] @ weights - offset
                errors[penalty] += float(np.square(residual).sum())
        weights, offset = ridge(scaled, y[train], min(errors, key=errors.__getitem__))
        predictions[test] = scaled_test @ weights + offset
    return predictions


def explained(y: Array, x: Array, groups: Sequence[str]) -> Array:
    """Return 1 - squared error / variance of each held-out row, (N,); its mean is R^2."""
    errors = np.square(y - held_out(x, y, groups)).sum(axis=1)
    return 1.0 - errors / max(y.var(axis=0).sum(), 1e-12)


def hits(labels: Sequence[str], x: Array, groups: Sequence[str]) -> Array:
    """Return (N,): 1 where a probe on one-hot labels predicts the right class, else 0."""
    truth = np.unique(labels, return_inverse=True)[1]
    predictions = held_out(x, np.eye(truth.max() + 1)[truth], groups)
    return (predictions.argmax(axis=1) == truth).astype(np.float64)


def canonical_correlation(x: Array, y: Array, groups: Sequence[str]) -> float:
    """Return the first canonical correlation of x (N, D) and y (N, E) on held-out groups.

    Both sides are reduced to their leading eight principal components; directions are fitted on
    the training folds (regularized), and their correlation is measured on the held-out one. Mean
    over folds.
    """
    found = []
    for test in folds(groups):
        sides = []
        for side in (x, y):
            scaled, scaled_test = _standardize(side[~test], side[test])
            axes = np.linalg.svd(scaled, full_matrices=False)[2][:8].T
            values, vectors = np.linalg.eigh(axes.T @ scaled.T @ scaled @ axes / len(scaled))
            whitening = axes @ vectors / np.sqrt(values + 0.1 * values.max())
            sides.append((scaled @ whitening, scaled_test @ whitening))
        (a, a_test), (b, b_test) = sides
        left, _, right = np.linalg.svd(a.T @ b / len(a))
        found.append(np.corrcoef(a_test @ left[:, 0], b_test @ right[0])[0, 1])
    return float(np.nanmean(found))


def shuffled_groups(x: Array, groups: Sequence[str]) -> Array:
    """Return x with each group's rows replaced by those of another group (control)."""
    rows = pd.Series(groups).groupby(list(groups))
    order = np.random.default_rng(0).permutation(sorted(set(groups)))
    other = dict(zip(order, np.roll(order, -1), strict=True))
    sources = [rows.indices[other[group]] for group in groups]
    # The k-th row of a group becomes the k-th of the other one, from the start again at its end.
    return x[[rows[k % len(rows)] for rows, k in zip(sources, rows.cumcount(), strict=True)]]


def _standardize(train: Array, test: Array) -> tuple[Array, Array]:
    mean, std = train.mean(0), train.std(0)
    std = np.where(std > 1e-9, std, 1.0)
    return (train - mean) / std, (test - mean) / std
