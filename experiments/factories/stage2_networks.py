"""Settings -> the networks of stage 2; without Lightning."""

from __future__ import annotations

import torch

from experiments.config.load import Settings
from experiments.factories.music import clap_token_dim, load_adapters
from lightning_modules.networks.denoiser import FlowUNet3D
from lightning_modules.networks.music import MusicConditioner


def build_denoiser(settings: Settings, image_channels: int) -> FlowUNet3D:
    """Build the denoiser for a stage 1 whose latent map has `image_channels` channels."""
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
    """Build the music conditioner, with the trained adapters of `music.adapter` if given."""
    music = settings.music
    adapters = load_adapters(settings)
    adapted: dict[str, int] = {}
    if adapters is not None:
        adapted = {n: adapters.config["width"] for n in adapters.names if getattr(music, n)}
    conditioner = MusicConditioner(
        dim=music.dim,
        beats=music.beats,
        spectral=music.spectral,
        clap=music.clap,
        clap_tokens=music.clap_tokens,
        wav2clip=music.wav2clip,
        frames=settings.clips.frames,
        clap_token_dim=clap_token_dim(settings),
        adapted=adapted or None,
    )
    if adapters is not None:
        conditioner.take_adapters(adapters)
    return conditioner
