"""Read still images and masks, and fit images into the square that the networks see."""

from __future__ import annotations

import importlib
import importlib.util
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from datamodules.errors import DataError

Fit = Literal["letterbox", "crop"]

#: Images with more pixels are reduced by 2, 4, 8, ... while they are read (see `reduction`).
MAX_PIXELS = 16_000_000
#: Images whose full decoding would take more pixels than this (2 GB of memory) are refused.
MAX_DECODED_PIXELS = 500_000_000
#: An opaque region that fills this share of its bounding box is a rectangle: a screenshot of a
#: window (rounded corners, drop shadow) or a round portrait, not the outline of a person ...
_RECTANGLE_FILL = 0.75
#: ... if its bounding box covers at least this share of the image.
_RECTANGLE_COVER = 0.5

#: What undoes each EXIF orientation.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_pillow_limit = threading.Lock()


def read_image(path: str | os.PathLike[str]) -> Tensor:
    """Read an image as a viewer shows it: upright, with white under transparent parts.

    Args:
        path: Any format that Pillow reads, of any size; HEIC with the package pillow-heif.

    Returns:
        (3, H, W) uint8 RGB. Deeper channels are scaled to 8 bits; of an animation, the first
        frame. Images of more than `MAX_PIXELS` are reduced by `reduction(H, W)`.

    Raises:
        DataError: The file is not an image, or is damaged.
    """
    return image_pixels(_opened(path))


def read_cutout(path: str | os.PathLike[str]) -> tuple[Tensor, Tensor | None]:
    """Read an image with its alpha channel; see `cutout_of`.

    Raises:
        DataError: The file is not an image, or is damaged.
    """
    return cutout_of(_opened(path))


def read_mask(path: str | os.PathLike[str]) -> Tensor:
    """Read a mask (H, W) float32 in [0, 1]; see `mask_of`.

    Raises:
        DataError: The file is not an image, or is damaged.
    """
    return mask_of(_opened(path))


def image_pixels(image: Image.Image) -> Tensor:
    """Convert a Pillow image to (3, H, W) uint8 RGB, with white under transparent parts.

    An alpha channel that is zero (or 1 of 255) everywhere carries no information and is ignored.
    """
    image = _eight_bits(image, reduction(image.height, image.width))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        if np.asarray(rgba.getchannel("A")).max() > 1:
            white = Image.new("RGBA", rgba.size, "white")
            return _rgb(Image.alpha_composite(white, rgba))
        return _rgb(rgba)
    return _rgb(image)


def cutout_of(image: Image.Image) -> tuple[Tensor, Tensor | None]:
    """Return the colors of a Pillow image, and its alpha channel if it cuts something out.

    Whether the image has an alpha channel does not matter: opaque ones are common (screenshots,
    editors). What matters is whether the alpha channel outlines something (`is_cutout`).

    Returns:
        (3, H, W) uint8 RGB and (H, W) float32 in [0, 1]; or colors over white and None.
    """
    image = _eight_bits(image, reduction(image.height, image.width))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        alpha = _alpha(rgba)
        if is_cutout(alpha):
            return _rgb(rgba), alpha
    return image_pixels(image), None


def mask_of(image: Image.Image) -> Tensor:
    """Convert a Pillow image to a mask (H, W) float32 in [0, 1].

    The mask is the alpha channel where that outlines something, or where the visible pixels have
    one color; otherwise the brightness, with transparent parts as black.
    """
    image = _eight_bits(image, reduction(image.height, image.width))
    brightness = _rgb(image).float().mean(0).div_(255.0)
    if not image.has_transparency_data:
        return brightness
    alpha = _alpha(image.convert("RGBA"))
    visible = alpha > 0.5
    if not visible.any():
        return brightness
    shown = brightness[visible]
    one_color = bool(shown.max() - shown.min() < 0.1)
    if is_cutout(alpha) or (one_color and not visible.all()):
        return alpha
    return brightness * alpha


def is_cutout(alpha: Tensor) -> bool:
    """Tell whether an alpha channel (H, W) in [0, 1] outlines something, such as a person.

    It does not if nothing is opaque, or if the opaque part is a large rectangle: the whole image,
    or a window with rounded corners or a drop shadow.
    """
    inside = alpha > 0.5
    rows, columns = inside.any(1).nonzero().flatten(), inside.any(0).nonzero().flatten()
    if not len(rows):
        return False
    box = int(rows[-1] + 1 - rows[0]) * int(columns[-1] + 1 - columns[0])
    filled = int(inside.sum()) >= _RECTANGLE_FILL * box
    return not (filled and box >= _RECTANGLE_COVER * alpha.numel())


def reduction(height: int, width: int) -> int:
    """Return the factor by which an image of this size is reduced: 1, 2, 4, 8, ...

    It depends on the size alone, so that an image and its mask stay aligned. Sides are rounded up.
    """
    factor = 1
    while height * width > MAX_PIXELS * factor**2:
        factor *= 2
    return factor


def _rgb(image: Image.Image) -> Tensor:
    """(3, H, W) uint8."""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


def _alpha(rgba: Image.Image) -> Tensor:
    """(H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.array(rgba.getchannel("A"))).float().div_(255.0)


def _eight_bits(image: Image.Image, factor: int = 1) -> Image.Image:
    """Reduce an image by an integer factor; gray of 16 bits and floating point to 8 bits."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        gray = np.asarray(image)[::factor, ::factor].astype(np.float32)
        top = 255.0 if image.mode == "F" and np.nanmax(gray) <= 255.0 else 65535.0
        gray = np.clip(np.nan_to_num(gray) * (255.0 / top), 0, 255)
        return Image.fromarray(np.rint(gray).astype(np.uint8))
    if factor == 1:
        return image
    if image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK") or "transparency" in image.info:
        # Indices of a palette cannot be averaged.
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image.reduce(factor)


def _opened(path: str | os.PathLike[str]) -> Image.Image:
    """Read the first image of a file, upright, at 8 bits a channel, reduced if it is large."""
    if os.path.isdir(path):
        raise DataError(f"{path} is a folder; expected an image file.")
    try:
        with _open(path) as opened:
            width, height = opened.size
            factor = reduction(height, width)
            if factor > 1:
                # JPEG is decoded at 1/2, 1/4 or 1/8 of its size, without the full image in memory.
                opened.draft(None, (width // factor, height // factor))
            if opened.width * opened.height > MAX_DECODED_PIXELS:
                raise DataError(
                    f"{path} has {width} x {height} pixels; expected at most "
                    f"{MAX_DECODED_PIXELS // 1_000_000} million: scale it down first."
                )
            factor //= max(1, round(width / opened.width))
            orientation = opened.getexif().get(ExifTags.Base.Orientation, 1)
            opened.load()
            image = _eight_bits(opened, factor)
    except (FileNotFoundError, PermissionError, DataError):
        raise
    except UnidentifiedImageError:
        raise DataError(f"{path} is not an image; expected PNG, JPEG or the like.") from None
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        raise DataError(f"{path} is a damaged image ({error}).") from error
    method = _UPRIGHT.get(orientation)
    return image.copy() if method is None else image.transpose(method)


def _open(path: str | os.PathLike[str]) -> Image.Image:
    with _no_pixel_limit():
        try:
            return Image.open(path)
        except UnidentifiedImageError:
            with open(path, "rb") as file:
                head = file.read(12)
            if head[4:8] != b"ftyp" or head[8:12] not in _HEIC_BRANDS:
                raise
            if importlib.util.find_spec("pillow_heif") is None:
                raise DataError(
                    f"{path} is a HEIC image, which needs the package pillow-heif: pip install "
                    '"dabfusion-lightning[heic]", or export the image as JPEG or PNG.'
                ) from None
            importlib.import_module("pillow_heif").register_heif_opener()
            return Image.open(path)


@contextmanager
def _no_pixel_limit() -> Iterator[None]:
    """Suspend Pillow's limit on pixels, which warns or raises; our own is checked in `_opened`."""
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@dataclass(frozen=True)
class FitBox:
    """Placement of an image in a square: `square = image * scale + offset` at pixel centers."""

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float
    width: int
    """Size of the scaled image in pixels; larger than the square where it is cropped."""
    height: int
    left: int
    """First column of the scaled image in the square; negative where it is cropped."""
    top: int


def fit_box(height: int, width: int, size: int, fit: Fit = "letterbox") -> FitBox:
    """Return the placement of a (height, width) image in a square of `size` pixels.

    `letterbox` shows all of it between black bars; `crop` fills the square with its center.
    """
    if fit not in ("letterbox", "crop"):
        raise ValueError(f"fit is {fit!r}; expected 'letterbox' or 'crop'.")
    longest = max(height, width) if fit == "letterbox" else min(height, width)
    new_height, new_width = (max(1, round(side * size / longest)) for side in (height, width))
    left, top = (size - new_width) // 2, (size - new_height) // 2
    scale_x, scale_y = new_width / width, new_height / height
    # Pixel centers are at integers, so scaling about the corner of the image moves them.
    offset_x = left + (scale_x - 1) / 2
    offset_y = top + (scale_y - 1) / 2
    return FitBox(scale_x, scale_y, offset_x, offset_y, new_width, new_height, left, top)


def fit_image(frames: Tensor, size: int, fit: Fit = "letterbox") -> Tensor:
    """Scale images (antialiased) into a black square.

    Args:
        frames: (..., 3, H, W) uint8.
        size: Side of the square in pixels.

    Returns:
        (..., 3, size, size) uint8.
    """
    height, width = frames.shape[-2:]
    box = fit_box(height, width, size, fit)
    flat = frames.reshape(-1, 3, height, width)
    if (box.height, box.width) != (height, width):
        shape = (box.height, box.width)
        scaled = F.interpolate(flat.float(), shape, mode="bilinear", antialias=True)
        flat = scaled.round_().clamp_(0, 255).to(torch.uint8)
    return place_in_square(flat, size, box).reshape(*frames.shape[:-2], size, size)


def place_in_square(scaled: Tensor, size: int, box: FitBox) -> Tensor:
    """Place images, already scaled to (box.height, box.width), in the black square.

    Args:
        scaled: (..., 3, box.height, box.width) uint8.

    Returns:
        (..., 3, size, size) uint8.
    """
    square = scaled.new_zeros((*scaled.shape[:-2], size, size))
    rows = slice(max(0, box.top), min(size, box.top + box.height))
    columns = slice(max(0, box.left), min(size, box.left + box.width))
    source_rows = slice(rows.start - box.top, rows.stop - box.top)
    source_columns = slice(columns.start - box.left, columns.stop - box.left)
    square[..., rows, columns] = scaled[..., source_rows, source_columns]
    return square
