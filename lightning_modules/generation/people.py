"""Anyone: a person cut out of an image and set where the training data's dancers stand."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Scene:
    """What the training data's images look like without their dancer, and where she stands."""

    background: Tensor
    """(3, S, S) uint8: the empty view, as the networks see it."""
    height: float
    """Of a dancer standing upright, from crown to sole, as a share of the image's side."""
    feet: float
    """Row of the soles, as a share of the side, from the top."""
    center: float = 0.5
    """Column of the body's middle, as a share of the side, from the left."""

    def __post_init__(self) -> None:
        size = self.background.shape[-1]
        if self.background.shape != (3, size, size) or self.background.dtype != torch.uint8:
            raise ValueError(
                f"A scene's background is square and uint8, not {tuple(self.background.shape)}."
            )
        if not 0.0 < self.height <= 1.0:
            raise ValueError(
                f"A person's height is a share of the image's side, above 0 and at most 1, not "
                f"{self.height:g}."
            )


def place_person(image: Tensor, mask: Tensor, scene: Scene) -> Tensor:
    """Cut a person out and set it on a scene's background, as tall as dancers there stand.

    The person is taken to stand upright in the image: one who crouches comes out too large,
    unless the scene's height is lowered. Where it would be wider than the scene, it is made
    smaller.

    Args:
        image: (3, H, W) uint8.
        mask: (H, W) in [0, 1], 1 on the person.
        scene: where to set it.

    Returns:
        (3, S, S) uint8.

    Raises:
        ValueError: the mask has another size than the image, or shows no person.
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
    # Colors are weighed by the mask before they are scaled, so that none of what surrounded the
    # person bleeds into the edge.
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
    """Top, bottom, left and right (behind the last) of where a mask (H, W) is above one half.

    Raises:
        ValueError: it is nowhere.
    """
    inside = mask > 0.5
    rows, columns = inside.any(1).nonzero().flatten(), inside.any(0).nonzero().flatten()
    if not len(rows):
        raise ValueError("The mask shows no person: it must be white (opaque) where the person is.")
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
