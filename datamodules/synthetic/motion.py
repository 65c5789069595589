"""How a rendered dancer moves: poses that fall on beats, and the joints they put in space.

Between poses every coordinate follows the minimum-jerk curve (Flash and Hogan 1985), so all
speeds are zero on the beat. Space: x to the dancer's left (right in the image), y up, z towards
the front camera; the unit is the dancer's height. Feet stand where the pose puts them; knees
follow by two-bone inverse kinematics.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datamodules.aist_names import GENRES
from datamodules.synthetic.music import rng_of

Array = NDArray[np.float64]

#: Coordinates of a pose: degrees for angles, the dancer's height for lengths.
_COORDINATES = (
    "x", "drop", "lean", "bow", "twist", "roll", "head",  # trunk
    "la_up", "la_fwd", "lf_up", "lf_fwd",  # left arm and forearm: 0 down, 90 level, 180 up
    "ra_up", "ra_fwd", "rf_up", "rf_fwd",  # 0 sideways, 90 forwards, 180 across the body
    "ll_out", "ll_lift", "rl_out", "rl_lift",  # where the ankles are
)  # fmt: skip
_AT = {name: place for place, name in enumerate(_COORDINATES)}
#: Limbs that may keep their own time: trunk and legs, head and lean, left arm, right arm.
LIMB_GROUPS = (
    ("x", "drop", "roll", "ll_out", "ll_lift", "rl_out", "rl_lift"),
    ("lean", "bow", "twist", "head"),
    ("la_up", "la_fwd", "lf_up", "lf_fwd"),
    ("ra_up", "ra_fwd", "rf_up", "rf_fwd"),
)

_Arm = tuple[float, float, float, float]
_DOWN: _Arm = (14, 10, 8, 30)
_UP: _Arm = (158, 5, 168, 5)
_WIDE: _Arm = (92, 0, 92, 0)
_HIGH: _Arm = (132, 0, 132, 0)
_LOW: _Arm = (48, 0, 46, 0)
_HIP: _Arm = (46, 0, 42, 165)
_FLEX: _Arm = (92, 0, 172, 10)
_SCARE: _Arm = (88, 0, 10, 10)
_FRONT: _Arm = (60, 40, 120, 150)
_ACROSS: _Arm = (66, 60, 84, 165)
_FOLD: _Arm = (40, 20, 135, 40)
_HEAD: _Arm = (128, 0, 150, 172)
_ARMS = (_UP, _WIDE, _HIGH, _LOW, _HIP, _FLEX, _SCARE, _FRONT, _ACROSS, _FOLD, _HEAD, _DOWN)


def _pose(
    left: _Arm,
    right: _Arm,
    x: float = 0.0,
    drop: float = 0.02,
    lean: float = 0.0,
    legs: tuple[float, float] = (0.11, 0.11),
    lifts: tuple[float, float] = (0.0, 0.0),
    twist: float = 0.0,
    roll: float = 0.0,
    head: float = 0.0,
    bow: float = 0.0,
) -> Array:
    """A pose; `legs` says how far out the left and the right ankle are from the middle."""
    trunk = (x, drop, lean, bow, twist, roll, head)
    return np.array([*trunk, *left, *right, legs[0], lifts[0], legs[1], lifts[1]], dtype=np.float64)


def _mirrored(pose: Array) -> Array:
    image = pose.copy()
    for name in ("x", "lean", "twist", "roll", "head"):
        image[_AT[name]] *= -1
    for left, right in (("la_", "ra_"), ("lf_", "rf_"), ("ll_", "rl_")):
        for name in _COORDINATES:
            if name.startswith(left):
                other = right + name[len(left) :]
                image[_AT[name]], image[_AT[other]] = pose[_AT[other]], pose[_AT[name]]
    return image


def _shared_routines() -> list[list[Array]]:
    """Six routines of four poses each, in which every beat moves arms and weight a long way."""
    diagonal = _pose(_HIGH, _LOW, x=0.05, lean=14, legs=(0.2, 0.15), drop=0.05, head=6)
    point = _pose(_HIP, _UP, x=-0.05, lean=-8, legs=(0.1, 0.19), drop=0.03, roll=6)
    kick = _pose(_WIDE, _HIGH, x=-0.06, lean=-12, legs=(0.34, 0.02), lifts=(0.2, 0), drop=0.02)
    step = _pose(_WIDE, _FRONT, x=0.12, lean=8, legs=(0.28, 0.02), drop=0.07, twist=14)
    sway = _pose(_FLEX, _SCARE, x=0.07, lean=10, legs=(0.2, 0.12), drop=0.06, roll=-6)
    knee = _pose(_FOLD, _HIGH, x=-0.05, lean=-6, legs=(0.12, 0.05), lifts=(0.2, 0), drop=0.02)
    squat = _pose(_SCARE, _SCARE, drop=0.15, legs=(0.2, 0.2))
    star = _pose(_HIGH, _HIGH, legs=(0.2, 0.2), drop=0.04)
    closed = _pose(_ACROSS, _ACROSS, legs=(0.07, 0.07), drop=0.05, bow=8)
    reach = _pose(_UP, _UP, legs=(0.1, 0.1), drop=0.015)
    hips = _pose(_HIP, _HIP, x=0.06, roll=-8, lean=-6, legs=(0.14, 0.16), drop=0.05)
    low = _pose(_LOW, _WIDE, x=0.07, lean=16, legs=(0.26, 0.12), drop=0.11, head=-6)
    return [
        [reach, squat, diagonal, _mirrored(diagonal)],
        [point, _mirrored(point), star, closed],
        [kick, hips, _mirrored(kick), _mirrored(hips)],
        [step, _pose(_FOLD, _FOLD, drop=0.09), _mirrored(step), star],
        [sway, _mirrored(sway), reach, low],
        [knee, squat, _mirrored(knee), _pose(_HEAD, _HEAD, legs=(0.17, 0.17), drop=0.08)],
    ]


def _free_pose(rng: np.random.Generator) -> Array:
    """A random pose with both feet or one on the floor."""
    left = _ARMS[rng.integers(len(_ARMS))]
    right = left if rng.random() < 0.35 else _ARMS[rng.integers(len(_ARMS))]
    x = rng.uniform(-0.1, 0.1)
    out = rng.uniform(0.06, 0.22, 2)
    lifts = (0.0, 0.0)
    if rng.random() < 0.25:  # weight on the right foot, the left one free
        x, out = -rng.uniform(0.03, 0.07), np.array([rng.uniform(0.1, 0.34), 0.03])
        lifts = (rng.uniform(0.12, 0.24), 0.0)
    pose = _pose(
        left,
        right,
        x=x,
        drop=rng.uniform(0.02, 0.13) if lifts[0] == 0 else 0.02,
        lean=x * rng.uniform(60, 160),
        legs=(float(out[0] + max(0.0, x)), float(out[1] + max(0.0, -x))),
        lifts=lifts,
        twist=rng.uniform(-15, 15),
        roll=rng.uniform(-7, 7),
        head=rng.uniform(-8, 8),
    )
    arms = slice(_AT["la_up"], _AT["rf_fwd"] + 1)
    pose[arms] += rng.uniform(-8, 8, 8)
    return _mirrored(pose) if rng.random() < 0.5 else pose


def choreograph(
    seed: int, genre: str, situation: str, choreography: str, poses: int, routines: int
) -> Array:
    """The poses of a dance, one a beat.

    Args:
        choreography: AIST's id; with seed, genre and situation it decides the order.
        poses: How many.
        routines: Draw from this many shared routines, of which a genre uses three (at most six);
            0 makes up every pose.

    Returns:
        (poses, C) coordinates.
    """
    rng = rng_of(seed, "dance", genre, situation, choreography)
    if routines == 0:
        dance = [_free_pose(rng)]
        while len(dance) < poses:
            candidate = _free_pose(rng)
            if _distance(candidate, dance[-1]) > 0.35:  # small movements show no beat
                dance.append(candidate)
        return np.stack(dance)
    shared = _shared_routines()[:routines]
    place = list(GENRES).index(genre)
    own = sorted({(place + shift) % len(shared) for shift in (0, 1, 3)})
    dance = []
    while len(dance) < poses:
        for number in rng.permutation(own):
            dance += shared[number] * 2  # everything is danced twice, as classes do
    return np.stack(dance[:poses])


def _distance(one: Array, other: Array) -> float:
    """Mean way of wrists and hips between two poses."""
    joints = joints_of(np.stack([one, other]), Body())
    way = np.linalg.norm(joints[0, :, :2] - joints[1, :, :2], axis=-1)
    return float(way[[J["l_wrist"], J["r_wrist"]]].mean() + way[J["pelvis"]])


def perform(poses: Array, pose_times: list[Array], times_s: Array, hold: float = 0.0) -> Array:
    """Coordinates at any time, limb by limb.

    Args:
        poses: (K, C).
        pose_times: For each of `LIMB_GROUPS` the K times (s) at which it is in its poses.
        times_s: (T,) inside those times.
        hold: Share of each beat spent standing still, half of it on either side of the beat.

    Returns:
        (T, C).
    """
    result = np.empty((len(times_s), poses.shape[1]))
    for names, moments in zip(LIMB_GROUPS, pose_times, strict=True):
        columns = [_AT[name] for name in names]
        k = np.clip(np.searchsorted(moments, times_s, side="right") - 1, 0, len(poses) - 2)
        passed = (times_s - moments[k]) / (moments[k + 1] - moments[k])
        s = np.clip((passed - hold / 2) / (1 - hold), 0.0, 1.0)
        eased = s**3 * (10 - 15 * s + 6 * s**2)
        start, end = poses[k][:, columns], poses[k + 1][:, columns]
        result[:, columns] = start + eased[:, None] * (end - start)
        if "ll_out" in names:
            arc = 16 * (s * (1 - s)) ** 2
            for leg in ("ll", "rl"):
                out, lift = _AT[f"{leg}_out"], _AT[f"{leg}_lift"]
                way = np.abs(poses[k + 1, out] - poses[k, out])
                # A foot that travels leaves the floor.
                result[:, lift] += arc * np.clip(way - 0.02, 0.0, 0.1) * 0.5
    return result


@dataclass(frozen=True)
class Body:
    """Lengths of a dancer in units of the height."""

    shoulders: float = 0.112
    """Half the distance between the shoulder joints."""
    hips: float = 0.058
    trunk: float = 0.305
    """Hip joints' middle to the shoulder line."""
    upper_arm: float = 0.165
    forearm: float = 0.145
    thigh: float = 0.242
    shin: float = 0.235
    girth: float = 1.0
    """Scale of all widths."""


_ANKLE_HEIGHT = 0.038
J = {
    name: place
    for place, name in enumerate(
        ("pelvis", "neck", "head", "crown", "nose", "l_eye", "r_eye", "l_ear", "r_ear",
         "l_shoulder", "r_shoulder", "l_elbow", "r_elbow", "l_wrist", "r_wrist", "l_hand", "r_hand",
         "l_hip", "r_hip", "l_knee", "r_knee", "l_ankle", "r_ankle", "l_toe", "r_toe")
    )
}  # fmt: skip


def joints_of(coordinates: Array, body: Body) -> Array:
    """Joints in space of poses (T, C): (T, J, 3), in the order of `J`."""
    c = {name: coordinates[:, place] for name, place in _AT.items()}
    joints = np.empty((len(coordinates), len(J), 3))
    hip_height = _ANKLE_HEIGHT + body.thigh + body.shin
    pelvis = np.stack([c["x"], hip_height - c["drop"], np.zeros_like(c["x"])], axis=-1)
    joints[:, J["pelvis"]] = pelvis
    trunk = _rotation(c["lean"], c["bow"], c["twist"])
    joints[:, J["neck"]] = neck = pelvis + trunk[:, :, 1] * body.trunk
    skull = _rotation(0.5 * c["lean"] + c["head"], 0.5 * c["bow"], 0.6 * c["twist"])
    base = neck + trunk[:, :, 1] * 0.035
    for name, place in (
        ("head", (0, 0.078, 0.012)),
        ("crown", (0, 0.158, 0.005)),
        ("nose", (0, 0.066, 0.075)),
        ("l_eye", (0.022, 0.085, 0.062)),
        ("r_eye", (-0.022, 0.085, 0.062)),
        ("l_ear", (0.055, 0.075, 0.0)),
        ("r_ear", (-0.055, 0.075, 0.0)),
    ):
        joints[:, J[name]] = base + skull @ np.array(place)
    for side, sign in (("l", 1.0), ("r", -1.0)):
        _arm(joints, c, body, trunk, side, sign)
        _leg(joints, c, body, side, sign)
    return joints


def _arm(
    joints: Array, c: dict[str, Array], body: Body, trunk: Array, side: str, sign: float
) -> None:
    up = c[f"{side}a_up"]
    raised = np.clip((up - 80) / 80, 0, 1)  # the shoulder follows a raised arm
    local = np.stack(
        [sign * (body.shoulders - 0.018 * raised), -0.012 + 0.035 * raised, 0 * raised], axis=-1
    )
    shoulder = joints[:, J["neck"]] + np.einsum("tij,tj->ti", trunk, local)
    upper = _direction(up, c[f"{side}a_fwd"], sign)
    lower = _direction(c[f"{side}f_up"], c[f"{side}f_fwd"], sign)
    elbow = shoulder + np.einsum("tij,tj->ti", trunk, upper) * body.upper_arm
    lower = np.einsum("tij,tj->ti", trunk, lower)
    joints[:, J[f"{side}_shoulder"]] = shoulder
    joints[:, J[f"{side}_elbow"]] = elbow
    joints[:, J[f"{side}_wrist"]] = elbow + lower * body.forearm
    joints[:, J[f"{side}_hand"]] = elbow + lower * (body.forearm + 0.062)


def _leg(joints: Array, c: dict[str, Array], body: Body, side: str, sign: float) -> None:
    pelvis = joints[:, J["pelvis"]]
    roll = np.radians(c["roll"])
    half = sign * body.hips
    hip = pelvis + np.stack([half * np.cos(roll), half * np.sin(roll), 0 * roll], axis=-1)
    lift = c[f"{side}l_lift"]
    ankle = np.stack([sign * c[f"{side}l_out"], _ANKLE_HEIGHT + lift, 0.02 + 0.25 * lift], axis=-1)
    way = ankle - hip
    distance = np.linalg.norm(way, axis=-1, keepdims=True)
    reach = (body.thigh + body.shin) * 0.999
    stretch = np.maximum(1.0, distance / reach)  # a bone gives way before a foot slips
    thigh, shin = body.thigh * stretch, body.shin * stretch
    along = (thigh**2 - shin**2 + distance**2) / (2 * distance)
    bend = np.sqrt(np.maximum(thigh**2 - along**2, 0.0))
    axis = way / distance
    pole = np.broadcast_to(np.array([sign * 0.75, 0.0, 1.0]), way.shape)
    pole = pole - axis * np.sum(pole * axis, axis=-1, keepdims=True)
    pole = pole / np.linalg.norm(pole, axis=-1, keepdims=True)
    joints[:, J[f"{side}_hip"]] = hip
    joints[:, J[f"{side}_knee"]] = hip + axis * along + pole * bend
    joints[:, J[f"{side}_ankle"]] = ankle
    toe = np.array([sign * 0.058, -_ANKLE_HEIGHT + 0.014, 0.075])
    pointed = np.clip(lift / 0.15, 0, 1)[:, None] * np.array([0.0, -0.03, -0.03])
    joints[:, J[f"{side}_toe"]] = ankle + toe + pointed


def _direction(up: Array, forwards: Array, sign: float) -> Array:
    up, forwards = np.radians(up), np.radians(forwards)
    return np.stack(
        [sign * np.sin(up) * np.cos(forwards), -np.cos(up), np.sin(up) * np.sin(forwards)], axis=-1
    )


def _rotation(lean: Array, bow: Array, twist: Array) -> Array:
    """(T, 3, 3): lean to the dancer's left, then bow forwards, then twist to the left; degrees."""
    lean, bow, twist = np.radians(lean), np.radians(bow), np.radians(twist)
    zero, one = np.zeros_like(lean), np.ones_like(lean)

    def matrix(*rows: tuple[Array, Array, Array]) -> Array:
        return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)

    cos, sin = np.cos(lean), np.sin(lean)
    about_z = matrix((cos, sin, zero), (-sin, cos, zero), (zero, zero, one))
    cos, sin = np.cos(bow), np.sin(bow)
    about_x = matrix((one, zero, zero), (zero, cos, -sin), (zero, sin, cos))
    cos, sin = np.cos(twist), np.sin(twist)
    about_y = matrix((cos, zero, sin), (zero, one, zero), (-sin, zero, cos))
    return about_z @ about_x @ about_y
