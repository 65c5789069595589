"""Settings -> the network, the loss and the training module of stage 1."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from experiments.config.stage1 import Stage1Settings
from experiments.errors import SettingsError
from lightning_modules.checkpoints import load_autoencoder, load_vgg19
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder

if TYPE_CHECKING:
    from lightning_modules.autoencoder import LatentFlowAutoencoderModule


def build_autoencoder(settings: Stage1Settings) -> LatentFlowAutoencoder:
    """Build the network to train, or load that of `train.initial`; apply `train.freeze`."""
    if settings.train.initial:
        network = load_autoencoder(Path(settings.train.initial)).train().requires_grad_(True)
    else:
        network = LatentFlowAutoencoder(**asdict(settings.network))
    network.checkpoint_gradients = settings.train.gradient_checkpointing
    for name in settings.train.freeze:
        part = getattr(network, name)
        assert isinstance(part, nn.Module)
        part.requires_grad_(False)
    return network


def check_norm(network: LatentFlowAutoencoder, settings: Stage1Settings, processes: int) -> None:
    """Check that batch normalization can be synchronized over the processes.

    Raises:
        SettingsError: There are several processes on the CPU; PyTorch synchronizes on GPUs only.
    """
    shared = settings.train.sync_batch_norm and network.config["norm"] == "batch"
    if shared and processes > 1 and not torch.cuda.is_available():
        raise SettingsError(
            f"{processes} processes on the CPU cannot synchronize batch norm, which only GPUs "
            "can: set stage1.network.norm=group, or stage1.train.sync_batch_norm=false for "
            "separate statistics in each process."
        )


def build_autoencoder_module(
    settings: Stage1Settings, network: LatentFlowAutoencoder, seed: int
) -> LatentFlowAutoencoderModule:
    """Build the LightningModule of stage 1.

    Args:
        settings: The section `stage1`.
        network: From `build_autoencoder`.
        seed: Of the random warps.
    """
    from lightning_modules.autoencoder import LatentFlowAutoencoderModule  # imports Lightning

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
