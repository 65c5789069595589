"""Cut a person out of an image and place it where the dancers of the training data stand."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Scene:
    """The empty background of the training data, and where its dancers stand."""

    background: Tensor
    """(3, S, S) uint8."""
    height: float
    """Height of a dancer standing upright, as a share of the image's side."""
    feet: float
    """Row of the feet, as a share of the side, from the top."""
    center: float = 0.5
    """Column of the body's center, as a share of the side, from the left."""

    def __post_init__(self) -> None:
        size = self.background.shape[-1]
        if self.background.shape != (3, size, size) or self.background.dtype != torch.uint8:
            raise ValueError(
                f"The background of a scene has shape {tuple(self.background.shape)}; expected a "
                "square uint8 image."
            )
        if not 0.0 < self.height <= 1.0:
            raise ValueError(
                f"The height of a person is {self.height:g}; expected a share of the image's side, "
                "above 0 and at most 1."
            )


def place_person(image: Tensor, mask: Tensor, scene: Scene) -> Tensor:
    """Cut a person out and place it on a scene's background, with the height of its dancers.

    The person is assumed to stand upright in the image: a crouching person becomes too large,
    unless the scene's height is reduced. A person who would be wider than the scene is made
    smaller.

    Args:
        image: (3, H, W) uint8.
        mask: (H, W) in [0, 1], 1 on the person.
        scene: The background, and position and height of the person.

    Returns:
        (3, S, S) uint8.

    Raises:
        ValueError: The mask has another size than the image, or is empty.
    """
    if mask.shape != image.shape[-2:]:
        raise ValueError(
            f"The mask has {mask.shape[-1]} x {mask.shape[-2]} pixels, but the image has "
            f"{image.shape[-1]} x {image.shape[-2]}: give a mask of the image's size."
        )
    top, bottom, left, right = person_box(mask)
    size = scene.background.shape[-1]
    scale = min(scene.height * size / (bottom - top), size / (right - left))
    height, width = (max(1, round(n * scale)) for n in (bottom - top, right - left))
    # Colors are multiplied by the mask before they are scaled, so that the old background does not
    # bleed into the edges.
    cut = mask[None, top:bottom, left:right].float()
    colors = image[:, top:bottom, left:right].float() * cut
    layers = torch.cat((colors, cut))[None]
    scaled = F.interpolate(layers, (height, width), mode="bilinear", antialias=True)[0]
    first_row = round(scene.feet * size) - height
    first_column = round(scene.center * size - width / 2)
    first_column = max(0, min(first_column, size - width))
    out = scene.background.float().clone()
    # Feet lower than the image, or a head above it, are cut off.
    rows = slice(max(0, first_row), min(size, first_row + height))
    columns = slice(first_column, first_column + width)
    shown = scaled[:, rows.start - first_row : rows.stop - first_row]
    out[:, rows, columns] = shown[:3] + (1.0 - shown[3:]) * out[:, rows, columns]
    return out.round_().clamp_(0, 255).to(torch.uint8)


def person_box(mask: Tensor) -> tuple[int, int, int, int]:
    """Return the bounding box (top, bottom, left, right) of a mask (H, W) above one half.

    Bottom and right are exclusive.

    Raises:
        ValueError: The mask is nowhere above one half.
    """
    inside = mask > 0.5
    rows, columns = inside.any(1).nonzero().flatten(), inside.any(0).nonzero().flatten()
    if not len(rows):
        raise ValueError("The mask shows no person: it must be white (opaque) where the person is.")
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
