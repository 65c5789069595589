"""Position of dancers and their background, measured from the frames of a data set.

Frames of one fixed camera are compared over time. Key points say where the dancer is; without them
everything that changes does, and figures are rougher.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

#: Crown and soles are beyond nose and ankles by these shares of the distance between those two
#: (a grown person: nose at 0.93 of the stature, ankle at 0.04).
_CROWN, _SOLE = 0.08, 0.045
_NOSE, _HIPS, _ANKLES = 0, (11, 12), (15, 16)
#: Joints that a thick line joins, in COCO's order: trunk, arms, legs, neck.
_BONES = (
    *((5, 6), (11, 12), (5, 11), (6, 12), (5, 12), (6, 11)),
    *((5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16)),
    *((0, 5), (0, 6)),
)
#: Joints that clothes hang between.
_TRUNK = (5, 6, 11, 12, 13, 14)
#: Levels (of 255) by which a pixel must differ from the empty view to be the dancer's.
_CHANGED = 24


@dataclass(frozen=True)
class View:
    """One video's empty view and its dancer's place; shares of the image's side."""

    background: NDArray[np.uint8]
    """(S, S, 3)."""
    height: float
    """From crown to sole of the dancer standing upright."""
    feet: float
    center: float
    unseen: float
    """Share of the pixels that the dancer hides in every frame."""


def measure_view(frames: NDArray[np.uint8], points: NDArray[np.float32] | None) -> View:
    """The empty view of a video, and where its dancer stands.

    Args:
        frames: (T, S, S, 3).
        points: (T, 17, 3): x, y in pixels and confidence; None where there are none.

    Returns:
        What was measured; where nothing moves and no key points are given, a `height` of 0.
    """
    size = frames.shape[1]
    if points is not None and (points[..., 2] > 0.3).any(axis=1).mean() > 0.5:
        hidden = np.stack([dancer_mask(p, size) for p in points])
        height, feet, center = _standing(points)
    else:
        hidden = changed(frames)
        height, feet, center = _boxes(hidden)
        hidden |= _trunk(height, feet, center, size)
    background = empty_view(frames, hidden)
    unseen = float(hidden.all(axis=0).mean())
    return View(background, height / size, feet / size, center / size, unseen)


def dancer_mask(points: NDArray[np.float32], size: int) -> NDArray[np.bool_]:
    """(S, S): where the person with these key points (17, 3) and the shadow may be."""
    canvas = np.zeros((size, size), np.uint8)
    known = points[:, 2] > 0.3
    if not known.any():
        return np.ones((size, size), bool)
    places = np.clip(points[:, :2], -size, 2 * size)
    tall = float(np.ptp(places[known, 1]))
    thick = max(3, round(0.18 * tall))
    trunk = [joint for joint in _TRUNK if known[joint]]
    if len(trunk) > 2:  # clothes hang between these joints
        hull = cv2.convexHull(np.round(places[trunk]).astype(np.int32))
        cv2.fillConvexPoly(canvas, hull, (1,))
        cv2.polylines(canvas, [hull], True, (1,), thick)
    spots = [(int(x), int(y)) for x, y in np.round(places)]
    for one, other in _BONES:
        if known[one] and known[other]:
            cv2.line(canvas, spots[one], spots[other], (1,), thick)
    for joint, radius in ((_NOSE, 0.2), (9, 0.12), (10, 0.12), (15, 0.12), (16, 0.12)):
        if known[joint]:
            cv2.circle(canvas, spots[joint], max(2, round(radius * tall)), (1,), -1)
    return canvas.astype(bool)


def changed(frames: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(T, S, S): pixels that differ from what they are most of the time."""
    usual = np.median(frames, axis=0)
    return np.abs(frames - usual).max(axis=-1) > _CHANGED


def empty_view(frames: NDArray[np.uint8], hidden: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The median (S, S, 3) of every pixel over the frames that do not hide it.

    What is never seen is filled along its row, from the nearest pixels seen to either side: walls
    and floors change little from left to right.
    """
    # Sorted with what is hidden last, the middle of the rest is the median.
    ordered = np.sort(np.where(hidden[..., None], 256, frames.astype(np.int16)), axis=0)
    count = (~hidden).sum(axis=0)[None, :, :, None]
    low, high = (
        np.take_along_axis(ordered, np.maximum(place, 0), axis=0)[0]
        for place in ((count - 1) // 2, count // 2)
    )
    view = (low + high).astype(np.float32) / 2
    empty = hidden.all(axis=0)
    view[empty] = 0.0
    columns = np.arange(view.shape[1])
    for row in np.flatnonzero(empty.any(axis=1) & ~empty.all(axis=1)):
        gaps = empty[row]
        for color in range(3):
            line = view[row, :, color]
            line[gaps] = np.interp(columns[gaps], columns[~gaps], line[~gaps])
    return np.clip(np.round(view), 0, 255).astype(np.uint8)


def _standing(points: NDArray[np.float32]) -> tuple[float, float, float]:
    """Height, row of the soles and column of the hips in pixels; upright: the tallest tenth."""
    ankles = points[:, _ANKLES, 1].max(axis=1)
    span = ankles - points[:, _NOSE, 1]
    upright = float(np.quantile(span, 0.9))
    feet = float(np.median(ankles)) + _SOLE * upright
    return (1.0 + _CROWN + _SOLE) * upright, feet, float(np.median(points[:, _HIPS, 0]))


def _boxes(hidden: NDArray[np.bool_]) -> tuple[float, float, float]:
    """The same from boxes around what changes: arms may be raised, so the middle height."""
    tops, bottoms, middles = [], [], []
    for mask in hidden:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows):
            tops.append(rows[0])
            bottoms.append(rows[-1] + 1)
            middles.append((columns[0] + columns[-1]) / 2)
    if not tops:
        return 0.0, 0.0, 0.0
    feet = float(np.quantile(bottoms, 0.9))
    return feet - float(np.median(tops)), feet, float(np.median(middles))


def _trunk(height: float, feet: float, center: float, size: int) -> NDArray[np.bool_]:
    """(S, S): trunk and legs of a dancer, who need not move there to hide the background."""
    mask = np.zeros((size, size), bool)
    rows = slice(max(0, round(feet - height)), max(0, round(feet) + 1))
    columns = slice(max(0, round(center - 0.3 * height)), max(0, round(center + 0.3 * height)))
    mask[rows, columns] = True
    return mask
