"""Painting of a figure into images, and maps of the visible parts."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from datamodules.synthetic.shapes import Figure

Array = NDArray[np.float64]

_SHIFT = 5
"""Bits of sub-pixel precision in OpenCV's polygon corners."""


def supersampling(height: int) -> int:
    """Pixels drawn for each pixel kept, along one side; edges are antialiased in addition."""
    return 4 if height <= 160 else 2 if height <= 512 else 1


def paint_frames(
    figure: Figure,
    room: NDArray[np.uint8],
    cameras: Array,
    shadows: Array,
    factor: int,
) -> NDArray[np.uint8]:
    """Pictures of a figure in a room.

    Args:
        figure: Polygons in pixels of the finished image.
        room: (H * factor, W * factor, 3) uint8.
        cameras: (T, 3) zoom about the image's center and shift (x, y) in pixels of the room.
        shadows: (T, 4) floor shadow: center x, y and half sizes in pixels.
        factor: Supersampling.

    Returns:
        (T, H, W, 3) uint8. Only the box around the figure is repainted in each frame.
    """
    high, wide = room.shape[0], room.shape[1]
    height, width = high // factor, wide // factor
    plan = _Plan(figure, factor)
    boxes = _boxes(plan.lows, plan.highs, shadows * factor, (high, wide), factor)
    moving = bool(np.any(np.abs(cameras - [1.0, 0.0, 0.0]) > 1e-9))
    still = cv2.resize(room, (width, height), interpolation=cv2.INTER_AREA) if factor > 1 else room
    frames = np.empty((len(cameras), height, width, 3), dtype=np.uint8)
    for t, (left, top, right, bottom) in enumerate(boxes):
        backdrop, small = room, still
        if moving:
            backdrop = _moved(room, cameras[t], factor)
            small = cv2.resize(backdrop, (width, height), interpolation=cv2.INTER_AREA)
        frames[t] = small
        if right <= left or bottom <= top:
            continue
        canvas = backdrop[top:bottom, left:right].copy()  # never a view: the room stays clean
        _darken(canvas, shadows[t] * factor - [left, top, 0, 0])
        plan.paint(canvas, t, (left, top))
        box = (slice(top // factor, bottom // factor), slice(left // factor, right // factor))
        size = ((right - left) // factor, (bottom - top) // factor)
        frames[t][box] = (
            cv2.resize(canvas, size, interpolation=cv2.INTER_AREA) if factor > 1 else canvas
        )
    return frames


def part_map(figure: Figure, t: int, height: int, width: int, factor: int) -> NDArray[np.uint8]:
    """Which part is seen in each pixel of a frame, without antialiasing.

    Returns:
        (height * factor, width * factor) uint8, places in `PARTS`.
    """
    seen = np.zeros((height * factor, width * factor), dtype=np.uint8)
    shapes = [shape for shape in figure.shapes if not shape.outline]
    for shape in sorted(shapes, key=lambda shape: float(shape.order[t])):
        corners = _fixed(shape.points[t] * factor + (factor - 1) / 2)
        _fill(seen, corners, (shape.part,), shape.convex, cv2.LINE_8)
    return seen


class _Plan:
    """Corners, colors and order of all polygons, laid out for a quick walk over the frames."""

    def __init__(self, figure: Figure, factor: int) -> None:
        self.convex = [shape.convex for shape in figure.shapes]
        # A pixel center at x is at x * factor + (factor - 1) / 2 on the larger canvas.
        self.corners = [
            np.rint((shape.points * factor + (factor - 1) / 2) * (1 << _SHIFT)).astype(np.int32)
            for shape in figure.shapes
        ]
        self.colors = [shape.color.tolist() for shape in figure.shapes]
        orders = np.stack([shape.order for shape in figure.shapes])
        self.ranking = np.argsort(orders, axis=0, kind="stable").T.tolist()
        self.lows = np.min([c.min(axis=1) for c in self.corners], axis=0) / (1 << _SHIFT)
        self.highs = np.max([c.max(axis=1) for c in self.corners], axis=0) / (1 << _SHIFT)

    def paint(self, canvas: NDArray[np.uint8], t: int, origin: tuple[int, int]) -> None:
        shift = np.array(origin, dtype=np.int32) << _SHIFT
        for place in self.ranking[t]:
            corners = self.corners[place][t] - shift
            _fill(canvas, corners, self.colors[place][t], self.convex[place], cv2.LINE_AA)


def _fill(
    canvas: NDArray[np.uint8],
    corners: NDArray[np.int32],
    color: Sequence[float],
    convex: bool,
    edge: int,
) -> None:
    if convex:
        cv2.fillConvexPoly(canvas, corners, color, lineType=edge, shift=_SHIFT)
    else:
        cv2.fillPoly(canvas, [corners], color, lineType=edge, shift=_SHIFT)


def _fixed(points: Array) -> NDArray[np.int32]:
    return np.rint(points * (1 << _SHIFT)).astype(np.int32)


def _boxes(
    lows: Array, highs: Array, shadows: Array, size: tuple[int, int], factor: int
) -> list[tuple[int, int, int, int]]:
    """For each frame left, top, right, bottom of what changes, on whole finished pixels."""
    reach = 2.6 * shadows[:, 2:]
    lows = np.minimum(lows, shadows[:, :2] - reach)
    highs = np.maximum(highs, shadows[:, :2] + reach)
    limit = np.array([size[1], size[0]])
    start = np.clip(np.floor(lows / factor - 2) * factor, 0, limit).astype(int)
    stop = np.clip(np.ceil(highs / factor + 2) * factor, 0, limit).astype(int)
    return [(*a, *b) for a, b in zip(start.tolist(), stop.tolist(), strict=True)]


def _moved(room: NDArray[np.uint8], camera: Array, factor: int) -> NDArray[np.uint8]:
    """The room under a camera that zooms and shifts; it is continued by reflection."""
    zoom, shift = camera[0], camera[1:] * factor
    high, wide = room.shape[:2]
    middle = np.array([(wide - 1) / 2, (high - 1) / 2])
    offset = middle - zoom * middle + shift
    matrix = np.array([[zoom, 0, offset[0]], [0, zoom, offset[1]]])
    edge = cv2.BORDER_REFLECT_101
    moved = cv2.warpAffine(room, matrix, (wide, high), flags=cv2.INTER_LINEAR, borderMode=edge)
    return np.asarray(moved, dtype=np.uint8)


def _darken(canvas: NDArray[np.uint8], shadow: Array) -> None:
    """A soft elliptical shadow on the floor."""
    x, y, half_width, half_height = shadow
    left, right = max(0, int(x - 2.5 * half_width)), int(x + 2.5 * half_width)
    top, bottom = max(0, int(y - 2.5 * half_height)), int(y + 2.5 * half_height)
    patch = canvas[top : bottom + 1, left : right + 1]
    if not patch.size:
        return
    across = np.exp(-(((np.arange(patch.shape[1]) + left - x) / half_width) ** 2))
    along = np.exp(-(((np.arange(patch.shape[0]) + top - y) / half_height) ** 2))
    keep = (1 - 0.42 * along[:, None] * across[None]).astype(np.float32)
    patch[:] = (patch * keep[..., None]).astype(np.uint8)
