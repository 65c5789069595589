"""The smallest models that have every part; weights come from the random state of the caller.

Keyword arguments change single sizes, for tests to which they matter.
"""

import torch

from lightning_modules.diffusion_loss import cosine_scheduler
from lightning_modules.generation.files import PipelineSettings
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.networks.denoiser import FlowUNet3D
from lightning_modules.networks.music import MusicConditioner
from lightning_modules.pipeline import DabFusionPipeline


def tiny_autoencoder(**changes: object) -> LatentFlowAutoencoder:
    """Of two regions; images' sides are multiples of 8, and z has 16 channels."""
    sizes: dict[str, object] = {
        "regions": 2,
        "region_width": 4,
        "region_blocks": 1,
        "background_width": 4,
        "background_blocks": 1,
        "flow_width": 4,
        "flow_blocks": 1,
        "generator_width": 4,
        "residual_blocks": 1,
    }
    return LatentFlowAutoencoder(**{**sizes, **changes})


def tiny_denoiser(**changes: object) -> FlowUNet3D:
    """Of two levels: a convolution over time on the fine one, attention on the coarse one."""
    sizes: dict[str, object] = {
        "image_channels": 4,
        "music_dim": 8,
        "width": 8,
        "multipliers": (1, 2),
        "embedding": 32,
        "blocks": 1,
        "stem_kernel": 3,
        "temporal_conv": (True, False),
        "temporal_attention": (False, True),
        "spatial_attention": ("none", "none"),
        "middle_attention": False,
        "heads": 2,
        "head_dim": 4,
        "groups": 4,
        "prediction": "sample",
    }
    return FlowUNet3D(**{**sizes, **changes})


def tiny_conditioner(**changes: object) -> MusicConditioner:
    """That hears the beats and the spectrum of windows of eight frames."""
    parts: dict[str, object] = {
        "dim": 8,
        "beats": "frame",
        "spectral": True,
        "clap": False,
        "wav2clip": False,
        "frames": 8,
    }
    return MusicConditioner(**{**parts, **changes})


def tiny_pipeline(notes: dict[str, object] | None = None) -> DabFusionPipeline:
    """Images of 32 pixels at 10 frames per second; always the same weights."""
    torch.manual_seed(0)
    autoencoder = tiny_autoencoder()
    denoiser = tiny_denoiser(image_channels=autoencoder.channels_latent)
    for parameter in denoiser.parameters():  # residual branches start at zero: wake them up
        torch.nn.init.normal_(parameter, std=0.05)
    settings = PipelineSettings(fps=10.0, frames=8, size=32, steps=3, overlap=4)
    scheduler = cosine_scheduler(1000, "sample")
    return DabFusionPipeline(autoencoder, denoiser, tiny_conditioner(), scheduler, settings, notes)
