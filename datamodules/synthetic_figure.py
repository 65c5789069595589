"""The figure of a rendered dancer: polygons of limbs and clothes from joints seen by a camera.

A figure is a list of polygons with their vertices in every frame, a colour, a place in the
drawing order and the part they belong to. Each part moves by one affine map of the picture plane
(its axis and its width), which is what true flow is made from.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from datamodules.synthetic_look import Colour, Look
from datamodules.synthetic_motion import J

Array = NDArray[np.float64]

#: Parts of the body for true flow; 0 is the background.
PARTS = (
    "background", "l_upper_arm", "l_forearm", "r_upper_arm", "r_forearm",
    "l_thigh", "l_shin", "l_foot", "r_thigh", "r_shin", "r_foot", "hips", "torso", "head",
)  # fmt: skip
_PART = {name: place for place, name in enumerate(PARTS)}


@dataclass
class Shape:
    """One polygon through all frames."""

    points: Array
    """(T, V, 2) picture coordinates x, y in pixels."""
    colour: NDArray[np.int64]
    """(T, 3) RGB."""
    order: Array
    """(T,): drawn from low to high."""
    part: int
    convex: bool = True
    outline: bool = False
    """Only for looks: drawn under its part, never in maps of parts."""


@dataclass
class Figure:
    """What to draw, and how each part lies in the picture."""

    shapes: list[Shape] = field(default_factory=list)
    frames: dict[int, tuple[Array, Array]] = field(default_factory=dict)
    """part -> origin (T, 2) and basis (T, 2, 2), whose columns are the part's axis and width."""


@dataclass(frozen=True)
class View:
    """Joints in the picture."""

    points: Array
    """(T, J, 2) pixels."""
    depth: Array
    """(T, J) towards the camera, in units of the dancer's height."""
    scale: Array
    """(T,) pixels per unit."""
    facing: float
    """Cosine of the camera's azimuth: 1 in front of the dancer, -1 behind."""


def build_figure(view: View, look: Look, detailed: bool) -> Figure:
    """All polygons of a dancer.

    Args:
        detailed: draw faces and highlights, which are lost in figures under 90 pixels.
    """
    figure = Figure()
    painter = _Painter(view, look, figure, detailed)
    for side in ("l", "r"):
        painter.leg(side)
        painter.arm(side)
    painter.hips()
    painter.torso()
    painter.head()
    return figure


class _Painter:
    """Adds the polygons of one figure, body part by body part."""

    def __init__(self, view: View, look: Look, figure: Figure, detailed: bool) -> None:
        self.view, self.look, self.figure, self.detailed = view, look, figure, detailed
        self.girth = look.body.girth
        self.corners = 7 if view.scale.max() < 200 else 15
        self.trunk_depth = 0.5 * (self.depth("neck") + self.depth("pelvis"))

    def at(self, name: str) -> Array:
        return self.view.points[:, J[name]]

    def depth(self, name: str) -> Array:
        return self.view.depth[:, J[name]]

    def limb(
        self,
        part: str,
        ends: tuple[Array, Array],
        radii: tuple[float, float],
        colour: Colour,
        order: Array,
        shade: Array,
        rim: Array | None = None,
    ) -> None:
        """A tapered capsule; radii in units of the height. `rim` is the order of its dark edge."""
        scale = self.view.scale[:, None] * self.girth
        start, end = radii[0] * scale, radii[1] * scale
        if rim is not None:
            edge = 0.006 * self.view.scale[:, None]
            points = _capsule(*ends, start + edge, end + edge, self.corners)
            self._add(part, points, _shaded(colour, shade * 0.72), rim, outline=True)
        self._add(part, _capsule(*ends, start, end, self.corners), _shaded(colour, shade), order)
        if self.detailed:
            aside = np.stack([-0.25 * start[:, 0], -0.2 * start[:, 0]], axis=-1)
            lit = (ends[0] + aside, ends[1] + aside)
            points = _capsule(*lit, 0.5 * start, 0.5 * end, self.corners)
            self._add(part, points, _shaded(colour, shade * 1.07), order + 0.002, outline=True)

    def _add(
        self,
        part: str,
        points: Array,
        colour: NDArray[np.int64],
        order: Array,
        convex: bool = True,
        outline: bool = False,
    ) -> None:
        self.figure.shapes.append(Shape(points, colour, order, _PART[part], convex, outline))

    def frame(self, part: str, start: Array, end: Array, least: float = 0.04) -> None:
        """The part's affine frame: its axis, and a width that does not foreshorten."""
        axis = end - start
        length = np.linalg.norm(axis, axis=-1, keepdims=True)
        unit = np.where(length > 1e-6, axis / np.maximum(length, 1e-6), [0.0, 1.0])
        # A limb that points at the camera has no length to stretch.
        axis = unit * np.maximum(length, least * self.view.scale[:, None])
        width = np.stack([-unit[:, 1], unit[:, 0]], axis=-1) * self.view.scale[:, None]
        self.figure.frames[_PART[part]] = (start, np.stack([axis, width], axis=-1))

    def leg(self, side: str) -> None:
        look = self.look
        hip, knee, ankle, toe = (self.at(f"{side}_{n}") for n in ("hip", "knee", "ankle", "toe"))
        near = 0.5 * (self.depth(f"{side}_knee") + self.depth(f"{side}_ankle"))
        other = "r" if side == "l" else "l"
        far = near < 0.5 * (self.depth(f"{other}_knee") + self.depth(f"{other}_ankle"))
        shade = np.where(far, 0.93, 1.0)
        order = 1.0 + 0.5 * near
        rim = order - 0.01
        covered = look.bottom in ("trousers", "wide")
        cloth = look.bottom_colour
        self.limb(
            f"{side}_foot", (ankle, toe), (0.026, 0.024), look.shoes, order + 0.03, shade, rim
        )
        width = {"trousers": (0.038, 0.03), "wide": (0.047, 0.05)}.get(look.bottom, (0.036, 0.024))
        colour = cloth if covered else look.skin
        self.limb(f"{side}_shin", (knee, ankle), width, colour, order, shade, rim)
        if look.bottom == "shorts":
            thigh = (0.054, 0.04)
            self.limb(f"{side}_thigh", (hip, knee), thigh, look.skin, order + 0.01, shade, rim)
            end = hip + 0.72 * (knee - hip)
            ends = (hip, end)
            self.limb(f"{side}_thigh", ends, (0.06, 0.056), cloth, order + 0.015, shade)
        else:
            thigh = (0.06, 0.05 if look.bottom == "wide" else 0.04)
            colour = look.skin if look.bottom == "skirt" else cloth
            self.limb(f"{side}_thigh", (hip, knee), thigh, colour, order + 0.01, shade, rim)
        self.frame(f"{side}_thigh", hip, knee)
        self.frame(f"{side}_shin", knee, ankle)
        self.frame(f"{side}_foot", ankle, toe)

    def hips(self) -> None:
        look = self.look
        left, right = self.at("l_hip"), self.at("r_hip")
        one = np.ones(len(left))
        up = self.at("neck") - self.at("pelvis")
        raise_by = 0.06 * up
        inwards = 0.22 * (right - left)
        ends = (left + raise_by + inwards, right + raise_by - inwards)
        self.limb("hips", ends, (0.06, 0.06), look.bottom_colour, 1.6 * one, one)
        if look.bottom == "skirt":
            self._add("hips", self._skirt(left, right), _shaded(look.bottom_colour, one), 1.7 * one)
        pelvis = self.at("pelvis")
        self.frame("hips", pelvis, pelvis + 0.4 * up)

    def _skirt(self, left: Array, right: Array) -> Array:
        """A trapezoid from the waist to half way down the thighs, spread by the knees."""
        scale = self.view.scale[:, None]
        across = _unit(left - right, np.array([self._sign(), 0.0]))
        waist = self.at("pelvis") + 0.22 * (self.at("neck") - self.at("pelvis"))
        hems = [
            hip + 0.62 * (self.at(f"{side}_knee") - hip)
            for side, hip in (("l", left), ("r", right))
        ]
        wide = 0.06 * scale * self.girth
        corners = [
            waist + across * 0.075 * scale * self.girth,
            left + across * 0.045 * scale,
            hems[0] + across * wide,
            0.5 * (hems[0] + hems[1]) + [[0.0, 1.0]] * (0.022 * scale),
            hems[1] - across * wide,
            right - across * 0.045 * scale,
            waist - across * 0.075 * scale * self.girth,
        ]
        return np.stack(corners, axis=1)

    def _sign(self) -> float:
        return 1.0 if self.view.facing >= 0 else -1.0

    def torso(self) -> None:
        look, one = self.look, np.ones(len(self.view.scale))
        cloth = look.top_colour
        neck_ends = (self.at("neck"), 0.45 * self.at("neck") + 0.55 * self.at("head"))
        self.limb("head", neck_ends, (0.034, 0.03), look.skin, 2.1 * one, 0.9 * one)
        self._add("torso", self._trunk(-0.07, 1.02), _shaded(cloth, one), 2.0 * one, False)
        if look.pattern == "stripes":
            for start in (0.12, 0.38, 0.64):
                band = self._trunk(start, start + 0.13)
                self._add("torso", band, _shaded(look.second_colour, one), 2.02 * one, False)
        elif look.pattern == "block":
            band = self._trunk(-0.07, 0.42)
            self._add("torso", band, _shaded(look.second_colour, one), 2.02 * one, False)
        elif look.pattern == "panel" and self.view.facing > 0:
            band = self._trunk(-0.06, 1.0, inner=0.36)
            self._add("torso", band, _shaded(look.second_colour, one), 2.02 * one, False)
        if self.detailed:
            lit = self._trunk(0.05, 0.9, inner=0.42, shift=-0.35)
            if look.pattern in ("plain",):
                self._add("torso", lit, _shaded(cloth, 1.05 * one), 2.01 * one, False, True)
        spine = self.at("neck") - self.at("pelvis")
        right = self._across(0.5) * 0.1 * self.view.scale[:, None]
        self.figure.frames[_PART["torso"]] = (
            self.at("pelvis"),
            np.stack([spine, right], axis=-1),
        )

    def _across(self, height: float) -> Array:
        """Where the dancer's left is, as a vector that shortens little when the trunk turns."""
        hips = self.at("l_hip") - self.at("r_hip")
        shoulders = self.at("l_shoulder") - self.at("r_shoulder")
        hips, shoulders = hips / self.look.body.hips, shoulders / self.look.body.shoulders
        wide = (1 - height) * hips + height * shoulders
        wide = wide / (2 * self.view.scale[:, None])
        length = np.linalg.norm(wide, axis=-1, keepdims=True)
        thick = np.sqrt(np.minimum(length, 1.0) ** 2 * 0.64 + 0.36)
        return _unit(wide, np.array([self._sign(), 0.0])) * thick

    def _trunk(self, low: float, high: float, inner: float = 1.0, shift: float = 0.0) -> Array:
        """The outline of the trunk between two heights (0 hips, 1 shoulders)."""
        broad = self.look.body.shoulders
        heights = np.array([-0.1, 0.05, 0.4, 0.75, 0.93, 1.0, 1.06])
        widths = np.array([0.097, 0.092, 0.077, broad * 0.86, broad * 1.05, broad * 0.86, 0.04])
        rows = np.linspace(low, high, 9)
        half = np.interp(rows, heights, widths) * self.girth
        pelvis, spine = self.at("pelvis"), self.at("neck") - self.at("pelvis")
        scale = self.view.scale[:, None]
        left, right = [], []
        for row, width in zip(rows, half, strict=True):
            centre = pelvis + row * spine
            across = self._across(float(np.clip(row, 0, 1))) * width * scale
            centre = centre + shift * across
            left.append(centre + inner * across)
            right.append(centre - inner * across)
        return np.stack([*left, *right[::-1]], axis=1)

    def arm(self, side: str) -> None:
        look = self.look
        shoulder, elbow, wrist, hand = (
            self.at(f"{side}_{n}") for n in ("shoulder", "elbow", "wrist", "hand")
        )
        upper_depth = 0.5 * (self.depth(f"{side}_shoulder") + self.depth(f"{side}_elbow"))
        lower_depth = 0.5 * (self.depth(f"{side}_elbow") + self.depth(f"{side}_hand"))
        upper = self._arm_order(upper_depth)
        lower = self._arm_order(lower_depth) + 0.03
        # Edges lie under the whole arm, unless it reaches from behind the trunk to its front.
        lowest = np.minimum(upper, lower) - 0.01
        same = np.abs(upper - lower) < 1.0
        upper_rim, lower_rim = (np.where(same, lowest, own - 0.01) for own in (upper, lower))
        shade = np.where(upper < 2.0, 0.9, 1.0)
        sleeved = look.top == "sleeves"
        colour = look.top_colour if sleeved else look.skin
        part = f"{side}_upper_arm"
        width = (0.038, 0.032) if sleeved else (0.034, 0.028)
        self.limb(part, (shoulder, elbow), width, colour, upper, shade, upper_rim)
        if look.top == "tee":
            end = shoulder + 0.55 * (elbow - shoulder)
            ends = (shoulder, end)
            self.limb(part, ends, (0.042, 0.040), look.top_colour, upper + 0.01, shade)
        part = f"{side}_forearm"
        palm = wrist + 0.8 * (hand - wrist)
        self.limb(part, (wrist, palm), (0.022, 0.025), look.skin, lower + 0.005, shade, lower_rim)
        width = (0.032, 0.028) if sleeved else (0.028, 0.022)
        self.limb(part, (elbow, wrist), width, colour, lower + 0.01, shade, lower_rim)
        self.frame(f"{side}_upper_arm", shoulder, elbow)
        self.frame(part, elbow, wrist)

    def _arm_order(self, depth: Array) -> Array:
        """Behind everything, or in front of everything; in front when level with the trunk."""
        away = depth - self.trunk_depth
        return np.where(away < -0.055, 0.3 + 0.3 * away, 3.0 + 0.3 * away)

    def head(self) -> None:
        look, view = self.look, self.view
        centre, crown = self.at("head"), self.at("crown")
        up = crown - centre
        scale = view.scale[:, None]
        up = _unit(up, np.array([0.0, -1.0])) * scale
        across = np.stack([-up[:, 1], up[:, 0]], axis=-1)  # to the right in the picture
        turn = (self.at("nose") - centre) / scale
        aside = np.sum(turn * across / scale, axis=-1, keepdims=True)  # where the face looks
        one = np.ones(len(scale))
        self.figure.frames[_PART["head"]] = (centre, np.stack([up, across], axis=-1))

        def oval(x: float, y: float, wide: float, tall: float, follow: float = 0.0) -> Array:
            angle = np.linspace(0, 2 * np.pi, 3 * self.corners, endpoint=False)
            middle = centre + (x + follow * aside) * across + y * up
            return (
                middle[:, None]
                + wide * np.cos(angle)[None, :, None] * across[:, None]
                + tall * np.sin(angle)[None, :, None] * up[:, None]
            )

        def paint(points: Array, colour: Colour, order: float, convex: bool = True) -> None:
            self._add("head", points, _shaded(colour, one), order * one, convex)

        front = view.facing > -0.2
        cut = look.hair_cut
        if cut == "afro":
            paint(oval(0, 0.02, 0.092, 0.094), look.hair, 2.2)
        if cut == "bun":
            paint(oval(0, 0.1, 0.03, 0.03), look.hair, 2.2)
        if cut in ("long", "tail"):
            wide, low = (0.064, -0.06) if cut == "long" else (0.026, -0.075)
            paint(oval(0, low, wide, 0.085), look.hair, 1.9 if front else 2.6)
        if not front:
            paint(oval(0, 0, 0.054, 0.07), look.skin, 2.3)
            paint(oval(0, 0.01, 0.061, 0.078), look.hair, 2.5)
            return
        paint(oval(0, 0.013, 0.061, 0.073), look.hair, 2.3)
        paint(oval(0, -0.008, 0.051, 0.066, follow=0.35), look.skin, 2.4)
        self._hairline(oval, paint)
        if self.detailed:
            for eye in (-0.02, 0.02):
                paint(oval(eye, 0.002, 0.0062, 0.0085, follow=0.9), (42, 34, 36), 2.7)
            lips = tuple(int(c * 0.72) for c in look.skin)
            paint(oval(0, -0.04, 0.015, 0.0045, follow=0.9), lips, 2.7)  # type: ignore[arg-type]

    def _hairline(self, oval: object, paint: object) -> None:
        fringe = {"short": 0.046, "long": 0.042, "bun": 0.05, "afro": 0.048, "tail": 0.047}
        cut = self.look.hair_cut
        colour = self.look.second_colour if cut == "cap" else self.look.hair
        points = oval(0, 0.045 if cut == "cap" else fringe[cut], 0.058, 0.036)  # type: ignore[operator]
        paint(points, colour, 2.6)  # type: ignore[operator]
        if cut == "cap":
            brim = oval(0, 0.028, 0.058, 0.011, 0.6)  # type: ignore[operator]
            paint(brim, self.look.second_colour, 2.65)  # type: ignore[operator]


def _unit(vectors: Array, lean: Array) -> Array:
    """Vectors of length one; short ones turn towards `lean` instead of anywhere."""
    vectors = vectors + 1e-3 * np.asarray(lean)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _shaded(colour: Colour, shade: Array) -> NDArray[np.int64]:
    return np.clip(np.outer(shade, colour), 0, 255).astype(np.int64)


def _capsule(
    start: Array, end: Array, start_radius: Array, end_radius: Array, corners: int
) -> Array:
    """(T, V, 2) outline of two half circles and what lies between them; radii (T, 1) pixels."""
    arc = np.linspace(-np.pi / 2, np.pi / 2, corners)
    axis = end - start
    angle = np.arctan2(axis[:, 1], axis[:, 0])[:, None]
    near = np.stack([np.cos(angle + np.pi + arc), np.sin(angle + np.pi + arc)], axis=-1)
    far = np.stack([np.cos(angle + arc), np.sin(angle + arc)], axis=-1)
    near = start[:, None] + near * start_radius[:, :, None]
    far = end[:, None] + far * end_radius[:, :, None]
    return np.concatenate([near, far], axis=1)
