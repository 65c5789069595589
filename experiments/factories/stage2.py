"""Settings -> the training module and the pipeline of stage 2."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor

from experiments.config.load import Settings
from experiments.factories.stage2_networks import build_conditioner, build_denoiser
from lightning_modules.diffusion import (
    ConditionDropout,
    DenoisingLoss,
    FlowDiffusionModule,
    ValidationSampling,
)
from lightning_modules.diffusion_loss import cosine_scheduler
from lightning_modules.generation.files import PipelineSettings
from lightning_modules.generation.people import Scene
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.pipeline import DabFusionPipeline
from lightning_modules.sampling import Guidance


def build_scheduler(settings: Settings) -> DDPMScheduler:
    """Build the training noise schedule."""
    return cosine_scheduler(settings.stage2.scheduler.timesteps, settings.stage2.network.prediction)


def build_diffusion(
    settings: Settings, autoencoder: LatentFlowAutoencoder, latent_flows: Iterable[Tensor]
) -> FlowDiffusionModule:
    """Build the LightningModule of stage 2.

    Args:
        settings: All settings.
        autoencoder: Frozen stage 1.
        latent_flows: Absolute latent flow (..., 3, h, w) of training clips, for the statistics of
            its normalization.
    """
    stage = settings.stage2
    denoiser = build_denoiser(settings, autoencoder.channels_latent)
    denoiser.normalizer.fit(latent_flows)
    train, loss = stage.train, stage.loss
    return FlowDiffusionModule(
        denoiser,
        build_conditioner(settings),
        autoencoder,
        build_scheduler(settings),
        frame_size=settings.clips.size,
        seed=settings.seed,
        loss=DenoisingLoss(loss.weighting, loss.min_snr_gamma, loss.velocity),
        optimizer=train,
        dropout=ConditionDropout(loss.drop_music, loss.drop_image, loss.window_start),
        validation=ValidationSampling(
            clips=train.validation_clips,
            solver=settings.sampling.solver,
            steps=settings.sampling.steps,
            guidance=build_guidance(settings),
        ),
    )


def build_guidance(settings: Settings) -> Guidance:
    """Build the guidance scales of music and reference image."""
    sampling = settings.sampling
    return Guidance(sampling.guidance_scale, sampling.image_guidance_scale)


def build_pipeline(
    settings: Settings,
    module: FlowDiffusionModule,
    notes: dict[str, Any],
    scene: Scene | None = None,
) -> DabFusionPipeline:
    """Build the pipeline of a trained module.

    Args:
        settings: All settings.
        module: Trained module.
        notes: Facts for the model card.
        scene: Background and position of the training data's dancers, for cut-out people.
    """
    clips, sampling = settings.clips, settings.sampling
    return DabFusionPipeline(
        module.autoencoder,
        module.denoiser,
        module.conditioner,
        module.scheduler,
        PipelineSettings(
            fps=clips.fps,
            frames=clips.frames,
            size=clips.size,
            fit=clips.fit,
            solver=sampling.solver,
            steps=sampling.steps,
            guidance_scale=sampling.guidance_scale,
            image_guidance_scale=sampling.image_guidance_scale,
            overlap=min(sampling.overlap, clips.frames - 1),
            window_batch=sampling.window_batch,
        ),
        notes,
        scene=scene,
    )
