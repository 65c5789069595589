"""Callbacks for long trainings: reproducible steps, and a stop at non-finite numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer


class NonFiniteError(ValueError):
    """Training produced a loss or gradient that is not finite, or a loss that exploded."""


class StepSeed(Callback):
    """Seed torch's global generator before each step from (seed, step, rank).

    Noise, time steps, dropped conditions and augmentation have generators of their own; this covers
    other uses of the global generator (dropout), so that resuming needs no stored state.

    Args:
        seed: The run's seed.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed for the step that begins."""
        # Odd multipliers keep (seed, step, rank) apart for any run of less than 2**32 steps.
        mixed = self.seed * 0x9E3779B97F4A7C15 + trainer.global_step * 0x2545F491 + 1
        torch.manual_seed((mixed + trainer.global_rank * 0x5851F42D) & (2**63 - 1))


class FiniteGuard(Callback):
    """Check the loss and the gradient before each optimizer step, and clip the gradient.

    Both need the gradient's norm, which is computed once. Under a gradient scaler (16-mixed) an
    infinite gradient is handled by the scaler, which skips the step and lowers its scale.

    Args:
        skip: Skip a bad step and count it, instead of stopping.
        explode_factor: A loss above this many times its running mean is bad, too; 0: no limit.
        report: File for the step and clip ids of the batch that stopped a run.
        warmup: Steps before `explode_factor` applies, while the mean stabilizes.
        clip: Maximum norm of the gradient; larger ones are scaled down to it. 0: no clipping.
    """

    def __init__(
        self,
        skip: bool,
        explode_factor: float,
        report: Path,
        warmup: int = 100,
        clip: float = 0.0,
    ) -> None:
        super().__init__()
        self.skip = skip
        self.explode_factor = explode_factor
        self.report = report
        self.warmup = warmup
        self.clip = clip
        self.skipped = 0
        self._mean = 0.0
        self._seen = 0
        self._loss: Tensor | None = None
        self._clip_ids: list[str] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the clips of the step."""
        self._clip_ids = list(batch.clip_ids)

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Remember the loss."""
        self._loss = loss.detach()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Stop or skip if the loss or the gradient is bad on any rank, on all ranks alike."""
        assert self._loss is not None
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        size = torch.nn.utils.get_total_norm(gradients)
        # One transfer for both numbers: the only synchronization with the device in a step.
        loss, norm = torch.stack([self._loss.float(), size.float().to(self._loss.device)]).tolist()
        exploded = (
            self.explode_factor > 0.0
            and self._seen >= self.warmup
            and loss > self.explode_factor * self._mean
        )
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        bad = not (math.isfinite(loss) and (scaled or math.isfinite(norm))) or exploded
        if trainer.world_size > 1:
            flag = torch.tensor(float(bad), device=self._loss.device)
            bad = bool(trainer.strategy.reduce(flag, reduce_op="sum") > 0)
        if not bad:
            if self.clip > 0.0:
                torch.nn.utils.clip_grads_with_norm_(pl_module.parameters(), self.clip, size)
            self._seen += 1
            self._mean += (loss - self._mean) / min(self._seen, 100)
            return
        if not self.skip:
            self._stop(trainer, loss, norm)
        self.skipped += 1
        optimizer.zero_grad(set_to_none=True)
        pl_module.log("train/skipped_steps", float(self.skipped), rank_zero_only=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the running mean and the number of skipped steps."""
        return {"skipped": self.skipped, "mean": self._mean, "seen": self._seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self.skipped = int(state_dict["skipped"])
        self._mean = float(state_dict["mean"])
        self._seen = int(state_dict["seen"])

    def _stop(self, trainer: Trainer, loss: float, norm: float) -> None:
        path = self.report.with_stem(f"{self.report.stem}-rank{trainer.global_rank}")
        if trainer.world_size == 1:
            path = self.report
        found = {
            "step": trainer.global_step,
            "loss": loss if math.isfinite(loss) else str(loss),
            "gradient_norm": norm if math.isfinite(norm) else str(norm),
            "clip_ids": self._clip_ids,
        }
        path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        raise NonFiniteError(
            f"Training stopped at step {trainer.global_step}: the loss is {loss:g} and the "
            f'gradient\'s norm {norm:g}; the clips of the batch are in "{path}", '
            "checkpoints/last.ckpt is from before it, and a lower learning rate or "
            "run.on_nan=skip may get past it."
        )
