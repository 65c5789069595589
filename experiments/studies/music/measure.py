"""What the music study measures: probes from music features of clips and frames to their motion."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor, cat

from datamodules.aist_names import try_parse
from datamodules.batch import ClipBatch
from experiments.config.load import Settings
from experiments.factories.data import build_clip_data
from experiments.factories.music import build_encoders
from experiments.studies.music import probes
from experiments.studies.music.probes import Array
from lightning_modules.music import clap
from lightning_modules.music.encoders import MusicEncoders
from metrics.functional.beats import motion_beats
from metrics.functional.bootstrap import cluster_bootstrap
from metrics.motion_music_alignment import clip_scores
from metrics.motion_source import motion_signal

BATCH = 8
#: Names of the frozen encoders' features in the report.
ENCODED = {"clap": "CLAP", "clap_tokens": "CLAP tokens", "wav2clip": "Wav2CLIP"}
#: By kind and name: music features of `clips` (N, D) and of `frames` (N, T - 1, D), and `motion`:
#: the `speed` of each step (N, T - 1), divided by the clip's mean, and values of clips (N, 1).
Arrays = dict[str, dict[str, Array]]


def collect(
    settings: Settings, clips: int, progress: Callable[[int, int], None]
) -> tuple[Arrays, pd.DataFrame]:
    """Return features and motion of at most `clips` clips of all splits, evenly spread.

    Returns:
        The arrays, and a row for each clip: `song`, and its classes if all have AIST names.
    """
    encoders = build_encoders(settings)
    data = build_clip_data(settings, BATCH, sample_rate=clap.SAMPLE_RATE if encoders else 0)
    datasets = [data.dataset(split, view="clips") for split in ("train", "val", "test")]
    every = max(1, -(-sum(map(len, datasets)) // clips))
    total = sum(len(range(0, len(dataset), every)) for dataset in datasets)
    parts: dict[str, dict[str, list[Tensor]]] = defaultdict(lambda: defaultdict(list))
    songs: list[str] = []
    names: list[str] = []
    for dataset in datasets:
        places = range(0, len(dataset), every)
        for start in range(0, len(places), BATCH):
            batch = dataset.__getitems__(list(places[start : start + BATCH]))
            measured = {**_music(batch, encoders), "motion": _motion(batch)}
            for kind, values in measured.items():
                for name, value in values.items():
                    parts[kind][name].append(value.detach().cpu().double())
            songs += batch.music_ids
            names += batch.clip_ids
            progress(len(songs), total)
    table = pd.DataFrame({"song": songs})
    aist = [one for name in names if (one := try_parse(name.split("@")[0]))]
    if len(aist) == len(names):
        table["choreography"] = [f"{one.genre}{one.choreography}" for one in aist]
        table["genre"] = [str(one.genre) for one in aist]
    arrays = {
        kind: {name: cat(values).numpy() for name, values in by_name.items()}
        for kind, by_name in parts.items()
    }
    return arrays, table


def _music(batch: ClipBatch, encoders: MusicEncoders | None) -> dict[str, dict[str, Tensor]]:
    spectral, beats = batch.music["spectral"], batch.beat_features
    clips = {
        "beats": beats[:, :, 5:].mean(1),  # onset strength and beat interval
        "log-mel and chroma": cat((spectral.mean(1), spectral.std(1)), dim=1),
    }
    frames = {"beats": beats[:, :-1], "log-mel and chroma": spectral[:, :-1]}
    if encoders is not None and batch.waveform is not None:
        encoded = encoders.features(batch.waveform, batch.sample_rate, beats.shape[1], batch.fps)
        for name, value in encoded.items():
            per_frame = value.ndim == 3
            clips[ENCODED[name]] = value.mean(1) if per_frame else value
            if per_frame:
                frames[ENCODED[name]] = value[:, :-1]
    return {"clips": clips, "frames": frames}


def _motion(batch: ClipBatch) -> dict[str, Tensor]:
    assert batch.frames is not None
    signal = motion_signal(video=batch.frames, fps=batch.fps)
    beats = motion_beats(signal.speed, batch.fps, moving=signal.moving)
    seconds = batch.frames.shape[1] / batch.fps
    speed = signal.speed.nan_to_num(0.0)
    return {
        "energy": signal.activity[:, None],
        "motion beats a second": (~beats.isnan()).sum(1, keepdim=True) / seconds,
        "alignment": clip_scores(signal, batch.fps, batch.beats)["corrected"][:, None],
        "speed": speed / speed.mean(1, keepdim=True).clamp_min(1e-6),
    }


def measure(arrays: Arrays, table: pd.DataFrame) -> dict[str, Any]:
    """Return every probe with its interval, and the same probe on the features of other songs."""
    songs = table["song"].tolist()
    motion = np.concatenate(list(arrays["motion"].values()), axis=1)
    results: dict[str, Any] = {"clips": {}, "frames": {}, "canonical": {}}
    for name, x in arrays["clips"].items():
        both = x, probes.shuffled_groups(x, songs)
        rows = results["clips"][name] = {
            target: _row(partial(probes.explained, y), both, songs)
            for target, y in arrays["motion"].items()
            if target != "speed"
        }
        for label in table.columns.drop("song"):
            rows[label] = _row(partial(probes.hits, table[label].tolist()), both, songs)
            rows[label]["chance"] = table[label].value_counts(normalize=True).max()
            # No probe can predict a class that no other song has.
            songs_of_class = table.groupby(label)["song"].transform("nunique")
            rows[label]["reachable"] = songs_of_class.gt(1).mean()
        own, other = (probes.canonical_correlation(side, motion, songs) for side in both)
        results["canonical"][name] = {"own": own, "other": other}
    speed = arrays["motion"]["speed"]
    groups = np.repeat(songs, speed.shape[1]).tolist()
    for name, x in arrays["frames"].items():
        # R^2 of the relative speed of each step from the music at its first frame.
        both = x, probes.shuffled_groups(x, songs)
        steps = [side.reshape(speed.size, -1) for side in both]
        probe = partial(probes.explained, speed.reshape(-1, 1))
        results["frames"][name] = _row(probe, steps, groups)
    return results


def _row(
    probe: Callable[[Array, list[str]], Array], both: Sequence[Array], groups: list[str]
) -> dict[str, float]:
    own, control = (cluster_bootstrap(probe(features, groups), groups) for features in both)
    return {"mean": own.mean, "low": own.low, "high": own.high, "other_music": control.mean}
