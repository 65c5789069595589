"""Inputs of the pipeline: convert images, masks and songs of any source."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from datamodules.batch import to_uint8
from datamodules.media.audio import SAMPLE_RATE, beat_features, spectral_features, track_beats
from datamodules.media.images import (
    cutout_of,
    fit_image,
    image_pixels,
    mask_of,
    read_cutout,
    read_image,
    read_mask,
    reduction,
)
from datamodules.media.video import DataError, read_audio
from lightning_modules.errors import CheckpointError
from lightning_modules.generation.files import PipelineSettings
from lightning_modules.generation.people import Scene, place_person

ImageInput = str | os.PathLike[str] | Tensor | NDArray[Any] | Any
"""A path, a PIL image, or RGB values: uint8 (3, H, W) or (H, W, 3), or floats in [0, 1]."""
Song = str | os.PathLike[str] | NDArray[np.floating] | Tensor
"""A path that FFmpeg reads, or mono samples (S,) in [-1, 1]."""
Encoder = Callable[[NDArray[np.float32], int, int, float, float], dict[str, Tensor]]
"""Computes music features by name, each (1, D) or (1, N, D), from (samples (S,), sample rate in
hertz, N frames, frames per second, second of the song at frame 0)."""
Segmenter = Callable[[Tensor], Tensor]
"""Finds the person in an image (3, H, W) uint8; returns a mask (H, W) in [0, 1]."""


@dataclass(frozen=True)
class DanceRequest:
    """One video of a batch; the fields are arguments of `DabFusionPipeline.__call__`."""

    image: ImageInput
    music: Song
    sample_rate: int | None = None
    start_s: float = 0.0
    tempo_bpm: float | None = None
    beat_file: str | os.PathLike[str] | None = None
    generator: torch.Generator | int = 0
    mask: ImageInput | None = None
    background: ImageInput | Scene | None = None
    person_height: float | None = None


@dataclass(frozen=True)
class SongFeatures:
    """Beats, features and waveform of N frames of a song."""

    beat_features: Tensor
    """(1, N, 7)."""
    music: dict[str, Tensor]
    """Music features by name, each (1, D) or (1, N, D)."""
    beats_s: NDArray[np.float64]
    """(M,) beats of the whole song in seconds from its start."""
    audio: NDArray[np.float32]
    """(S,) waveform from the first to the last frame, in [-1, 1]."""
    sample_rate: int
    start_s: float
    frames: int


def reference_image(
    request: DanceRequest,
    settings: PipelineSettings,
    scene: Scene | None,
    segmenter: Segmenter | None,
) -> Tensor:
    """Prepare the image of a request for the networks.

    The person is cut out and placed in a scene if a mask, a background, a height or a segmenter is
    given, or if the image is transparent around the person and the model has a scene. Otherwise the
    whole image is fitted into the square, as in training.

    Args:
        request: Its image, mask, background and height.
        settings: Size of the square, and how images are fitted.
        scene: The scene of the model's training data, if it has one.
        segmenter: Finds the person where neither a mask nor transparency does.

    Returns:
        (3, S, S) uint8.

    Raises:
        DataError: A file cannot be read, or the person cannot be cut out.
    """
    colors, alpha = _cutout(request.image)
    asked = (request.mask, request.background, request.person_height, segmenter)
    if all(part is None for part in asked) and (alpha is None or scene is None):
        flat = request.image
        pixels = read_image(flat) if isinstance(flat, str | os.PathLike) else as_pixels(flat)
        return fit_image(pixels, settings.size, settings.fit)
    if request.mask is not None:
        mask = _mask(request.mask)
    elif alpha is not None:
        mask = alpha
    elif segmenter is not None:
        mask = segmenter(colors)
    else:
        raise DataError(
            "The person cannot be cut out: give a mask (generate: --mask PNG), an image that is "
            "transparent around the person, or a segmentation model (generate: --segmenter FOLDER)."
        )
    try:
        return place_person(colors, mask, _scene(request, settings, scene))
    except DataError:
        raise
    except ValueError as error:  # from the given mask or height
        raise DataError(str(error)) from error


def _scene(request: DanceRequest, settings: PipelineSettings, scene: Scene | None) -> Scene:
    """Return the scene of the request if it has one, otherwise that of the model."""
    given, height = request.background, request.person_height
    if isinstance(given, Scene):
        scene = given
    elif given is not None:
        pixels = read_image(given) if isinstance(given, str | os.PathLike) else as_pixels(given)
        background = fit_image(pixels, settings.size, settings.fit)
        if scene is not None:
            scene = replace(scene, background=background)
        elif height is not None:
            scene = Scene(background, height, feet=(1.0 + height) / 2)
    if scene is None:
        raise DataError(
            "The model has no scene of its training data: give a prepared folder as background, "
            "or a background image and person_height (generate: --background, --person-height)."
        )
    return scene if height is None else replace(scene, height=height)


def song_features(
    request: DanceRequest,
    seconds: float | None,
    fps: float,
    needs: Sequence[str],
    encoder: Encoder | None,
) -> SongFeatures:
    """Track the beats of a whole song and compute its features, N frames long.

    Args:
        request: Its song, start, tempo and beats.
        seconds: Length of the video; None: to the end of the song.
        fps: Frames per second.
        needs: Names of the music features that the conditioner reads.
        encoder: Computes the features other than `spectral`.

    Raises:
        DataError: The song cannot be read, or is too short.
        CheckpointError: A required feature has no encoder.
    """
    _check_numbers(request)
    audio, rate = read_samples(request)
    left = len(audio) / rate - request.start_s
    length = left if seconds is None else min(seconds, left)
    frames = int(length * fps + 1e-6)
    if frames < 2:
        raise DataError(
            f"The song has {max(left, 0.0):.2f} s of sound after second {request.start_s:g}, but a "
            f"video needs at least {2 / fps:g} s: give a longer song or an earlier start."
        )
    beat_file = None if request.beat_file is None else Path(request.beat_file)
    track = track_beats(audio, rate, request.tempo_bpm, beat_file)
    beats = beat_features(
        track.beats_s, track.onset_envelope, track.envelope_rate_hz, frames, fps, request.start_s
    )
    music: dict[str, Tensor] = {}
    if "spectral" in needs:
        spectral = spectral_features(audio, rate, frames, fps, request.start_s)
        music["spectral"] = torch.from_numpy(spectral)[None]
    if encoder is not None:
        music |= encoder(audio, rate, frames, fps, request.start_s)
    missing = [name for name in needs if name not in music]
    if missing:
        raise CheckpointError(
            f"This model needs the music features {' and '.join(missing)} of frozen encoders: give "
            "their weights (generate: --clap-weights, --wav2clip-weights; from Python: "
            "encoder=MusicEncoders(...))."
        )
    first = round(request.start_s * rate)
    sound = audio[first : first + round(frames / fps * rate)]
    features = torch.from_numpy(beats)[None]
    return SongFeatures(features, music, track.beats_s, sound, rate, request.start_s, frames)


def read_samples(request: DanceRequest) -> tuple[NDArray[np.float32], int]:
    """Return the song of a request as mono samples (S,) and their sample rate in hertz.

    Raises:
        DataError: The song cannot be read, is not mono or not finite, or has no sample rate.
    """
    if isinstance(request.music, str | os.PathLike):
        return read_audio(request.music, SAMPLE_RATE, strict=False), SAMPLE_RATE
    if not request.sample_rate:
        raise DataError("Music given as samples needs its sample_rate in hertz.")
    rate = request.sample_rate
    if not float(rate).is_integer() or rate < 1:
        raise DataError(f"sample_rate is {rate}; expected a whole number of hertz.")
    samples = np.asarray(request.music)
    if np.issubdtype(samples.dtype, np.unsignedinteger):
        raise DataError(f"Music samples are floats or signed integers, not {samples.dtype}.")
    audio = samples.astype(np.float32, copy=False)
    if np.issubdtype(samples.dtype, np.integer):
        audio = audio / -float(np.iinfo(samples.dtype).min)
    if audio.ndim != 1:
        raise DataError(f"Music samples must be mono, of shape (S,), not {audio.shape}.")
    if not np.isfinite(audio).all():
        raise DataError("The music has samples that are not finite numbers.")
    return audio, int(rate)


def _check_numbers(request: DanceRequest) -> None:
    if not (math.isfinite(request.start_s) and request.start_s >= 0.0):
        raise DataError(f"The start is {request.start_s:g} s; expected 0 s or later.")
    tempo = request.tempo_bpm
    if tempo is not None and not (math.isfinite(tempo) and tempo > 0.0):
        raise DataError(f"The tempo is {tempo:g} beats per minute; expected more than 0.")


def as_pixels(image: Tensor | NDArray[Any] | Any) -> Tensor:
    """Convert an image that is not a path to uint8 (3, H, W).

    Args:
        image: A PIL image (converted as `read_image` does), or RGB values in [0, 255] as uint8 or
            [0, 1] as floats, channels first or last.

    Raises:
        ValueError: It does not have three color channels.
    """
    if isinstance(image, Image.Image):
        return image_pixels(ImageOps.exif_transpose(image))
    image = torch.as_tensor(image)
    if image.ndim != 3 or 3 not in (image.shape[0], image.shape[-1]):
        raise ValueError(f"Images have shape (3, H, W) or (H, W, 3), not {tuple(image.shape)}.")
    if image.shape[0] != 3:
        image = image.permute(2, 0, 1)
    image = to_uint8(image) if image.dtype.is_floating_point else image.to(torch.uint8)
    # Reduced like image files, so that large images and masks from either source stay aligned.
    return to_uint8(_reduced(image / 255.0)) if reduction(*image.shape[-2:]) > 1 else image


def _reduced(image: Tensor) -> Tensor:
    """Average (..., H, W) over squares of `reduction(H, W)` pixels."""
    factor = reduction(*image.shape[-2:])
    if factor == 1:
        return image
    return F.avg_pool2d(image[None].float(), factor, ceil_mode=True)[0]


def as_generator(generator: torch.Generator | int) -> torch.Generator:
    """Return a generator as it is, or make one from a seed."""
    if isinstance(generator, torch.Generator):
        return generator
    return torch.Generator().manual_seed(generator)


def _cutout(image: ImageInput) -> tuple[Tensor, Tensor | None]:
    """Colors (3, H, W) uint8, and the alpha channel (H, W) where it outlines something."""
    if isinstance(image, str | os.PathLike):
        return read_cutout(image)
    if isinstance(image, Image.Image):
        return cutout_of(ImageOps.exif_transpose(image))
    return as_pixels(image), None


def _mask(mask: ImageInput) -> Tensor:
    """Convert a mask from any source to (H, W) float32 in [0, 1]."""
    if isinstance(mask, str | os.PathLike):
        return read_mask(mask)
    if isinstance(mask, Image.Image):
        return mask_of(ImageOps.exif_transpose(mask))
    values = torch.as_tensor(mask).squeeze()
    if values.ndim != 2:
        raise ValueError(f"Masks have shape (H, W), not {tuple(values.shape)}.")
    # Masks of whole numbers are 0 and 1, or 0 to 255.
    scale = 255.0 if not values.is_floating_point() and int(values.max()) > 1 else 1.0
    return _reduced((values.float() / scale).clamp(0, 1)[None])[0]
