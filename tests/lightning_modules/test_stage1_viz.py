"""Images of stage 1: colors by hand, and sheets that show what they should."""

import pytest
import torch
from tiny_models import tiny_autoencoder

from lightning_modules.networks.regions import Regions
from lightning_modules.networks.warp import coordinate_grid
from lightning_modules.viz import (
    COLUMNS,
    autoencoder_panel,
    color_wheel,
    draw_regions,
    flow_colors,
    residual_pixels,
)


def test_colors_tell_the_direction_of_motion() -> None:
    # A backward flow that looks to the left is content that moved to the right.
    flow = torch.tensor([[-4.0, 0.0], [4.0, 0.0], [0.0, 0.0], [-2.0, 0.0]])[None]
    right, left, still, half = flow_colors(flow, 4.0)[:, 0].T
    torch.testing.assert_close(right, torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(left, torch.tensor([0.0, 1.0, 1.0]))
    torch.testing.assert_close(still, torch.ones(3))
    torch.testing.assert_close(half, torch.tensor([1.0, 0.5, 0.5]))


def test_wheel_is_the_colors_of_motion_from_its_center() -> None:
    wheel = color_wheel(33)
    torch.testing.assert_close(wheel[:, 16, 32], torch.tensor([1.0, 0.0, 0.0]))
    assert wheel[1, 32, 16] > wheel[0, 32, 16]  # down: green rather than red
    torch.testing.assert_close(wheel[:, 16, 16], torch.ones(3))
    torch.testing.assert_close(wheel[:, 0, 0], torch.ones(3))


def test_residuals_are_in_pixels() -> None:
    grid = coordinate_grid(16, 16, torch.zeros(1)) + torch.tensor([2 / 63, 0.0])
    expected = torch.tensor([1.0, 0.0]).expand(16, 16, 2)
    torch.testing.assert_close(residual_pixels(grid, 64), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("bad", [False, True])
def test_regions_are_drawn_where_they_are(bad: bool) -> None:
    affine = torch.eye(2)[None, None] * 0.2
    shift = torch.tensor([[[0.5, -0.5]]])
    if bad:
        affine = affine * torch.nan  # of a run that diverged: no image is worth a crash
    regions = Regions(shift, affine @ affine.mT, affine, torch.zeros(1, 1, 1, 1))
    drawn = draw_regions(torch.zeros(3, 64, 64), regions, 0)
    rows, columns = torch.nonzero(drawn.sum(0), as_tuple=True)
    assert len(rows) > 0
    if not bad:
        assert 8 <= rows.min() <= 10
        assert 21 <= rows.max() <= 23
        assert 40 <= columns.min() <= 42


def test_panel_has_a_row_a_frame_and_keeps_the_mode() -> None:
    torch.manual_seed(0)
    network = tiny_autoencoder(regions=3, region_blocks=2, flow_blocks=2, background="zero").train()
    frames = torch.rand(2, 3, 3, 32, 32)
    sheet = autoencoder_panel(network, frames, side=32)
    assert network.training
    assert sheet.dtype == torch.uint8
    assert sheet.shape == (3, 14 + 4 * 34, len(COLUMNS) * 34 + 40)
    driving = (frames[1, 2] * 255).round().to(torch.uint8)
    top, left = 14 + 3 * 34, COLUMNS.index("driving") * 34
    assert torch.equal(sheet[:, top : top + 32, left : left + 32], driving)
