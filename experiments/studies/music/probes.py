"""Linear probes and canonical correlation, cross-validated by piece of music.

What a probe learns on some pieces is tested on others, so that neither a piece's own sound nor its
one choreography can be learnt by heart. Everything is standardised on the training folds alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FOLDS = 5
PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10_000.0)


def folds(groups: Sequence[str], count: int = FOLDS, seed: int = 0) -> Iterator[NDArray[np.bool_]]:
    """Masks (N,) of the held-out rows; a group is held out as a whole.

    Raises:
        ValueError: fewer groups than folds.
    """
    names = sorted(set(groups))
    if len(names) < count:
        raise ValueError(f"{len(names)} groups cannot make {count} folds.")
    order = np.random.default_rng(seed).permutation(len(names))
    fold_of = {names[place]: number % count for number, place in enumerate(order)}
    mine = np.array([fold_of[group] for group in groups])
    for number in range(count):
        yield mine == number


def ridge(x: Array, y: Array, penalty: float) -> tuple[Array, Array]:
    """Weights (D, K) and offset (K,) of a ridge regression of y (N, K) on x (N, D)."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    centred = x - mean_x
    if len(x) < x.shape[1]:  # the smaller of the two equal systems
        gram = centred @ centred.T + penalty * np.eye(len(x))
        weights = centred.T @ np.linalg.solve(gram, y - mean_y)
    else:
        gram = centred.T @ centred + penalty * np.eye(x.shape[1])
        weights = np.linalg.solve(gram, centred.T @ (y - mean_y))
    return weights, mean_y - mean_x @ weights


def held_out(x: Array, y: Array, groups: Sequence[str]) -> Array:
    """Ridge predictions (N, K) of every row by a probe that saw none of the row's group.

    The penalty is chosen inside each training part, again by group.
    """
    said = np.empty_like(y)
    names = np.array(groups)
    for test in folds(groups):
        train = ~test
        scaled, scaled_test = _standardised(x[train], x[test])
        penalty = _best_penalty(scaled, y[train], names[train].tolist())
        weights, offset = ridge(scaled, y[train], penalty)
        said[test] = scaled_test @ weights + offset
    return said


def explained(y: Array, said: Array) -> Array:
    """(N,): 1 - squared error / variance of each row; its mean is R^2, 0 for saying the mean."""
    variance = y.var(axis=0).sum()
    return 1.0 - np.square(y - said).sum(axis=1) / max(variance, 1e-12)


def hits(labels: Sequence[str], x: Array, groups: Sequence[str]) -> Array:
    """(N,): 1 where a probe on one-hot labels names the right one, else 0."""
    names = sorted(set(labels))
    truth = np.array([names.index(label) for label in labels])
    said = held_out(x, np.eye(len(names))[truth], groups)
    return (said.argmax(axis=1) == truth).astype(np.float64)


def canonical_correlation(
    x: Array, y: Array, groups: Sequence[str], components: int = 8, penalty: float = 0.1
) -> float:
    """The first canonical correlation of x (N, D) and y (N, E) on held-out groups.

    Both sides are reduced to their leading principal components; directions are found on the
    training folds (regularised), and their correlation is measured on the held-out one. Mean over
    folds.
    """
    found = []
    for test in folds(groups):
        sides = []
        for side in (x, y):
            scaled, scaled_test = _standardised(side[~test], side[test])
            _, _, axes = np.linalg.svd(scaled, full_matrices=False)
            axes = axes[:components]
            sides.append((scaled @ axes.T, scaled_test @ axes.T))
        (a, a_test), (b, b_test) = sides
        wa, wb = _whitener(a, penalty), _whitener(b, penalty)
        left, _, right = np.linalg.svd(wa.T @ a.T @ b @ wb / len(a))
        u, v = a_test @ wa @ left[:, 0], b_test @ wb @ right[0]
        found.append(float(np.corrcoef(u, v)[0, 1]))
    return float(np.nanmean(found))


def shuffled_groups(x: Array, groups: Sequence[str], seed: int) -> Array:
    """x with every group's rows replaced by those of another group: the music of other clips."""
    rng = np.random.default_rng(seed)
    names = sorted(set(groups))
    rows = {name: [i for i, group in enumerate(groups) if group == name] for name in names}
    turn = rng.permutation(len(names))
    place = {names[turn[i]]: names[turn[(i + 1) % len(names)]] for i in range(len(names))}
    seen = dict.fromkeys(names, 0)
    out = np.empty_like(x)
    for i, group in enumerate(groups):
        other = rows[place[group]]
        out[i] = x[other[seen[group] % len(other)]]
        seen[group] += 1
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


def _standardised(train: Array, test: Array) -> tuple[Array, Array]:
    mean, std = train.mean(0), train.std(0)
    std = np.where(std > 1e-9, std, 1.0)
    return (train - mean) / std, (test - mean) / std


def _whitener(a: Array, penalty: float) -> Array:
    values, vectors = np.linalg.eigh(a.T @ a / len(a))
    return vectors / np.sqrt(values + penalty * values.max())
