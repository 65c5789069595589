"""Music adapters: the genres that they learn, and a report on songs that nothing was chosen by."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.aist import AISTDataModule
from datamodules.splits import SPLITS, Split
from experiments.errors import SettingsError
from experiments.processes.share import in_batches
from lightning_modules.networks.music_adapter import MusicAdapters
from metrics.functional.bootstrap import Interval, cluster_bootstrap

REPORT = "report.json"


@dataclass(frozen=True)
class Genres:
    """The dance genres of a data set, which are the classes that adapters learn."""

    names: list[str]
    of_music: dict[str, int]  # class number of each song's genre, by music id
    train_songs: int  # number of songs that are trained on


def find_genres(data: AISTDataModule) -> Genres:
    """Return the genres of the songs in any split; SettingsError if nothing could be learned."""
    index, found = data.index, dict[str, str]()
    songs: dict[Split, set[str]] = {split: set() for split in SPLITS}
    rows = zip(index.names, index.music, index.table["genre"].to_pylist(), strict=True)
    for name, music, genre in (row for row in rows if row[0] in data.splits):
        songs[data.splits[name]].add(music)
        if not genre:
            raise SettingsError(
                f'"{data.root}" has no genre for {name}, but music adapters learn genres; use '
                "videos with AIST names."
            )
        if found.setdefault(music, genre) != genre:
            raise SettingsError(
                f'"{data.root}" has the song {music} under two genres, {found[music]} and '
                f"{genre}; expected one genre per song."
            )
    names = sorted(set(found.values()))
    if len(names) < 2:
        raise SettingsError(
            f'"{data.root}" has {len(names)} genre; music adapters need at least two genres.'
        )
    if not all(songs.values()):
        raise SettingsError(
            f'"{data.root}" has no music for {min(songs, key=lambda split: len(songs[split]))}; '
            "music adapters need at least three songs, or clips.split=music."
        )
    # A song in two splits could be recognized instead of its genre.
    train, val, test = songs.values()
    shared = (train | val) & test | train & val
    if shared:
        raise SettingsError(
            f"The splits share the music {min(shared)}, so the accuracy would not be of unseen "
            "music; give clips.split=music or crossmodal."
        )
    return Genres(names, {music: names.index(found[music]) for music in found}, len(train))


def measure_adapters(
    adapters: MusicAdapters, data: AISTDataModule, genres: Genres
) -> dict[str, Any]:
    """Return the accuracy of genres on test clips, with intervals resampled by song.

    The baseline `frozen` assigns each clip the genre whose mean frozen embedding (of training
    clips, each dimension divided by its standard deviation) is nearest.
    """
    adapters = adapters.eval().cpu()
    known, known_songs = _features(data, "train", adapters.names)
    tested, songs = _features(data, "test", adapters.names)
    known_classes, truth = (
        torch.tensor([genres.of_music[song] for song in group]) for group in (known_songs, songs)
    )
    found: dict[str, Any] = {}
    for name in adapters.names:
        with torch.no_grad():
            # The head classifies the mean over time of the adapted embedding, (N, width).
            adapted = _pooled(adapters.adapters[name](tested[name]))
            predicted = adapters.heads[name](adapted).logits.argmax(1)
        nearest = _nearest_mean(_pooled(known[name]), known_classes, _pooled(tested[name]))
        found[name] = {}
        for kind, classes in (("accuracy", predicted), ("frozen", nearest)):
            interval = cluster_bootstrap((classes == truth).double().numpy(), songs)
            # JSON has no NaN, which the limits are with a single song.
            low, high = (None if np.isnan(x) else x for x in (interval.low, interval.high))
            found[name][kind] = {"mean": interval.mean, "low": low, "high": high}
    return {
        "features": found,
        "classes": genres.names,
        # Accuracy of always predicting the most frequent genre.
        "chance": float(torch.bincount(truth).max() / len(truth)),
        "test_clips": len(truth),
        "test_pieces": len(set(songs)),
        "train_pieces": genres.train_songs,
    }


def print_report(path: Path) -> None:
    """Print the accuracies of a report on test music."""
    report = json.loads(path.read_text(encoding="utf-8"))
    clips, songs = report["test_clips"], report["test_pieces"]
    print(f"Accuracy of genres on {songs} unseen songs (chance {report['chance']:.2f}):")
    for name, found in report["features"].items():
        texts = []
        for row in (found["accuracy"], found["frozen"]):
            low, high = (np.nan if row[key] is None else row[key] for key in ("low", "high"))
            texts.append(Interval(row["mean"], low, high, clips, songs).text())
        print(f"  {name}: {texts[0]}; nearest mean of the frozen embedding: {texts[1]}")


def _features(
    data: AISTDataModule, split: Split, names: tuple[str, ...]
) -> tuple[dict[str, Tensor], list[str]]:
    """Return embeddings of a split's clips, (N, D) or (N, T, D), by name, and their songs (N,)."""
    dataset, parts, songs = data.dataset(split), defaultdict[str, list[Tensor]](list), list[str]()
    for places in in_batches(len(dataset), 64):
        batch = dataset.__getitems__(list(places))
        songs += batch.music_ids
        for name in names:
            parts[name].append(batch.music[name])
    return {name: torch.cat(values) for name, values in parts.items()}, songs


def _pooled(values: Tensor) -> Tensor:
    """Average (N, T, D) over time; (N, D) is returned as it is."""
    return values.mean(1) if values.ndim == 3 else values


def _nearest_mean(known: Tensor, classes: Tensor, tested: Tensor) -> Tensor:
    """Return the class (M,) of the nearest mean of `known` (N, D) for each of `tested` (M, D)."""
    # Dimensions of a frozen embedding differ in scale; without this a few would decide.
    spread = known.std(0).clamp_min(1e-6)
    present = classes.unique()
    means = torch.stack([known[classes == number].mean(0) for number in present])
    return present[torch.cdist(tested / spread, means / spread).argmin(1)]
