"""Settings -> the LightningModules of both stages and of the adapters, and the pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor

from experiments.config.load import Settings
from experiments.config.stage1 import Stage1Settings
from experiments.factories.networks import build_conditioner, build_denoiser
from lightning_modules.autoencoder import LatentFlowAutoencoderModule
from lightning_modules.checkpoints import load_vgg19
from lightning_modules.diffusion import (
    ConditionDropout,
    DenoisingLoss,
    FlowDiffusionModule,
    ValidationSampling,
)
from lightning_modules.diffusion_loss import cosine_scheduler
from lightning_modules.generation.files import PipelineSettings
from lightning_modules.generation.people import Scene
from lightning_modules.music.adapter import AdapterLoss, MusicAdapterModule
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.networks.music_adapter import MusicAdapters
from lightning_modules.pipeline import DabFusionPipeline
from lightning_modules.sampling import Guidance


def build_autoencoder_module(
    settings: Stage1Settings, network: LatentFlowAutoencoder, seed: int
) -> LatentFlowAutoencoderModule:
    """Build the LightningModule of stage 1; `seed` is that of the random warps."""
    train, weights = settings.train, settings.loss.vgg_weights
    return LatentFlowAutoencoderModule(
        network=network,
        weights=settings.loss,
        optimizer=train,
        features=load_vgg19(weights) if weights else None,
        seed=seed,
        sizes=train.sizes,
        channels_last=train.channels_last,
        region_steps=train.region_steps,
    )


def build_scheduler(settings: Settings) -> DDPMScheduler:
    """Build the training noise schedule."""
    return cosine_scheduler(settings.stage2.scheduler.timesteps, settings.stage2.network.prediction)


def build_diffusion(
    settings: Settings, autoencoder: LatentFlowAutoencoder, latent_flows: Iterable[Tensor]
) -> FlowDiffusionModule:
    """Build the LightningModule of stage 2 on a frozen stage 1.

    Absolute latent flow (..., 3, h, w) of training clips gives the statistics of its normalization.
    """
    denoiser = build_denoiser(settings, autoencoder.channels_latent)
    denoiser.normalizer.fit(latent_flows)
    train, loss, sampling = settings.stage2.train, settings.stage2.loss, settings.sampling
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
            solver=sampling.solver,
            steps=sampling.steps,
            guidance=Guidance(sampling.guidance_scale, sampling.image_guidance_scale),
        ),
    )


def build_pipeline(
    settings: Settings, module: FlowDiffusionModule, notes: dict[str, Any], scene: Scene | None
) -> DabFusionPipeline:
    """Build the pipeline of a trained module, with notes for the model card.

    The scene is the background and position of the training data's dancers, for cut-out people.
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


def build_adapter_module(
    settings: Settings, adapters: MusicAdapters, style_of: Mapping[str, int]
) -> MusicAdapterModule:
    """Build the LightningModule of the adapters from the class number of each song by its id."""
    adapter = settings.adapter
    loss = AdapterLoss(adapter.contrastive, adapter.temperature)
    return MusicAdapterModule(adapters, style_of, loss=loss, optimizer=adapter)
