"""2 x 2 matrices in closed form against LAPACK, and grids against positions worked out by hand."""

import pytest
import torch

from lightning_modules.networks.affine2d import (
    apply_matrix,
    inverse,
    mahalanobis_squared,
    principal_affine,
    relative_affine,
)
from lightning_modules.networks.warp import coordinate_grid, resize_grid, warp


def random_covariances(number: int, dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(number, 2, 3, generator=generator, dtype=torch.float64)
    scale = torch.exp(2 * torch.randn(number, 1, 1, generator=generator, dtype=torch.float64))
    return (scale * points @ points.mT).to(dtype)


def by_lapack(covar: torch.Tensor) -> torch.Tensor:
    u, d, _ = torch.linalg.svd(covar)
    return u * d.sqrt()[..., None, :]


def joint_sign_distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    plus = (a - b).abs().amax(dim=(-1, -2))
    return torch.minimum(plus, (a + b).abs().amax(dim=(-1, -2)))


def check_against_lapack(number: int) -> None:
    covar = random_covariances(number, torch.float64)
    found = principal_affine(covar)
    scale = covar.diagonal(dim1=-2, dim2=-1).sum(-1).sqrt()
    assert (joint_sign_distance(found, by_lapack(covar)) / scale).max() < 1e-6
    assert (found.det() < 0).all()
    single = principal_affine(covar.float())
    assert ((single @ single.mT - covar).abs().amax((-1, -2)) / scale**2).max() < 1e-5


def test_principal_affine_is_lapacks_svd_up_to_a_joint_sign() -> None:
    check_against_lapack(20_000)


@pytest.mark.long
def test_principal_affine_is_lapacks_svd_on_a_million_matrices() -> None:
    check_against_lapack(1_000_000)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_covariances_keep_their_square_and_stay_finite(dtype: torch.dtype) -> None:
    matrices = [
        [[0, 0], [0, 0]], [[1, 0], [0, 1]], [[2, 0], [0, 1]], [[1, 0], [0, 2]],
        [[1, 1], [1, 1]], [[1, -1], [-1, 1]], [[1, 0], [0, 0]], [[0, 0], [0, 1]],
        [[1e-20, 0], [0, 1e-20]], [[1, 1e-9], [1e-9, 1]], [[1e12, 0], [0, 1e-12]],
    ]  # fmt: skip
    covar = torch.tensor(matrices, dtype=dtype, requires_grad=True)
    affine = principal_affine(covar)
    square = affine @ affine.mT
    scale = covar.detach().abs().amax(dim=(-1, -2), keepdim=True).clamp(min=1.0)
    assert ((square - covar).abs() / scale).max() < 1e-6
    assert (affine.det() < 0).all()
    distance = mahalanobis_squared(torch.tensor([0.3, -0.2], dtype=dtype), covar)
    (affine.sum() + inverse(affine).sum() + torch.exp(-distance / 2).sum()).backward()
    assert covar.grad is not None
    assert torch.isfinite(covar.grad).all()
    assert (distance >= 0).all()


def test_gradients_agree_with_finite_differences() -> None:
    covar = random_covariances(16, torch.float64) + 0.05 * torch.eye(2)

    def symmetric(raw: torch.Tensor) -> torch.Tensor:
        return principal_affine((raw + raw.mT) / 2)

    assert torch.autograd.gradcheck(symmetric, covar.requires_grad_())
    offset = torch.randn(16, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mahalanobis_squared, (offset, covar))
    assert torch.autograd.gradcheck(inverse, covar)


def test_joint_signs_cancel_in_the_flow() -> None:
    generator = torch.Generator().manual_seed(1)
    source = torch.randn(50, 2, 2, generator=generator, dtype=torch.float64)
    driving = torch.randn(50, 2, 2, generator=generator, dtype=torch.float64)
    expected = source @ torch.linalg.inv(driving)
    expected = expected * expected[:, :1, :1].sign()
    for sign in (1, -1):
        torch.testing.assert_close(relative_affine(source, sign * driving, True), expected)
    plain = relative_affine(source, -driving, correct_sign=False)
    torch.testing.assert_close(plain, -source @ torch.linalg.inv(driving))


def test_apply_matrix_is_the_matrix_product() -> None:
    matrix, points = torch.randn(5, 2, 2), torch.randn(5, 2)
    torch.testing.assert_close(apply_matrix(matrix, points), (matrix @ points[..., None])[..., 0])


def test_grid_runs_from_outer_center_to_outer_center() -> None:
    grid = coordinate_grid(3, 5, torch.zeros(1))
    assert grid[0, :, 0].tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert grid[:, 0, 1].tolist() == [-1.0, 0.0, 1.0]


def test_published_sampling_shrinks_and_aligned_sampling_does_not() -> None:
    image = torch.arange(8.0).expand(1, 1, 8, 8).contiguous()
    grid = coordinate_grid(8, 8, image)[None, None]
    aligned = warp(image, grid, align_corners=True)[0, 0, 0]
    torch.testing.assert_close(aligned, image[0, 0])
    published = warp(image, grid)[0, 0, 0, 4]
    # Cell i looks at ((2 i / 7 - 1 + 1) 8 - 1) / 2 = 8 i / 7 - 1 / 2, zeros outside 0 to 7.
    expected = torch.tensor([0.0, *[8 * i / 7 - 0.5 for i in range(1, 7)], 3.5])
    torch.testing.assert_close(published, expected)


def test_many_grids_of_one_image_are_sampled_as_one_by_one() -> None:
    image = torch.rand(2, 3, 9, 7)
    grids = torch.rand(2, 4, 5, 6, 2) * 2.2 - 1.1
    together = warp(image, grids)
    for t in range(4):
        torch.testing.assert_close(together[:, t : t + 1], warp(image, grids[:, t : t + 1]))


def test_half_precision_images_are_sampled_at_full_precision_positions() -> None:
    image = torch.rand(1, 3, 128, 128)
    grid = coordinate_grid(128, 128, image)[None, None] * 0.9
    exact = warp(image, grid, align_corners=True)
    half = warp(image.bfloat16(), grid, align_corners=True)
    assert half.dtype == torch.bfloat16
    # Positions in bfloat16 would be off by a quarter of a pixel, an error of 0.1 in white noise.
    assert (half.float() - exact).abs().max() < 8e-3


def test_resizing_an_aligned_identity_gives_the_identity() -> None:
    small = coordinate_grid(4, 4, torch.zeros(1))[None, None]
    large = resize_grid(small, 16, 16, align_corners=True)[0, 0]
    torch.testing.assert_close(large, coordinate_grid(16, 16, torch.zeros(1)))
