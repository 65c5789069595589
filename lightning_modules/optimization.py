"""What the LightningModules share: AdamW with a learning rate schedule, and when to log."""

from __future__ import annotations

from collections.abc import Iterable

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from lightning_modules.options.optimizer import OptimizerOptions


def adamw(
    parameters: Iterable[nn.Parameter], options: OptimizerOptions, fused: bool = False
) -> OptimizerLRSchedulerConfig:
    """Build AdamW with a schedule per step, as `configure_optimizers` returns it.

    Args:
        parameters: The parameters.
        options: Learning rate, moments, weight decay and schedule.
        fused: Update all parameters in one kernel: small networks are otherwise limited by kernel
            launches. Lightning cannot clip gradients for it in mixed precision.
    """
    optimizer = AdamW(
        parameters,
        lr=options.learning_rate,
        betas=(options.beta1, options.beta2),
        weight_decay=options.weight_decay,
        fused=fused,
    )
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": LambdaLR(optimizer, options.factor), "interval": "step"},
    }


def logs_this_step(module: LightningModule) -> bool:
    """Tell whether loggers record the current training step.

    In other steps Lightning would store each value without using it, and would reduce values that
    are averaged over processes, at a cost that matters for small networks.
    """
    if module._trainer is None:  # `training_step` was called directly
        return False
    trainer = module.trainer
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
    return every > 0 and (trainer.should_stop or (trainer.global_step + 1) % every == 0)
