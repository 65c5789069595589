"""Measurements of the flow study: rendered dances with true flow, and videos with optical flow.

A pixel flow is displacements (T, H, W, 2) in pixels, from each pixel of a driving frame to the
position of its content in the reference.
"""

from __future__ import annotations

import math
import sys
from functools import partial
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
from datamodules.synthetic.dataset import DanceSpec, dance_names, render_clip
from experiments.evaluation.clips import score_clips
from experiments.evaluation.folder import videos_in
from experiments.evaluation.guarded import GuardedProcess
from lightning_modules.losses import ssim
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.networks.warp import resize_grid, resize_map
from lightning_modules.viz import residual_pixels
from metrics.functional.optical_flow import FlowMethod, optical_flow
from metrics.functional.warping import warp
from metrics.reconstruction import reconstruction_scores, reconstruction_sums

FPS = 10.0
METHODS: tuple[FlowMethod, ...] = ("dis", "farneback")
#: Seconds that the first frames of a video may take to be decoded.
PATIENCE_S = 300.0
#: Pixels whose true displacement is at least this belong to the moving figure.
MOVED_PX = 0.5
#: Directions are compared where the true displacement is at least this long.
DIRECTED_PX = 1.0
Row = dict[str, Any]


def dance_specs(seed: int, clips: int, frames: int, size: int) -> list[DanceSpec]:
    """Return dances of held-out people to held-out music, whose routines are in the training set.

    Beyond the forty of the set of this seed, the same names follow with the next seed.
    """
    names = dance_names(seed, 0)
    dance = partial(DanceSpec, size=size, fps=FPS, seconds=frames / FPS)
    numbers = (divmod(number, len(names)) for number in range(clips))
    return [dance(name=names[place], seed=seed + turn) for turn, place in numbers]


@torch.no_grad()
def measure_dance(network: LatentFlowAutoencoder, spec: DanceSpec) -> Row:
    """Return the errors of one rendered dance; the reference is its first frame."""
    clip, parsed, size = render_clip(spec), parse(spec.name), spec.size
    video = to_unit(clip.frames)
    grid, visible = clip.true_flow(0, list(range(len(video))), size)
    output = network(video[:1], video[None])
    latent = output.latent_flow[0]
    aligned: bool = network.config["align_corners"]
    occlusion = resize_map(latent[None, :, 2:], size, size, aligned)
    both = torch.stack([video, output.prediction[0].clamp(0, 1)])
    beats = torch.from_numpy(clip.beats_s).float()[None].expand(2, -1)
    scored = score_clips(both, clip.fps, beats, ["true", "decoded"], [str(parsed.music)] * 2)
    true, decoded = (one.scores["corrected"] for one in scored)
    return {
        "clip": clip.name,
        "genre": parsed.genre,
        "music": parsed.music,
        **flow_errors(pixel_flow(network, latent, size), residual_pixels(grid, size)),
        "hidden_iou": hidden_overlap(occlusion[0, :, 0], visible[:, 0]),
        **frame_scores(video[:1], video, output.prediction[0], output.deformed[0]),
        **in_between_scores(network, video, latent),
        "align_true": true,
        "align_made": decoded,
        "align_lost": true - decoded,
    }


@torch.no_grad()
def measure_video(network: LatentFlowAutoencoder, name: str, video: Tensor) -> Row:
    """Compare the frames of a video with copying, and its flow with DIS and Farneback.

    `epe_dis` and so on: mean distance to that method's flow over the pixels where it finds motion;
    `epe_zero_dis`: the same for zero flow. `l1_dis`: foreground L1 of the reference warped by the
    method's own flow, which distinguishes its errors from ours.
    """
    output = network(video[:1], video[None])
    ours = pixel_flow(network, output.latent_flow[0], video.shape[-1])
    row: Row = {"clip": name, "music": name}
    row |= frame_scores(video[:1], video, output.prediction[0], output.deformed[0])
    for method in METHODS:
        theirs = flow_to_first(video, method)
        errors = flow_errors(ours, theirs)
        row |= {f"{key}_{method}": errors[key] for key in ("epe", "epe_zero", "angle")}
        warped = warp(video[:1].expand_as(video), theirs.movedim(-1, 1))
        row[f"l1_{method}"] = frame_scores(video[:1], video, warped, warped)["l1"]
    return row


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


def flow_to_first(video: Tensor, method: FlowMethod) -> Tensor:
    """Return optical flow (T, H, W, 2) in pixels from every frame of (T, 3, H, W) to the first."""
    pairs = torch.stack([video, video[:1].expand_as(video)], dim=1)
    return optical_flow(pairs, method)[:, 0].movedim(1, -1)


def pixel_flow(network: LatentFlowAutoencoder, latent_flow: Tensor, size: int) -> Tensor:
    """Return the displacements (T, size, size, 2) in pixels of latent flow (T, 3, h, w)."""
    aligned: bool = network.config["align_corners"]
    grid = resize_grid(latent_flow[None, :, :2].movedim(2, -1), size, size, aligned)[0]
    if aligned:  # -1 and 1 are the centers of the outer pixels, otherwise their outer edges
        return residual_pixels(grid, size)
    own = torch.arange(size, dtype=grid.dtype)
    positions = ((grid + 1) * size - 1) / 2
    return positions - torch.stack(torch.meshgrid(own, own, indexing="xy"), dim=-1)


def flow_errors(found: Tensor, true: Tensor) -> dict[str, float]:
    """Return errors of displacements (T, H, W, 2) in pixels, NaN where nothing moves.

    `epe`: mean end-point error over the moving pixels; `epe_zero`: the same for zero flow (the mean
    length); `epe_all`: over all pixels; `angle`: mean angle in degrees; `change`: mean error of the
    change from frame to frame (temporal consistency); `change_zero`, `speed`: the same for zero
    flow.
    """
    length = true.norm(dim=-1)
    error = (found - true).norm(dim=-1)
    moved = length >= MOVED_PX
    cosine = torch.nn.functional.cosine_similarity(found, true, dim=-1).clamp(-1, 1)
    change, either = true.diff(dim=0), moved[1:] | moved[:-1]
    speed = change.norm(dim=-1)[either].mean()
    errors = {
        "epe": error[moved].mean(),
        "epe_zero": length[moved].mean(),
        "epe_all": error.mean(),
        "angle": torch.rad2deg(cosine.acos())[length >= DIRECTED_PX].mean(),
        "change": (found.diff(dim=0) - change).norm(dim=-1)[either].mean(),
        "change_zero": speed,
        "speed": speed,
    }
    return {name: float(value) for name, value in errors.items()}


def hidden_overlap(occlusion: Tensor, visible: Tensor) -> float:
    """Return the IoU of predicted (below 1/2) and true hidden pixels; NaN if there are none."""
    found, true = occlusion < 0.5, visible < 0.5
    union = float((found | true).sum())
    return float((found & true).sum()) / union if union else math.nan


def frame_scores(
    reference: Tensor, driving: Tensor, prediction: Tensor, deformed: Tensor
) -> dict[str, float]:
    """Return foreground L1, PSNR and SSIM of frames, and of copying the reference.

    Args:
        reference: (1, 3, H, W) in [0, 1].
        driving: (T, 3, H, W), the true frames.
        prediction: (T, 3, H, W), the decoded frames.
        deformed: (T, 3, H, W), the warped reference.
    """
    sums = reconstruction_sums(reference, driving[None], prediction[None], deformed[None])
    return {
        **reconstruction_scores(sums),
        "ssim": float(ssim(prediction, driving).mean()),
        "ssim_copy": float(ssim(reference.expand_as(driving), driving).mean()),
    }


def in_between_scores(
    network: LatentFlowAutoencoder, video: Tensor, latent_flow: Tensor
) -> dict[str, float]:
    """Measure whether the mean of two flows (T, 3, h, w) of a video (T, 3, H, W) is a pose between.

    `between`: foreground L1 to the true middle frame of the decoded mean of the flows two frames
    apart; `between_end`: of the better one of the two ends; `between_ratio`: their ratio, which is
    below 1 if interpolation moves the figure. The foreground is where the two ends differ.
    """
    middle = (latent_flow[:-2] + latent_flow[2:]) / 2
    made, ends = (network.decode(video[:1], flow[None])[0] for flow in (middle, latent_flow))
    changed = (video[2:] - video[:-2]).abs().mean(1) > 0.05

    def error(frames: Tensor) -> Tensor:
        distance = (frames - video[1:-1]).abs().mean(1) * changed
        return distance.sum((1, 2)) / changed.sum((1, 2))  # NaN where nothing changes

    between = float(error(made).nanmean())
    end = float(torch.minimum(error(ends[:-2]), error(ends[2:])).nanmean())
    return {"between": between, "between_end": end, "between_ratio": between / end}
