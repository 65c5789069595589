"""The LightningModule of stage 1."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn import functional as F

from datamodules.batch import ClipBatch, to_unit
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.networks.vgg import VGG19Pyramid
from lightning_modules.objective import objective, region_objective
from lightning_modules.optimization import adamw, logs_this_step
from lightning_modules.options.autoencoder import LossWeights
from lightning_modules.options.optimizer import AutoencoderOptimizer
from lightning_modules.randomness import Purpose, generator_for
from metrics.reconstruction import (
    SUMS,
    reconstruction_scores,
    reconstruction_sums,
)


class LatentFlowAutoencoderModule(LightningModule):
    """Train a latent-flow autoencoder on clips whose first frame is the reference.

    Args:
        network: The autoencoder; frozen parameters stay frozen.
        weights: Weights of the loss terms.
        optimizer: Adam and its schedule.
        features: VGG-19 for the perceptual loss, or None for the terms that need no weights.
        seed: Seed of the random warps; a warp depends only on (seed, step, clip, frame).
        sizes: Progressive resolution: sizes in pixels, each for an equal share of the steps. Empty:
            the size of the clips.
        channels_last: Use channels-last memory for the network and its images.
        region_steps: Number of first steps that train only the regions, from keypoints.
    """

    sums: Tensor

    def __init__(
        self,
        network: LatentFlowAutoencoder,
        weights: LossWeights,
        optimizer: AutoencoderOptimizer,
        features: VGG19Pyramid | None,
        seed: int,
        sizes: Sequence[int],
        channels_last: bool,
        region_steps: int,
    ) -> None:
        super().__init__()
        self.network = network
        if channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.weights = weights
        self.optimizer_settings = optimizer
        # In a list, so that 20 million frozen weights are not part of checkpoints and averages.
        self._features = [features] if features is not None else []
        self.seed = seed
        self.sizes = tuple(sizes)
        self.region_steps = region_steps
        self.register_buffer("sums", torch.zeros(len(SUMS), dtype=torch.float64), persistent=False)

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        frames = self._resize(_frames(batch))
        if self.global_step < self.region_steps:
            terms = region_objective(self.network, frames, batch.keypoints, self.weights.joints)
        else:
            generators = self._generators(batch.index, frames.shape[1] - 1)
            terms, _ = objective(
                self.network, frames, batch.keypoints, self.weights, self._pyramid(), generators
            )
        loss = torch.stack(list(terms.values())).sum()
        if logs_this_step(self):
            self.log("train/loss", loss, prog_bar=True, batch_size=len(batch), sync_dist=True)
            for name, term in terms.items():
                self.log(f"train/{name}", term, batch_size=len(batch))
        return loss

    def on_validation_epoch_start(self) -> None:
        self.sums.zero_()

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        frames = _frames(batch)
        output = self.network(frames[:, 0], frames[:, 1:])
        self.sums += reconstruction_sums(
            frames[:, 0], frames[:, 1:], output.prediction.float(), output.deformed.float()
        )

    def on_validation_epoch_end(self) -> None:
        """Log `val/l1_ratio` (lower is better) and related scores, over the clips of all ranks."""
        gathered = self.all_gather(self.sums)
        assert isinstance(gathered, Tensor)
        for name, value in reconstruction_scores(gathered.reshape(-1, len(SUMS)).sum(0)).items():
            self.log(f"val/{name}", value, prog_bar=name == "l1_ratio", rank_zero_only=False)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return adamw(
            [p for p in self.network.parameters() if p.requires_grad],
            self.optimizer_settings,
            fused=self.trainer.precision == "32-true",
        )

    def _pyramid(self) -> VGG19Pyramid | None:
        return self._features[0].to(self.device) if self._features else None

    def _generators(self, index: Tensor, times: int) -> list[torch.Generator]:
        return [
            generator_for(self.seed, Purpose.TRAINING, self.global_step, int(i) * times + t)
            for i in index.tolist()
            for t in range(times)
        ]

    def _resize(self, frames: Tensor) -> Tensor:
        """Reduce frames to the size of this share of the training; never enlarge them."""
        if not self.sizes:
            return frames
        share = self.global_step * len(self.sizes) // self.optimizer_settings.steps
        size = self.sizes[min(share, len(self.sizes) - 1)]
        if size >= frames.shape[-1]:
            return frames
        resized = F.interpolate(frames.flatten(0, 1), size=(size, size), mode="area")
        return resized.unflatten(0, frames.shape[:2])


def _frames(batch: ClipBatch) -> Tensor:
    if batch.frames is None:
        raise ValueError("Stage 1 needs frames, but this batch has none.")
    if batch.frames.shape[1] < 2:
        raise ValueError(
            "Stage 1 needs at least two frames per clip: a reference and a driving frame."
        )
    return to_unit(batch.frames)
