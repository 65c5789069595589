"""Single pictures: reading any file, and fitting pictures into the square that networks see."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from datamodules.errors import DataError

Fit = Literal["letterbox", "crop"]


def read_image(path: str | os.PathLike[str]) -> Tensor:
    """A picture as a person sees it: turned by its EXIF tag, transparency over white.

    Returns:
        (3, H, W) uint8 RGB. 16-bit grey is scaled to 8 bits; of an animation the first frame.

    Raises:
        DataError: the file is no picture, or a damaged one.
    """
    return over_white(_opened(path))


def over_white(picture: Image.Image) -> Tensor:
    """The colours of a picture, (3, H, W) uint8, with white under what is transparent."""
    if has_alpha(picture):
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return rgb_of(picture)


def read_cutout(path: str | os.PathLike[str]) -> tuple[Tensor, Tensor | None]:
    """A picture's colours and its alpha channel; None where it has no transparency.

    Returns:
        (3, H, W) uint8 RGB, nothing laid under it, and (H, W) float32 in [0, 1].

    Raises:
        DataError: the file is no picture, or a damaged one.
    """
    picture = _opened(path)
    if not has_alpha(picture):
        return rgb_of(picture), None
    rgba = picture.convert("RGBA")
    return rgb_of(rgba), alpha_of(rgba)


def read_mask(path: str | os.PathLike[str]) -> Tensor:
    """A mask (H, W) float32 in [0, 1]: the picture's alpha channel, else how bright it is.

    Raises:
        DataError: the file is no picture, or a damaged one.
    """
    colours, alpha = read_cutout(path)
    return alpha if alpha is not None else colours.float().mean(0).div_(255.0)


def has_alpha(picture: Image.Image) -> bool:
    """Whether a picture can be transparent anywhere."""
    return picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info


def rgb_of(picture: Image.Image) -> Tensor:
    """The colours of a picture, (3, H, W) uint8."""
    rgb = np.array(picture.convert("RGB"))
    return torch.from_numpy(rgb).permute(2, 0, 1).contiguous()


def alpha_of(picture: Image.Image) -> Tensor:
    """How opaque a picture is, (H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.array(picture.convert("RGBA").getchannel("A"))).float().div_(255.0)


def _opened(path: str | os.PathLike[str]) -> Image.Image:
    """The first image of a file, upright, at 8 bits a channel."""
    if os.path.isdir(path):
        raise DataError(f"{path} is a folder; a picture was expected.")
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            picture.load()
    except (FileNotFoundError, PermissionError):
        raise
    except UnidentifiedImageError:
        raise DataError(f"{path} is not a picture; expected PNG, JPEG or the like.") from None
    except Image.DecompressionBombError:
        raise DataError(f"{path} is too large a picture; scale it down first.") from None
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise DataError(f"{path} is a damaged picture ({error}).") from error
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        grey = np.asarray(picture, dtype=np.float64)
        top = 255.0 if picture.mode == "F" and np.nanmax(grey) <= 255.0 else 65535.0
        grey = np.clip(np.nan_to_num(grey) * (255.0 / top), 0, 255)
        picture = Image.fromarray(np.rint(grey).astype(np.uint8))
    return picture


@dataclass(frozen=True)
class FitBox:
    """Where a picture lands in the square: `square = picture * scale + offset`, pixel centres."""

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float
    width: int
    """Pixels that the scaled picture measures; over the square's side where it is cropped."""
    height: int
    left: int
    """First column of the scaled picture in the square; negative where it is cropped."""
    top: int


def fit_box(height: int, width: int, size: int, fit: Fit = "letterbox") -> FitBox:
    """The place of a (height, width) picture in a square of `size` pixels.

    `letterbox` shows all of it between black bars; `crop` fills the square from its middle.
    """
    if fit not in ("letterbox", "crop"):
        raise ValueError(f"fit is {fit!r}; expected 'letterbox' or 'crop'.")
    longest = max(height, width) if fit == "letterbox" else min(height, width)
    new_height, new_width = (max(1, round(side * size / longest)) for side in (height, width))
    left, top = (size - new_width) // 2, (size - new_height) // 2
    scale_x, scale_y = new_width / width, new_height / height
    # Pixel centres are at integers, so scaling about the picture's corner moves them by half.
    offset_x = left + (scale_x - 1) / 2
    offset_y = top + (scale_y - 1) / 2
    return FitBox(scale_x, scale_y, offset_x, offset_y, new_width, new_height, left, top)


def fit_image(frames: Tensor, size: int, fit: Fit = "letterbox") -> Tensor:
    """Pictures scaled (antialiased) into a black square.

    Args:
        frames: (..., 3, H, W) uint8.
        size: side of the square, pixels.

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
    """Pictures already scaled to (box.height, box.width), put into the black square.

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
