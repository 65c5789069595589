"""Images of any size are read with bounded memory; HEIC with an optional package."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.errors import DataError
from datamodules.media import images
from datamodules.media.images import MAX_PIXELS, read_image, read_mask, reduction


def ramp(height: int, width: int) -> Image.Image:
    row = np.linspace(0, 255, width).astype(np.uint8)
    return Image.fromarray(np.repeat(row[None], height, 0))


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat images of more than 10,000 pixels as large."""
    monkeypatch.setattr(images, "MAX_PIXELS", 10_000)


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "CMYK", "I;16", "F"])
@pytest.mark.parametrize("size", [(201, 303), (999, 1001)])
def test_large_images_of_every_mode_are_reduced(
    tmp_path: Path, mode: str, size: tuple[int, int]
) -> None:
    gray = ramp(*size)
    image = gray.convert(mode) if mode not in ("I;16", "F") else gray.convert("I").convert(mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    path = tmp_path / ("image.tif" if mode in ("F", "CMYK") else "image.png")
    image.save(path)
    factor = reduction(*size)
    assert factor > 1
    found = read_image(path)
    assert found.shape[1:] == (-(-size[0] // factor), -(-size[1] // factor))
    assert read_mask(path).shape == found.shape[1:]
    profile = found[0].float().mean(0)
    expected = torch.linspace(0, 255, len(profile))
    assert (profile - expected).abs().max() < (60 if mode == "1" else 8)


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("factor", [2, 4, 8, 16])
def test_jpeg_and_png_of_one_size_stay_aligned(tmp_path: Path, factor: int) -> None:
    side = 100 * factor - 3
    turned = Image.Exif()
    turned[0x0112] = 6
    for name in ("image.jpg", "image.png"):
        ramp(side, side + 2).save(tmp_path / name, exif=turned)
    photo, mask = read_image(tmp_path / "image.jpg"), read_mask(tmp_path / "image.png")
    assert photo.shape[1:] == mask.shape
    assert (photo[0].float() / 255 - mask).abs().max() < 0.05


def test_phone_photos_of_108_and_200_megapixels(tmp_path: Path) -> None:
    """In a process of its own, whose peak of memory stays far below the decoded photo's."""
    Image.new("RGB", (12_000, 9_000), "red").save(tmp_path / "108.jpg")
    Image.new("L", (16_320, 12_240), 200).save(tmp_path / "200.jpg")
    code = (
        "import sys, resource; from datamodules.media.images import read_image\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for path in sys.argv[1:]: print(*read_image(path).shape)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    paths = [str(tmp_path / name) for name in ("108.jpg", "200.jpg")]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *paths], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    first, second, megabytes = done.stdout.splitlines()
    assert first == "3 2250 3000"
    assert second == "3 3060 4080"
    assert int(megabytes) < 250


def test_a_large_png_prints_nothing(tmp_path: Path) -> None:
    Image.new("L", (10_000, 9_200)).save(tmp_path / "92.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(tmp_path / "92.png").shape == (3, 2300, 2500)
    assert Image.MAX_IMAGE_PIXELS is not None  # the limit of other users of Pillow is as before


def test_an_image_that_does_not_fit_into_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (300, 200)).save(tmp_path / "huge.png")
    monkeypatch.setattr(images, "MAX_DECODED_PIXELS", 50_000)
    with pytest.raises(DataError, match="300 x 200 pixels"):
        read_image(tmp_path / "huge.png")


def test_the_reduction_keeps_images_below_the_limit() -> None:
    assert reduction(4000, 4000) == 1
    assert reduction(4001, 4000) == 2
    for height, width in ((9000, 12_000), (12_240, 16_320), (1, 10**9)):
        factor = reduction(height, width)
        assert height * width <= MAX_PIXELS * factor**2 < 4 * height * width


HEIC_HEAD = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"


def test_heic_without_its_package_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "IMG_1.HEIC").write_bytes(HEIC_HEAD + bytes(64))
    monkeypatch.setattr(images.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"IMG_1\.HEIC is a HEIC image.*pillow-heif"):
        read_image(tmp_path / "IMG_1.HEIC")


def test_heic_with_its_package(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    heif = pillow_heif.from_pillow(ramp(64, 96).convert("RGB"))
    heif.save(tmp_path / "IMG_1.HEIC", quality=95)
    found = read_image(tmp_path / "IMG_1.HEIC")
    assert found.shape == (3, 64, 96)
    assert (found[0].float().mean(0) - torch.linspace(0, 255, 96)).abs().max() < 12
    (tmp_path / "IMG_2.HEIC").write_bytes(HEIC_HEAD + bytes(64))
    with pytest.raises(DataError, match="IMG_2"):
        read_image(tmp_path / "IMG_2.HEIC")
