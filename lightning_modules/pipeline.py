"""DabFusionPipeline: a picture and a piece of music in, a dance out. No Lightning needed.

A saved pipeline is a folder in diffusers' layout: `model_index.json`, `autoencoder/`, `denoiser/`,
`music/`, `scheduler/` (safetensors and JSON) and a model card, `README.md`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from numpy.typing import NDArray
from torch import Tensor

from datamodules.audio import (
    SAMPLE_RATE,
    beat_features,
    spectral_features,
    track_beats,
)
from datamodules.batch import to_unit
from datamodules.video import DataError, fit_image, read_audio, read_image, write_video
from lightning_modules.checkpoints import load_autoencoder, save_autoencoder
from lightning_modules.errors import CheckpointError
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.networks.denoiser import FlowUNet3D
from lightning_modules.networks.music import MusicConditioner
from lightning_modules.pipeline_files import PipelineSettings, read_index, write_index
from lightning_modules.pipeline_inputs import (
    DanceRequest,
    Heard,
    Picture,
    Song,
    as_generator,
    as_pixels,
)
from lightning_modules.sampling import (
    Guidance,
    Windows,
    decode_frames,
    sample_latent_flow,
    solver_scheduler,
)


@dataclass(frozen=True)
class Dance:
    """A generated dance with its sound."""

    frames: Tensor
    """(N, 3, H, W) uint8."""
    latent_flow: Tensor
    """(N, 3, h, w): absolute sampling grid in [-1, 1] and occlusion map in [0, 1]."""
    beats_s: NDArray[np.float64]
    """Music beats in seconds from the first frame."""
    fps: float
    audio: NDArray[np.float32]
    """(S,) mono, from the first frame on."""
    sample_rate: int
    """Hertz of `audio`."""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write an mp4 (H.264 and AAC) and return its path."""
        write_video(path, self.frames, self.fps, audio=self.audio, sample_rate=self.sample_rate)
        return Path(path)


class DabFusionPipeline(DiffusionPipeline):
    """Stage 1, stage 2, music conditioning and noise schedule as one object.

    Args:
        autoencoder: stage 1.
        denoiser: stage 2.
        music: the music conditioner that was trained with it.
        scheduler: the training noise schedule.
        settings: clip format and sampling defaults; None: the published format.
        notes: goes into the model card: data, settings, scores.
        encoder: frozen music encoders (CLAP, Wav2CLIP) for models trained with them: a function
            of (samples (S,), hertz, frames, fps, start in s) that returns features by name, each
            (1, D) or (1, N, D).
    """

    def __init__(
        self,
        autoencoder: LatentFlowAutoencoder,
        denoiser: FlowUNet3D,
        music: MusicConditioner,
        scheduler: DDPMScheduler,
        settings: PipelineSettings | None = None,
        notes: dict[str, Any] | None = None,
        encoder: Callable[..., dict[str, Tensor]] | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            autoencoder=autoencoder, denoiser=denoiser, music=music, scheduler=scheduler
        )
        for network in (autoencoder, denoiser, music):
            network.eval()
        self.settings = settings or PipelineSettings()
        self.notes, self.encoder = dict(notes or {}), encoder

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> DabFusionPipeline:
        """Move the networks; returns the pipeline."""
        for network in (self.autoencoder, self.denoiser, self.music):
            network.to(device, dtype)
        return self

    @torch.no_grad()
    def __call__(
        self,
        image: Picture,
        music: Song,
        *,
        seconds: float | None = None,
        start_s: float = 0.0,
        sample_rate: int | None = None,
        tempo_bpm: float | None = None,
        beat_file: str | os.PathLike[str] | None = None,
        guidance_scale: float | None = None,
        image_guidance_scale: float | None = None,
        num_inference_steps: int | None = None,
        solver: str | None = None,
        generator: torch.Generator | int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Dance:
        """Let the person in a picture dance to a song.

        Args:
            image: any size and aspect; put into the square as in training.
            music: a path that FFmpeg reads, or mono samples with their `sample_rate`.
            seconds: length of the dance; None: to the end of the song.
            start_s: second of the song at which the dance begins.
            tempo_bpm: the tempo where it is known, a prior for the beat tracker.
            beat_file: the song's beats in seconds, one a line, instead of tracking.
            guidance_scale: weight of the music: 0 ignores it, 1 is plain conditioning.
            image_guidance_scale: weight of the picture, for models trained with image dropout.
            num_inference_steps: denoising steps.
            solver: ddim, dpm++ or unipc.
            generator: or a seed; the same one gives the same video.
            progress: called with (done, total) after each denoising step.

        Raises:
            DataError: the picture or the song cannot be read, or is too short.
            ValueError: arguments that do not fit.
        """
        request = DanceRequest(image, music, sample_rate, start_s, tempo_bpm, beat_file, generator)
        return self.batch(
            [request],
            seconds=seconds,
            guidance_scale=guidance_scale,
            image_guidance_scale=image_guidance_scale,
            num_inference_steps=num_inference_steps,
            solver=solver,
            progress=progress,
        )[0]

    @torch.no_grad()
    def batch(
        self,
        requests: Sequence[DanceRequest],
        *,
        seconds: float | None = None,
        guidance_scale: float | None = None,
        image_guidance_scale: float | None = None,
        num_inference_steps: int | None = None,
        solver: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Dance]:
        """Dances of many pictures and songs; those of equal length are sampled together.

        The arguments are those of a call; every dance is what a call of its own would give.
        """
        changes = {
            "guidance_scale": guidance_scale,
            "image_guidance_scale": image_guidance_scale,
            "steps": num_inference_steps,
            "solver": solver,
        }
        chosen: dict[str, Any] = {k: v for k, v in changes.items() if v is not None}
        settings = replace(self.settings, **chosen)
        heard = [self.hear(request, seconds) for request in requests]
        dances: dict[int, Dance] = {}
        for frames in sorted({h.frames for h in heard}):
            places = [i for i, h in enumerate(heard) if h.frames == frames]
            made = self._dance(
                [requests[i] for i in places], [heard[i] for i in places], settings, progress
            )
            dances.update(zip(places, made, strict=True))
        return [dances[i] for i in range(len(requests))]

    def hear(self, request: DanceRequest, seconds: float | None) -> Heard:
        """Track the beats of the whole song and compute its features, N frames long."""
        audio, rate = _samples(request)
        fps = self.settings.fps
        left = len(audio) / rate - request.start_s
        length = left if seconds is None else min(seconds, left)
        frames = int(length * fps + 1e-6)
        if frames < 2:
            raise DataError(
                f"The song has {max(left, 0.0):.2f} s of sound from second {request.start_s:g}, "
                f"and a dance needs at least {2 / fps:g} s: give a longer song or an earlier start."
            )
        beat_file = None if request.beat_file is None else Path(request.beat_file)
        track = track_beats(audio, rate, request.tempo_bpm, beat_file)
        beats = beat_features(
            track.beats_s,
            track.onset_envelope,
            track.envelope_rate_hz,
            frames,
            fps,
            request.start_s,
        )
        music: dict[str, Tensor] = {}
        if "spectral" in self.music.needs:
            spectral = spectral_features(audio, rate, frames, fps, request.start_s)
            music["spectral"] = torch.from_numpy(spectral)[None]
        if self.encoder is not None:
            music |= self.encoder(audio, rate, frames, fps, request.start_s)
        missing = [name for name in self.music.needs if name not in music]
        if missing:
            raise CheckpointError(
                f"This model hears {' and '.join(missing)}, which frozen encoders compute: give "
                "their weights (generate: --clap-weights, --wav2clip-weights; from Python: "
                "encoder=MusicEncoders(...))."
            )
        first = round(request.start_s * rate)
        sound = audio[first : first + round(frames / fps * rate)]
        return Heard(
            torch.from_numpy(beats)[None],
            music,
            track.beats_s,
            sound,
            rate,
            request.start_s,
            frames,
        )

    def _dance(
        self,
        requests: list[DanceRequest],
        heard: list[Heard],
        settings: PipelineSettings,
        progress: Callable[[int, int], None] | None,
    ) -> list[Dance]:
        device = self.denoiser.device
        pictures = [fit_image(_pixels(r.image), settings.size, settings.fit) for r in requests]
        reference = to_unit(torch.stack(pictures).to(device))
        names = heard[0].music.keys()
        latent_flow = sample_latent_flow(
            self.denoiser,
            self.music,
            solver_scheduler(settings.solver, self.scheduler),
            self.autoencoder.encode(reference),
            torch.cat([h.beat_features for h in heard]).to(device),
            {name: torch.cat([h.music[name] for h in heard]).to(device) for name in names},
            steps=settings.steps,
            guidance=Guidance(settings.guidance_scale, settings.image_guidance_scale),
            windows=Windows(settings.frames, settings.overlap, settings.window_batch),
            generators=[as_generator(r.generator) for r in requests],
            progress=progress,
        )
        chunks = decode_frames(self.autoencoder, reference, latent_flow, settings.frames)
        frames = torch.cat([chunk.cpu() for chunk in chunks], dim=1)
        return [
            Dance(
                frames=frames[i],
                latent_flow=latent_flow[i].cpu(),
                beats_s=h.beats_s[h.beats_s >= h.start_s] - h.start_s,
                fps=settings.fps,
                audio=h.audio,
                sample_rate=h.sample_rate,
            )
            for i, h in enumerate(heard)
        ]

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> Path:  # type: ignore[override]
        """Write the pipeline to a folder: weights as safetensors, the index last.

        Returns:
            The folder.
        """
        folder = Path(save_directory)
        save_autoencoder(self.autoencoder, folder / "autoencoder", {})
        self.denoiser.save_pretrained(folder / "denoiser")
        self.music.save_pretrained(folder / "music")
        self.scheduler.save_pretrained(folder / "scheduler")
        write_index(folder, self.settings, self.notes)
        return folder

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        folder: str | os.PathLike[str],
        encoder: Callable[..., dict[str, Tensor]] | None = None,
    ) -> DabFusionPipeline:
        """Load a saved pipeline: its own folder, or a run folder with it in `export/`.

        Raises:
            CheckpointError: the folder holds no pipeline, or one of another version.
        """
        path, settings, notes = read_index(Path(folder))
        try:
            denoiser = FlowUNet3D.from_pretrained(
                path / "denoiser", local_files_only=True, low_cpu_mem_usage=False
            )
            music = MusicConditioner.from_pretrained(
                path / "music", local_files_only=True, low_cpu_mem_usage=False
            )
            scheduler = DDPMScheduler.from_pretrained(
                path / "scheduler", local_files_only=True, low_cpu_mem_usage=False
            )
        except OSError as error:
            raise CheckpointError(
                f"{path} is an incomplete pipeline ({str(error).splitlines()[0]}): export it again."
            ) from error
        return cls(
            load_autoencoder(path / "autoencoder"),
            denoiser,
            music,
            scheduler,
            settings,
            notes,
            encoder,
        )


def _samples(request: DanceRequest) -> tuple[NDArray[np.float32], int]:
    if isinstance(request.music, str | os.PathLike):
        return read_audio(request.music, SAMPLE_RATE), SAMPLE_RATE
    if not request.sample_rate:
        raise DataError("Music given as samples needs its sample_rate in hertz.")
    audio = np.asarray(request.music, dtype=np.float32)
    if audio.ndim != 1:
        raise DataError(f"Music samples must be mono, of shape (S,), not {audio.shape}.")
    return audio, request.sample_rate


def _pixels(image: Picture) -> Tensor:
    return as_pixels(read_image(image) if isinstance(image, str | os.PathLike) else image)
