"""Logging of a training step only where somebody reads it."""

from __future__ import annotations

from lightning.pytorch import LightningModule


def logs_this_step(module: LightningModule) -> bool:
    """Whether the loggers take what the training step under way logs.

    In all other steps Lightning would keep each value for nothing, at a cost that shows beside a
    small network; and values averaged over processes would be exchanged for nothing.
    """
    trainer = module._trainer
    return trainer is not None and trainer._logger_connector.should_update_logs
