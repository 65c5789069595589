"""Targets and losses of diffusion over latent flow: pure functions.

Notation: x_t = a x_0 + s noise with a^2 + s^2 = 1; signal-to-noise ratio SNR = a^2 / s^2.
"""

from __future__ import annotations

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor

PREDICTIONS = ("epsilon", "v_prediction", "sample")
WEIGHTINGS = ("uniform", "min_snr")


def cosine_scheduler(timesteps: int, prediction: str) -> DDPMScheduler:
    """Build the cosine noise schedule of LFDM (Nichol and Dhariwal, arXiv 2102.09672, eq. 17)."""
    if prediction not in PREDICTIONS:
        raise ValueError(f"prediction is {prediction!r}; expected one of {', '.join(PREDICTIONS)}.")
    return DDPMScheduler(
        num_train_timesteps=timesteps,
        beta_schedule="squaredcos_cap_v2",
        prediction_type=prediction,
        clip_sample=False,
    )


def training_target(
    scheduler: DDPMScheduler, clean: Tensor, noise: Tensor, timesteps: Tensor
) -> Tensor:
    """Return the denoiser's target for the scheduler's prediction type, shaped like `clean`."""
    kind = scheduler.config["prediction_type"]
    if kind == "sample":
        return clean
    if kind == "epsilon":
        return noise
    return scheduler.get_velocity(clean, noise, timesteps)  # type: ignore[arg-type]


def loss_weights(
    scheduler: DDPMScheduler, timesteps: Tensor, weighting: str, gamma: float
) -> Tensor:
    """Return the weight of each sample's error, (B,).

    "uniform" weights the error of the predicted quantity equally at all noise levels. "min_snr"
    (Hang et al., arXiv 2303.09556) weights the error of x_0 by min(SNR, gamma), converted to the
    quantity that is predicted.
    """
    if weighting == "uniform":
        return torch.ones(len(timesteps), device=timesteps.device)
    if weighting != "min_snr":
        raise ValueError(f"weighting is {weighting!r}; expected one of {', '.join(WEIGHTINGS)}.")
    signal = scheduler.alphas_cumprod.to(timesteps.device)[timesteps].float()
    snr = signal / (1 - signal).clamp_min(1e-8)
    clamped = snr.clamp_max(gamma)
    kind = scheduler.config["prediction_type"]
    if kind == "sample":
        return clamped
    return clamped / (snr if kind == "epsilon" else snr + 1).clamp_min(1e-8)


def denoising_loss(
    prediction: Tensor, target: Tensor, weights: Tensor, valid: Tensor | None = None
) -> Tensor:
    """Weighted mean squared error of (B, T, 3, h, w) over the valid frames (B, T)."""
    error = (prediction - target).square().mean((2, 3, 4)) * weights[:, None]
    return _mean(error, valid)


def velocity_loss(
    prediction: Tensor, target: Tensor, weights: Tensor, valid: Tensor | None = None
) -> Tensor:
    """Weighted mean squared error of the differences between successive frames.

    It compares speeds, whose minima are the dancer's beats: a smooth path through averaged poses
    has a small error of positions, but no beats.
    """
    if prediction.shape[1] < 2:
        return prediction.new_zeros(())
    error = (prediction.diff(dim=1) - target.diff(dim=1)).square().mean((2, 3, 4))
    pairs = None if valid is None else valid[:, 1:] & valid[:, :-1]
    return _mean(error * weights[:, None], pairs)


def _mean(error: Tensor, valid: Tensor | None) -> Tensor:
    if valid is None:
        return error.mean()
    mask = valid.to(error.dtype)
    return (error * mask).sum() / mask.sum().clamp_min(1)
