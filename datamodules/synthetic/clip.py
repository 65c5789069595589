"""One rendered dance: its description, its frames and sound, and their ground truth."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.aist_names import AistName, parse
from datamodules.batch import KEYPOINTS
from datamodules.synthetic.draw import paint_frames, part_map, supersampling
from datamodules.synthetic.figure import build_figure
from datamodules.synthetic.look import background, look_of
from datamodules.synthetic.motion import LIMB_GROUPS, J, choreograph, joints_of, perform
from datamodules.synthetic.music import (
    PATTERNS,
    SAMPLE_RATE,
    Pattern,
    beat_times,
    rng_of,
    synthesise,
)
from datamodules.synthetic.shapes import Figure, View

Array = NDArray[np.float64]

#: Share of each beat that a genre stands still.
_HOLDS = {"PO": 0.2, "LO": 0.2, "KR": 0.1, "BR": 0.05, "WA": 0.1}
#: Azimuth in degrees, size and shift to the right (share of the height) of cameras c01 to c09.
_CAMERAS = {
    "c01": (0, 1.0, 0.0), "c02": (-25, 0.97, 0.02), "c03": (25, 0.97, -0.02),
    "c04": (-50, 0.95, 0.03), "c05": (50, 0.95, -0.03), "c06": (-140, 0.94, 0.0),
    "c07": (140, 0.94, 0.0), "c08": (180, 0.96, 0.0), "c09": (8, 0.82, 0.0),
}  # fmt: skip
_PITCH = np.radians(7.0)
_FLOOR = 0.80
"""Height of the wall's foot, share of the image."""
_FIGURE = 0.68
"""Height of an average dancer, share of the image."""
_LEAD = 3
"""Beats danced before the clip begins and after it ends."""


@dataclass(frozen=True)
class DanceSpec:
    """A dance to render. Everything drawn, played and stored is a function of it alone."""

    name: str = "gBR_sBM_c01_d01_mBR0_ch03"
    """AIST name: genre, camera, dancer (d01 to d99), music and choreography are taken from it."""
    seed: int = 0
    size: int = 64
    """Height of the image in pixels."""
    width: int = 0
    """Width in pixels; 0 for a square."""
    fps: float = 10.0
    seconds: float = 4.0
    routines: int = 6
    """Shared routines of four poses to dance from, at most six; 0 makes up every pose."""
    rooms: str = "varied"
    """`varied` by dancer, or `stage`: the white stage of AIST."""
    pattern: Pattern = "even"
    """How the music divides and accents its beats, and whether the tempo changes."""
    limbs_on_beat: float = 1.0
    """Share of the four limb groups that dance on the beat; the rest is shifted by half a beat."""
    beat_offset: float = 0.0
    """Beats by which the dance lags the music."""
    jitter_px: float = 0.0
    """Standard deviation (pixels) of a random shift of the figure in each frame."""
    camera_shake_px: float = 0.0
    """Standard deviation (pixels) of a random shift of the whole image in each frame."""
    camera_motion: float = 0.0
    """Amplitude of a slow pan and zoom, share of the image's width."""

    def __post_init__(self) -> None:
        if self.parsed.situation not in ("BM", "FM"):
            raise ValueError(f"{self.name} is a {self.parsed.situation} dance; BM or FM expected.")
        if self.size < 16 or (self.width and self.width < 16):
            raise ValueError(f"Images of {self.size} pixels are too small; at least 16.")
        if not (0 < self.fps <= 1000 and 0 < self.seconds * self.fps < 1e6):
            raise ValueError(f"{self.seconds} s at {self.fps} frames/s cannot be rendered.")
        if self.pattern not in PATTERNS:
            raise ValueError(f"pattern is {self.pattern!r}; expected one of {PATTERNS}.")
        if not 0 <= self.routines <= 6:
            raise ValueError(f"routines is {self.routines}; expected 0 to 6.")

    @cached_property
    def parsed(self) -> AistName:
        return parse(self.name)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.size, self.width or self.size

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DanceSpec:
        """The spec that `to_dict` gave; unknown entries are refused."""
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"A dance has no {', '.join(sorted(unknown))}.")
        return cls(**values)


class Scene:
    """The geometry of a dance in every frame, before anything is painted."""

    def __init__(self, spec: DanceSpec) -> None:
        self.spec = spec
        self.name = spec.parsed
        self.dancer = self.name.dancers[0]
        self.times_s = np.arange(max(1, round(spec.seconds * spec.fps))) / spec.fps
        self.look = look_of(spec.seed, self.dancer)
        self.cameras = _camera_path(spec, self.times_s)
        self.view = self._view()
        detailed = _FIGURE * spec.size >= 90
        self.figure: Figure = build_figure(self.view, self.look, detailed)

    @property
    def music_id(self) -> str:
        return self.name.music or ""

    def _coordinates(self) -> Array:
        spec, name = self.spec, self.name
        beats = beat_times(spec.seed, self.music_id, spec.seconds, spec.pattern, lead=_LEAD)
        lengths = np.diff(beats, append=2 * beats[-1] - beats[-2])
        moments = beats + spec.beat_offset * lengths
        on_beat = round(spec.limbs_on_beat * len(LIMB_GROUPS))
        order = rng_of(spec.seed, "limbs", spec.name).permutation(len(LIMB_GROUPS))
        pose_times = [
            moments if place < on_beat else moments + 0.5 * lengths for place in np.argsort(order)
        ]
        genre = name.genre or ""
        poses = choreograph(
            spec.seed, genre, name.situation, name.choreography or "", len(beats), spec.routines
        )
        return perform(poses, pose_times, self.times_s, _HOLDS.get(genre, 0.0))

    def _view(self) -> View:
        spec = self.spec
        height, width = spec.shape
        azimuth, size, aside = _CAMERAS[self.name.camera]
        angle = np.radians(azimuth)
        rng = rng_of(spec.seed, "place", self.dancer, self.name.camera)
        scale = _FIGURE * height * size * self.look.height * rng.uniform(0.97, 1.03)
        middle = width / 2 - 0.5 + height * (aside + rng.uniform(-0.02, 0.02))
        ground = height * (0.885 + rng.uniform(-0.01, 0.01)) - 0.5
        joints = joints_of(self._coordinates(), self.look.body)
        x = joints[..., 0] * np.cos(angle) + joints[..., 2] * np.sin(angle)
        depth = joints[..., 2] * np.cos(angle) - joints[..., 0] * np.sin(angle)
        down = -joints[..., 1] * np.cos(_PITCH) + depth * np.sin(_PITCH)
        points = np.stack([middle + scale * x, ground + scale * down], axis=-1)
        jitter = rng_of(spec.seed, "jitter", spec.name).normal(size=(len(points), 1, 2))
        points = points + spec.jitter_px * jitter
        still = np.stack([points[..., 0], points[..., 1]], axis=-1)
        zoom, shift = self.cameras[:, :1], self.cameras[:, 1:]
        center = np.array([(width - 1) / 2, (height - 1) / 2])
        self.ground = ground
        return View(
            points=(still - center) * zoom[:, None] + center + shift[:, None],
            depth=depth,
            scale=scale * zoom[:, 0],
            facing=float(np.cos(angle)),
        )

    def shadows(self) -> Array:
        """(T, 4): center x, y and half sizes of the floor shadow, pixels."""
        height = self.spec.size
        feet = self.view.points[:, [J["l_ankle"], J["r_ankle"]], 0]
        pelvis = self.view.points[:, J["pelvis"], 0]
        center = 0.5 * pelvis + 0.25 * feet.sum(axis=1)
        half = 0.09 * self.view.scale + 0.4 * np.abs(feet[:, 0] - feet[:, 1])
        zoom, shift = self.cameras[:, 0], self.cameras[:, 2]
        middle = (height - 1) / 2
        y = (self.ground - middle) * zoom + middle + shift
        return np.stack([center, y, half, 0.028 * self.view.scale], axis=-1)

    def keypoints(self) -> NDArray[np.float32]:
        """(T, 17, 3): x, y in pixels and visibility: 0 outside the image or behind the head."""
        names = [name.replace("left_", "l_").replace("right_", "r_") for name in KEYPOINTS]
        places = [J[name] for name in names]
        points = self.view.points[:, places]
        height, width = self.spec.shape
        inside = (points > -0.5).all(-1) & (points < np.array([width, height]) - 0.5).all(-1)
        # Of the face only what is on the camera's side of the head is seen.
        away = self.view.depth[:, places] - self.view.depth[:, [J["head"]]]
        hidden = np.zeros_like(inside)
        hidden[:, :5] = away[:, :5] < -0.03
        visible = (inside & ~hidden).astype(np.float64)
        return np.concatenate([points, visible[..., None]], axis=-1).astype(np.float32)

    def paint(self) -> NDArray[np.uint8]:
        """(T, H, W, 3) uint8 frames."""
        spec = self.spec
        height, width = spec.shape
        factor = supersampling(height)
        room = background(
            spec.seed, self.dancer, height * factor, width * factor, _FLOOR, spec.rooms
        )
        return paint_frames(self.figure, room, self.cameras, self.shadows(), factor)

    def flow(
        self, reference: int, driving: list[int], rows: int, columns: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Where each cell of the driving frames was in the reference frame; see `true_flow`."""
        height, width = self.spec.shape
        factor = max(1, min(4, round(256 / height)))
        before = part_map(self.figure, reference, height, width, factor)
        y, x = np.meshgrid(
            np.linspace(0, height - 1, rows), np.linspace(0, width - 1, columns), indexing="ij"
        )
        target = np.stack([x, y], axis=-1)
        grids, seen = [], []
        for t in driving:
            now = _look_up(part_map(self.figure, t, height, width, factor), target, factor)
            source = self._room_flow(target, reference, t)
            for part, (origin, basis) in self.figure.frames.items():
                here = now == part
                if here.any():
                    turn = basis[reference] @ np.linalg.inv(basis[t])
                    source[here] = origin[reference] + (target[here] - origin[t]) @ turn.T
            inside = (source > -0.5).all(-1) & (source < np.array([width, height]) - 0.5).all(-1)
            grids.append(source / np.array([width - 1, height - 1]) * 2 - 1)
            seen.append(inside & (_look_up(before, source, factor) == now))
        return np.stack(grids).astype(np.float32), np.stack(seen)[:, None].astype(np.float32)

    def _room_flow(self, target: Array, reference: int, t: int) -> Array:
        height, width = self.spec.shape
        center = np.array([(width - 1) / 2, (height - 1) / 2])
        still = (target - center - self.cameras[t, 1:]) / self.cameras[t, 0]
        return still * self.cameras[reference, 0] + center + self.cameras[reference, 1:]


def _look_up(parts: NDArray[np.uint8], points: Array, factor: int) -> NDArray[np.uint8]:
    """The part at image positions (..., 2); positions outside take the nearest edge's."""
    place = np.rint(points * factor + (factor - 1) / 2).astype(np.int64)
    x = np.clip(place[..., 0], 0, parts.shape[1] - 1)
    y = np.clip(place[..., 1], 0, parts.shape[0] - 1)
    return parts[y, x]


def _camera_path(spec: DanceSpec, times_s: Array) -> Array:
    """(T, 3): zoom, shift x and y in pixels."""
    rng = rng_of(spec.seed, "camera", spec.name)
    shake = rng.normal(size=(len(times_s), 2)) * spec.camera_shake_px
    phase = 2 * np.pi * (times_s / 5.0 + rng.uniform())
    width = spec.camera_motion * spec.shape[1]
    shift = np.stack([width * np.sin(phase), 0.2 * width * np.cos(phase)], axis=-1) + shake
    zoom = 1 + 0.5 * spec.camera_motion * np.cos(0.7 * phase)
    return np.concatenate([zoom[:, None], shift], axis=-1)


@dataclass(frozen=True)
class RenderedClip:
    """Frames, sound and truth of a dance."""

    frames: Tensor
    """(T, 3, H, W) uint8."""
    audio: NDArray[np.float32]
    """(S,) mono in [-1, 1]; sample 0 sounds with frame 0."""
    sample_rate: int
    beats_s: NDArray[np.float64]
    """(N,) seconds from frame 0: the music's pulse, whatever the dancer does."""
    tempo_bpm: float
    keypoints: NDArray[np.float32]
    """(T, 17, 3): x, y in pixels, visibility 0 or 1; COCO's order."""
    fps: float
    name: str
    scene: Scene

    def true_flow(
        self, reference: int, driving: Tensor | list[int], size: int
    ) -> tuple[Tensor, Tensor]:
        """True backward flow from a reference frame to driving frames.

        Sampling the reference frame at the grid (`grid_sample`, align_corners=True) gives the
        driving frame wherever the occlusion map is 1. Each part of the body moves by the affine
        map of its limb; cells hidden in the reference frame have the flow of what they show.

        Args:
            reference: Frame number.
            driving: T frame numbers.
            size: Rows of the grid; columns in proportion to the image.

        Returns:
            Grid (T, h, w, 2), x and y in [-1, 1] between the outer pixels' centers, and the
            occlusion map (T, 1, h, w): 1 where the reference frame shows the same surface, else 0.
        """
        return true_flow(self.scene, reference, driving, size)


def true_flow(
    scene: Scene, reference: int, driving: Tensor | list[int], size: int
) -> tuple[Tensor, Tensor]:
    """`RenderedClip.true_flow` of a scene that need not be painted."""
    height, width = scene.spec.shape
    columns = round(size * width / height)
    wanted = [int(t) for t in driving]
    grid, occlusion = scene.flow(reference, wanted, size, columns)
    return torch.from_numpy(grid), torch.from_numpy(occlusion)


def render_clip(spec: DanceSpec) -> RenderedClip:
    """Render a dance with its sound and its truth."""
    scene = Scene(spec)
    music = synthesise(spec.seed, scene.music_id, spec.seconds, spec.pattern)
    frames = torch.from_numpy(scene.paint()).permute(0, 3, 1, 2).contiguous()
    return RenderedClip(
        frames=frames,
        audio=music.audio,
        sample_rate=SAMPLE_RATE,
        beats_s=music.beats_s,
        tempo_bpm=music.tempo_bpm,
        keypoints=scene.keypoints(),
        fps=spec.fps,
        name=spec.name,
        scene=scene,
    )
