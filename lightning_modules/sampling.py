"""Sample latent flow from noise, and decode it to frames.

Songs of any length: latent flow always refers to the one reference image, so all windows of a song
share the same coordinates. Windows of the trained length overlap; at every denoising step their
predictions are averaged with weights that decrease towards the windows' edges (MultiDiffusion,
Bar-Tal et al., arXiv 2302.08113, in time instead of space). The network processes `window_batch`
windows at a time, whatever the length of the song.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor

from datamodules.batch import to_uint8
from lightning_modules.networks.denoiser import FlowUNet3D
from lightning_modules.networks.music import MusicConditioner, MusicEmbedding
from lightning_modules.options.diffusion import SamplingOptions

SOLVERS = ("ddim", "dpm++", "unipc")
#: Lowest log signal-to-noise ratio at which multistep solvers start. The cosine schedule ends with
#: pure noise, where their steps in log-SNR would be unbounded (Lu et al., arXiv 2211.01095).
LAMBDA_MIN = -5.1


class FrameDecoder(Protocol):
    """The part of the autoencoder that sampling needs."""

    def decode(self, reference: Tensor, latent_flow: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance with separate weights (Brooks et al., arXiv 2211.09800, eq. 3).

    prediction = e(no image, no music) + image * (e(image, no music) - e(no image, no music))
               + music * (e(image, music) - e(image, no music))
    """

    music: float = SamplingOptions.guidance_scale
    """1: plain conditioning; 0: the music is ignored; above 1: its effect is amplified."""
    image: float = SamplingOptions.image_guidance_scale
    """The same for the reference image; other values than 1 need image dropout in training."""


@dataclass(frozen=True)
class Windows:
    """How a long sequence is divided into windows; lengths in frames."""

    length: int
    overlap: int
    batch: int = SamplingOptions.window_batch
    """Windows that the network processes at once."""

    def starts(self, frames: int) -> list[int]:
        """Return the first frames of the windows; the last window ends with the sequence."""
        if not 0 <= self.overlap < self.length:
            raise ValueError(
                f"Windows of {self.length} frames cannot overlap by {self.overlap}: "
                f"choose 0 to {self.length - 1}."
            )
        if frames <= self.length:
            return [0]
        starts = list(range(0, frames - self.length, self.length - self.overlap))
        return [*starts, frames - self.length]

    def weights(self, frames: int) -> Tensor:
        """Return weights (L,) of a window's frames: linear ramps over the overlap, never zero."""
        place = torch.arange(frames, dtype=torch.float32) + 1
        edge = torch.minimum(place, place.flip(0))
        return (edge / (self.overlap + 1)).clamp_max(1.0)


def solver_scheduler(name: str, training: DDPMScheduler) -> Any:
    """Build a diffusers scheduler for sampling with the noise schedule of the training.

    Its settings are passed one by one: `from_config` would also copy settings of the training
    scheduler that have another meaning here, such as the spacing of time steps.

    Args:
        name: One of `SOLVERS`.
        training: The training scheduler.

    Raises:
        ValueError: Unknown name.
    """
    noise: dict[str, Any] = {
        key: training.config[key]
        for key in ("num_train_timesteps", "beta_schedule", "prediction_type")
    }
    if name == "ddim":
        return DDIMScheduler(**noise, clip_sample=False, timestep_spacing="trailing")
    if name == "dpm++":
        return DPMSolverMultistepScheduler(
            **noise, algorithm_type="dpmsolver++", lambda_min_clipped=LAMBDA_MIN
        )
    if name == "unipc":
        return UniPCMultistepScheduler(**noise)
    raise ValueError(f"Solvers are {SOLVERS}, not {name!r}.")


def guided_prediction(
    denoiser: FlowUNet3D,
    noisy: Tensor,
    timestep: Tensor,
    image_features: Tensor,
    music: MusicEmbedding,
    silence: MusicEmbedding,
    guidance: Guidance,
    first_frame: Tensor,
) -> Tensor:
    """Return the denoiser's output under guidance, (B, T, 3, h, w), from one to three passes."""

    def run(image: bool, with_music: bool) -> Tensor:
        features = image_features if image else torch.zeros_like(image_features)
        condition = music if with_music else silence
        return denoiser(noisy, timestep, features, condition, first_frame)

    if guidance == Guidance(1.0, 1.0):
        return run(True, True)
    still = run(True, False)
    out = still
    if guidance.image != 1.0:
        nothing = run(False, False)
        out = nothing + guidance.image * (still - nothing)
    if guidance.music != 0.0:
        out = out + guidance.music * (run(True, True) - still)
    return out


@torch.no_grad()
def sample_latent_flow(
    denoiser: FlowUNet3D,
    conditioner: MusicConditioner,
    scheduler: Any,
    image_features: Tensor,
    beat_features: Tensor,
    music: dict[str, Tensor],
    *,
    steps: int,
    guidance: Guidance,
    windows: Windows,
    generators: list[torch.Generator],
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Sample the latent flow of B videos.

    Args:
        denoiser: The denoiser.
        conditioner: The music conditioner that was trained with it.
        scheduler: From `solver_scheduler`; it is copied, not changed.
        image_features: z_0 of the reference images, (B, C, h, w).
        beat_features: (B, N, 7), for any number N of frames.
        music: Music features as in `MusicConditioner.forward`, those of frames with length N.
        steps: Denoising steps.
        guidance: Guidance scales.
        windows: Length and overlap of windows.
        generators: One per video, so that a batch of n equals n single runs.
        progress: Called with (done, total) after each step.

    Returns:
        (B, N, 3, h, w): absolute sampling grid in [-1, 1] and occlusion in [0, 1].

    Raises:
        ValueError: Not one generator a dance, or an overlap that does not fit the window.
    """
    b, n = beat_features.shape[:2]
    if len(generators) != b:
        raise ValueError(f"{b} videos need {b} generators, not {len(generators)}.")
    h, w = image_features.shape[-2:]
    device, dtype = image_features.device, image_features.dtype
    starts = windows.starts(n)
    length = min(n, windows.length)
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(steps, device=device)
    noisy = _noise(generators, (n, 3, h, w)).to(device, dtype) * scheduler.init_noise_sigma
    embeddings = _embed_windows(conditioner, beat_features, music, starts, length)
    weights = windows.weights(length).to(device, dtype)[:, None, None, None]

    def predict(model_input: Tensor, timestep: Tensor, part: list[tuple[int, int]]) -> Tensor:
        return guided_prediction(
            denoiser,
            torch.stack([model_input[i, s : s + length] for i, s in part]),
            timestep.expand(len(part)),
            torch.stack([image_features[i] for i, _ in part]),
            _gather(embeddings, part),
            conditioner.null(len(part), length),
            guidance,
            torch.tensor([s for _, s in part], device=device),
        )

    for done, timestep in enumerate(scheduler.timesteps):
        predict_part = partial(predict, scheduler.scale_model_input(noisy, timestep), timestep)
        prediction = _join_windows(predict_part, noisy, starts, weights, windows.batch)
        noisy = scheduler.step(prediction, timestep, noisy).prev_sample
        if progress is not None:
            progress(done + 1, len(scheduler.timesteps))
    return denoiser.normalizer.restore(noisy)


def _join_windows(
    predict: Callable[[list[tuple[int, int]]], Tensor],
    noisy: Tensor,
    starts: list[int],
    weights: Tensor,
    at_once: int,
) -> Tensor:
    """Predict all windows of `noisy` (B, N, 3, h, w) and average them where they overlap.

    `predict` takes (video, first frame) of at most `at_once` windows; `weights` is (L, 1, 1, 1).
    """
    length = len(weights)
    prediction = torch.zeros_like(noisy)
    total = noisy.new_zeros(noisy.shape[1], 1, 1, 1)
    jobs = [(i, s) for s in starts for i in range(len(noisy))]
    for chunk in range(0, len(jobs), at_once):
        part = jobs[chunk : chunk + at_once]
        for (i, s), window in zip(part, predict(part), strict=True):
            prediction[i, s : s + length] += weights * window
    for s in starts:
        total[s : s + length] += weights
    return prediction / total


def _noise(generators: list[torch.Generator], shape: tuple[int, ...]) -> Tensor:
    return torch.stack([torch.randn(shape, generator=g, device=g.device) for g in generators])


def window_music(music: dict[str, Tensor], start: int, length: int) -> dict[str, Tensor]:
    """Return the music features of one window; features of clips (B, D) are kept as they are."""
    return {
        name: value[:, start : start + length] if value.ndim == 3 else value
        for name, value in music.items()
    }


def _embed_windows(
    conditioner: MusicConditioner,
    beat_features: Tensor,
    music: dict[str, Tensor],
    starts: list[int],
    length: int,
) -> dict[int, MusicEmbedding]:
    return {
        s: conditioner(beat_features[:, s : s + length], window_music(music, s, length))
        for s in starts
    }


def _gather(embeddings: dict[int, MusicEmbedding], part: list[tuple[int, int]]) -> MusicEmbedding:
    clip = torch.stack([embeddings[s].clip[i] for i, s in part])
    local = [embeddings[s].frames for _, s in part]
    frames = [f[i] for (i, _), f in zip(part, local, strict=True) if f is not None]
    return MusicEmbedding(clip, torch.stack(frames) if frames else None)


@torch.no_grad()
def decode_frames(
    decoder: FrameDecoder, reference: Tensor, latent_flow: Tensor, chunk: int = 40
) -> Iterator[Tensor]:
    """Decode videos in chunks of frames.

    Args:
        decoder: Stage 1.
        reference: (B, 3, H, W) in [0, 1].
        latent_flow: (B, N, 3, h, w) absolute.
        chunk: Frames that are decoded at once.

    Yields:
        (B, at most `chunk`, 3, H, W) uint8.
    """
    for start in range(0, latent_flow.shape[1], chunk):
        frames = decoder.decode(reference, latent_flow[:, start : start + chunk])
        yield to_uint8(frames)
