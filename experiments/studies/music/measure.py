"""What `study music` probes: music features and motion of clips and of their frames."""

from __future__ import annotations

from collections.abc import Callable
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


@dataclass
class Collected:
    """N clips of T frames."""

    music: list[str]
    """The piece of each clip."""
    features: dict[str, Array]
    """Music features of clips by name, (N, D) each."""
    frame_features: dict[str, Array]
    """Music features of frames by name, (N, T - 1, D) each."""
    targets: dict[str, Array]
    """Motion of clips by name, (N, 1) each."""
    labels: dict[str, list[str]]
    """Classes of clips by name."""
    speed: Array
    """(N, T - 1): speed of each step in pixels a second, divided by the clip's mean."""


def collect(
    settings: Settings, clips: int, progress: Callable[[int, int], None] | None = None
) -> Collected:
    """Features and motion of at most `clips` clips of all splits, evenly spread."""
    encoders = build_encoders(settings)
    rate = clap.SAMPLE_RATE if encoders is not None else 0
    data = build_clip_data(settings, BATCH, sample_rate=rate)
    batches: list[Collected] = []
    datasets = [data.dataset(split, view="clips") for split in ("train", "val", "test")]
    every = max(1, -(-sum(map(len, datasets)) // clips))
    chosen = [list(range(0, len(dataset), every)) for dataset in datasets]
    total, done = sum(map(len, chosen)), 0
    for dataset, places in zip(datasets, chosen, strict=True):
        for start in range(0, len(places), BATCH):
            batch = dataset.__getitems__(places[start : start + BATCH])
            batches.append(_measured(batch, encoders))
            done += len(batch)
            if progress is not None:
                progress(done, total)
    return _joined(batches)


def _measured(batch: ClipBatch, encoders: MusicEncoders | None) -> Collected:
    frames = batch.beat_features.shape[1]
    local = {"beats": batch.beat_features, "log-mel and chroma": batch.music["spectral"]}
    pooled = {
        "beats": batch.beat_features[:, :, 5:].mean(1),  # onset strength and interval
        "log-mel and chroma": torch.cat(
            (batch.music["spectral"].mean(1), batch.music["spectral"].std(1)), dim=1
        ),
    }
    if encoders is not None and batch.waveform is not None:
        heard = encoders.features(batch.waveform, batch.sample_rate, frames, batch.fps)
        for name, title in (
            ("clap", "CLAP"),
            ("clap_tokens", "CLAP tokens"),
            ("wav2clip", "Wav2CLIP"),
        ):
            if name not in heard:
                continue
            value = heard[name]
            pooled[title] = value.mean(1) if value.ndim == 3 else value
            if value.ndim == 3:
                local[title] = value
    assert batch.frames is not None
    signal = motion_signal(video=batch.frames, fps=batch.fps)
    beats = motion_beats(signal.speed, batch.fps, moving=signal.moving)
    scores = clip_scores(signal, batch.fps, batch.beats)
    speed = signal.speed.nan_to_num(0.0)
    mean = speed.mean(1, keepdim=True).clamp_min(1e-6)
    seconds = frames / batch.fps
    return Collected(
        music=batch.music_ids,
        features={name: _array(value) for name, value in pooled.items()},
        frame_features={name: _array(value[:, :-1]) for name, value in local.items()},
        targets={
            "energy": _array(signal.activity[:, None]),
            "motion beats a second": _array((~beats.isnan()).sum(1, keepdim=True) / seconds),
            "alignment": _array(scores["corrected"][:, None]),
        },
        labels=_labels(batch.clip_ids),
        speed=_array(speed / mean),
    )


def _labels(clip_ids: list[str]) -> dict[str, list[str]]:
    """Genre and choreography of AIST names; none where one is no AIST name."""
    try:
        names = [parse(clip.split("@")[0]) for clip in clip_ids]
    except (DataError, ValueError):
        return {}
    genres = [str(name.genre) for name in names]
    return {
        "genre": genres,
        "choreography": [f"{g}{n.choreography}" for g, n in zip(genres, names, strict=True)],
    }


def _joined(parts: list[Collected]) -> Collected:
    def joined(kind: str) -> dict[str, Array]:
        return {
            k: np.concatenate([getattr(p, kind)[k] for p in parts]) for k in getattr(first, kind)
        }

    first = parts[0]
    shared = set.intersection(*(set(p.labels) for p in parts))
    return Collected(
        music=[m for p in parts for m in p.music],
        features=joined("features"),
        frame_features=joined("frame_features"),
        targets=joined("targets"),
        labels={k: [v for p in parts for v in p.labels[k]] for k in sorted(shared)},
        speed=np.concatenate([p.speed for p in parts]),
    )


def _array(value: torch.Tensor) -> Array:
    return value.detach().cpu().double().numpy()
