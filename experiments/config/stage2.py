"""Settings of stage 2: the denoiser, its loss, its training and its noise schedule."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

SPATIAL_ATTENTION = ("none", "linear", "full")


def _fraction(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is {value}: give a number from 0 to 1.")


def _positive(name: str, value: float) -> None:
    if value <= 0:
        raise ValueError(f"{name} is {value}: give a number above 0.")


@dataclass
class DenoiserSettings:
    """FlowUNet3D; the defaults are the published size (about 42.7 M parameters)."""

    width: int = 64
    """Channels of the finest level."""
    multipliers: list[int] = field(default_factory=lambda: [1, 2, 4, 8])
    """Channels of each level, as multiples of `width`, finest first."""
    embedding: int = 1024
    """Width of the embedding of time step, music and place that every block reads."""
    blocks: int = 2
    """Residual blocks a level."""
    patch: int = 1
    """Latent flow is pixel-unshuffled by this factor before the network (1: not)."""
    stem_kernel: int = 7
    """Kernel of the first convolutions."""
    temporal_conv: list[bool] = field(default_factory=lambda: [False, False, False, False])
    """Levels with a convolution over time."""
    temporal_attention: list[bool] = field(default_factory=lambda: [True, True, True, True])
    """Levels with attention over time."""
    spatial_attention: list[str] = field(
        default_factory=lambda: ["linear", "linear", "linear", "linear"]
    )
    """Attention over a frame's cells at each level: none, linear or full."""
    middle_attention: bool = True
    """Full attention over space and over time at the coarsest level."""
    heads: int = 8
    """Heads of every attention layer."""
    head_dim: int = 32
    """Width of a head."""
    groups: int = 8
    """Groups of the group norms."""
    flow: Literal["residual", "absolute"] = "absolute"
    """What is diffused: residual (displacements) or absolute (the sampling grid, as in LFDM)."""
    prediction: Literal["epsilon", "v_prediction", "sample"] = "epsilon"
    """What the network predicts: epsilon, v_prediction or sample (the clean flow)."""

    def __post_init__(self) -> None:
        for choice in self.spatial_attention:
            if choice not in SPATIAL_ATTENTION:
                raise ValueError(
                    f"stage2.network.spatial_attention names {choice!r}: choose among "
                    f"{', '.join(SPATIAL_ATTENTION)}."
                )
        levels = len(self.multipliers)
        for name in ("temporal_conv", "temporal_attention", "spatial_attention"):
            if len(getattr(self, name)) != levels:
                raise ValueError(
                    f"stage2.network.{name} has {len(getattr(self, name))} entries, but "
                    f"stage2.network.multipliers names {levels} levels: give one entry a level."
                )
        if self.stem_kernel % 2 == 0:
            raise ValueError(f"stage2.network.stem_kernel is {self.stem_kernel}: make it odd.")
        if self.width % self.groups:
            raise ValueError(
                f"stage2.network.width is {self.width}, which {self.groups} groups "
                f"(stage2.network.groups) do not divide."
            )


@dataclass
class DiffusionLossSettings:
    """What the denoiser is punished for; the defaults are the published loss."""

    weighting: Literal["uniform", "min_snr"] = "uniform"
    """Weight over noise levels: uniform or min_snr."""
    min_snr_gamma: float = 5.0
    """Largest signal-to-noise ratio that counts under min_snr."""
    velocity: float = 0.0
    """Weight of the error of frame-to-frame differences, beside 1 for the frames."""
    drop_music: float = 0.1
    """Share of samples trained without music (classifier-free guidance)."""
    drop_image: float = 0.0
    """Share of samples trained without the reference image."""
    window_start: float = 0.0
    """Share of steps on a window's later frames only, so that songs can be sampled in windows."""

    def __post_init__(self) -> None:
        _positive("stage2.loss.min_snr_gamma", self.min_snr_gamma)
        for name in ("drop_music", "drop_image", "window_start"):
            _fraction(f"stage2.loss.{name}", getattr(self, name))
        if self.velocity < 0:
            raise ValueError(f"stage2.loss.velocity is {self.velocity}: it cannot be negative.")


@dataclass
class DiffusionTrainSettings:
    """How stage 2 is trained."""

    steps: int = 100_000
    """Optimizer steps."""
    batch_size: int = 20
    """Clips a step, over all processes."""
    learning_rate: float = 2e-4
    """Of AdamW."""
    weight_decay: float = 0.0
    """Weight decay of AdamW."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises from 0."""
    final_rate_factor: float = 1.0
    """The learning rate falls along a cosine to this share of itself (1: stays)."""
    ema_decay: float = 0.995
    """Decay of the moving average of the weights that is used and saved (0: none)."""
    clip_gradient: float = 0.0
    """Largest norm of the gradient (0: no clipping)."""
    gradient_checkpointing: bool = False
    """Compute activations twice to store them once: less memory, a third more time."""
    validation_clips: int = 16
    """Clips that each validation generates and scores."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate"):
            _positive(f"stage2.train.{name}", getattr(self, name))
        for name in ("ema_decay", "final_rate_factor"):
            _fraction(f"stage2.train.{name}", getattr(self, name))


@dataclass
class NoiseScheduleSettings:
    """The forward process."""

    timesteps: int = 1000
    """Steps of the cosine schedule."""

    def __post_init__(self) -> None:
        _positive("stage2.scheduler.timesteps", self.timesteps)


@dataclass
class MonitorSettings:
    """What is watched in the dances that validation generates; limits come from training clips."""

    clips: int = 32
    """Training clips that set the limits; 0 watches nothing."""
    temporal_inconsistency: float = 0.95
    """Share of training clips below the limit of the frames' warp error; 0 does not watch it."""
    misalignment: float = 0.95
    """Share of training clips above the limit of corrected 2D-MM Align; 0 does not watch it."""
    implausible_motion: float = 0.95
    """Share of training clips between the limits of the motion's jerk; 0 does not watch it."""
    tolerated: float = 0.5
    """Share of generated clips beyond a limit above which it is flagged."""

    def __post_init__(self) -> None:
        if self.clips < 0:
            raise ValueError(f"stage2.monitor.clips is {self.clips}: it cannot be negative.")
        for name in ("temporal_inconsistency", "misalignment", "implausible_motion", "tolerated"):
            _fraction(f"stage2.monitor.{name}", getattr(self, name))


@dataclass
class Stage2Settings:
    """Diffusion over latent flow."""

    network: DenoiserSettings = field(default_factory=DenoiserSettings)
    """The denoiser."""
    loss: DiffusionLossSettings = field(default_factory=DiffusionLossSettings)
    """The loss and the conditions that are dropped."""
    train: DiffusionTrainSettings = field(default_factory=DiffusionTrainSettings)
    """Steps, rates and averages."""
    scheduler: NoiseScheduleSettings = field(default_factory=NoiseScheduleSettings)
    """The noise schedule."""
    monitor: MonitorSettings = field(default_factory=MonitorSettings)
    """Signs of failure that are logged and flagged."""
