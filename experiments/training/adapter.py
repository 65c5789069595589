"""`dabfusion train music-adapter`: data split by music, the parts of the training, the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.aist import AISTDataModule, ClipContent
from datamodules.files import write_text
from datamodules.splits import SPLITS, Split
from experiments.errors import SettingsError
from experiments.factories.adapter import build_adapter_module, build_adapters
from experiments.training.caches import Caches
from experiments.training.resolve import ResolvedRun
from experiments.training.stage_parts import StageParts
from lightning_modules.networks.music_adapter import MusicAdapters
from metrics.functional.bootstrap import Interval, cluster_bootstrap

REPORT = "report.json"
#: Clips at a time in the report.
_BATCH = 64


@dataclass(frozen=True)
class Genres:
    """The dance genres of a data set, which are the classes that adapters learn."""

    names: list[str]
    of_music: dict[str, int]
    """Class number of each song's genre, by music id."""


def adapter_parts(run: ResolvedRun, caches: Caches) -> StageParts:
    """Build everything that trains music adapters.

    Args:
        run: The run.
        caches: Embeddings of the clips of all splits.

    Raises:
        SettingsError: The data has no genres, or its splits share music.
    """
    data = run.data.with_content(ClipContent(frames="none", music=caches.music))
    genres = find_genres(data)
    check_splits(data)
    # After all loading, so that the initial weights depend on the seed alone.
    torch.manual_seed(run.settings.seed)
    adapters = build_adapters(run.settings, genres.names)

    def export(folder: Path, notes: dict[str, Any]) -> None:
        adapters.save_pretrained(folder)
        report = {**measure_adapters(adapters, data, genres), "training": notes}
        write_text(folder / REPORT, json.dumps(report, indent=1) + "\n")

    return StageParts(
        module=build_adapter_module(run.settings, adapters, genres.of_music),
        data=data,
        # Adapters are small and trained for few steps: no moving average.
        ema_decay=0.0,
        gradient_clip=run.settings.adapter.gradient_clip,
        sync_batch_norm=True,
        monitor="val/loss",
        export=export,
    )


def find_genres(data: AISTDataModule) -> Genres:
    """Return the genres of the songs in any split.

    Raises:
        SettingsError: A video has no genre, there is only one genre, or a song has two.
    """
    index = data.index
    found: dict[str, str] = {}
    rows = zip(index.names, index.music, index.table["genre"].to_pylist(), strict=True)
    for name, music, genre in rows:
        if name not in data.splits:
            continue
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
    return Genres(names, {music: names.index(genre) for music, genre in found.items()})


def check_splits(data: AISTDataModule) -> None:
    """Check that no split is empty and that splits do not share music.

    Raises:
        SettingsError: Naming a shared song or the empty split.
    """
    songs = _songs(data)
    # A song in two splits could be recognized instead of its genre.
    for split, found in songs.items():
        if not found:
            raise SettingsError(
                f'"{data.root}" has no music for {split}; music adapters need at least three '
                "songs, or clips.split=music."
            )
    train, val, test = (songs[split] for split in SPLITS)
    shared = (train | val) & test | train & val
    if shared:
        raise SettingsError(
            f"The splits share the music {min(shared)}, so the accuracy would not be of unseen "
            "music; give clips.split=music or crossmodal."
        )


def measure_adapters(
    adapters: MusicAdapters, data: AISTDataModule, genres: Genres
) -> dict[str, Any]:
    """Measure the accuracy of genres on test clips, with intervals resampled by song.

    The baseline `frozen` assigns each clip the genre whose mean frozen embedding (of training
    clips, each dimension divided by its standard deviation) is nearest.

    Args:
        adapters: Trained.
        data: Of the run, with music embeddings.
        genres: Of the data.
    """
    adapters = adapters.eval().cpu()
    # Each embedding is (N, D) for a clip as a whole, or (N, T, D) for its frames.
    known, known_classes, _ = _features(data, "train", adapters.names, genres)
    tested, truth, songs = _features(data, "test", adapters.names, genres)
    found: dict[str, Any] = {}
    for name in adapters.names:
        with torch.no_grad():
            # The head classifies the mean over time of the adapted embedding, (N, width).
            adapted = _pooled(adapters.adapters[name](tested[name]))
            predicted = adapters.heads[name](adapted).logits.argmax(1)
        nearest = _nearest_mean(_pooled(known[name]), known_classes, _pooled(tested[name]))
        found[name] = {
            "accuracy": _interval_row(predicted == truth, songs),
            "frozen": _interval_row(nearest == truth, songs),
        }
    return {
        "features": found,
        "classes": genres.names,
        # Accuracy of always predicting the most frequent genre.
        "chance": float(torch.bincount(truth).max() / len(truth)),
        "test_clips": len(truth),
        "test_pieces": len(set(songs)),
        "train_pieces": len(_songs(data)["train"]),
    }


def print_report(path: Path) -> None:
    """Print the accuracies of a report on test music."""
    report = json.loads(path.read_text(encoding="utf-8"))
    songs, chance = report["test_pieces"], report["chance"]
    print(f"Accuracy of genres on {songs} unseen songs (chance {chance:.2f}):")
    for name, found in report["features"].items():
        adapted, frozen = (_interval_text(found[key], report) for key in ("accuracy", "frozen"))
        print(f"  {name}: {adapted}; nearest mean of the frozen embedding: {frozen}")


def _songs(data: AISTDataModule) -> dict[Split, set[str]]:
    """Return the music ids of each split."""
    songs: dict[Split, set[str]] = {split: set() for split in SPLITS}
    for name, music in zip(data.index.names, data.index.music, strict=True):
        if name in data.splits:
            songs[data.splits[name]].add(music)
    return songs


def _features(
    data: AISTDataModule, split: Split, names: tuple[str, ...], genres: Genres
) -> tuple[dict[str, Tensor], Tensor, list[str]]:
    """Return embeddings (N, D) or (N, T, D) by name, classes (N,) and songs of a split's clips."""
    dataset = data.dataset(split)
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    songs: list[str] = []
    for first in range(0, len(dataset), _BATCH):
        batch = dataset.__getitems__(list(range(first, min(first + _BATCH, len(dataset)))))
        songs += batch.music_ids
        for name in names:
            parts[name].append(batch.music[name])
    features = {name: torch.cat(values) for name, values in parts.items()}
    return features, torch.tensor([genres.of_music[song] for song in songs]), songs


def _pooled(values: Tensor) -> Tensor:
    """Average (N, T, D) over time; (N, D) is returned as it is."""
    return values.mean(1) if values.ndim == 3 else values


def _nearest_mean(known: Tensor, classes: Tensor, tested: Tensor) -> Tensor:
    """Return the class (M,) of the nearest mean of `known` (N, D) for each of `tested` (M, D)."""
    # Dimensions of a frozen embedding differ in scale; without this a few would decide.
    spread = known.std(0).clamp_min(1e-6)
    present = sorted(set(classes.tolist()))
    means = torch.stack([known[classes == number].mean(0) for number in present])
    nearest = torch.cdist(tested / spread, means / spread).argmin(1)
    return torch.tensor(present)[nearest]


def _interval_row(correct: Tensor, songs: list[str]) -> dict[str, float | None]:
    interval = cluster_bootstrap(correct.numpy().astype(np.float64), songs)
    # JSON has no NaN, which the limits are with a single song.
    low, high = (None if np.isnan(x) else x for x in (interval.low, interval.high))
    return {"mean": interval.mean, "low": low, "high": high}


def _interval_text(row: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    low, high = (float("nan") if row[key] is None else row[key] for key in ("low", "high"))
    return Interval(row["mean"], low, high, report["test_clips"], report["test_pieces"]).text()
