"""Known answers of stage 1's losses and of its labels from keypoints."""

import math

import pytest
import torch

from lightning_modules import losses
from lightning_modules.joints import (
    PARTS,
    body_parts,
    flow_loss,
    occlusion_loss,
    part_distance,
    region_loss,
    teach,
)
from lightning_modules.networks.regions import Regions
from lightning_modules.networks.vgg import VGG19Pyramid
from lightning_modules.networks.warp import coordinate_grid
from metrics.reconstruction import reconstruction_scores, reconstruction_sums


def flat(value: float, size: int = 16) -> torch.Tensor:
    return torch.full((2, 3, size, size), value)


def even(size: int = 16) -> torch.Tensor:
    return torch.ones(2, 1, size, size)


def test_foreground_weight_is_even_without_motion_and_of_mean_one_with_it() -> None:
    torch.testing.assert_close(losses.foreground_weight(flat(0.3), flat(0.3), 4.0), even())
    driving = flat(0.0)
    driving[:, :, :4] = 1.0
    weight = losses.foreground_weight(flat(0.0), driving, 4.0)
    torch.testing.assert_close(weight.mean(), torch.tensor(1.0))
    # A quarter of the image differs: 1 + 4 / (1 / 4) = 17 there, 1 elsewhere, mean 5.
    torch.testing.assert_close(weight[0, 0, 0, 0], torch.tensor(17 / 5))
    torch.testing.assert_close(weight[0, 0, 9, 0], torch.tensor(1 / 5))


def test_multiscale_l1_of_an_offset_and_of_a_checkerboard() -> None:
    torch.testing.assert_close(
        losses.multiscale_l1(flat(0.7), flat(0.5), even()), torch.tensor(0.2)
    )
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2
    # Seen at full size only: averaged over 2 x 2 it is nothing, so a quarter of the difference.
    prediction = 0.5 + 0.2 * (2 * board - 1).expand(2, 3, 16, 16)
    found = losses.multiscale_l1(prediction, flat(0.5), even())
    torch.testing.assert_close(found, torch.tensor(0.05))


def test_gradient_l1_sees_slopes_but_no_offsets() -> None:
    assert losses.gradient_l1(flat(0.7), flat(0.5), even()) < 1e-7
    ramp = (torch.arange(16.0) * 0.01).expand(2, 3, 16, 16)
    torch.testing.assert_close(losses.gradient_l1(ramp, flat(0.0), even()), torch.tensor(0.01))


def test_ssim_is_one_for_equals_and_its_formula_for_constants() -> None:
    image = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(losses.ssim(image, image), torch.ones(2, 3, 5, 5))
    expected = (2 * 0.4 * 0.8 + 1e-4) / (0.4**2 + 0.8**2 + 1e-4)
    assert losses.ssim(flat(0.4), flat(0.8)).mean() == pytest.approx(expected, rel=1e-3)


def test_flow_variation_ignores_the_identity_and_measures_cells() -> None:
    grid = coordinate_grid(8, 8, torch.zeros(1)).clone()
    assert losses.flow_variation(grid) < 1e-6
    grid[:, 4:, 0] += 2 / 8  # the right half comes from one cell further on
    # One of seven neighbor pairs across differs by one cell in x, none down; mean over x and y.
    torch.testing.assert_close(losses.flow_variation(grid), torch.tensor(1 / 14))


def test_gaussian_reduce_is_the_full_two_dimensional_gaussian() -> None:
    image = torch.rand(1, 1, 32, 32)
    offsets = torch.arange(-6.0, 7.0)
    line = torch.exp(-(offsets**2) / (2 * 1.5**2))
    kernel = torch.outer(line, line) / line.sum() ** 2
    expected = torch.nn.functional.conv2d(image, kernel[None, None], padding=6)[..., ::4, ::4]
    torch.testing.assert_close(losses.gaussian_reduce(image, 4), expected)


def test_perceptual_loss_adds_every_map_at_every_scale() -> None:
    def features(images: torch.Tensor) -> list[torch.Tensor]:
        return [images, 2 * images]

    image = torch.rand(1, 3, 32, 32)
    assert losses.perceptual(features, image, image) == 0
    found = losses.perceptual(features, flat(0.6, 256), flat(0.5, 256))
    assert found == pytest.approx(4 * 0.1 * 3, rel=0.03)  # smaller at the zero-padded borders


def test_vgg_taps_follow_each_blocks_first_activation() -> None:
    maps = VGG19Pyramid()(torch.rand(1, 3, 32, 32))
    shapes = [(64, 32), (128, 16), (256, 8), (512, 4), (512, 2)]
    assert [(m.shape[1], m.shape[2]) for m in maps] == shapes
    assert all((m >= 0).all() for m in maps)


def thin_plate(number: int) -> losses.ThinPlate:
    generators = [torch.Generator().manual_seed(i) for i in range(number)]
    return losses.ThinPlate(generators, torch.device("cpu"))


def test_thin_plate_jacobian_is_its_derivative() -> None:
    warp = thin_plate(3)
    warp.matrix, warp.bending = warp.matrix.double(), warp.bending.double()
    warp.controls = warp.controls.double()
    points = torch.rand(3, 5, 2, dtype=torch.float64) * 2 - 1
    found = warp.jacobian(points)
    for axis in range(2):
        step = torch.zeros(2, dtype=torch.float64)
        step[axis] = 1e-6
        slope = (warp.positions(points + step) - warp.positions(points - step)) / 2e-6
        torch.testing.assert_close(found[..., axis], slope, atol=1e-6, rtol=1e-5)


def test_thin_plate_of_a_frame_does_not_depend_on_its_batch() -> None:
    points = torch.rand(1, 4, 2)
    alone = losses.ThinPlate([torch.Generator().manual_seed(2)], torch.device("cpu"))
    together = thin_plate(3).positions(points.expand(3, -1, -1))
    torch.testing.assert_close(alone.positions(points)[0], together[2])


def test_regions_that_follow_the_warp_have_no_equivariance_loss() -> None:
    warp = thin_plate(2)
    shift = torch.rand(2, 4, 2) - 0.5
    affine = torch.eye(2) * 0.3 + 0.05 * torch.randn(2, 4, 2, 2)
    heatmap = torch.zeros(2, 4, 1, 1)
    plain = Regions(
        warp.positions(shift), affine @ affine.mT, warp.jacobian(shift) @ affine, heatmap
    )
    warped = Regions(shift, affine @ affine.mT, -affine, heatmap)
    found_shift, found_affine = losses.equivariance(plain, warped, warp)
    assert found_shift < 1e-6
    assert found_affine < 1e-4
    moved = Regions(shift + 0.1, warped.covar, warped.affine, heatmap)
    assert losses.equivariance(plain, moved, warp)[0] > 0.05


def a_person(shift: float = 0.0) -> torch.Tensor:
    """COCO keypoints (1, 17, 3) of someone upright, arms hanging."""
    xy = {
        0: (0.0, -0.55), 1: (-0.02, -0.57), 2: (0.02, -0.57), 3: (-0.05, -0.55), 4: (0.05, -0.55),
        5: (-0.12, -0.4), 6: (0.12, -0.4), 7: (-0.14, -0.2), 8: (0.14, -0.2), 9: (-0.15, 0.0),
        10: (0.15, 0.0), 11: (-0.07, 0.0), 12: (0.07, 0.0), 13: (-0.08, 0.3), 14: (0.08, 0.3),
        15: (-0.08, 0.6), 16: (0.08, 0.6),
    }  # fmt: skip
    points = torch.tensor([[*xy[j], 1.0] for j in range(17)])[None]
    points[..., 0] += shift
    return points


def test_parts_lie_on_their_bones() -> None:
    parts = body_parts(a_person())
    torso, thigh = PARTS.index("torso"), PARTS.index("left thigh")
    torch.testing.assert_close(parts.center[0, torso], torch.tensor([0.0, -0.2]))
    torch.testing.assert_close(parts.matrix[0, torso, :, 0], torch.tensor([0.0, -0.2]))
    torch.testing.assert_close(parts.center[0, thigh], torch.tensor([-0.075, 0.15]))
    assert (parts.matrix.det() > 0).all()
    hidden = a_person()
    hidden[0, 13, 2] = 0.0  # the left knee
    seen = body_parts(hidden).seen[0]
    assert [PARTS[k] for k in range(10) if seen[k] == 0] == ["left thigh", "left shin"]
    hidden[0, 13] = torch.tensor([torch.nan, torch.nan, 1.0])  # not found at all
    lost = body_parts(hidden)
    assert torch.equal(lost.seen[0], seen)
    assert torch.isfinite(lost.matrix).all()


def test_teacher_flow_moves_the_person_and_not_the_wall() -> None:
    reference, driving = body_parts(a_person()), body_parts(a_person(0.5))
    teacher = teach(reference, driving, 32, 32)
    grid = coordinate_grid(32, 32, teacher.flow)
    inside = part_distance(driving, grid).amin(1)[0] < 0
    assert inside.sum() > 20
    expected = grid[inside] - torch.tensor([0.5, 0.0])
    torch.testing.assert_close(teacher.flow[0][inside], expected, atol=1e-5, rtol=0)
    assert (teacher.weight[0][inside] == 1).all()
    assert (teacher.body[0][inside] == 1).all()
    torch.testing.assert_close(teacher.flow[0, 0, 0], grid[0, 0])
    was_there = part_distance(reference, grid).amin(1)[0] < -0.02
    assert (teacher.hidden[0][was_there] == 1).all()
    assert flow_loss(teacher.flow, teacher) == 0
    assert flow_loss(teacher.flow + 0.1, teacher) == pytest.approx(0.2, rel=1e-4)
    assert occlusion_loss(1 - teacher.hidden, teacher) == 0
    assert occlusion_loss(torch.ones(1, 32, 32), teacher) == pytest.approx(1.0)
    assert occlusion_loss(torch.zeros(1, 32, 32), teacher) == pytest.approx(1.1)


def test_an_arm_raised_over_the_head_keeps_hand_and_elbow_apart() -> None:
    raised = a_person()
    raised[0, 7, :2] = torch.tensor([-0.14, -0.6])
    raised[0, 9, :2] = torch.tensor([-0.15, -0.8])
    hanging = body_parts(a_person())
    grid_size = 64
    teacher = teach(hanging, body_parts(raised), grid_size, grid_size)
    hand = torch.tensor([-0.15, -0.8])
    cell = ((hand + 1) / 2 * (grid_size - 1)).round().int()
    assert teacher.weight[0, cell[1], cell[0]] == 1
    source = teacher.flow[0, cell[1], cell[0]]
    assert torch.dist(source, torch.tensor([-0.15, 0.0])) < 0.05


def test_region_loss_is_zero_on_the_parts_and_counts_what_is_seen() -> None:
    parts = body_parts(a_person())
    covar = parts.matrix @ parts.matrix.mT
    heatmap = torch.zeros(1, 10, 1, 1)
    exact = Regions(parts.center, covar, parts.matrix, heatmap)
    assert region_loss(exact, parts, regressed=True) == 0
    turned = Regions(parts.center, covar, -parts.matrix, heatmap)
    assert region_loss(turned, parts, regressed=False) < 1e-6
    assert region_loss(turned, parts, regressed=True) > 0.01
    off = Regions(parts.center + 0.2, covar, parts.matrix, heatmap)
    assert region_loss(off, parts, regressed=True) == pytest.approx(0.2, rel=1e-5)


def test_reconstruction_scores_compare_with_copying_over_what_changed() -> None:
    reference = torch.zeros(1, 3, 8, 8)
    driving = torch.zeros(1, 1, 3, 8, 8)
    driving[..., :2] = 0.8
    prediction = driving.clone()
    prediction[..., :2] = 0.6
    prediction[..., 2:] = 0.1  # errors outside the foreground count in `l1_all` alone
    sums = reconstruction_sums(reference, driving, prediction, reference[:, None])
    scores = reconstruction_scores(sums + sums)
    assert scores["l1"] == pytest.approx(0.2)
    assert scores["l1_copy"] == pytest.approx(0.8)
    assert scores["l1_ratio"] == pytest.approx(0.25)
    assert scores["l1_ratio_deformed"] == pytest.approx(1.0)
    assert scores["psnr_gain"] == pytest.approx(20 * math.log10(4), rel=1e-5)
    assert scores["l1_all"] == pytest.approx(0.25 * 0.2 + 0.75 * 0.1)
    nothing = reconstruction_sums(reference, 0 * driving, 0 * driving, 0 * driving)
    assert math.isnan(reconstruction_scores(nothing)["l1_ratio"])
