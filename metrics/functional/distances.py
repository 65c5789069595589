"""Distances between two sets of features, and between each feature and a set.

Shape letters: N, M samples; D feature dimensions. Everything is computed in float64.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Distance = Callable[[Tensor, Tensor], Tensor]


def moments(total: Tensor, outer: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and unbiased covariance (D, D) from sums.

    Args:
        total: (D,) sum of the samples.
        outer: (D, D) sum of their outer products.
        count: () number of samples, at least two.
    """
    mean = total / count
    return mean, (outer - count * torch.outer(mean, mean)) / (count - 1)


def frechet_from_moments(
    mean_1: Tensor, covariance_1: Tensor, mean_2: Tensor, covariance_2: Tensor
) -> Tensor:
    """Frechet distance of two Gaussians (Dowson and Landau 1982; FID, Heusel et al. 2017).

        |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))

    The trace of the root is taken from the symmetric C1^(1/2) C2 C1^(1/2), whose eigenvalues are
    those of C1 C2 and real.

    Returns:
        () float64, at least 0.
    """
    values, vectors = torch.linalg.eigh(covariance_1)
    root = vectors * values.clamp(min=0).sqrt()
    between = torch.linalg.eigvalsh(root.T @ covariance_2 @ root).clamp(min=0).sqrt().sum()
    apart = (mean_1 - mean_2).square().sum()
    return (apart + covariance_1.trace() + covariance_2.trace() - 2 * between).clamp(min=0)


def frechet_distance(first: Tensor, second: Tensor) -> Tensor:
    """Frechet distance of the Gaussians fitted to two sets of features.

    Args:
        first: (N, D), N at least 2.
        second: (M, D), M at least 2.

    Returns:
        () float64. It is biased upwards for small N and M: compare equal sample counts only.
    """

    def fitted(samples: Tensor) -> tuple[Tensor, Tensor]:
        samples = samples.double()
        count = torch.tensor(float(len(samples)), dtype=torch.float64, device=samples.device)
        return moments(samples.sum(0), samples.T @ samples, count)

    return frechet_from_moments(*fitted(first), *fitted(second))


def kernel_distance(first: Tensor, second: Tensor) -> Tensor:
    """Unbiased squared maximum mean discrepancy with the cubic kernel (KID, Binkowski et al. 2018).

        k(x, y) = (x . y / D + 1)^3

    Args:
        first: (N, D), N at least 2.
        second: (M, D), M at least 2.

    Returns:
        () float64; 0 on average for sets of the same distribution, so it can be negative.
    """
    first, second = first.double(), second.double()

    def kernel(one: Tensor, two: Tensor) -> Tensor:
        return (one @ two.T / one.shape[-1] + 1) ** 3

    def within(samples: Tensor) -> Tensor:
        table = kernel(samples, samples)
        return (table.sum() - table.trace()) / (len(samples) * (len(samples) - 1))

    return within(first) + within(second) - 2 * kernel(first, second).mean()


def bootstrap_distance(
    first: Tensor,
    second: Tensor,
    distance: Distance,
    *,
    level: float = 0.95,
    draws: int = 200,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a distance when both sets are drawn again.

    Repeated samples raise the Frechet distance, so its interval is shifted by the difference of
    the draws' median to the distance itself.

    Args:
        first: (N, D).
        second: (M, D).
        distance: `frechet_distance` or `kernel_distance`.
        level: Share of the draws inside the interval.
        draws: Number of draws.
        seed: Seed of the draws.
    """
    random = torch.Generator().manual_seed(seed)

    def drawn(samples: Tensor) -> Tensor:
        place = torch.randint(len(samples), (len(samples),), generator=random)
        return samples[place.to(samples.device)]

    found = torch.stack([distance(drawn(first), drawn(second)) for _ in range(draws)])
    found = found - found.median() + distance(first, second)
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=found.dtype, device=found.device)
    low, high = found.quantile(ends).tolist()
    return low, high


def mean_pairwise_distance(samples: Tensor) -> Tensor:
    """Mean Euclidean distance of all pairs: Dist_k and Dist_g of AIST++ on their features.

    Args:
        samples: (N, D).

    Returns:
        () float64; 0 for fewer than two samples.
    """
    if len(samples) < 2:
        return torch.zeros((), dtype=torch.float64, device=samples.device)
    return torch.nn.functional.pdist(samples.double()).mean()


def nearest_distances(queries: Tensor, references: Tensor, leave_one_out: bool = False) -> Tensor:
    """Euclidean distance of each query to its nearest reference.

    Args:
        queries: (N, D).
        references: (M, D).
        leave_one_out: The two sets are the same; a sample is not its own neighbor.

    Returns:
        (N,) float64.
    """
    table = torch.cdist(
        queries.double(), references.double(), compute_mode="donot_use_mm_for_euclid_dist"
    )
    if leave_one_out:
        table = table + torch.diag(table.new_full((len(table),), torch.inf))
    return table.amin(-1)
