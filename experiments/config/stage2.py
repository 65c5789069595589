"""Settings of stage 2: the denoiser, its loss, its training and its noise schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from datamodules.options.checks import check_range
from lightning_modules.options.diffusion import DenoiserOptions, DiffusionLossOptions
from lightning_modules.options.optimizer import OptimizerOptions


@dataclass
class Stage2TrainSettings(OptimizerOptions):
    """Training of stage 2; the defaults are the published ones."""

    batch_size: int = 20
    """Clips per step over all processes."""
    ema_decay: float = 0.995
    """Decay of the moving average of the weights that is validated and exported (0: none)."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass instead of storing them: less memory, a third more
    time."""
    validation_clips: int = 16
    """Clips that are generated and scored in each validation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 1, math.inf, "batch_size")
        check_range(self, 0, 1, "ema_decay")


@dataclass
class NoiseScheduleSettings:
    """The forward process."""

    timesteps: int = 1000
    """Noise levels of the cosine noise schedule."""

    def __post_init__(self) -> None:
        check_range(self, 1, math.inf, "timesteps")


@dataclass
class MonitorSettings:
    """Signs of failure in the videos that validation generates; limits come from training clips."""

    clips: int = 32
    """Training clips from which the limits are measured (0: no monitoring)."""
    temporal_inconsistency: float = 0.95
    """Fraction of training clips below the limit of the frames' warp error (0: not monitored)."""
    misalignment: float = 0.95
    """Fraction of training clips above the limit of corrected 2D-MM Align (0: not monitored)."""
    implausible_motion: float = 0.95
    """Fraction of training clips within the limits of the motion's jerk (0: not monitored)."""
    tolerated: float = 0.5
    """Fraction of generated clips beyond a limit above which a warning is logged."""

    def __post_init__(self) -> None:
        check_range(self, 0, math.inf, "clips")
        names = ("temporal_inconsistency", "misalignment", "implausible_motion", "tolerated")
        check_range(self, 0, 1, *names)


@dataclass
class Stage2Settings:
    """Diffusion of latent flow."""

    network: DenoiserOptions = field(default_factory=DenoiserOptions)
    """Architecture of the denoiser."""
    loss: DiffusionLossOptions = field(default_factory=DiffusionLossOptions)
    """Training-loss weights and condition dropout."""
    train: Stage2TrainSettings = field(default_factory=Stage2TrainSettings)
    """Training."""
    scheduler: NoiseScheduleSettings = field(default_factory=NoiseScheduleSettings)
    """Noise schedule."""
    monitor: MonitorSettings = field(default_factory=MonitorSettings)
    """Signs of failure that are logged and flagged."""
