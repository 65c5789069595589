"""Closed forms for 2 x 2 matrices: differentiable, and finite for degenerate matrices."""

from __future__ import annotations

import torch
from torch import Tensor

#: Variance floor, in squared grid units: a deviation of 1e-5, far below a pixel of any image.
_MIN_VARIANCE = 1e-10
#: Smallest determinant of a covariance in its inverse; its square is still a float32.
_MIN_COVAR_DETERMINANT = 1e-12
#: Smallest |det| of an affine map in its inverse: the smallest that `_MIN_VARIANCE` allows.
_MIN_AFFINE_DETERMINANT = 1e-10


def principal_affine(covar: Tensor) -> Tensor:
    """Return U sqrt(D) of a covariance U D U^T: its principal axes, scaled by their deviations.

    With covar [[a, b], [b, c]] and theta = atan2(2 b, a - c) / 2, U = [[-cos, -sin], [-sin, cos]]
    and D descending. For b != 0 this equals LAPACK's SVD up to a common sign of both columns, which
    cancels in products of one matrix and the inverse of another (`relative_affine`). The relative
    sign of the columns (determinant -1) matters to trained weights. It is the same for exactly
    diagonal matrices, where LAPACK returns determinant +1, which would mirror the region.

    Where the axes are undefined (equal eigenvalues), theta is 0 and has no gradient. Eigenvalues
    are at least 1e-10. Source: MRAA, section 3.2; Jacobi's decomposition.

    Args:
        covar: (..., 2, 2), symmetric.

    Returns:
        (..., 2, 2).
    """
    a, b, c = covar[..., 0, 0], covar[..., 0, 1], covar[..., 1, 1]
    mean = (a + c) / 2
    half_difference = (a - c) / 2
    epsilon = 4 * torch.finfo(covar.dtype).eps
    smallest = torch.finfo(covar.dtype).tiny ** 0.5
    radius_squared = half_difference.square() + b.square()
    isotropic = radius_squared <= (epsilon * mean).square() + smallest
    # Replace the operands before the root and the angle, whose gradients would be 0 / 0 there.
    safe_x = torch.where(isotropic, torch.ones_like(a), half_difference)
    safe_y = torch.where(isotropic, torch.zeros_like(b), b)
    radius = torch.where(isotropic, torch.zeros_like(a), (safe_x.square() + safe_y.square()).sqrt())
    theta = torch.atan2(safe_y, safe_x) / 2
    # Eigenvalues of a symmetric 2 x 2 matrix: mean +- radius.
    major = (mean + radius).clamp(min=_MIN_VARIANCE).sqrt()
    minor = (mean - radius).clamp(min=_MIN_VARIANCE).sqrt()
    cos, sin = theta.cos(), theta.sin()
    rows = [
        torch.stack([-cos * major, -sin * minor], dim=-1),
        torch.stack([-sin * major, cos * minor], dim=-1),
    ]
    return torch.stack(rows, dim=-2)


def inverse(matrix: Tensor, least_determinant: float = 0.0) -> Tensor:
    """Invert (..., 2, 2); determinants closer to zero than 1e-10 are set to 1e-10 with their sign.

    With `least_determinant` above 0, determinants are clamped to it from below instead, so that the
    inverse of a nearly singular matrix is small and not huge. Use it for matrices whose determinant
    is known to be positive.
    """
    a, b = matrix[..., 0, 0], matrix[..., 0, 1]
    c, d = matrix[..., 1, 0], matrix[..., 1, 1]
    determinant = a * d - b * c
    if least_determinant > 0:
        determinant = determinant.clamp(min=least_determinant)
    else:
        floor = torch.full_like(determinant, _MIN_AFFINE_DETERMINANT)
        floor = torch.where(determinant < 0, -floor, floor)
        determinant = torch.where(determinant.abs() < _MIN_AFFINE_DETERMINANT, floor, determinant)
    # [[a, b], [c, d]]^-1 = [[d, -b], [-c, a]] / (a d - b c).
    adjugate = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)
    return adjugate / determinant[..., None, None]


def mahalanobis_squared(offset: Tensor, covar: Tensor) -> Tensor:
    """Return d^T covar^-1 d >= 0 for offsets d (..., 2) and covariances (..., 2, 2)."""
    a, b, c = covar[..., 0, 0], covar[..., 0, 1], covar[..., 1, 1]
    determinant = (a * c - b * b).clamp(min=_MIN_COVAR_DETERMINANT)
    x, y = offset[..., 0], offset[..., 1]
    form = c * x.square() - 2 * b * x * y + a * y.square()
    return (form / determinant).clamp(min=0)


def apply_matrix(matrix: Tensor, points: Tensor) -> Tensor:
    """Multiply matrices (..., 2, 2) and points (..., 2), with broadcasting.

    It is written elementwise because autocast would run a matrix product in half precision, and
    because that is slower for two columns.
    """
    x, y = points[..., 0], points[..., 1]
    return torch.stack(
        [
            matrix[..., 0, 0] * x + matrix[..., 0, 1] * y,
            matrix[..., 1, 0] * x + matrix[..., 1, 1] * y,
        ],
        dim=-1,
    )


def relative_affine(
    source: Tensor, driving: Tensor, correct_sign: bool, least_determinant: float = 0.0
) -> Tensor:
    """Return source driving^-1: maps offsets from a driving region's center to its source region.

    Args:
        source: (..., 2, 2).
        driving: (..., 2, 2).
        correct_sign: Multiply by the sign of the result's [0, 0] element, which undoes a flip of
            both axes ("revert axis swap" in MRAA's configuration).
        least_determinant: See `inverse`.

    Returns:
        (..., 2, 2).
    """
    inverted = inverse(driving, least_determinant)
    columns = [apply_matrix(source, inverted[..., :, j]) for j in range(2)]
    affine = torch.stack(columns, dim=-1)
    if correct_sign:
        affine = torch.where(affine[..., :1, :1] < 0, -affine, affine)
    return affine
