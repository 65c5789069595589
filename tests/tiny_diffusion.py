"""A stage 2 of a few cells, and eight dances that sway: for tests that train or sample."""

import torch
from tiny_models import tiny_autoencoder, tiny_conditioner, tiny_denoiser

from datamodules.batch import ClipBatch
from lightning_modules.diffusion import (
    ConditionDropout,
    DenoisingLoss,
    FlowDiffusionModule,
    ValidationSampling,
)
from lightning_modules.diffusion_loss import cosine_scheduler
from lightning_modules.normalization import identity_grid
from lightning_modules.options.optimizer import OptimizerOptions

FRAMES = 12


def clips(count: int = 8) -> ClipBatch:
    """Dances that sway with their own tempo and amplitude; beats where they turn."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(FRAMES) / 10
    interval = 0.4 + 0.05 * torch.arange(count)
    phase = torch.pi * time / interval[:, None]
    sway = torch.sin(phase)[:, :, None, None] * torch.randn(count, 1, 8, 8, generator=generator)
    grid = identity_grid(8, 8).expand(count, FRAMES, 2, 8, 8).clone()
    grid[:, :, 0] += 0.1 * sway
    grid[:, :, 1] += 0.05 * sway
    occlusion = 0.9 - 0.2 * sway.abs()
    beats = torch.stack((phase.cos(), phase.sin(), phase, phase, phase, phase, phase), dim=-1)
    return ClipBatch(
        clip_ids=[f"clip{i}@0" for i in range(count)],
        music_ids=[f"song{i}" for i in range(count)],
        fps=10.0,
        index=torch.arange(count),
        beats=interval[:, None] * (torch.arange(4) + 0.5),
        beat_features=beats,
        frames=torch.randint(0, 255, (count, 1, 3, 32, 32), dtype=torch.uint8, generator=generator),
        latent_flow=torch.cat((grid, occlusion[:, :, None]), dim=2),
    )


def rows(batch: ClipBatch, places: list[int]) -> ClipBatch:
    assert batch.frames is not None
    assert batch.latent_flow is not None
    return ClipBatch(
        clip_ids=[batch.clip_ids[i] for i in places],
        music_ids=[batch.music_ids[i] for i in places],
        fps=batch.fps,
        index=batch.index[places],
        beats=batch.beats[places],
        beat_features=batch.beat_features[places],
        frames=batch.frames[places],
        latent_flow=batch.latent_flow[places],
    )


def module(
    prediction: str = "sample", dropout: ConditionDropout | None = None, steps: int = 1000
) -> FlowDiffusionModule:
    torch.manual_seed(0)
    autoencoder = tiny_autoencoder()
    denoiser = tiny_denoiser(
        image_channels=autoencoder.channels_latent,
        music_dim=32,
        width=32,
        embedding=64,
        head_dim=8,
        groups=8,
        prediction=prediction,
    )
    flow = clips().latent_flow
    assert flow is not None
    denoiser.normalizer.fit([flow])
    return FlowDiffusionModule(
        denoiser,
        tiny_conditioner(dim=32, spectral=False, frames=FRAMES),
        autoencoder,
        cosine_scheduler(1000, prediction),
        frame_size=32,
        seed=0,
        loss=DenoisingLoss(velocity=1.0),
        optimizer=OptimizerOptions(learning_rate=2e-3, steps=steps, final_rate_factor=0.1),
        dropout=dropout or ConditionDropout(),
        validation=ValidationSampling(clips=8, steps=5),
    )
