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

#: Name, true and generated frames (T, 3, H, W) uint8 of a clip.
Shown = tuple[str, Tensor, Tensor]


@dataclass(frozen=True)
class HeldoutScores:
    """Scores of the held-out clips."""

    rows: dict[str, list[Row]]
    """Per-clip rows of the `true`, `reconstructed` and `generated` clips, as from `clip_rows`, and
    `half_beat_off`: the corrected score with the beats shifted by half a beat (control)."""
    reconstruction: dict[str, float]
    """Stage 1 compared to copying the reference image, as from `reconstruction_scores`."""
    shown: list[Shown]
    """The first clips."""


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

    def work(places: range) -> tuple[dict[str, list[ScoredClip]], Tensor, list[Shown]]:
        batch = dataset.__getitems__(list(places)).to(pipeline.denoiser.device)
        frames, sums = _three_sets(pipeline, batch, seed)
        beats = batch.beats.cpu()
        scored = {
            name: score_clips(video, batch.fps, beats, batch.clip_ids, batch.music_ids)
            for name, video in frames.items()
        }
        kept = list(zip(batch.clip_ids, frames["true"], frames["generated"], strict=True))
        return scored, sums.cpu(), kept[: max(0, shown - places.start)]

    on_cpu = pipeline.denoiser.device.type == "cpu"
    done = share_work(
        in_batches(total, data.loading.evaluation_batch_size or data.loading.batch_size),
        work,
        networks=[pipeline.autoencoder, pipeline.denoiser, pipeline.music],
        run=run or RunSettings(accelerator="cpu" if on_cpu else "gpu", devices=1),
        ranks=ranks,
        progress=progress,
    )
    rows = {
        name: _rows([clip for scored, *_ in done for clip in scored[name]])
        for name in ("true", "reconstructed", "generated")
    }
    sums = torch.stack([sums for _, sums, _ in done]).sum(dim=0)
    first = [dance for *_, kept in done for dance in kept]
    return HeldoutScores(rows, reconstruction_scores(sums), first)


@torch.no_grad()
def _three_sets(
    pipeline: DabFusionPipeline, batch: ClipBatch, seed: int
) -> tuple[dict[str, Tensor], Tensor]:
    """Return frames (B, T, 3, H, W) uint8 of each set on the CPU, and `reconstruction_sums`."""
    assert batch.frames is not None  # `batch.reference` has checked it
    autoencoder = pipeline.autoencoder
    reference, true = to_unit(batch.reference), to_unit(batch.frames)
    rebuilt = autoencoder(reference, true)
    made = autoencoder.decode(reference, generate_flow(pipeline, batch, seed))
    sums = reconstruction_sums(
        reference, true[:, 1:], rebuilt.prediction[:, 1:], rebuilt.deformed[:, 1:]
    )
    frames = {
        "true": batch.frames.cpu(),
        "reconstructed": to_uint8(rebuilt.prediction).cpu(),
        "generated": to_uint8(made).cpu(),
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
    """Return `clip_rows` with the score for beats shifted by half a beat."""
    half = {}
    for clip in clips:
        beats = clip.motion_beats[None], clip.music_beats[None], clip.window[None]
        half[clip.name] = float(align_shifted(*beats, torch.tensor([0.5])))
    return [{**row, "half_beat_off": half[row["clip"]]} for row in clip_rows(clips)]
