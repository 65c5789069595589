"""Generate held-out clips with a trained stage 2, and score them and the true clips.

Every clip is generated from its own first frame and its own music; beats were tracked on the whole
song. Three sets of frames are scored alike: the true clip, its reconstruction by stage 1 from the
true motion (an upper bound for stage 2), and the generated clip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from datamodules.aist import AISTDataModule
from datamodules.batch import ClipBatch, to_uint8, to_unit
from datamodules.splits import Split
from experiments.config.run import RunSettings
from experiments.evaluation.clips import Row, ScoredClip, clip_rows, score_clips
from experiments.processes.ranks import SINGLE_PROCESS, Ranks
from experiments.processes.share import in_batches, share_work
from lightning_modules.pipeline import DabFusionPipeline
from lightning_modules.randomness import Purpose, generator_for
from lightning_modules.sampling import Guidance, Windows, sample_latent_flow, solver_scheduler
from metrics.functional import align_shifted
from metrics.reconstruction import reconstruction_scores, reconstruction_sums

#: The sets of frames that are scored.
SETS = ("true", "reconstructed", "generated")


@dataclass(frozen=True)
class HeldoutScores:
    """Scores of the held-out clips."""

    rows: dict[str, list[Row]]
    """Per-clip rows of each of `SETS`, as from `clip_rows`, with the additional column
    `half_beat_off`: the corrected score with the beats shifted by half a beat (control)."""
    reconstruction: dict[str, float]
    """Stage 1 compared to copying the reference image, as from `reconstruction_scores`."""
    shown: list[tuple[str, Tensor, Tensor]]
    """Name, true and generated frames (T, 3, H, W) uint8 of the first clips."""


@dataclass(frozen=True)
class _Batch:
    """Scores of one batch of clips."""

    scored: dict[str, list[ScoredClip]]
    sums: Tensor
    shown: list[tuple[str, Tensor, Tensor]]


def score_heldout(
    pipeline: DabFusionPipeline,
    data: AISTDataModule,
    *,
    split: Split = "test",
    seed: int = 0,
    clips: int = 0,
    shown: int = 6,
    run: RunSettings | None = None,
    ranks: Ranks = SINGLE_PROCESS,
    progress: Callable[[int, int], None] | None = None,
) -> HeldoutScores:
    """Generate and score the clips of a split.

    Args:
        pipeline: The trained pipeline.
        data: Data module with frames and the music features that the pipeline needs.
        split: `val` or `test`.
        seed: Seed of the noise; a clip's noise depends on it and the clip's place in the split.
        clips: Number of clips, spread over the videos; 0 for all.
        shown: Number of clips whose frames are kept.
        run: Where to compute; by default on the pipeline's device.
        ranks: Processes that share the clips; each of them gets all scores.
        progress: Called with (batches done, all batches).
    """
    dataset = data.dataset(split)
    total = min(clips, len(dataset)) if clips else len(dataset)
    loading = data.loading

    def work(places: range) -> _Batch:
        batch = dataset.__getitems__(list(places)).to(pipeline.denoiser.device)
        with torch.no_grad():
            frames, sums = _three_sets(pipeline, batch, seed)
        scored = {
            name: score_clips(
                video.cpu(), batch.fps, batch.beats.cpu(), batch.clip_ids, batch.music_ids
            )
            for name, video in frames.items()
        }
        kept = [
            (batch.clip_ids[i], frames["true"][i].cpu(), frames["generated"][i].cpu())
            for i, place in enumerate(places)
            if place < shown
        ]
        return _Batch(scored, sums.cpu(), kept)

    done = share_work(
        in_batches(total, loading.evaluation_batch_size or loading.batch_size),
        work,
        networks=[pipeline.autoencoder, pipeline.denoiser, pipeline.music],
        run=run or RunSettings(accelerator="cpu" if _on_cpu(pipeline) else "gpu", devices=1),
        ranks=ranks,
        progress=progress,
    )
    return HeldoutScores(
        rows={name: _rows([clip for b in done for clip in b.scored[name]]) for name in SETS},
        reconstruction=reconstruction_scores(torch.stack([b.sums for b in done]).sum(dim=0)),
        shown=[dance for b in done for dance in b.shown],
    )


def _on_cpu(pipeline: DabFusionPipeline) -> bool:
    return pipeline.denoiser.device.type == "cpu"


def _three_sets(
    pipeline: DabFusionPipeline, batch: ClipBatch, seed: int
) -> tuple[dict[str, Tensor], Tensor]:
    """Return frames (B, T, 3, H, W) uint8 of each of `SETS`, and `reconstruction_sums`."""
    assert batch.frames is not None  # `batch.reference` has checked it
    autoencoder = pipeline.autoencoder
    reference, true = to_unit(batch.reference), to_unit(batch.frames)
    rebuilt = autoencoder(reference, true)
    latent_flow = generate_flow(pipeline, batch, seed)
    made = autoencoder.decode(reference, latent_flow)
    sums = reconstruction_sums(
        reference, true[:, 1:], rebuilt.prediction[:, 1:], rebuilt.deformed[:, 1:]
    )
    frames = {
        "true": batch.frames,
        "reconstructed": to_uint8(rebuilt.prediction),
        "generated": to_uint8(made),
    }
    return frames, sums


def generate_flow(pipeline: DabFusionPipeline, batch: ClipBatch, seed: int) -> Tensor:
    """Generate absolute latent flow (B, T, 3, h, w) for a batch's reference images and music.

    Clips longer than those of the training are generated in overlapping windows, as songs are.
    """
    settings = pipeline.settings
    frames = batch.beat_features.shape[1]
    windows = Windows(frames, 0, batch=len(batch))
    if frames > settings.frames:
        overlap = min(settings.overlap, settings.frames - 1)
        windows = Windows(settings.frames, overlap, batch=len(batch))
    return sample_latent_flow(
        pipeline.denoiser,
        pipeline.music,
        solver_scheduler(settings.solver, pipeline.scheduler),
        pipeline.autoencoder.encode(to_unit(batch.reference)),
        batch.beat_features,
        batch.music,
        steps=settings.steps,
        guidance=Guidance(settings.guidance_scale, settings.image_guidance_scale),
        windows=windows,
        generators=[generator_for(seed, Purpose.SAMPLING, 0, i) for i in batch.index.tolist()],
    )


def _rows(clips: list[ScoredClip]) -> list[Row]:
    half = {clip.name: _half_beat_off(clip) for clip in clips}
    return [{**row, "half_beat_off": half[row["clip"]]} for row in clip_rows(clips)]


def _half_beat_off(clip: ScoredClip) -> float:
    moved = align_shifted(
        clip.motion_beats[None], clip.music_beats[None], clip.window[None], torch.tensor([0.5])
    )
    return float(moved[0, 0])
