"""Score the clips that a model generates with each solver, number of steps and guidance scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from datamodules.batch import ClipBatch, to_uint8, to_unit
from experiments.evaluation.heldout import generate_flow
from lightning_modules.normalization import identity_grid
from lightning_modules.pipeline import DabFusionPipeline
from metrics.functional.bootstrap import Interval, cluster_bootstrap
from metrics.functional.distances import frechet_distance
from metrics.functional.motion import motion_from_latent_flow
from metrics.functional.warping import warp_errors_of_video
from metrics.motion_music_alignment import clip_scores

#: Latent flow is averaged over a grid of this many cells a side to compute its features.
CELLS = 4


@dataclass(frozen=True)
class Choice:
    """How flow is sampled."""

    solver: str
    steps: int
    guidance: float


@dataclass(frozen=True)
class Point:
    """Scores of the held-out clips for one choice."""

    choice: Choice | None
    """None for the true flow, decoded in the same way."""
    corrected: Interval
    """Corrected 2D-MM Align, from latent flow."""
    frechet: float
    """Frechet distance of `flow_features` to those of the true flow, in squared pixels."""
    warp_error: Interval
    """Mean squared error of each frame against the previous one warped by optical flow."""


@torch.no_grad()
def measure(
    pipeline: DabFusionPipeline,
    batches: Sequence[ClipBatch],
    choices: Sequence[Choice],
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[Point]:
    """Return a point for the true flow and one for each choice.

    Args:
        pipeline: The model; its sampling settings are restored afterwards.
        batches: Held-out clips with frames.
        choices: How to sample.
        seed: Seed of the noise; each clip gets the same noise for every choice.
        progress: Called with the number of choices done and the number of all.
    """
    own = pipeline.settings
    true = []
    for batch in batches:
        assert batch.frames is not None
        true.append(pipeline.autoencoder.flow(to_unit(batch.reference), to_unit(batch.frames)))
    points = [_score(pipeline, batches, true, true, None)]
    for done, choice in enumerate(choices, start=1):
        pipeline.settings = replace(
            own, solver=choice.solver, steps=choice.steps, guidance_scale=choice.guidance
        )
        flows = [generate_flow(pipeline, batch, seed) for batch in batches]
        points.append(_score(pipeline, batches, flows, true, choice))
        if progress is not None:
            progress(done, len(choices))
    pipeline.settings = own
    return points


def _score(
    pipeline: DabFusionPipeline,
    batches: Sequence[ClipBatch],
    flows: Sequence[Tensor],
    true: Sequence[Tensor],
    choice: Choice | None,
) -> Point:
    corrected, errors, music = [], [], []
    size = batches[0].reference.shape[-1]
    for batch, flow in zip(batches, flows, strict=True):
        signal = motion_from_latent_flow(flow, batch.fps, size)
        corrected.append(clip_scores(signal, batch.fps, batch.beats)["corrected"])
        frames = pipeline.autoencoder.decode(to_unit(batch.reference), flow)
        errors.append(warp_errors_of_video(to_uint8(frames)))
        music += batch.music_ids
    features, true_features = (
        torch.cat([flow_features(flow, size) for flow in some]) for some in (flows, true)
    )
    return Point(
        choice=choice,
        corrected=cluster_bootstrap(torch.cat(corrected).tolist(), music),
        frechet=float(frechet_distance(features, true_features)),
        warp_error=cluster_bootstrap(torch.cat(errors).tolist(), music),
    )


def flow_features(latent_flow: Tensor, size: int) -> Tensor:
    """Return features of a clip's motion for a Frechet distance: where and how much it moves.

    Args:
        latent_flow: (B, T, 3, h, w) absolute.
        size: Side of the frames in pixels.

    Returns:
        (B, 4 * CELLS^2) pixels: mean and standard deviation over time of the displacement in x
        and y, averaged over each of the CELLS x CELLS cells of the frame.
    """
    h, w = latent_flow.shape[-2:]
    displacement = latent_flow[:, :, :2] - identity_grid(h, w, latent_flow.device)
    pixels = displacement.flatten(0, 1) * (size - 1) / 2
    cells = torch.nn.functional.adaptive_avg_pool2d(pixels, CELLS)
    cells = cells.flatten(1).unflatten(0, latent_flow.shape[:2])  # (B, T, 2 * CELLS^2)
    return torch.cat((cells.mean(1), cells.std(1)), dim=-1)
