"""How rendered dancers and their surroundings look: bodies, clothes, colors, backgrounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from datamodules.synthetic.motion import Body
from datamodules.synthetic.music import rng_of

Color = tuple[int, int, int]
HairCut = Literal["short", "long", "bun", "afro", "cap", "tail"]
Top = Literal["tee", "sleeves", "vest"]
Print = Literal["plain", "stripes", "panel", "block"]
Bottom = Literal["trousers", "wide", "shorts", "skirt"]

_CUTS: tuple[HairCut, ...] = ("short", "long", "bun", "afro", "cap", "tail")
_TOPS: tuple[Top, ...] = ("tee", "sleeves", "vest")
_PRINTS: tuple[Print, ...] = ("plain", "stripes", "panel", "block")
_BOTTOMS: tuple[Bottom, ...] = ("trousers", "wide", "shorts", "skirt")

_SKINS: tuple[Color, ...] = (
    (250, 219, 196), (241, 194, 161), (224, 172, 130), (198, 139, 98),
    (161, 104, 69), (122, 78, 52), (88, 57, 41), (233, 183, 148),
)  # fmt: skip
_HAIRS: tuple[Color, ...] = (
    (34, 28, 30), (58, 40, 32), (92, 58, 38), (139, 90, 48),
    (205, 164, 94), (150, 60, 36), (120, 116, 120), (48, 44, 72),
)  # fmt: skip
#: Clothes that go together: top, second color of the top, bottom, shoes.
_OUTFITS: tuple[tuple[Color, Color, Color, Color], ...] = (
    ((214, 69, 65), (247, 241, 227), (45, 62, 92), (240, 240, 238)),
    ((242, 177, 52), (84, 62, 54), (60, 72, 88), (192, 57, 43)),
    ((46, 139, 139), (235, 245, 239), (43, 45, 66), (239, 131, 84)),
    ((245, 245, 242), (52, 73, 94), (94, 120, 152), (44, 62, 80)),
    ((112, 86, 160), (238, 214, 140), (55, 48, 74), (220, 208, 236)),
    ((238, 118, 138), (255, 244, 240), (88, 96, 120), (255, 250, 246)),
    ((88, 150, 92), (240, 232, 200), (120, 92, 66), (60, 58, 54)),
    ((52, 104, 176), (250, 202, 72), (36, 40, 52), (226, 66, 60)),
    ((40, 42, 50), (226, 88, 62), (150, 154, 162), (232, 232, 228)),
    ((228, 120, 60), (50, 60, 76), (206, 190, 160), (84, 58, 46)),
    ((150, 206, 190), (76, 92, 116), (244, 238, 226), (238, 128, 112)),
    ((176, 48, 84), (244, 206, 200), (38, 36, 50), (176, 48, 84)),
    ((98, 172, 222), (255, 255, 255), (70, 78, 112), (250, 214, 90)),
    ((230, 214, 178), (140, 74, 58), (108, 122, 84), (140, 74, 58)),
)
#: Walls and floors: wall above, wall below, floor.
_ROOMS: tuple[tuple[Color, Color, Color], ...] = (
    ((203, 218, 224), (228, 234, 232), (150, 160, 166)),
    ((244, 214, 186), (250, 234, 214), (190, 146, 112)),
    ((150, 178, 176), (198, 214, 206), (104, 120, 118)),
    ((206, 196, 222), (232, 224, 236), (146, 134, 164)),
    ((62, 72, 102), (108, 112, 142), (58, 56, 74)),
    ((188, 208, 168), (224, 230, 204), (140, 150, 116)),
    ((236, 188, 188), (246, 220, 212), (172, 128, 132)),
    ((86, 110, 122), (150, 166, 168), (74, 80, 86)),
)


@dataclass(frozen=True)
class Look:
    """One person: the same under every camera, in every dance."""

    body: Body
    height: float
    """Scale of the whole figure, about 1."""
    skin: Color
    hair: Color
    hair_cut: HairCut
    top: Top
    pattern: Print
    bottom: Bottom
    top_color: Color
    second_color: Color
    bottom_color: Color
    shoes: Color


def look_of(seed: int, dancer: str) -> Look:
    """The looks of a dancer, a function of (seed, dancer) alone."""
    rng = rng_of(seed, "look", dancer)
    broad = rng.uniform(-1, 1)
    body = Body(
        shoulders=0.110 + 0.010 * broad,
        hips=0.060 - 0.004 * broad,
        trunk=rng.uniform(0.295, 0.312),
        upper_arm=rng.uniform(0.158, 0.170),
        forearm=rng.uniform(0.140, 0.150),
        thigh=rng.uniform(0.236, 0.250),
        shin=rng.uniform(0.228, 0.242),
        girth=rng.uniform(0.92, 1.14) + 0.04 * broad,
    )
    top, second, bottom, shoes = _OUTFITS[rng.integers(len(_OUTFITS))]
    if rng.random() < 0.35:
        bottom = _OUTFITS[rng.integers(len(_OUTFITS))][2]
    return Look(
        body=body,
        height=float(rng.uniform(0.94, 1.05)),
        skin=_SKINS[rng.integers(len(_SKINS))],
        hair=_HAIRS[rng.choice(len(_HAIRS), p=_falling(len(_HAIRS)))],
        hair_cut=_CUTS[rng.choice(len(_CUTS))],
        top=_TOPS[rng.choice(3, p=[0.45, 0.35, 0.2])],
        pattern=_PRINTS[rng.choice(len(_PRINTS))],
        bottom=_BOTTOMS[rng.choice(4, p=[0.4, 0.2, 0.2, 0.2])],
        top_color=top,
        second_color=second,
        bottom_color=bottom,
        shoes=shoes,
    )


def _falling(count: int) -> NDArray[np.float64]:
    weights = 0.75 ** np.arange(count)
    return weights / weights.sum()


def background(
    seed: int, dancer: str, height: int, width: int, floor: float, kind: str = "varied"
) -> NDArray[np.uint8]:
    """The room of a dancer.

    Args:
        floor: Where the wall meets the floor, as a share of the height.
        kind: `varied`, or `stage` for the white stage that AIST films on.

    Returns:
        (height, width, 3) uint8.
    """
    rng = rng_of(seed, "room", dancer)
    style = str(rng.choice(["stage", "plain", "spot", "panels", "windows"]))
    above, below, ground = _contrasting_room(look_of(seed, dancer), rng)
    if kind == "stage" or style == "stage":
        style = "stage"
        above, below, ground = (
            np.array(c, np.float32) for c in ((222, 224, 226), (240, 240, 240), (206, 207, 209))
        )
    y = (np.arange(height, dtype=np.float32) + 0.5)[:, None] / height
    x = (np.arange(width, dtype=np.float32) + 0.5)[None, :] / width * (width / height)
    middle = float(width / height / 2)
    wall = above + (below - above) * np.clip(y / floor, 0, 1)[..., None]
    light = np.ones((height, width), np.float32)
    if style == "spot":
        center = middle + rng.uniform(-0.12, 0.12)
        light += 0.28 * np.exp(-(((x - center) / 0.33) ** 2 + ((y - 0.38) / 0.38) ** 2)) - 0.12
    elif style == "panels":
        step = rng.uniform(0.16, 0.3)
        light += 0.05 * _square_wave((x + rng.uniform()) / step, 0.06)
    elif style == "windows":
        step = rng.uniform(0.3, 0.45)
        column = _square_wave((x + rng.uniform()) / step, 0.03)
        row = _square_wave((y - 0.1) / (floor * 0.9), 0.02)
        light += 0.09 * np.minimum(column, row)
    deep = np.clip((y - floor) / (1 - floor), 0, 1)
    ground_light = 0.9 + 0.22 * deep - 0.15 * np.abs(x - middle)
    blend = np.clip((y - floor) * 60 + 0.5, 0, 1)[..., None]
    if style == "stage":  # a cyclorama has no edge
        blend = np.clip((y - floor) * 9 + 0.5, 0, 1)[..., None]
    image = wall * light[..., None] * (1 - blend) + ground * ground_light[..., None] * blend
    image *= (1 - 0.12 * ((x - middle) ** 2 + (y - 0.5) ** 2))[..., None]
    return np.clip(image + _grain(rng, height, width)[..., None], 0, 255).astype(np.uint8)


def _contrasting_room(look: Look, rng: np.random.Generator) -> list[NDArray[np.float32]]:
    """Colors of a random room against whose wall the person's arms and clothes stand out."""
    worn = np.array([look.skin, look.top_color, look.bottom_color], np.float32)
    rooms = [[np.array(c, np.float32) for c in _ROOMS[n]] for n in rng.permutation(len(_ROOMS))]
    contrasts = [np.abs(worn - 0.5 * (room[0] + room[1])).mean(axis=1).min() for room in rooms]
    enough = [n for n, contrast in enumerate(contrasts) if contrast > 45]
    return rooms[enough[0] if enough else int(np.argmax(contrasts))]


def _square_wave(phase: NDArray[np.float32], edge: float) -> NDArray[np.float32]:
    """-1 and 1 in turns with soft edges."""
    return np.clip(np.sin(2 * np.pi * phase) / (2 * np.pi * edge), -1, 1).astype(np.float32)


def _grain(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """Faint texture of the same look at any size, for cameras and flow to hold on to."""
    noise = rng.standard_normal((72, 128)).astype(np.float32) * 3.0
    scaled = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(scaled, dtype=np.float32)
