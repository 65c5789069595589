"""Images of every format are read as a viewer shows them, and fit the square undistorted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.errors import DataError
from datamodules.media.images import fit_box, fit_image, read_image


def _gradient(height: int = 20, width: int = 30) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 8, y * 12, 255 - x * 8], axis=-1).astype(np.uint8)


def test_plain_png(tmp_path: Path) -> None:
    Image.fromarray(_gradient()).save(tmp_path / "a.png")
    assert torch.equal(
        read_image(tmp_path / "a.png"), torch.from_numpy(_gradient()).permute(2, 0, 1)
    )


@pytest.mark.parametrize(("tag", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_orientation_is_applied(tmp_path: Path, tag: int, turns: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(_gradient()).save(tmp_path / "a.png", exif=exif)
    expected = np.rot90(_gradient(), turns).transpose(2, 0, 1)
    assert np.array_equal(read_image(tmp_path / "a.png").numpy(), expected)


def test_transparency_is_shown_over_white(tmp_path: Path) -> None:
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:2] = (10, 20, 30, 255)
    rgba[2:, :, 3] = 128
    Image.fromarray(rgba).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image[:, 0, 0].tolist() == [10, 20, 30]
    assert image[:, 3, 3].tolist() == pytest.approx([127] * 3, abs=1)


def test_gray_sixteen_bit_palette_and_cmyk(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    deep = read_image(tmp_path / "deep.png")
    assert np.abs(deep[0].numpy() - ramp / 257).max() <= 1
    gray = (ramp // 257).astype(np.uint8)
    Image.fromarray(gray).save(tmp_path / "gray.png")
    assert torch.equal(read_image(tmp_path / "gray.png")[2], torch.from_numpy(gray))
    Image.fromarray(_gradient()).quantize(64).save(tmp_path / "palette.png")
    Image.fromarray(_gradient()).convert("CMYK").save(tmp_path / "cmyk.jpg")
    for name in ("palette.png", "cmyk.jpg"):
        assert read_image(tmp_path / name).shape == (3, 20, 30)


def test_files_that_are_not_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "words.png").write_text("not an image")
    with pytest.raises(DataError, match=r"words\.png is not an image"):
        read_image(tmp_path / "words.png")
    Image.fromarray(_gradient(200, 200)).save(tmp_path / "half.jpg")
    content = (tmp_path / "half.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"half\.jpg is a damaged image"):
        read_image(tmp_path / "half.jpg")
    with pytest.raises(DataError, match="folder"):
        read_image(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "none.png")


def test_letterbox_and_crop_keep_proportions() -> None:
    frames = torch.full((2, 3, 90, 160), 200, dtype=torch.uint8)
    boxed = fit_image(frames, 64, "letterbox")
    assert boxed.shape == (2, 3, 64, 64)
    rows = boxed[0, 0].float().mean(1)
    assert int((rows > 100).sum()) == 36
    assert not rows[:14].any()
    assert not rows[50:].any()
    assert (fit_image(frames, 64, "crop") == 200).all()


def test_the_box_says_where_pixels_go() -> None:
    """A bright dot lands where `FitBox` says, in both fits and for both orientations."""
    for height, width in ((90, 160), (160, 90), (64, 64)):
        for fit in ("letterbox", "crop"):
            frame = torch.zeros(3, height, width, dtype=torch.uint8)
            y, x = height // 2 + 11, width // 2 - 7
            frame[:, y - 2 : y + 3, x - 2 : x + 3] = 255
            box = fit_box(height, width, 64, fit)  # type: ignore[arg-type]
            seen = fit_image(frame, 64, fit)[0].double()  # type: ignore[arg-type]
            rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
            center_x = float((seen * columns).sum() / seen.sum())
            center_y = float((seen * rows).sum() / seen.sum())
            assert center_x == pytest.approx(x * box.scale_x + box.offset_x, abs=0.1)
            assert center_y == pytest.approx(y * box.scale_y + box.offset_y, abs=0.1)


def test_scaling_down_does_not_alias() -> None:
    stripes = torch.zeros(3, 128, 128, dtype=torch.uint8)
    stripes[:, ::2] = 255
    assert (fit_image(stripes, 16).float() - 127.5).abs().max() < 8


def test_unknown_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="letterbox"):
        fit_image(torch.zeros(3, 8, 8, dtype=torch.uint8), 4, "stretch")  # type: ignore[arg-type]
