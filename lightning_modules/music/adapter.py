"""The LightningModule of music adapters: classify genres, with a contrastive loss."""

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
from lightning_modules.optimization import adamw
from lightning_modules.options.music import AdapterOptions
from lightning_modules.options.optimizer import OptimizerOptions


@dataclass(frozen=True)
class AdapterLoss:
    """Weights of the loss: cross-entropy of the genre plus a contrastive loss."""

    contrastive: float = AdapterOptions.contrastive
    """Weight of `contrastive_loss`."""
    temperature: float = AdapterOptions.temperature


def contrastive_loss(
    directions: Tensor, styles: Tensor, songs: Tensor, temperature: float
) -> Tensor:
    """Supervised contrastive loss (Khosla et al., arXiv 2004.11362, eq. 2) across songs.

    Pairs of clips of the same song are left out: they sound alike whatever the genre. A clip
    without a clip of another song of its genre in the batch is left out as well.

    Args:
        directions: (B, P), unit vectors.
        styles: (B,) genre of each clip.
        songs: (B,) song of each clip.
        temperature: Above 0.

    Returns:
        The mean over the remaining clips; 0 if there are none.
    """
    others = songs[:, None] != songs[None, :]
    same = (styles[:, None] == styles[None, :]) & others
    closeness = directions @ directions.T / temperature
    shares = closeness - closeness.masked_fill(~others, -torch.inf).logsumexp(1, keepdim=True)
    counted = same.any(1)
    each = -shares.masked_fill(~same, 0.0).sum(1) / same.sum(1).clamp_min(1)
    return each[counted].sum() / counted.sum().clamp_min(1)


class MusicAdapterModule(LightningModule):
    """Train adapters over cached embeddings; the frozen encoders are not needed.

    Args:
        adapters: The adapters and their heads.
        style_of: Genre of each song.
        loss: Weights of the loss.
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
        self.number_of = {song: number for number, song in enumerate(sorted(style_of))}
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
        """Return the loss and the accuracy by feature."""
        device = self.device
        styles = torch.tensor([self.style_of[song] for song in batch.music_ids], device=device)
        songs = torch.tensor([self.number_of[song] for song in batch.music_ids], device=device)
        losses, accuracies = {}, {}
        for name, found in self.adapters(batch.music).items():
            together = contrastive_loss(found.direction, styles, songs, self.loss.temperature)
            named = F.cross_entropy(found.logits, styles)
            losses[name] = named + self.loss.contrastive * together
            accuracies[name] = (found.logits.argmax(1) == styles).float().mean().detach()
        return losses, accuracies

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return adamw(self.adapters.parameters(), self.optimizer_settings)
