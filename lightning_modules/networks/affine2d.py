"""2 x 2 matrices in closed form: on the device, differentiable, finite for degenerate ones."""

from __future__ import annotations

import torch
from torch import Tensor

#: Variance floor, in squared grid units: a deviation of 1e-5, far below a pixel of any image.
_MIN_VARIANCE = 1e-10
#: Floor of a covariance's determinant in its inverse; its square still fits in float32.
_MIN_COVAR_DETERMINANT = 1e-12
#: Floor of |det| of an affine map in its inverse: the least that `_MIN_VARIANCE` lets arise.
_MIN_AFFINE_DETERMINANT = 1e-10


def principal_affine(covar: Tensor) -> Tensor:
    """U sqrt(D) of a covariance (..., 2, 2) = U D U^T, its principal axes scaled by deviations.

    With covar [[a, b], [b, c]] and theta = atan2(2 b, a - c) / 2, U = [[-cos, -sin], [-sin, cos]]
    and D descending. For b != 0 that is LAPACK's SVD up to a joint sign of both columns, which
    cancels where affine maps are divided by one another and corrected in sign. The columns'
    relative sign (determinant -1) matters to trained weights. It is kept for exactly diagonal
    matrices too, where LAPACK returns determinant +1: a jump there would be a mirrored region.

    Where the axes are undefined (equal eigenvalues) theta is 0 and passes no gradient; eigenvalues
    are held above 1e-10. Source: MRAA, section 3.2; decomposition of Jacobi.
    """
    a, b, c = covar[..., 0, 0], covar[..., 0, 1], covar[..., 1, 1]
    mean = (a + c) / 2
    half_difference = (a - c) / 2
    epsilon = 4 * torch.finfo(covar.dtype).eps
    smallest = torch.finfo(covar.dtype).tiny ** 0.5
    radius_squared = half_difference.square() + b.square()
    isotropic = radius_squared <= (epsilon * mean).square() + smallest
    # Replaced before the root and the angle are taken: their gradients there are 0 / 0.
    safe_x = torch.where(isotropic, torch.ones_like(a), half_difference)
    safe_y = torch.where(isotropic, torch.zeros_like(b), b)
    radius = torch.where(isotropic, torch.zeros_like(a), (safe_x.square() + safe_y.square()).sqrt())
    theta = torch.atan2(safe_y, safe_x) / 2
    major = (mean + radius).clamp(min=_MIN_VARIANCE).sqrt()
    minor = (mean - radius).clamp(min=_MIN_VARIANCE).sqrt()
    cos, sin = theta.cos(), theta.sin()
    rows = [
        torch.stack([-cos * major, -sin * minor], dim=-1),
        torch.stack([-sin * major, cos * minor], dim=-1),
    ]
    return torch.stack(rows, dim=-2)


def inverse(matrix: Tensor, least_determinant: float = 0.0) -> Tensor:
    """The inverse of (..., 2, 2); a determinant within 1e-10 of zero is moved there, sign kept.

    With `least_determinant` above 0, determinants are raised to it instead, and the inverse of a
    nearly vanishing matrix is small, not huge: right for matrices whose determinant is known to be
    positive.
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
    adjugate = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)
    return adjugate / determinant[..., None, None]


def mahalanobis_squared(offset: Tensor, covar: Tensor) -> Tensor:
    """d^T covar^-1 d for offsets (..., 2) and covariances (..., 2, 2), never negative."""
    a, b, c = covar[..., 0, 0], covar[..., 0, 1], covar[..., 1, 1]
    determinant = (a * c - b * b).clamp(min=_MIN_COVAR_DETERMINANT)
    x, y = offset[..., 0], offset[..., 1]
    form = c * x.square() - 2 * b * x * y + a * y.square()
    return (form / determinant).clamp(min=0)


def apply_matrix(matrix: Tensor, points: Tensor) -> Tensor:
    """matrix (..., 2, 2) times points (..., 2), broadcast; elementwise, so never in half precision.

    A batched matrix product would be autocast, and is slower for two columns.
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
    """source driving^-1 (..., 2, 2): maps offsets around a driving region to its source region.

    `correct_sign` multiplies by the sign of the own [0, 0] element, which undoes a flip of both
    axes ("revert axis swap" in MRAA's configuration).
    """
    inverted = inverse(driving, least_determinant)
    columns = [apply_matrix(source, inverted[..., :, j]) for j in range(2)]
    affine = torch.stack(columns, dim=-1)
    if correct_sign:
        affine = torch.where(affine[..., :1, :1] < 0, -affine, affine)
    return affine
