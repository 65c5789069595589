"""Exponential moving average of the trained weights."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn


class ExponentialMovingAverage(Callback):
    """Average trainable parameters after each step, and validate with the average.

    The decay of update n is min(decay, (1 + n) / (10 + n)), as in the diffusion literature, so that
    the random initialization is soon forgotten. Frozen networks are neither copied nor saved.
    Floating-point buffers of trained modules (running statistics of batch norm) are averaged, too;
    counters are not.

    Args:
        decay: Weight of the old average, in [0, 1).
    """

    def __init__(self, decay: float) -> None:
        super().__init__()
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"The decay of the average is {decay}, expected [0, 1).")
        self.decay = decay
        self._updates = 0
        self._step = 0
        self._average: dict[str, Tensor] = {}
        self._live: list[Tensor] = []
        self._held: list[Tensor] = []
        self._swapped = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start from the weights as they are, or from the checkpoint's average."""
        live = averaged_tensors(pl_module)
        if not self._average:
            self._average = {name: tensor.detach().clone() for name, tensor in live.items()}
        self._average = {name: self._average[name].to(t.device) for name, t in live.items()}
        self._live = list(live.values())
        self._held = list(self._average.values())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the average, once per optimizer step."""
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        self._updates += 1
        decay = min(self.decay, (1 + self._updates) / (10 + self._updates))
        with torch.no_grad():
            torch._foreach_lerp_(self._held, self._live, 1.0 - decay)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate with the average."""
        if self._held and self._updates:
            self._swap()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the trained weights."""
        if self._swapped:
            self._swap()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Restore the trained weights if a validation was interrupted."""
        if self._swapped:
            self._swap()

    def write_to(self, module: nn.Module) -> None:
        """Overwrite the module's weights with the average, for export after training.

        Args:
            module: The module that was trained, or one of the same architecture.
        """
        if not self._updates:
            return
        with torch.no_grad():
            for name, tensor in averaged_tensors(module).items():
                tensor.copy_(self._average[name])

    def state_dict(self) -> dict[str, Any]:
        """Return the average and its number of updates, also during a validation."""
        average = self._live if self._swapped else self._held
        tensors = dict(zip(self._average, (t.detach() for t in average), strict=True))
        return {"updates": self._updates, "step": self._step, "average": tensors}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the average of a checkpoint."""
        self._updates = int(state_dict["updates"])
        self._step = int(state_dict["step"])
        self._average = dict(state_dict["average"])

    def _swap(self) -> None:
        with torch.no_grad():
            for live, held in zip(self._live, self._held, strict=True):
                kept = live.detach().clone()
                live.copy_(held)
                held.copy_(kept)
        self._swapped = not self._swapped


def averaged_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return what is averaged: trainable parameters, and float buffers of trained modules.

    Args:
        module: Any module; frozen parts of it are left out.

    Returns:
        Tensors by their name in the module, each sharing the module's memory.
    """
    found: dict[str, Tensor] = {}
    for prefix, part in module.named_modules():
        own = list(part.named_parameters(recurse=False))
        for name, parameter in own:
            if parameter.requires_grad:
                found[f"{prefix}.{name}".lstrip(".")] = parameter.data
        if any(parameter.requires_grad for _, parameter in own):
            for name, buffer in part.named_buffers(recurse=False):
                if buffer.is_floating_point():
                    found[f"{prefix}.{name}".lstrip(".")] = buffer
    return found
