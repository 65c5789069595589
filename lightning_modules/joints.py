"""Joint supervision of stage 1: ten parts of the body from COCO keypoints, as pure functions.

Labels exist for rendered dancers and AIST++. The published training does not use them, and scores
of networks trained with them are marked. Parts are boxes along bones. The matrix of a part maps the
unit square to its box, so that its matrix in the reference times the inverse of its matrix in the
driving frame is its rigid motion, whereas the axes of a heatmap have no direction.

Shape letters: N frames, J = 17 keypoints, K = 10 parts, h w cells. Positions: (x, y), -1 and 1 at
the centers of the outer pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_modules.networks.affine2d import apply_matrix, inverse, relative_affine
from lightning_modules.networks.regions import Regions
from lightning_modules.networks.warp import coordinate_grid

PARTS = (
    "head",
    "torso",
    "left upper arm",
    "left forearm",
    "right upper arm",
    "right forearm",
    "left thigh",
    "left shin",
    "right thigh",
    "right shin",
)
# COCO's keypoints: 0 nose, 3 4 ears, 5 6 shoulders, 7 8 elbows, 9 10 wrists, 11 12 hips,
# 13 14 knees, 15 16 ankles. Each limb: from, to, extension beyond `to` (hands and feet) as a share
# of the bone's length, and half width as a share of the torso's length.
_LIMBS = (
    (5, 7, 0.0, 0.13),
    (7, 9, 0.35, 0.12),
    (6, 8, 0.0, 0.13),
    (8, 10, 0.35, 0.12),
    (11, 13, 0.0, 0.17),
    (13, 15, 0.2, 0.14),
    (12, 14, 0.0, 0.17),
    (14, 16, 0.2, 0.14),
)
_TORSO_HALF_WIDTH = 0.33
_HEAD_HALF_WIDTH = 0.26
#: A frame's smallest torso, in normalized units (3 pixels of 64), so that no box is degenerate.
_MIN_TORSO = 0.1


@dataclass(frozen=True)
class Parts:
    """K parts of the bodies in N frames."""

    center: Tensor
    """(N, K, 2)."""
    matrix: Tensor
    """(N, K, 2, 2): columns are half the length along the bone and half the width across."""
    seen: Tensor
    """(N, K) in [0, 1]: the smallest visibility of a part's keypoints."""

    def repeat(self, times: int) -> Parts:
        """Repeat each frame `times` times, consecutively."""
        return Parts(
            self.center.repeat_interleave(times, 0),
            self.matrix.repeat_interleave(times, 0),
            self.seen.repeat_interleave(times, 0),
        )


def body_parts(keypoints: Tensor) -> Parts:
    """Return body parts from keypoints (N, 17, 3): x, y in [-1, 1], visibility in [0, 1]."""
    finite = keypoints.isfinite().all(dim=-1)
    keypoints = torch.where(finite[..., None], keypoints, torch.zeros_like(keypoints))
    xy, seen = keypoints[..., :2], keypoints[..., 2].clamp(0, 1)
    neck, hips = xy[:, 5:7].mean(dim=1), xy[:, 11:13].mean(dim=1)
    torso = (neck - hips).norm(dim=-1, keepdim=True).clamp(min=_MIN_TORSO)
    seen_torso = seen[:, [5, 6, 11, 12]].amin(dim=1)
    # The visible ones of nose and ears; all of them if the person is seen from behind.
    share = seen[:, [0, 3, 4], None] + 1e-3
    skull = (xy[:, [0, 3, 4]] * share).sum(dim=1) / share.sum(dim=1)
    up = _unit(skull - neck)
    starts = [skull - up * _HEAD_HALF_WIDTH * torso, hips]
    ends = [skull + up * _HEAD_HALF_WIDTH * torso, neck]
    widths = [_HEAD_HALF_WIDTH * torso, _TORSO_HALF_WIDTH * torso]
    visible = [seen_torso, seen_torso]
    for start, end, beyond, width in _LIMBS:
        starts.append(xy[:, start])
        ends.append(xy[:, end] + beyond * (xy[:, end] - xy[:, start]))
        widths.append(width * torso)
        visible.append(torch.minimum(seen[:, start], seen[:, end]))
    a, b = torch.stack(starts, dim=1), torch.stack(ends, dim=1)
    half_width = torch.stack(widths, dim=1)
    direction = _unit(b - a)
    # A bone that points at the camera is as long as it is wide.
    half_length = torch.maximum((b - a).norm(dim=-1, keepdim=True) / 2, half_width)
    across = torch.stack([-direction[..., 1], direction[..., 0]], dim=-1)
    matrix = torch.stack([direction * half_length, across * half_width], dim=-1)
    return Parts((a + b) / 2, matrix, torch.stack(visible, dim=1))


def region_loss(regions: Regions, parts: Parts, regressed: bool) -> Tensor:
    """Mean absolute distance of regions from parts: centers, and matrices or covariances.

    `regressed` matrices are compared themselves, since their sign carries the direction of the
    bone; principal axes have no sign, so covariances are compared, scaled to lengths. Invisible
    parts have no error, so that the loss is a mean over frames at any world size.
    """
    seen = parts.seen[..., None]
    total = ((regions.shift - parts.center).abs() * seen).mean()
    if regions.affine is None:
        return total
    difference = (regions.affine - parts.matrix).abs()
    if not regressed:
        target = parts.matrix @ parts.matrix.mT
        size = target.diagonal(dim1=-2, dim2=-1).sum(dim=-1).sqrt()
        difference = (regions.covar - target).abs() / size[..., None, None]
    return total + (difference * seen[..., None]).mean()


@dataclass(frozen=True)
class Teacher:
    """Flow and occlusion of N frames as far as they follow from keypoints."""

    flow: Tensor
    """(N, h, w, 2): the rigid motion of the body's parts; the background is assumed static."""
    weight: Tensor
    """(N, h, w) in [0, 1]: 1 inside a part of the driving body that is visible in both frames, 0 in
    a margin around it, where the motion is ambiguous, 1 on the background."""
    body: Tensor
    """(N, h, w) 0 or 1: cells inside the driving body, visible in the reference."""
    hidden: Tensor
    """(N, h, w) 0 or 1: background that is occluded by the body in the reference."""


def teach(reference: Parts, driving: Parts, height: int, width: int) -> Teacher:
    """Compute flow and occlusion of N pairs of frames on an h x w grid from their parts."""
    grid = coordinate_grid(height, width, driving.center)
    distance = part_distance(driving, grid)
    nearest, owner = distance.min(dim=1)
    motion = relative_affine(reference.matrix, driving.matrix, correct_sign=False)
    offset = grid - driving.center[:, :, None, None]
    moved = apply_matrix(motion[:, :, None, None], offset) + reference.center[:, :, None, None]
    index = owner[:, None, :, :, None].expand(-1, 1, -1, -1, 2)
    flow = moved.gather(1, index)[:, 0]
    seen = torch.minimum(reference.seen, driving.seen)
    trusted = seen[:, :, None, None].expand_as(distance).gather(1, owner[:, None])[:, 0]
    cell = 2.0 / height
    inside, outside = nearest <= 0.25 * cell, nearest > 1.5 * cell
    covered = part_distance(reference, grid).amin(dim=1) <= 0
    return Teacher(
        flow=torch.where(outside[..., None], grid, flow),
        weight=torch.where(inside, trusted, outside.to(trusted.dtype)),
        body=inside.to(flow.dtype),
        hidden=(outside & covered).to(flow.dtype),
    )


def part_distance(parts: Parts, grid: Tensor) -> Tensor:
    """Return (N, K, h, w): signed distance of cells from each part's box, negative inside."""
    offset = grid - parts.center[:, :, None, None]
    local = apply_matrix(inverse(parts.matrix)[:, :, None, None], offset).abs() - 1
    scale = parts.matrix.norm(dim=-2)[:, :, None, None]
    beyond = local * scale
    return beyond.clamp(min=0).norm(dim=-1) + beyond.amax(dim=-1).clamp(max=0)


def flow_loss(flow: Tensor, teacher: Teacher) -> Tensor:
    """L1 distance of flows (N, h, w, 2): weighted mean of each frame, then mean over frames."""
    return _weighted((flow - teacher.flow).abs().sum(dim=-1), teacher.weight)


def occlusion_loss(occlusion: Tensor, teacher: Teacher) -> Tensor:
    """L1 distance of occlusion maps (N, h, w) from 0 on occluded background and from 1 elsewhere.

    Occluded cells, the body and the rest are averaged separately, the rest with a weight of 0.1;
    otherwise the large background, which is easy to predict, would dominate.
    """
    rest = (1 - teacher.hidden) * (1 - teacher.body)
    shown = 1 - occlusion
    return (
        _weighted(occlusion, teacher.hidden)
        + _weighted(shown, teacher.body)
        + 0.1 * _weighted(shown, rest)
    )


def _weighted(values: Tensor, weight: Tensor) -> Tensor:
    return ((values * weight).sum(dim=(1, 2)) / weight.sum(dim=(1, 2)).clamp(min=1)).mean()


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm(dim=-1, keepdim=True).clamp(min=1e-6)
