"""What a training shows of itself: dances of validation clips beside the truth, with sound."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from datamodules.batch import ClipBatch, to_unit
from datamodules.cache import FeatureStore
from experiments.build.data import build_clip_data
from experiments.config import Settings
from lightning_modules.callbacks_samples import Drawn
from lightning_modules.diffusion import FlowDiffusionModule
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.viz import autoencoder_panel

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
    """Truth and reconstruction side by side, and a sheet of what the flow does.

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
    return Drawn(beside(batch.frames, to_bytes(made)), {"flow": sheet})


@torch.no_grad()
def draw_diffusion(module: FlowDiffusionModule, batch: ClipBatch) -> Drawn:
    """Truth, its reconstruction by stage 1, and a generated dance side by side.

    Args:
        module: Stage 2.
        batch: Clips of T frames on the module's device.
    """
    assert batch.frames is not None
    frames = to_unit(batch.frames)
    true_flow = module.autoencoder.flow(frames[:, 0], frames)
    panels = [batch.frames]
    for flow in (true_flow, module.sample(batch)):
        panels.append(to_bytes(module.autoencoder.decode(frames[:, 0], flow)))
    return Drawn(beside(*panels), {})


def beside(*videos: Tensor) -> Tensor:
    """Videos (B, T, 3, H, W) uint8 next to one another, (B, T, 3, H, n W), on the CPU."""
    return torch.cat([video.cpu() for video in videos], dim=-1)


def to_bytes(frames: Tensor) -> Tensor:
    """Frames in [0, 1] as uint8."""
    return frames.float().clamp(0, 1).mul(255).round().to(torch.uint8)
