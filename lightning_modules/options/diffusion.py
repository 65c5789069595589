"""Options of the denoiser, its loss and sampling, with the published defaults; without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from datamodules.options.checks import check_positive, check_range

SPATIAL_ATTENTION = ("none", "linear", "full")
MULTIPLIERS = (1, 2, 4, 8)
TEMPORAL_CONV = (False, False, False, False)
TEMPORAL_ATTENTION = (True, True, True, True)
SPATIAL_ATTENTION_LEVELS = ("linear", "linear", "linear", "linear")


@dataclass
class DenoiserOptions:
    """Architecture of FlowUNet3D; the defaults are the published size (about 42.7 M parameters)."""

    width: int = 64
    """Channels of the finest level."""
    multipliers: list[int] = field(default_factory=lambda: list(MULTIPLIERS))
    """Channels of each level as multiples of `width`, finest first."""
    embedding: int = 1024
    """Width of the embedding of timestep, music and frame position that every block receives."""
    blocks: int = 2
    """Residual blocks per level."""
    patch: int = 1
    """Factor by which latent flow is pixel-unshuffled before the network (1: not)."""
    stem_kernel: int = 7
    """Kernel size of the first convolutions."""
    temporal_conv: list[bool] = field(default_factory=lambda: list(TEMPORAL_CONV))
    """For each level, whether it has a convolution over time."""
    temporal_attention: list[bool] = field(default_factory=lambda: list(TEMPORAL_ATTENTION))
    """For each level, whether it has attention over time."""
    spatial_attention: list[str] = field(default_factory=lambda: list(SPATIAL_ATTENTION_LEVELS))
    """For each level, the attention over the cells of a frame: none, linear or full."""
    middle_attention: bool = True
    """Full attention over space and over time at the coarsest level."""
    heads: int = 8
    """Heads of every attention layer."""
    head_dim: int = 32
    """Channels per attention head."""
    groups: int = 8
    """Groups of the group normalization layers."""
    flow: Literal["residual", "absolute"] = "absolute"
    """Representation of the flow that is diffused: residual (displacements) or absolute (sampling
    grid, as in LFDM)."""
    prediction: Literal["epsilon", "v_prediction", "sample"] = "epsilon"
    """Output of the network: epsilon (the noise), v_prediction or sample (the clean flow)."""

    def __post_init__(self) -> None:
        for choice in self.spatial_attention:
            if choice not in SPATIAL_ATTENTION:
                raise ValueError(
                    f"spatial_attention contains {choice!r}, but each entry must be one of "
                    f"{', '.join(SPATIAL_ATTENTION)}."
                )
        levels = len(self.multipliers)
        for name in ("temporal_conv", "temporal_attention", "spatial_attention"):
            if len(getattr(self, name)) != levels:
                raise ValueError(
                    f"{name} has {len(getattr(self, name))} entries, but multipliers has {levels}: "
                    "give one entry per level."
                )
        check_range(self, 1, math.inf, "width", "embedding", "blocks", "patch", "heads")
        check_range(self, 1, math.inf, "head_dim", "groups")
        if self.stem_kernel % 2 == 0:
            raise ValueError(f"stem_kernel is {self.stem_kernel}, but must be odd.")
        if self.width % self.groups:
            raise ValueError(
                f"width is {self.width}, but must be divisible by groups, which is {self.groups}."
            )


@dataclass
class DiffusionLossOptions:
    """Training-loss weights and condition dropout; the defaults are the published loss."""

    weighting: Literal["uniform", "min_snr"] = "uniform"
    """Weighting of the noise levels in the loss: uniform or min_snr."""
    min_snr_gamma: float = 5.0
    """Maximum signal-to-noise ratio in the weights of min_snr."""
    velocity: float = 0.0
    """Weight of the error of frame-to-frame differences in the loss (0: not used)."""
    drop_music: float = 0.1
    """Fraction of samples trained without music conditioning (for classifier-free guidance)."""
    drop_image: float = 0.0
    """Fraction of samples trained without the reference image."""
    window_start: float = 0.0
    """Fraction of steps that train on the later frames of a window only, as needed to sample long
    songs in windows."""

    def __post_init__(self) -> None:
        check_positive(self, "min_snr_gamma")
        check_range(self, 0, 1, "drop_music", "drop_image", "window_start")
        check_range(self, 0, math.inf, "velocity")


@dataclass
class SamplingOptions:
    """How videos are sampled."""

    solver: Literal["ddim", "dpm++", "unipc"] = "dpm++"
    """Diffusion sampler: ddim, dpm++ (DPM-Solver++) or unipc."""
    steps: int = 15
    """Denoising steps (LFDM: 250 steps of DDIM)."""
    guidance_scale: float = 1.0
    """Guidance scale of the music: 0 ignores it, 1 disables guidance, more strengthens it."""
    image_guidance_scale: float = 1.0
    """Guidance scale of the reference image; values other than 1 need a model trained with
    `stage2.loss.drop_image`."""
    overlap: int = 10
    """Frames by which consecutive windows of a long song overlap."""
    window_batch: int = 8
    """Windows that are denoised in one batch."""

    def __post_init__(self) -> None:
        check_range(self, 1, math.inf, "steps", "window_batch")
        check_range(self, 0, math.inf, "overlap")
