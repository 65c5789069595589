"""Settings to stage 1's objects, by explicit calls."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from torch import nn

from experiments.settings.stage1 import Stage1Settings
from lightning_modules.autoencoder import AutoencoderOptimizer, LatentFlowAutoencoderModule
from lightning_modules.checkpoints import load_autoencoder, load_vgg19
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.objective import LossWeights


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
