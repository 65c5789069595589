"""Settings -> the networks of both stages; without Lightning."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from experiments.config.load import Settings
from experiments.config.run import RunSettings
from experiments.config.stage1 import Stage1Settings
from experiments.errors import SettingsError
from experiments.factories.music import clap_token_dim, load_adapters
from lightning_modules.checkpoints import load_autoencoder
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.networks.denoiser import FlowUNet3D
from lightning_modules.networks.music import MusicConditioner


def build_autoencoder(settings: Stage1Settings) -> LatentFlowAutoencoder:
    """Build the network to train, or load that of `train.initial`; apply `train.freeze`."""
    if settings.train.initial:
        network = load_autoencoder(Path(settings.train.initial)).train().requires_grad_(True)
    else:
        network = LatentFlowAutoencoder(**asdict(settings.network))
    network.checkpoint_gradients = settings.train.gradient_checkpointing
    for name in settings.train.freeze:
        network.get_submodule(name).requires_grad_(False)
    return network


def check_norm(network: LatentFlowAutoencoder, settings: Stage1Settings, processes: int) -> None:
    """Raise a SettingsError if batch normalization cannot be synchronized over the processes."""
    shared = settings.train.sync_batch_norm and network.config["norm"] == "batch"
    if shared and processes > 1 and not torch.cuda.is_available():
        raise SettingsError(
            f"{processes} processes on the CPU cannot synchronize batch norm, which only GPUs "
            "can: set stage1.network.norm=group, or stage1.train.sync_batch_norm=false for "
            "separate statistics in each process."
        )


def build_denoiser(settings: Settings, image_channels: int) -> FlowUNet3D:
    """Build the denoiser for a stage 1 whose latent map has `image_channels` channels."""
    denoiser = FlowUNet3D(
        image_channels=image_channels,
        music_dim=settings.music.dim,
        **asdict(settings.stage2.network),
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


def compile_network(network: nn.Module, run: RunSettings) -> None:
    """Compile `network` at its first call if `run.compile` is true.

    Only the call is replaced: parameters, their names and checkpoints do not change. Inputs of a
    new shape (progressive resolution, the last validation batch) are compiled again.
    """
    if not run.compile:
        return
    on_gpu = run.accelerator != "cpu" and torch.cuda.is_available()
    compilers = (os.environ.get("CXX", ""), "g++", "clang++", "c++")  # what PyTorch tries
    if not on_gpu and not any(shutil.which(name) for name in compilers if name):
        raise SettingsError(
            "run.compile is true, but no C++ compiler is on the PATH, which PyTorch needs to "
            "compile for the CPU: install g++, or set run.compile=false."
        )
    network.compile()
