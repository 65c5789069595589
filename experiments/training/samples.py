"""What a training shows of itself: dances of validation clips beside the truth, with sound."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from datamodules.batch import ClipBatch, to_unit
from datamodules.cache import FeatureStore
from experiments.config.load import Settings
from experiments.evaluation.clips import ScoredClip, score_motion
from experiments.factories.data import build_clip_data
from experiments.training.pictures import beat_plot, flow_panel, score_rows
from lightning_modules.callbacks.samples import Drawn
from lightning_modules.diffusion import FlowDiffusionModule
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.viz import autoencoder_panel
from metrics.functional import motion_from_video

#: Hertz of the sound in sample videos.
SOUND_RATE = 44_100
#: Clips and driving frames on stage 1's sheet of flow, occlusion and regions.
SHEET_CLIPS, SHEET_FRAMES = 3, 2


def load_samples(settings: Settings, music: Sequence[FeatureStore]) -> ClipBatch:
    """The first validation clips with all their frames and their sound.

    Args:
        settings: `run.samples` says how many.
        music: Stores of the music embeddings that the networks need.
    """
    data = build_clip_data(
        settings, settings.run.samples, frames="all", sample_rate=SOUND_RATE, music=music
    )
    dataset = data.dataset("val")
    return dataset.__getitems__(list(range(min(settings.run.samples, len(dataset)))))


@torch.no_grad()
def draw_autoencoder(network: LatentFlowAutoencoder, batch: ClipBatch) -> Drawn:
    """Truth and reconstruction side by side, a sheet of what the flow does, errors of each clip.

    Args:
        network: Stage 1, in whatever mode.
        batch: Clips of T frames on the network's device.
    """
    assert batch.frames is not None
    training = network.training
    network.eval()
    frames = to_unit(batch.frames)
    flow = network.flow(frames[:, 0], frames)
    made = network.decode(frames[:, 0], flow)
    network.train(training)
    step = max(1, (frames.shape[1] - 1) // SHEET_FRAMES)
    shown = frames[:SHEET_CLIPS, [0, *range(step, frames.shape[1], step)][: SHEET_FRAMES + 1]]
    sheet = autoencoder_panel(network, shown)
    errors = {
        "l1": (made[:, 1:] - frames[:, 1:]).abs().mean(dim=(1, 2, 3, 4)),
        "l1_copy": (frames[:, :1] - frames[:, 1:]).abs().mean(dim=(1, 2, 3, 4)),
    }
    rows: list[dict[str, str | float]] = [
        {"clip": clip} | {name: round(float(error[place]), 6) for name, error in errors.items()}
        for place, clip in enumerate(batch.clip_ids)
    ]
    return Drawn(beside(batch.frames, to_bytes(made)), {"flow": sheet}, rows=rows)


@torch.no_grad()
def draw_diffusion(module: FlowDiffusionModule, batch: ClipBatch) -> Drawn:
    """Truth, its reconstruction by stage 1, and a generated dance side by side; beats and scores.

    Args:
        module: Stage 2.
        batch: Clips of T frames on the module's device.
    """
    assert batch.frames is not None
    frames = to_unit(batch.frames)
    true_flow = module.autoencoder.flow(frames[:, 0], frames)
    made_flow = module.sample(batch)
    panels = [batch.frames]
    for flow in (true_flow, made_flow):
        panels.append(to_bytes(module.autoencoder.decode(frames[:, 0], flow)))
    beats, names, music = batch.beats.cpu(), batch.clip_ids, batch.music_ids
    videos = {"true": panels[0], "generated": panels[-1]}
    signals = {kind: motion_from_video(video.cpu(), batch.fps) for kind, video in videos.items()}
    scored = {
        kind: score_motion(signal, batch.fps, beats, names, music)
        for kind, signal in signals.items()
    }
    speeds = {kind: signal.speed for kind, signal in signals.items()}
    return Drawn(
        beside(*panels),
        {
            "flow": flow_panel(frames, true_flow, made_flow),
            "beats": beat_plot(speeds, scored, batch.fps),
        },
        [clip.motion_beats.tolist() for clip in scored["generated"]],
        score_rows(scored),
        pixel_scores(scored["generated"]),
    )


def pixel_scores(clips: Sequence[ScoredClip]) -> dict[str, float]:
    """Means of 2D-MM Align of dances that were decoded and seen, as `val/align_pixels_...`."""
    return {
        f"val/align_pixels_{name}": sum(clip.scores[name] for clip in clips) / len(clips)
        for name in ("corrected", "raw", "chance", "control_difference")
    }


def beside(*videos: Tensor) -> Tensor:
    """Videos (B, T, 3, H, W) uint8 next to one another, (B, T, 3, H, n W), on the CPU."""
    return torch.cat([video.cpu() for video in videos], dim=-1)


def to_bytes(frames: Tensor) -> Tensor:
    """Frames in [0, 1] as uint8."""
    return frames.float().clamp(0, 1).mul(255).round().to(torch.uint8)
