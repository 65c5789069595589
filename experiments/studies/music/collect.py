"""Collect what the music study probes: music features and motion of clips and of their frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from datamodules.aist_names import parse
from datamodules.batch import ClipBatch
from datamodules.errors import DataError
from experiments.config.load import Settings
from experiments.factories.data import build_clip_data
from experiments.factories.music import build_encoders
from lightning_modules.music import clap
from lightning_modules.music.encoders import MusicEncoders
from metrics.functional.beats import motion_beats
from metrics.motion_music_alignment import clip_scores
from metrics.motion_source import motion_signal

Array = NDArray[np.float64]
BATCH = 8
#: Features of the frozen encoders by the names they have in the report.
ENCODED = {"CLAP": "clap", "CLAP tokens": "clap_tokens", "Wav2CLIP": "wav2clip"}


@dataclass
class Collected:
    """Features and motion of N clips of T frames."""

    songs: list[str]
    """The song of each clip."""
    features: Mapping[str, Array]
    """Music features of clips by name, (N, D) each."""
    frame_features: Mapping[str, Array]
    """Music features of frames by name, (N, T - 1, D) each."""
    targets: Mapping[str, Array]
    """Motion of clips by name, (N, 1) each."""
    labels: Mapping[str, list[str]]
    """Classes of clips by name."""
    speed: Array
    """(N, T - 1): speed of each step in pixels a second, divided by the clip's mean."""


def collect(settings: Settings, clips: int, progress: Callable[[int, int], None]) -> Collected:
    """Return features and motion of at most `clips` clips of all splits, evenly spread."""
    encoders = build_encoders(settings)
    rate = clap.SAMPLE_RATE if encoders is not None else 0
    data = build_clip_data(settings, BATCH, sample_rate=rate)
    datasets = [data.dataset(split, view="clips") for split in ("train", "val", "test")]
    every = max(1, -(-sum(map(len, datasets)) // clips))
    chosen = [list(range(0, len(dataset), every)) for dataset in datasets]
    parts: dict[tuple[str, str], list[torch.Tensor]] = {}
    songs: list[str] = []
    names: list[str] = []
    for dataset, places in zip(datasets, chosen, strict=True):
        for start in range(0, len(places), BATCH):
            batch = dataset.__getitems__(places[start : start + BATCH])
            for key, value in {**_music(batch, encoders), **_motion(batch)}.items():
                parts.setdefault(key, []).append(value)
            songs += batch.music_ids
            names += batch.clip_ids
            progress(len(songs), sum(map(len, chosen)))
    found: dict[str, dict[str, Array]] = {"clips": {}, "frames": {}, "targets": {}, "speed": {}}
    for (kind, name), values in parts.items():
        found[kind][name] = torch.cat(values).detach().cpu().double().numpy()
    return Collected(
        songs=songs,
        features=found["clips"],
        frame_features=found["frames"],
        targets=found["targets"],
        labels=_labels(names),
        speed=found["speed"]["speed"],
    )


def _music(batch: ClipBatch, encoders: MusicEncoders | None) -> dict[tuple[str, str], torch.Tensor]:
    spectral, beats = batch.music["spectral"], batch.beat_features
    found = {
        ("clips", "beats"): beats[:, :, 5:].mean(1),  # onset strength and beat interval
        ("clips", "log-mel and chroma"): torch.cat((spectral.mean(1), spectral.std(1)), dim=1),
        ("frames", "beats"): beats[:, :-1],
        ("frames", "log-mel and chroma"): spectral[:, :-1],
    }
    if encoders is not None and batch.waveform is not None:
        encoded = encoders.features(batch.waveform, batch.sample_rate, beats.shape[1], batch.fps)
        for title, name in ENCODED.items():
            value = encoded.get(name)
            if value is not None and value.ndim == 3:
                found["frames", title] = value[:, :-1]
                value = value.mean(1)
            if value is not None:
                found["clips", title] = value
    return found


def _motion(batch: ClipBatch) -> dict[tuple[str, str], torch.Tensor]:
    assert batch.frames is not None
    signal = motion_signal(video=batch.frames, fps=batch.fps)
    beats = motion_beats(signal.speed, batch.fps, moving=signal.moving)
    seconds = batch.frames.shape[1] / batch.fps
    speed = signal.speed.nan_to_num(0.0)
    return {
        ("targets", "energy"): signal.activity[:, None],
        ("targets", "motion beats a second"): (~beats.isnan()).sum(1, keepdim=True) / seconds,
        ("targets", "alignment"): clip_scores(signal, batch.fps, batch.beats)["corrected"][:, None],
        ("speed", "speed"): speed / speed.mean(1, keepdim=True).clamp_min(1e-6),
    }


def _labels(clip_ids: list[str]) -> dict[str, list[str]]:
    """Choreography and genre of AIST names; nothing if any clip has another kind of name."""
    try:
        names = [parse(clip.split("@")[0]) for clip in clip_ids]
    except (DataError, ValueError):
        return {}
    return {
        "choreography": [f"{name.genre}{name.choreography}" for name in names],
        "genre": [str(name.genre) for name in names],
    }
