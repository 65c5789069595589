"""Settings to stage 1's objects, by explicit calls."""

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
from lightning_modules.objective import LossWeights

if TYPE_CHECKING:
    from lightning_modules.autoencoder import LatentFlowAutoencoderModule


def build_autoencoder(settings: Stage1Settings) -> LatentFlowAutoencoder:
    """The network to train: new, or that of `train.initial`; with `train.freeze` applied."""
    if settings.train.initial:
        network = load_autoencoder(Path(settings.train.initial)).train().requires_grad_(True)
    else:
        network = LatentFlowAutoencoder(**asdict(settings.network))
    network.checkpoint_gradients = settings.train.checkpoint_gradients
    for name in settings.train.freeze:
        part = getattr(network, name)
        assert isinstance(part, nn.Module)
        part.requires_grad_(False)
    return network


def check_norm(network: LatentFlowAutoencoder, settings: Stage1Settings, processes: int) -> None:
    """Refuse batch norm that several processes on the CPU cannot share.

    Raises:
        SettingsError: PyTorch synchronises batch norm on GPUs alone.
    """
    shared = settings.train.sync_batch_norm and network.config["norm"] == "batch"
    if shared and processes > 1 and not torch.cuda.is_available():
        raise SettingsError(
            f"{processes} processes on the CPU cannot synchronise batch norm, which only GPUs "
            "can: set stage1.network.norm=group, or stage1.train.sync_batch_norm=false for "
            "statistics of each process's own share."
        )


def build_loss_weights(settings: Stage1Settings) -> LossWeights:
    """The objective's weights."""
    loss = settings.loss
    return LossWeights(
        perceptual=loss.perceptual,
        pixels=loss.pixels,
        warped=loss.warped,
        gradient=loss.gradient,
        ssim=loss.ssim,
        raw=loss.raw,
        variation=loss.variation,
        foreground=loss.foreground,
        equivariance_shift=loss.equivariance_shift,
        equivariance_affine=loss.equivariance_affine,
        joints=loss.joints,
        teacher_flow=loss.teacher_flow,
        teacher_occlusion=loss.teacher_occlusion,
    )


def build_autoencoder_module(
    settings: Stage1Settings, network: LatentFlowAutoencoder, seed: int
) -> LatentFlowAutoencoderModule:
    """What Lightning trains."""
    from lightning_modules.autoencoder import (  # Lightning, which the networks do without
        AutoencoderOptimizer,
        LatentFlowAutoencoderModule,
    )

    train = settings.train
    optimizer = AutoencoderOptimizer(
        steps=train.steps,
        learning_rate=train.learning_rate,
        beta1=train.beta1,
        beta2=train.beta2,
        weight_decay=train.weight_decay,
        schedule=train.schedule,
        warmup_steps=train.warmup_steps,
    )
    weights = settings.loss.vgg_weights
    return LatentFlowAutoencoderModule(
        network=network,
        weights=build_loss_weights(settings),
        optimizer=optimizer,
        features=load_vgg19(weights) if weights else None,
        seed=seed,
        sizes=settings.train.sizes,
        channels_last=train.channels_last,
        region_steps=train.region_steps,
    )
