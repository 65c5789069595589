"""Polygons that a figure is made of, and how its parts are placed in the image.

A figure is a list of polygons with their vertices in every frame, a color, a place in the
drawing order and the part they belong to. Each part moves by one affine map of the image plane
(its axis and its width), which is what true flow is made from.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from datamodules.synthetic.look import Color, Look
from datamodules.synthetic.motion import J

Array = NDArray[np.float64]

#: Parts of the body for true flow; 0 is the background.
PARTS = (
    "background", "l_upper_arm", "l_forearm", "r_upper_arm", "r_forearm",
    "l_thigh", "l_shin", "l_foot", "r_thigh", "r_shin", "r_foot", "hips", "torso", "head",
)  # fmt: skip
PART_AT = {name: place for place, name in enumerate(PARTS)}


@dataclass
class Shape:
    """One polygon through all frames."""

    points: Array
    """(T, V, 2) image coordinates x, y in pixels."""
    color: NDArray[np.int64]
    """(T, 3) RGB."""
    order: Array
    """(T,): drawn from low to high."""
    part: int
    convex: bool = True
    outline: bool = False
    """Only for looks: drawn under its part, never in maps of parts."""


@dataclass
class Figure:
    """What to draw, and how each part is placed in the image."""

    shapes: list[Shape] = field(default_factory=list)
    frames: dict[int, tuple[Array, Array]] = field(default_factory=dict)
    """part -> origin (T, 2) and basis (T, 2, 2), whose columns are the part's axis and width."""


@dataclass(frozen=True)
class View:
    """Joints in the image."""

    points: Array
    """(T, J, 2) pixels."""
    depth: Array
    """(T, J) towards the camera, in units of the dancer's height."""
    scale: Array
    """(T,) pixels per unit."""
    facing: float
    """Cosine of the camera's azimuth: 1 in front of the dancer, -1 behind."""


class Sketch:
    """A figure in the making: adds polygons and frames to it."""

    def __init__(self, view: View, look: Look, detailed: bool) -> None:
        self.view, self.look, self.detailed = view, look, detailed
        self.figure = Figure()
        self.girth = look.body.girth
        self.corners = 7 if view.scale.max() < 200 else 15
        self.ones = np.ones(len(view.scale))

    def at(self, name: str) -> Array:
        """(T, 2) where a joint is in the image."""
        return self.view.points[:, J[name]]

    def depth(self, name: str) -> Array:
        """(T,) how near a joint is to the camera."""
        return self.view.depth[:, J[name]]

    def limb(
        self,
        part: str,
        ends: tuple[Array, Array],
        radii: tuple[float, float],
        color: Color,
        order: Array,
        shade: Array,
        rim: Array | None = None,
    ) -> None:
        """A tapered capsule; radii in units of the height. `rim` is the order of its dark edge."""
        scale = self.view.scale[:, None] * self.girth
        start, end = radii[0] * scale, radii[1] * scale
        if rim is not None:
            edge = 0.006 * self.view.scale[:, None]
            points = capsule(*ends, start + edge, end + edge, self.corners)
            self.add(part, points, shaded(color, shade * 0.72), rim, outline=True)
        self.add(part, capsule(*ends, start, end, self.corners), shaded(color, shade), order)
        if self.detailed:
            aside = np.stack([-0.25 * start[:, 0], -0.2 * start[:, 0]], axis=-1)
            lit = (ends[0] + aside, ends[1] + aside)
            points = capsule(*lit, 0.5 * start, 0.5 * end, self.corners)
            self.add(part, points, shaded(color, shade * 1.07), order + 0.002, outline=True)

    def add(
        self,
        part: str,
        points: Array,
        color: NDArray[np.int64],
        order: Array,
        convex: bool = True,
        outline: bool = False,
    ) -> None:
        """A polygon (T, V, 2) of a part."""
        self.figure.shapes.append(Shape(points, color, order, PART_AT[part], convex, outline))

    def frame(self, part: str, start: Array, end: Array, least: float = 0.04) -> None:
        """The part's affine frame: its axis, and a width that does not foreshorten."""
        axis = end - start
        length = np.linalg.norm(axis, axis=-1, keepdims=True)
        unit = np.where(length > 1e-6, axis / np.maximum(length, 1e-6), [0.0, 1.0])
        # A limb that points at the camera has no length to stretch.
        axis = unit * np.maximum(length, least * self.view.scale[:, None])
        width = np.stack([-unit[:, 1], unit[:, 0]], axis=-1) * self.view.scale[:, None]
        self.figure.frames[PART_AT[part]] = (start, np.stack([axis, width], axis=-1))


def unit(vectors: Array, lean: Array) -> Array:
    """Vectors of length one; short ones turn towards `lean` instead of anywhere."""
    vectors = vectors + 1e-3 * np.asarray(lean)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def shaded(color: Color, shade: Array) -> NDArray[np.int64]:
    """(T, 3) a color lit by (T,) shade, 1 for as it is."""
    return np.clip(np.outer(shade, color), 0, 255).astype(np.int64)


def capsule(
    start: Array, end: Array, start_radius: Array, end_radius: Array, corners: int
) -> Array:
    """(T, V, 2) outline of two half circles and the area between them; radii (T, 1) pixels."""
    arc = np.linspace(-np.pi / 2, np.pi / 2, corners)
    axis = end - start
    angle = np.arctan2(axis[:, 1], axis[:, 0])[:, None]
    near = np.stack([np.cos(angle + np.pi + arc), np.sin(angle + np.pi + arc)], axis=-1)
    far = np.stack([np.cos(angle + arc), np.sin(angle + arc)], axis=-1)
    near = start[:, None] + near * start_radius[:, :, None]
    far = end[:, None] + far * end_radius[:, :, None]
    return np.concatenate([near, far], axis=1)
