"""DabFusionPipeline: an image and a song in, a dance out. No Lightning needed.

A saved pipeline is a folder in diffusers' layout: `model_index.json`, `autoencoder/`, `denoiser/`,
`music/`, `scheduler/` (safetensors and JSON) and a model card, `README.md`.
"""

from __future__ import annotations

import math
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

from datamodules.batch import to_unit
from datamodules.media.video import DataError, write_video
from lightning_modules.checkpoints import load_autoencoder, save_autoencoder
from lightning_modules.errors import CheckpointError
from lightning_modules.generation.files import (
    PipelineSettings,
    read_index,
    read_scene,
    write_index,
    write_scene,
)
from lightning_modules.generation.inputs import (
    DanceRequest,
    Encoder,
    Heard,
    ImageInput,
    Segmenter,
    Song,
    as_generator,
    heard_song,
    reference_image,
)
from lightning_modules.generation.people import Scene
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.networks.denoiser import FlowUNet3D
from lightning_modules.networks.music import MusicConditioner
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
    """Music beats to the end of the song, in seconds from the first frame."""
    fps: float
    audio: NDArray[np.float32]
    """(S,) mono, from the first frame on."""
    sample_rate: int
    """Hertz of `audio`."""

    @property
    def flow(self) -> Tensor:
        """`latent_flow` by its short name."""
        return self.latent_flow

    @property
    def beats(self) -> NDArray[np.float64]:
        """The music beats within the dance, in seconds from its first frame."""
        return self.beats_s[self.beats_s < len(self.frames) / self.fps]

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
        encoder: frozen music encoders (CLAP, Wav2CLIP) for models trained with them.
        scene: where dancers of the training data stand, for people who are cut out.
        segmenter: finds the person in an image. With one, the person of every image is cut out
            and set into the scene.
    """

    def __init__(
        self,
        autoencoder: LatentFlowAutoencoder,
        denoiser: FlowUNet3D,
        music: MusicConditioner,
        scheduler: DDPMScheduler,
        settings: PipelineSettings | None = None,
        notes: dict[str, Any] | None = None,
        encoder: Encoder | None = None,
        scene: Scene | None = None,
        segmenter: Segmenter | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            autoencoder=autoencoder, denoiser=denoiser, music=music, scheduler=scheduler
        )
        for network in (autoencoder, denoiser, music):
            network.eval()
        self.settings = settings or PipelineSettings()
        self.notes, self.encoder = dict(notes or {}), encoder
        self.scene, self.segmenter = scene, segmenter

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> DabFusionPipeline:
        """Move the networks; returns the pipeline."""
        for network in (self.autoencoder, self.denoiser, self.music):
            network.to(device, dtype)
        return self

    @torch.no_grad()
    def __call__(
        self,
        image: ImageInput,
        music: Song,
        *,
        seconds: float | None = None,
        start_s: float = 0.0,
        sample_rate: int | None = None,
        tempo_bpm: float | None = None,
        beat_file: str | os.PathLike[str] | None = None,
        mask: ImageInput | None = None,
        background: ImageInput | Scene | None = None,
        person_height: float | None = None,
        guidance_scale: float | None = None,
        image_guidance_scale: float | None = None,
        num_inference_steps: int | None = None,
        solver: str | None = None,
        generator: torch.Generator | int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Dance:
        """Let the person in an image dance to a song.

        Args:
            image: any size and aspect; put into the square as in training, or, as
                `reference_image` says, the person cut out of it and set into a scene.
            music: a path that FFmpeg reads, or mono samples with their `sample_rate`.
            seconds: length of the dance; None: to the end of the song.
            start_s: second of the song at which the dance begins.
            tempo_bpm: the tempo where it is known, a prior for the beat tracker.
            beat_file: the song's beats in seconds, one per line, instead of tracking.
            mask: (H, W), bright (or opaque) where the person is; a transparent image is its own.
            background: an image, or a `Scene` with its own place for the dancer.
            person_height: of the standing person, as a share of the frame's side; None: as tall
                as the training data's dancers.
            guidance_scale: weight of the music: 0 ignores it, 1 is plain conditioning.
            image_guidance_scale: weight of the image, for models trained with image dropout.
            num_inference_steps: denoising steps.
            solver: ddim, dpm++ or unipc.
            generator: or a seed; the same one gives the same video.
            progress: called with (done, total) after each denoising step.

        Raises:
            DataError: the image or the song cannot be read or is too short, or a number is out of
                range.
            ValueError: arguments that do not fit.
        """
        request = DanceRequest(
            image,
            music,
            sample_rate,
            start_s,
            tempo_bpm,
            beat_file,
            generator,
            mask,
            background,
            person_height,
        )
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
        """Dances of many images and songs; those of equal length are sampled together.

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
        for name in ("guidance_scale", "image_guidance_scale"):
            scale = getattr(settings, name)
            if not 0 <= scale < math.inf:
                raise DataError(
                    f"{name} is {scale:g}; expected 0 (the condition is ignored) or above, where "
                    "1 is plain conditioning."
                )
        known = int(self.scheduler.config["num_train_timesteps"])
        if not 1 <= settings.steps <= known:
            raise DataError(
                f"{settings.steps} denoising steps are asked for, but the model knows {known} "
                f"times of noise; give 1 to {known} steps."
            )
        if seconds is not None and not 0 < seconds < math.inf:
            raise DataError(f"A dance of {seconds:g} s is asked for; give a length above 0.")
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
        return heard_song(request, seconds, self.settings.fps, self.music.needs, self.encoder)

    def see(self, request: DanceRequest) -> Tensor:
        """The first frame of a request's dance, (3, S, S) uint8: what the networks see."""
        return reference_image(request, self.settings, self.scene, self.segmenter)

    def _dance(
        self,
        requests: list[DanceRequest],
        heard: list[Heard],
        settings: PipelineSettings,
        progress: Callable[[int, int], None] | None,
    ) -> list[Dance]:
        device = self.denoiser.device
        reference = to_unit(torch.stack([self.see(r) for r in requests]).to(device))
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
        if self.scene is not None:
            write_scene(folder, self.scene)
        write_index(folder, self.settings, self.notes)
        return folder

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        folder: str | os.PathLike[str],
        encoder: Encoder | None = None,
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
            read_scene(path),
        )
