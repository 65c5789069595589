"""An alpha channel counts where it outlines something, not because it is there."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from datamodules.media.images import read_cutout, read_image, read_mask

HEIGHT, WIDTH = 80, 60


def photo() -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 3, y * 3, 200 - x * 2], axis=-1).astype(np.uint8)


def person() -> np.ndarray:
    """(H, W) uint8: 255 on a figure of 14 x 60 pixels."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:70, 22:36] = 255
    return mask


def rounded_window(margin: int) -> np.ndarray:
    """(H, W) uint8: a window with rounded corners and a soft shadow of `margin` pixels."""
    canvas = Image.new("L", (WIDTH, HEIGHT), 0)
    box = (margin, margin, WIDTH - 1 - margin, HEIGHT - 1 - margin)
    ImageDraw.Draw(canvas).rounded_rectangle(box, radius=5, fill=255)
    window = np.array(canvas)
    shadow = cv2.GaussianBlur(window, (0, 0), max(0.1, margin / 2)) // 3
    return np.maximum(window, shadow)


def one_pixel_at_254() -> np.ndarray:
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[3, 4] = 254
    return alpha


UNINFORMATIVE = {
    "opaque": np.full((HEIGHT, WIDTH), 255, np.uint8),
    "one pixel at 254": one_pixel_at_254(),
    "rounded corners": rounded_window(0),
    "window with shadow": rounded_window(7),
    "zero everywhere": np.zeros((HEIGHT, WIDTH), np.uint8),
    "zeros and ones of 255": person() // 255,
}


def save(colors: np.ndarray, alpha: np.ndarray, path: Path) -> Path:
    colors = colors if colors.ndim == 3 else colors[..., None]
    Image.fromarray(np.dstack([colors, alpha])).save(path)
    return path


@pytest.mark.parametrize("kind", UNINFORMATIVE)
@pytest.mark.parametrize("gray", [False, True])
def test_images_are_not_cut_out_by_an_alpha_channel_without_an_outline(
    tmp_path: Path, kind: str, gray: bool
) -> None:
    colors = photo()[..., 0] if gray else photo()
    found, alpha = read_cutout(save(colors, UNINFORMATIVE[kind], tmp_path / "image.png"))
    assert alpha is None
    middle = colors[40, 30] if gray else colors[40, 30].tolist()
    assert found[:, 40, 30].tolist() == pytest.approx([middle] * 3 if gray else middle, abs=1)


@pytest.mark.parametrize("gray", [False, True])
def test_transparency_around_a_person_is_a_cutout(tmp_path: Path, gray: bool) -> None:
    colors = photo()[..., 0] if gray else photo()
    _, alpha = read_cutout(save(colors, person(), tmp_path / "image.png"))
    assert alpha is not None
    assert np.array_equal(alpha.numpy() * 255, person())


def test_sixteen_bit_alpha(tmp_path: Path) -> None:
    for name, alpha in (("opaque.png", UNINFORMATIVE["opaque"]), ("person.png", person())):
        deep = np.dstack([photo(), alpha]).astype(np.uint16) * 257
        cv2.imwrite(str(tmp_path / name), deep)
    assert read_cutout(tmp_path / "opaque.png")[1] is None
    assert read_cutout(tmp_path / "person.png")[1] is not None


def test_palettes(tmp_path: Path) -> None:
    palette = Image.fromarray(photo()).quantize(16)
    unused = palette.copy()
    unused.save(tmp_path / "unused.png", transparency=200)
    assert Image.open(tmp_path / "unused.png").has_transparency_data
    assert read_cutout(tmp_path / "unused.png")[1] is None
    indices = np.where(person() > 0, np.array(palette) % 16, 16).astype(np.uint8)
    used = Image.fromarray(indices, "P")
    used.putpalette([*palette.getpalette()[:48], 0, 0, 0])
    used.save(tmp_path / "used.png", transparency=16)
    alpha = read_cutout(tmp_path / "used.png")[1]
    assert alpha is not None
    assert np.array_equal(alpha.numpy() * 255, person())


def test_an_image_whose_alpha_is_zero_everywhere_is_not_blank(tmp_path: Path) -> None:
    path = save(photo(), UNINFORMATIVE["zero everywhere"], tmp_path / "image.png")
    assert np.array_equal(read_image(path).permute(1, 2, 0).numpy(), photo())


@pytest.mark.parametrize("kind", UNINFORMATIVE)
@pytest.mark.parametrize("gray", [False, True])
def test_masks_are_in_the_color_where_alpha_has_no_outline(
    tmp_path: Path, kind: str, gray: bool
) -> None:
    mask = person()
    colors = mask if gray else np.dstack([mask] * 3)
    found = read_mask(save(colors, UNINFORMATIVE[kind], tmp_path / "mask.png"))
    assert np.array_equal((found > 0.5).numpy() * 255, mask)


@pytest.mark.parametrize("color", [0, 255])
@pytest.mark.parametrize("large", [False, True])
def test_masks_are_in_the_alpha_channel_where_the_color_says_nothing(
    tmp_path: Path, color: int, large: bool
) -> None:
    mask = person()
    if large:  # a rectangle over most of the image
        mask[3:77, 5:55] = 255
    colors = np.full((HEIGHT, WIDTH, 3), color, np.uint8)
    found = read_mask(save(colors, mask, tmp_path / "mask.png"))
    assert np.array_equal(found.numpy() * 255, mask)


def test_a_cut_out_photo_is_its_own_mask(tmp_path: Path) -> None:
    found = read_mask(save(photo(), person(), tmp_path / "mask.png"))
    assert np.array_equal(found.numpy() * 255, person())


def test_palette_masks(tmp_path: Path) -> None:
    Image.fromarray(person()).convert("P").save(tmp_path / "mask.png", transparency=7)
    assert torch.equal(read_mask(tmp_path / "mask.png") > 0.5, torch.from_numpy(person() > 0))
