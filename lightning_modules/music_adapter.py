"""Training music adapters: name the style of a clip, and draw clips of one style together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn import functional as F

from datamodules.batch import ClipBatch
from lightning_modules.networks.music_adapter import MusicAdapters
from lightning_modules.options.music import AdapterOptions
from lightning_modules.options.optimizer import OptimizerOptions


@dataclass(frozen=True)
class AdapterLoss:
    """Cross-entropy of the style, and a contrastive loss beside it."""

    contrastive: float = AdapterOptions.contrastive
    """Weight of `contrastive_loss`."""
    temperature: float = AdapterOptions.temperature


def contrastive_loss(
    directions: Tensor, styles: Tensor, pieces: Tensor, temperature: float
) -> Tensor:
    """Supervised contrastive loss (Khosla et al., arXiv 2004.11362, eq. 2) across songs.

    Clips of the same piece are neither drawn together nor pushed apart: they sound alike whatever
    style is. A clip without another of its style in the batch counts for nothing.

    Args:
        directions: (B, P) of unit length.
        styles: (B,) class of each clip.
        pieces: (B,) piece of each clip.
        temperature: above 0.

    Returns:
        The mean over the clips that count; 0 if none does.
    """
    others = pieces[:, None] != pieces[None, :]
    same = (styles[:, None] == styles[None, :]) & others
    closeness = directions @ directions.T / temperature
    shares = closeness - closeness.masked_fill(~others, -torch.inf).logsumexp(1, keepdim=True)
    counted = same.any(1)
    each = -shares.masked_fill(~same, 0.0).sum(1) / same.sum(1).clamp_min(1)
    return each[counted].sum() / counted.sum().clamp_min(1)


class MusicAdapterModule(LightningModule):
    """Train adapters over cached embeddings; the encoders themselves stay frozen and away.

    Args:
        adapters: what learns.
        style_of: class of each song.
        loss: weights.
        optimizer: AdamW and its learning-rate schedule.
    """

    def __init__(
        self,
        adapters: MusicAdapters,
        style_of: Mapping[str, int],
        *,
        loss: AdapterLoss,
        optimizer: OptimizerOptions,
    ) -> None:
        super().__init__()
        self.adapters, self.loss = adapters, loss
        self.style_of = dict(style_of)
        self.number_of = {piece: number for number, piece in enumerate(sorted(style_of))}
        self.optimizer_settings = optimizer

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        losses, accuracies = self._compare(batch)
        total = torch.stack(list(losses.values())).mean()
        self.log("train/loss", total.detach(), batch_size=len(batch), sync_dist=True)
        for name, value in accuracies.items():
            self.log(f"train/accuracy_{name}", value, batch_size=len(batch))
        return total

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        losses, accuracies = self._compare(batch)
        total = torch.stack(list(losses.values())).mean()
        self.log("val/loss", total, batch_size=len(batch), sync_dist=True)
        for name, value in accuracies.items():
            self.log(f"val/accuracy_{name}", value, batch_size=len(batch), sync_dist=True)

    def _compare(self, batch: ClipBatch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Loss and share of clips named rightly, by feature."""
        device = self.device
        styles = torch.tensor([self.style_of[piece] for piece in batch.music_ids], device=device)
        pieces = torch.tensor([self.number_of[piece] for piece in batch.music_ids], device=device)
        losses, accuracies = {}, {}
        for name, found in self.adapters(batch.music).items():
            together = contrastive_loss(found.direction, styles, pieces, self.loss.temperature)
            named = F.cross_entropy(found.logits, styles)
            losses[name] = named + self.loss.contrastive * together
            accuracies[name] = (found.logits.argmax(1) == styles).float().mean().detach()
        return losses, accuracies

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        settings = self.optimizer_settings
        optimizer = torch.optim.AdamW(
            self.adapters.parameters(),
            lr=settings.learning_rate,
            betas=(settings.beta1, settings.beta2),
            weight_decay=settings.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, settings.factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }
