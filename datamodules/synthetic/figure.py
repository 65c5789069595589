"""The body and the clothes of a rendered dancer, from joints seen by a camera."""

from __future__ import annotations

import numpy as np

from datamodules.synthetic.head import draw_head
from datamodules.synthetic.look import Look
from datamodules.synthetic.shapes import PART_AT, Array, Figure, Sketch, View, shaded, unit


def build_figure(view: View, look: Look, detailed: bool) -> Figure:
    """All polygons of a dancer.

    Args:
        detailed: Draw faces and highlights, which are lost in figures under 90 pixels.
    """
    sketch = Sketch(view, look, detailed)
    for side in ("l", "r"):
        _leg(sketch, side)
        _arm(sketch, side)
    _hips(sketch)
    _torso(sketch)
    draw_head(sketch)
    return sketch.figure


def _leg(sketch: Sketch, side: str) -> None:
    look = sketch.look
    hip, knee, ankle, toe = (sketch.at(f"{side}_{n}") for n in ("hip", "knee", "ankle", "toe"))
    near = 0.5 * (sketch.depth(f"{side}_knee") + sketch.depth(f"{side}_ankle"))
    other = "r" if side == "l" else "l"
    far = near < 0.5 * (sketch.depth(f"{other}_knee") + sketch.depth(f"{other}_ankle"))
    shade = np.where(far, 0.93, 1.0)
    order = 1.0 + 0.5 * near
    rim = order - 0.01
    covered = look.bottom in ("trousers", "wide")
    cloth = look.bottom_color
    sketch.limb(f"{side}_foot", (ankle, toe), (0.026, 0.024), look.shoes, order + 0.03, shade, rim)
    width = {"trousers": (0.038, 0.03), "wide": (0.047, 0.05)}.get(look.bottom, (0.036, 0.024))
    color = cloth if covered else look.skin
    sketch.limb(f"{side}_shin", (knee, ankle), width, color, order, shade, rim)
    if look.bottom == "shorts":
        thigh = (0.054, 0.04)
        sketch.limb(f"{side}_thigh", (hip, knee), thigh, look.skin, order + 0.01, shade, rim)
        end = hip + 0.72 * (knee - hip)
        ends = (hip, end)
        sketch.limb(f"{side}_thigh", ends, (0.06, 0.056), cloth, order + 0.015, shade)
    else:
        thigh = (0.06, 0.05 if look.bottom == "wide" else 0.04)
        color = look.skin if look.bottom == "skirt" else cloth
        sketch.limb(f"{side}_thigh", (hip, knee), thigh, color, order + 0.01, shade, rim)
    sketch.frame(f"{side}_thigh", hip, knee)
    sketch.frame(f"{side}_shin", knee, ankle)
    sketch.frame(f"{side}_foot", ankle, toe)


def _hips(sketch: Sketch) -> None:
    look = sketch.look
    left, right = sketch.at("l_hip"), sketch.at("r_hip")
    one = np.ones(len(left))
    up = sketch.at("neck") - sketch.at("pelvis")
    raise_by = 0.06 * up
    inwards = 0.22 * (right - left)
    ends = (left + raise_by + inwards, right + raise_by - inwards)
    sketch.limb("hips", ends, (0.06, 0.06), look.bottom_color, 1.6 * one, one)
    if look.bottom == "skirt":
        sketch.add("hips", _skirt(sketch, left, right), shaded(look.bottom_color, one), 1.7 * one)
    pelvis = sketch.at("pelvis")
    sketch.frame("hips", pelvis, pelvis + 0.4 * up)


def _skirt(sketch: Sketch, left: Array, right: Array) -> Array:
    """A trapezoid from the waist to half way down the thighs, spread by the knees."""
    scale = sketch.view.scale[:, None]
    across = unit(left - right, np.array([_side(sketch), 0.0]))
    waist = sketch.at("pelvis") + 0.22 * (sketch.at("neck") - sketch.at("pelvis"))
    hems = [
        hip + 0.62 * (sketch.at(f"{side}_knee") - hip) for side, hip in (("l", left), ("r", right))
    ]
    wide = 0.06 * scale * sketch.girth
    corners = [
        waist + across * 0.075 * scale * sketch.girth,
        left + across * 0.045 * scale,
        hems[0] + across * wide,
        0.5 * (hems[0] + hems[1]) + [[0.0, 1.0]] * (0.022 * scale),
        hems[1] - across * wide,
        right - across * 0.045 * scale,
        waist - across * 0.075 * scale * sketch.girth,
    ]
    return np.stack(corners, axis=1)


def _side(sketch: Sketch) -> float:
    return 1.0 if sketch.view.facing >= 0 else -1.0


def _torso(sketch: Sketch) -> None:
    look, one = sketch.look, np.ones(len(sketch.view.scale))
    cloth = look.top_color
    neck_ends = (sketch.at("neck"), 0.45 * sketch.at("neck") + 0.55 * sketch.at("head"))
    sketch.limb("head", neck_ends, (0.034, 0.03), look.skin, 2.1 * one, 0.9 * one)
    sketch.add("torso", _trunk(sketch, -0.07, 1.02), shaded(cloth, one), 2.0 * one, False)
    if look.pattern == "stripes":
        for start in (0.12, 0.38, 0.64):
            band = _trunk(sketch, start, start + 0.13)
            sketch.add("torso", band, shaded(look.second_color, one), 2.02 * one, False)
    elif look.pattern == "block":
        band = _trunk(sketch, -0.07, 0.42)
        sketch.add("torso", band, shaded(look.second_color, one), 2.02 * one, False)
    elif look.pattern == "panel" and sketch.view.facing > 0:
        band = _trunk(sketch, -0.06, 1.0, inner=0.36)
        sketch.add("torso", band, shaded(look.second_color, one), 2.02 * one, False)
    if sketch.detailed:
        lit = _trunk(sketch, 0.05, 0.9, inner=0.42, shift=-0.35)
        if look.pattern in ("plain",):
            sketch.add("torso", lit, shaded(cloth, 1.05 * one), 2.01 * one, False, True)
    spine = sketch.at("neck") - sketch.at("pelvis")
    right = _across(sketch, 0.5) * 0.1 * sketch.view.scale[:, None]
    sketch.figure.frames[PART_AT["torso"]] = (
        sketch.at("pelvis"),
        np.stack([spine, right], axis=-1),
    )


def _across(sketch: Sketch, height: float) -> Array:
    """Where the dancer's left is, as a vector that shortens little when the trunk turns."""
    hips = sketch.at("l_hip") - sketch.at("r_hip")
    shoulders = sketch.at("l_shoulder") - sketch.at("r_shoulder")
    hips, shoulders = hips / sketch.look.body.hips, shoulders / sketch.look.body.shoulders
    wide = (1 - height) * hips + height * shoulders
    wide = wide / (2 * sketch.view.scale[:, None])
    length = np.linalg.norm(wide, axis=-1, keepdims=True)
    thick = np.sqrt(np.minimum(length, 1.0) ** 2 * 0.64 + 0.36)
    return unit(wide, np.array([_side(sketch), 0.0])) * thick


def _trunk(
    sketch: Sketch, low: float, high: float, inner: float = 1.0, shift: float = 0.0
) -> Array:
    """The outline of the trunk between two heights (0 hips, 1 shoulders)."""
    broad = sketch.look.body.shoulders
    heights = np.array([-0.1, 0.05, 0.4, 0.75, 0.93, 1.0, 1.06])
    widths = np.array([0.097, 0.092, 0.077, broad * 0.86, broad * 1.05, broad * 0.86, 0.04])
    rows = np.linspace(low, high, 9)
    half = np.interp(rows, heights, widths) * sketch.girth
    pelvis, spine = sketch.at("pelvis"), sketch.at("neck") - sketch.at("pelvis")
    scale = sketch.view.scale[:, None]
    left, right = [], []
    for row, width in zip(rows, half, strict=True):
        center = pelvis + row * spine
        across = _across(sketch, float(np.clip(row, 0, 1))) * width * scale
        center = center + shift * across
        left.append(center + inner * across)
        right.append(center - inner * across)
    return np.stack([*left, *right[::-1]], axis=1)


def _arm(sketch: Sketch, side: str) -> None:
    look = sketch.look
    shoulder, elbow, wrist, hand = (
        sketch.at(f"{side}_{n}") for n in ("shoulder", "elbow", "wrist", "hand")
    )
    upper_depth = 0.5 * (sketch.depth(f"{side}_shoulder") + sketch.depth(f"{side}_elbow"))
    lower_depth = 0.5 * (sketch.depth(f"{side}_elbow") + sketch.depth(f"{side}_hand"))
    upper = _arm_order(sketch, upper_depth)
    lower = _arm_order(sketch, lower_depth) + 0.03
    # Edges lie under the whole arm, unless it reaches from behind the trunk to its front.
    lowest = np.minimum(upper, lower) - 0.01
    same = np.abs(upper - lower) < 1.0
    upper_rim, lower_rim = (np.where(same, lowest, own - 0.01) for own in (upper, lower))
    shade = np.where(upper < 2.0, 0.9, 1.0)
    sleeved = look.top == "sleeves"
    color = look.top_color if sleeved else look.skin
    part = f"{side}_upper_arm"
    width = (0.038, 0.032) if sleeved else (0.034, 0.028)
    sketch.limb(part, (shoulder, elbow), width, color, upper, shade, upper_rim)
    if look.top == "tee":
        end = shoulder + 0.55 * (elbow - shoulder)
        ends = (shoulder, end)
        sketch.limb(part, ends, (0.042, 0.040), look.top_color, upper + 0.01, shade)
    part = f"{side}_forearm"
    palm = wrist + 0.8 * (hand - wrist)
    sketch.limb(part, (wrist, palm), (0.022, 0.025), look.skin, lower + 0.005, shade, lower_rim)
    width = (0.032, 0.028) if sleeved else (0.028, 0.022)
    sketch.limb(part, (elbow, wrist), width, color, lower + 0.01, shade, lower_rim)
    sketch.frame(f"{side}_upper_arm", shoulder, elbow)
    sketch.frame(part, elbow, wrist)


def _arm_order(sketch: Sketch, depth: Array) -> Array:
    """Behind everything, or in front of everything; in front when level with the trunk."""
    trunk = 0.5 * (sketch.depth("neck") + sketch.depth("pelvis"))
    away = depth - trunk
    return np.where(away < -0.055, 0.3 + 0.3 * away, 3.0 + 0.3 * away)
