"""The LightningModule of stage 2, which trains the denoiser on latent flow.

A training step reads cached latent flow if there is any (otherwise the frozen stage 1 extracts it,
all frames at once), encodes the reference, adds noise and computes the loss. Nothing is decoded.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from datamodules.batch import ClipBatch, to_unit
from lightning_modules.diffusion_loss import (
    denoising_loss,
    loss_weights,
    training_target,
    velocity_loss,
)
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.networks.denoiser import FlowUNet3D
from lightning_modules.networks.music import MusicConditioner
from lightning_modules.optimization import adamw, logs_this_step
from lightning_modules.options.diffusion import DiffusionLossOptions, SamplingOptions
from lightning_modules.options.optimizer import OptimizerOptions
from lightning_modules.randomness import Purpose, draw_crop, draw_step, generator_for
from lightning_modules.sampling import (
    Guidance,
    Windows,
    sample_latent_flow,
    solver_scheduler,
    window_music,
)
from metrics import MotionMusicAlignment2D


@dataclass(frozen=True)
class DenoisingLoss:
    """Weights of the loss: see `lightning_modules.diffusion_loss`."""

    weighting: str = DiffusionLossOptions.weighting
    min_snr_gamma: float = DiffusionLossOptions.min_snr_gamma
    velocity: float = DiffusionLossOptions.velocity
    """Weight of the error of frame-to-frame differences, added to that of the frames."""


@dataclass(frozen=True)
class ConditionDropout:
    """Probabilities in [0, 1] of dropping a condition of a training sample."""

    music: float = DiffusionLossOptions.drop_music
    image: float = DiffusionLossOptions.drop_image
    window_start: float = DiffusionLossOptions.window_start
    """Of training a step on the later frames of windows only, so that the denoiser learns windows
    that do not start at the reference, as in long songs."""


@dataclass(frozen=True)
class ValidationSampling:
    """How validation generates clips: the first `clips`, with the same noise every time."""

    clips: int
    solver: str = SamplingOptions.solver
    steps: int = SamplingOptions.steps
    guidance: Guidance = field(default_factory=Guidance)


#: Values of 2D-MM Align on generated latent flow that validation logs as `val/align_...`.
LOGGED_ALIGNMENT = (
    "corrected",
    "raw",
    "chance",
    "control_difference",
    "motion_beats",
    "music_beats",
    "clips",
)


class FlowDiffusionModule(LightningModule):
    """Train a denoiser and its music conditioner on the latent flow of a frozen stage 1.

    Args:
        denoiser: The denoiser, with the statistics of its normalizer set.
        conditioner: The music conditioner, trained with it.
        autoencoder: Stage 1. It is frozen, and moved to the device, but not part of checkpoints.
        scheduler: The training noise schedule, with the prediction type of the denoiser.
        frame_size: Side of the frames in pixels, for the units of the alignment score.
        seed: Seed of all randomness of training.
    """

    def __init__(
        self,
        denoiser: FlowUNet3D,
        conditioner: MusicConditioner,
        autoencoder: LatentFlowAutoencoder,
        scheduler: DDPMScheduler,
        *,
        frame_size: int,
        seed: int,
        loss: DenoisingLoss,
        optimizer: OptimizerOptions,
        dropout: ConditionDropout,
        validation: ValidationSampling,
    ) -> None:
        super().__init__()
        self.denoiser, self.conditioner = denoiser, conditioner
        # In a list, so that it is not part of checkpoints, averages or gradients.
        self._frozen = [autoencoder.eval().requires_grad_(False)]
        self.scheduler, self.frame_size, self.seed = scheduler, frame_size, seed
        self.loss, self.optimizer_settings = loss, optimizer
        self.dropout, self.validation = dropout, validation
        self.alignment = MotionMusicAlignment2D()

    @property
    def autoencoder(self) -> LatentFlowAutoencoder:
        """The frozen stage 1, on this module's device."""
        return self._frozen[0].to(self.device)

    @torch.no_grad()
    def conditions(self, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """Return absolute latent flow (B, T, 3, h, w) and z_0 (B, C, h, w) of a batch."""
        reference = to_unit(batch.reference)
        features = self.autoencoder.encode(reference)
        if batch.latent_flow is not None:
            return batch.latent_flow.to(features.dtype), features
        assert batch.frames is not None  # `batch.reference` has checked it
        return self.autoencoder.flow(reference, to_unit(batch.frames)), features

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        step = self.global_step
        crop = draw_crop(self.seed, step, batch.beat_features.shape[1], self.dropout.window_start)
        terms = self._losses(batch, Purpose.TRAINING, step, crop)
        total = terms["denoising"] + self.loss.velocity * terms["velocity"]
        if logs_this_step(self):
            loss = total.detach()
            self.log("train/loss", loss, prog_bar=True, batch_size=len(batch), sync_dist=True)
            for name, value in terms.items():
                self.log(f"train/{name}", value.detach(), batch_size=len(batch))
        return total

    def _losses(
        self, batch: ClipBatch, purpose: Purpose, step: int, crop: int
    ) -> dict[str, Tensor]:
        latent_flow, features = self.conditions(batch)
        clean = self.denoiser.normalizer.normalize(latent_flow)
        draws = draw_step(
            self.seed,
            purpose,
            step,
            batch.index,
            tuple(clean.shape[1:]),
            self.scheduler.config["num_train_timesteps"],
            self.dropout.music,
            self.dropout.image,
            clean.device,
        )
        frames = clean.shape[1] - crop
        music = self.conditioner(
            batch.beat_features[:, crop:], window_music(batch.music, crop, frames), draws.drop_music
        )
        features = features * ~draws.drop_image[:, None, None, None]
        noisy = self.scheduler.add_noise(clean, draws.noise, draws.timesteps)  # type: ignore[arg-type]
        target = training_target(self.scheduler, clean, draws.noise, draws.timesteps)[:, crop:]
        prediction = self.denoiser(noisy[:, crop:], draws.timesteps, features, music, crop)
        weights = loss_weights(
            self.scheduler, draws.timesteps, self.loss.weighting, self.loss.min_snr_gamma
        )
        valid = None if batch.valid is None else batch.valid[:, crop:]
        return {
            "denoising": denoising_loss(prediction, target, weights, valid),
            "velocity": velocity_loss(prediction, target, weights, valid),
        }

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> dict[str, Tensor] | None:
        """Log the loss; generate the first clips and return their `latent_flow` for callbacks."""
        terms = self._losses(batch, Purpose.VALIDATION, 0, 0)
        total = terms["denoising"] + self.loss.velocity * terms["velocity"]
        self.log("val/loss", total, batch_size=len(batch), sync_dist=True)
        # Chosen by index, so that the same clips are scored at any world size.
        scored = batch.first(int((batch.index < self.validation.clips).sum()))
        if not len(scored):
            return None
        latent_flow = self.sample(scored)
        self.alignment.update(
            latent_flow=latent_flow,
            fps=scored.fps,
            music_beats=scored.beats,
            size=self.frame_size,
        )
        return {"latent_flow": latent_flow}

    @torch.no_grad()
    def sample(self, batch: ClipBatch) -> Tensor:
        """Generate absolute latent flow (B, T, 3, h, w) for a batch's references and music."""
        frames = batch.beat_features.shape[1]
        return sample_latent_flow(
            self.denoiser,
            self.conditioner,
            solver_scheduler(self.validation.solver, self.scheduler),
            self.autoencoder.encode(to_unit(batch.reference)),
            batch.beat_features,
            batch.music,
            steps=self.validation.steps,
            guidance=self.validation.guidance,
            windows=Windows(frames, 0, batch=len(batch)),
            generators=[
                generator_for(self.seed, Purpose.SAMPLING, 0, i) for i in batch.index.tolist()
            ],
        )

    def on_validation_epoch_end(self) -> None:
        scores = self.alignment.compute()
        for name in LOGGED_ALIGNMENT:
            self.log(f"val/align_{name}", scores[name], prog_bar=name == "corrected")
        self.alignment.reset()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        parameters = [*self.denoiser.parameters(), *self.conditioner.parameters()]
        return adamw(parameters, self.optimizer_settings, fused=True)
