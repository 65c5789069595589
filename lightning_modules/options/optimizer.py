"""AdamW and its learning-rate schedule, with the defaults of each model; without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from datamodules.options.checks import check_positive, check_range

#: Fractions of training after which `schedule="steps"` divides the learning rate by ten.
MILESTONES = (0.6, 0.9)


@dataclass
class OptimizerOptions:
    """AdamW with linear warm-up and a schedule over `steps` steps; defaults of stage 2 (LFDM)."""

    steps: int = 100_000
    """Optimizer steps of the whole training."""
    learning_rate: float = 2e-4
    """Peak learning rate of AdamW."""
    beta1: float = 0.9
    """AdamW's decay rate of the mean of the gradient."""
    beta2: float = 0.99
    """AdamW's decay rate of the mean of the squared gradient."""
    weight_decay: float = 0.0
    """Decoupled weight decay of AdamW."""
    schedule: Literal["steps", "cosine"] = "cosine"
    """Learning-rate schedule: steps (divided by ten after 60% and 90% of training) or cosine (falls
    to `final_rate_factor`)."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises linearly from 0."""
    final_rate_factor: float = 1.0
    """Final learning rate of the cosine schedule as a fraction of `learning_rate` (1: constant)."""
    gradient_clip: float = 0.0
    """Maximum norm of the gradient (0: no clipping)."""

    def __post_init__(self) -> None:
        check_range(self, 1, math.inf, "steps")
        check_positive(self, "learning_rate")
        check_range(self, 0, 1, "final_rate_factor")
        check_range(self, 0, 0.99999, "beta1", "beta2")
        check_range(self, 0, math.inf, "weight_decay", "warmup_steps", "gradient_clip")

    def factor(self, step: int) -> float:
        """Return the learning rate of an optimizer step as a fraction of `learning_rate`."""
        rise = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        progress = min(1.0, self.progress(step))
        if self.schedule == "steps":
            return rise * math.prod(0.1 for share in MILESTONES if progress >= share)
        cosine = 0.5 + 0.5 * math.cos(math.pi * progress)
        return rise * (self.final_rate_factor + (1.0 - self.final_rate_factor) * cosine)

    def progress(self, step: int) -> float:
        """Return the position of a step in the schedule, which begins after the warm-up."""
        return max(0, step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)


@dataclass
class AutoencoderOptimizer(OptimizerOptions):
    """AdamW as published for stage 1; its schedule runs from step 0, under the warm-up."""

    beta1: float = 0.5
    beta2: float = 0.999
    schedule: Literal["steps", "cosine"] = "steps"
    final_rate_factor: float = 0.02

    def progress(self, step: int) -> float:
        """Return the fraction of the training that is done."""
        return step / self.steps
