"""The head of a rendered dancer: face, hair and cap, ovals that tilt and turn with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datamodules.synthetic.look import Color
from datamodules.synthetic.shapes import PART_AT, Array, Sketch, shaded, unit

#: How high the hair's lower edge sits on the forehead.
_FRINGE = {"short": 0.046, "long": 0.042, "bun": 0.05, "afro": 0.048, "tail": 0.047, "cap": 0.045}
_EYES: Color = (42, 34, 36)


@dataclass(frozen=True)
class _Head:
    """Where the head is and which way it faces; places are in units of the dancer's height."""

    sketch: Sketch
    center: Array
    """(T, 2) pixels."""
    up: Array
    """(T, 2) pixels of a unit towards the crown."""
    across: Array
    """(T, 2) pixels of a unit to the right in the image."""
    aside: Array
    """(T, 1) how far to the right the nose points."""

    def oval(
        self,
        place: tuple[float, float],
        radii: tuple[float, float],
        color: Color,
        order: float,
        follow: float = 0.0,
    ) -> None:
        """Add an oval that follows the turning face by a share `follow`."""
        angle = np.linspace(0, 2 * np.pi, 3 * self.sketch.corners, endpoint=False)
        middle = self.center + (place[0] + follow * self.aside) * self.across + place[1] * self.up
        points = (
            middle[:, None]
            + radii[0] * np.cos(angle)[None, :, None] * self.across[:, None]
            + radii[1] * np.sin(angle)[None, :, None] * self.up[:, None]
        )
        ones = self.sketch.ones
        self.sketch.add("head", points, shaded(color, ones), order * ones)


def draw_head(sketch: Sketch) -> None:
    """Add the head to a figure, seen from the front or from behind."""
    look, scale = sketch.look, sketch.view.scale[:, None]
    center = sketch.at("head")
    up = unit(sketch.at("crown") - center, np.array([0.0, -1.0])) * scale
    across = np.stack([-up[:, 1], up[:, 0]], axis=-1)
    turn = (sketch.at("nose") - center) / scale
    aside = np.sum(turn * across / scale, axis=-1, keepdims=True)
    sketch.figure.frames[PART_AT["head"]] = (center, np.stack([up, across], axis=-1))
    head = _Head(sketch, center, up, across, aside)
    front = sketch.view.facing > -0.2
    _hair_behind(head, front)
    if not front:
        head.oval((0, 0), (0.054, 0.07), look.skin, 2.3)
        head.oval((0, 0.01), (0.061, 0.078), look.hair, 2.5)
        return
    head.oval((0, 0.013), (0.061, 0.073), look.hair, 2.3)
    head.oval((0, -0.008), (0.051, 0.066), look.skin, 2.4, follow=0.35)
    _hair_in_front(head)
    if sketch.detailed:
        for eye in (-0.02, 0.02):
            head.oval((eye, 0.002), (0.0062, 0.0085), _EYES, 2.7, follow=0.9)
        red, green, blue = (int(c * 0.72) for c in look.skin)
        head.oval((0, -0.04), (0.015, 0.0045), (red, green, blue), 2.7, follow=0.9)


def _hair_behind(head: _Head, front: bool) -> None:
    look = head.sketch.look
    if look.hair_cut == "afro":
        head.oval((0, 0.02), (0.092, 0.094), look.hair, 2.2)
    if look.hair_cut == "bun":
        head.oval((0, 0.1), (0.03, 0.03), look.hair, 2.2)
    if look.hair_cut in ("long", "tail"):
        wide, low = (0.064, -0.06) if look.hair_cut == "long" else (0.026, -0.075)
        head.oval((0, low), (wide, 0.085), look.hair, 1.9 if front else 2.6)


def _hair_in_front(head: _Head) -> None:
    look = head.sketch.look
    capped = look.hair_cut == "cap"
    color = look.second_color if capped else look.hair
    head.oval((0, _FRINGE[look.hair_cut]), (0.058, 0.036), color, 2.6)
    if capped:
        head.oval((0, 0.028), (0.058, 0.011), color, 2.65, follow=0.6)
