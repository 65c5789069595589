"""Settings -> the networks, the training module and the pipeline of stage 2."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor

from experiments.config import Settings
from lightning_modules.diffusion import (
    ConditionDropout,
    DenoiserOptimizer,
    DenoisingLoss,
    FlowDiffusionModule,
    ValidationSampling,
)
from lightning_modules.diffusion_loss import cosine_scheduler
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.networks.denoiser import FlowUNet3D
from lightning_modules.networks.music import MusicConditioner
from lightning_modules.pipeline import DabFusionPipeline
from lightning_modules.pipeline_files import PipelineSettings
from lightning_modules.sampling import Guidance


def build_denoiser(settings: Settings, image_channels: int) -> FlowUNet3D:
    """The denoiser for a stage 1 whose latent map has `image_channels` channels."""
    network = settings.stage2.network
    denoiser = FlowUNet3D(
        image_channels=image_channels,
        music_dim=settings.music.dim,
        width=network.width,
        multipliers=tuple(network.multipliers),
        embedding=network.embedding,
        blocks=network.blocks,
        patch=network.patch,
        stem_kernel=network.stem_kernel,
        temporal_conv=tuple(network.temporal_conv),
        temporal_attention=tuple(network.temporal_attention),
        spatial_attention=tuple(network.spatial_attention),
        middle_attention=network.middle_attention,
        heads=network.heads,
        head_dim=network.head_dim,
        groups=network.groups,
        flow=network.flow,
        prediction=network.prediction,
    )
    if settings.stage2.train.gradient_checkpointing:
        denoiser.enable_gradient_checkpointing()
    return denoiser.to(memory_format=torch.channels_last)


def build_conditioner(settings: Settings) -> MusicConditioner:
    """The music conditioner."""
    music = settings.music
    return MusicConditioner(
        dim=music.dim,
        beats=music.beats,
        spectral=music.spectral,
        clap=music.clap,
        clap_tokens=music.clap_tokens,
        wav2clip=music.wav2clip,
        frames=settings.clips.frames,
    )


def build_scheduler(settings: Settings) -> DDPMScheduler:
    """The training noise schedule."""
    return cosine_scheduler(settings.stage2.scheduler.timesteps, settings.stage2.network.prediction)


def build_diffusion(
    settings: Settings, autoencoder: LatentFlowAutoencoder, latent_flows: Iterable[Tensor]
) -> FlowDiffusionModule:
    """The training module of stage 2.

    Args:
        settings: resolved.
        autoencoder: frozen stage 1.
        latent_flows: absolute latent flow (..., 3, h, w) of training clips, for the statistics
            by which it is normalised.
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
        optimizer=DenoiserOptimizer(
            rate=train.rate,
            weight_decay=train.weight_decay,
            warmup_steps=train.warmup_steps,
            steps=train.steps,
            final_rate_factor=train.final_rate_factor,
        ),
        dropout=ConditionDropout(loss.drop_music, loss.drop_image, loss.window_start),
        validation=ValidationSampling(
            clips=train.validation_clips,
            solver=settings.sampling.solver,
            steps=settings.sampling.steps,
            guidance=build_guidance(settings),
        ),
    )


def build_guidance(settings: Settings) -> Guidance:
    """Weights of music and picture in sampling."""
    sampling = settings.sampling
    return Guidance(sampling.guidance_scale, sampling.image_guidance_scale)


def build_pipeline(
    settings: Settings, module: FlowDiffusionModule, notes: dict[str, Any]
) -> DabFusionPipeline:
    """The pipeline of a trained module, with notes for its model card."""
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
    )
