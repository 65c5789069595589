"""Linear probes and canonical correlation, cross-validated by song.

A probe is fitted on some songs and tested on others, so that it cannot use what identifies a song
and its one choreography. Everything is standardized with the training folds alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FOLDS = 5
PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10_000.0)


def folds(groups: Sequence[str], count: int = FOLDS, seed: int = 0) -> Iterator[NDArray[np.bool_]]:
    """Yield masks (N,) of the held-out rows; each group is held out as a whole.

    Raises:
        ValueError: If there are fewer groups than folds.
    """
    names = sorted(set(groups))
    if len(names) < count:
        raise ValueError(f"{len(names)} groups cannot make {count} folds.")
    order = np.random.default_rng(seed).permutation(len(names))
    fold_of = {names[place]: number % count for number, place in enumerate(order)}
    fold = np.array([fold_of[group] for group in groups])
    for number in range(count):
        yield fold == number


def ridge(x: Array, y: Array, penalty: float) -> tuple[Array, Array]:
    """Return weights (D, K) and offset (K,) of a ridge regression of y (N, K) on x (N, D)."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    centered = x - mean_x
    if len(x) < x.shape[1]:  # solve the smaller of the two equivalent systems
        gram = centered @ centered.T + penalty * np.eye(len(x))
        weights = centered.T @ np.linalg.solve(gram, y - mean_y)
    else:
        gram = centered.T @ centered + penalty * np.eye(x.shape[1])
        weights = np.linalg.solve(gram, centered.T @ (y - mean_y))
    return weights, mean_y - mean_x @ weights


def held_out(x: Array, y: Array, groups: Sequence[str]) -> Array:
    """Return ridge predictions (N, K), each by a probe that was fitted without the row's group.

    The penalty is chosen within each training part, also by group.
    """
    predictions = np.empty_like(y)
    names = np.array(groups)
    for test in folds(groups):
        train = ~test
        scaled, scaled_test = _standardize(x[train], x[test])
        penalty = _best_penalty(scaled, y[train], names[train].tolist())
        weights, offset = ridge(scaled, y[train], penalty)
        predictions[test] = scaled_test @ weights + offset
    return predictions


def explained(y: Array, predictions: Array) -> Array:
    """Return 1 - squared error / variance of each row, (N,); its mean is R^2."""
    variance = y.var(axis=0).sum()
    return 1.0 - np.square(y - predictions).sum(axis=1) / max(variance, 1e-12)


def hits(labels: Sequence[str], x: Array, groups: Sequence[str]) -> Array:
    """Return (N,): 1 where a probe on one-hot labels predicts the right class, else 0."""
    names = sorted(set(labels))
    truth = np.array([names.index(label) for label in labels])
    predictions = held_out(x, np.eye(len(names))[truth], groups)
    return (predictions.argmax(axis=1) == truth).astype(np.float64)


def canonical_correlation(
    x: Array, y: Array, groups: Sequence[str], components: int = 8, penalty: float = 0.1
) -> float:
    """Return the first canonical correlation of x (N, D) and y (N, E) on held-out groups.

    Both sides are reduced to their leading principal components; directions are fitted on the
    training folds (regularized), and their correlation is measured on the held-out one. Mean over
    folds.
    """
    found = []
    for test in folds(groups):
        sides = []
        for side in (x, y):
            scaled, scaled_test = _standardize(side[~test], side[test])
            axes = np.linalg.svd(scaled, full_matrices=False)[2][:components]
            sides.append((scaled @ axes.T, scaled_test @ axes.T))
        (a, a_test), (b, b_test) = sides
        wa, wb = _whitener(a, penalty), _whitener(b, penalty)
        left, _, right = np.linalg.svd(wa.T @ a.T @ b @ wb / len(a))
        u, v = a_test @ wa @ left[:, 0], b_test @ wb @ right[0]
        found.append(float(np.corrcoef(u, v)[0, 1]))
    return float(np.nanmean(found))


def shuffled_groups(x: Array, groups: Sequence[str], seed: int) -> Array:
    """Return x with each group's rows replaced by those of another group (control)."""
    names = sorted(set(groups))
    rows = {name: [i for i, group in enumerate(groups) if group == name] for name in names}
    order = np.random.default_rng(seed).permutation(len(names))
    other = {names[a]: names[b] for a, b in zip(order, np.roll(order, -1), strict=True)}
    counts = dict.fromkeys(names, 0)
    out = np.empty_like(x)
    for i, group in enumerate(groups):
        source = rows[other[group]]
        out[i] = x[source[counts[group] % len(source)]]
        counts[group] += 1
    return out


def _best_penalty(x: Array, y: Array, groups: list[str]) -> float:
    if len(set(groups)) < 2:
        return PENALTIES[len(PENALTIES) // 2]
    errors = dict.fromkeys(PENALTIES, 0.0)
    for test in folds(groups, 2, seed=1):
        for penalty in PENALTIES:
            weights, offset = ridge(x[~test], y[~test], penalty)
            errors[penalty] += float(np.square(y[test] - x[test] @ weights - offset).sum())
    return min(errors, key=lambda penalty: errors[penalty])


def _standardize(train: Array, test: Array) -> tuple[Array, Array]:
    mean, std = train.mean(0), train.std(0)
    std = np.where(std > 1e-9, std, 1.0)
    return (train - mean) / std, (test - mean) / std


def _whitener(a: Array, penalty: float) -> Array:
    values, vectors = np.linalg.eigh(a.T @ a / len(a))
    return vectors / np.sqrt(values + penalty * values.max())
