"""The clips of the flow study: rendered dances with true flow, and videos with optical flow."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.aist_names import parse
from datamodules.batch import to_unit
from datamodules.errors import DataError
from datamodules.media.video import fit_image, stream_frames
from datamodules.synthetic.dataset import DanceSpec, RenderedClip, dance_names, render_clip
from experiments.evaluation.clips import score_clips
from experiments.evaluation.folder import videos_in
from experiments.evaluation.guarded import GuardedProcess
from experiments.studies.flow.measure import (
    flow_errors,
    frame_scores,
    hidden_overlap,
    in_between_scores,
    pixel_flow,
    pixel_occlusion,
)
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from metrics.functional.optical_flow import flow_between, to_gray

FPS = 10.0
METHODS = ("dis", "farneback")
#: Seconds that the first frames of a video may take to be decoded.
PATIENCE_S = 300.0
Row = dict[str, Any]
Progress = Callable[[int, int], None]


def dance_specs(seed: int, clips: int, frames: int, size: int) -> list[DanceSpec]:
    """Return dances of held-out people to held-out music.

    Args:
        seed: Seed of the rendered set; the network's training set has the same routines.
        clips: Number of dances; beyond the forty of the set, the same names with the next seed.
        frames: Frames of each dance.
        size: Pixels of a side.
    """
    names = dance_names(seed, 0)
    return [
        DanceSpec(
            name=names[number % len(names)],
            seed=seed + number // len(names),
            size=size,
            fps=FPS,
            seconds=frames / FPS,
        )
        for number in range(clips)
    ]


def true_flow(clip: RenderedClip, places: list[int], size: int) -> tuple[Tensor, Tensor]:
    """Return displacements (T, size, size, 2) in pixels from frames to the first, and visibility.

    Args:
        clip: The clip.
        places: Numbers of the T frames.
        size: Pixels of a side.
    """
    grid, visible = clip.true_flow(0, places, size)
    own, _ = clip.true_flow(0, [0], size)
    return (grid - own) * (size - 1) / 2, visible[:, 0]


@torch.no_grad()
def measure_rendered(
    network: LatentFlowAutoencoder, specs: list[DanceSpec], progress: Progress
) -> list[Row]:
    """Return a row of numbers for each dance; the reference is its first frame."""
    rows = []
    for spec in specs:
        rows.append(_measure(network, render_clip(spec), spec.size))
        progress(len(rows), len(specs))
    return rows


def _measure(network: LatentFlowAutoencoder, clip: RenderedClip, size: int) -> Row:
    video = to_unit(clip.frames)
    reference = video[:1]
    output = network(reference, video[None])
    latent = output.latent_flow[0]
    true, visible = true_flow(clip, list(range(len(video))), size)
    parsed = parse(clip.name)
    music = str(parsed.music)
    both = torch.stack([video, output.prediction[0].clamp(0, 1)])
    beats = torch.from_numpy(clip.beats_s).float()[None].expand(2, -1)
    scored = score_clips(both, clip.fps, beats, ["true", "decoded"], [music, music])
    before, after = (one.scores["corrected"] for one in scored)
    return {
        "clip": clip.name,
        "genre": parsed.genre,
        "music": parsed.music,
        **flow_errors(pixel_flow(network, latent, size), true),
        "hidden_iou": hidden_overlap(pixel_occlusion(network, latent, size), visible),
        **frame_scores(reference, video, output.prediction[0], output.deformed[0]),
        **in_between_scores(network, reference[0], video, latent),
        "align_true": before,
        "align_made": after,
        "align_lost": before - after,
    }


def read_videos(folder: Path, frames: int, size: int) -> dict[str, Tensor]:
    """Return the first frames (T, 3, size, size) in [0, 1] of every video of a folder, by name.

    Videos that cannot be decoded are reported on standard error and left out.

    Raises:
        DataError: If the folder has no video that can be decoded.
    """
    found = {}
    with GuardedProcess(PATIENCE_S, preload=(__name__,)) as guarded:
        for name, path in videos_in(folder).items():
            try:
                found[name] = to_unit(torch.from_numpy(guarded.call(_first, path, frames, size)))
            except DataError as error:
                print(f"Left out: {name}: {error}", file=sys.stderr)
    if not found:
        raise DataError(f'None of the videos in "{folder}" can be decoded.')
    return found


def _first(path: Path, frames: int, size: int) -> NDArray[np.uint8]:
    images = torch.stack(list(islice(stream_frames(path), frames)))
    return np.asarray(fit_image(images, size).numpy())


@torch.no_grad()
def measure_videos(
    network: LatentFlowAutoencoder, videos: Mapping[str, Tensor], progress: Progress
) -> list[Row]:
    """Return a row for each video: frames against copying, flow against DIS and Farneback.

    `epe_dis` and so on: mean distance to that method's flow over the pixels where it finds motion;
    `epe_zero_dis`: the same for zero flow. `l1_dis`: foreground L1 of the reference warped by the
    method's own flow, which distinguishes its errors from ours.
    """
    rows: list[Row] = []
    for name, video in videos.items():
        size = video.shape[-1]
        output = network(video[:1], video[None])
        ours = pixel_flow(network, output.latent_flow[0], size)
        row: Row = {"clip": name, "music": name}
        row |= frame_scores(video[:1], video, output.prediction[0], output.deformed[0])
        for method in METHODS:
            theirs = optical_flow(video, method)
            errors = flow_errors(ours, theirs)
            row |= {f"{key}_{method}": errors[key] for key in ("epe", "epe_zero", "angle")}
            warped = _warp(video[0], theirs)
            row[f"l1_{method}"] = frame_scores(video[:1], video, warped, warped)["l1"]
        rows.append(row)
        progress(len(rows), len(videos))
    return rows


def optical_flow(video: Tensor, method: str) -> Tensor:
    """Return flow (T, H, W, 2) in pixels from every frame of (T, 3, H, W) to the first."""
    between = flow_between(method)  # type: ignore[arg-type]
    gray = to_gray(video).numpy()
    return torch.stack([torch.from_numpy(between(frame, gray[0])) for frame in gray])


def _warp(reference: Tensor, flow: Tensor) -> Tensor:
    """Sample the reference (3, H, W) at displacements (T, H, W, 2) in pixels: (T, 3, H, W)."""
    times, height, width = flow.shape[:3]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    position = flow + torch.stack([x, y], dim=-1)
    grid = position / torch.tensor([width - 1, height - 1]) * 2 - 1
    return torch.nn.functional.grid_sample(
        reference.expand(times, -1, -1, -1), grid, padding_mode="border", align_corners=True
    )
