"""`dabfusion train music-adapter`: data divided by music, the training's parts, the report."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.aist import AISTDataModule
from datamodules.cache import FeatureStore
from datamodules.files import write_text
from datamodules.splits import SPLITS
from experiments.caching.music import cache_music
from experiments.config.load import Settings
from experiments.errors import SettingsError
from experiments.factories.adapter import build_adapter_module, build_adapters
from experiments.factories.data import build_clip_data
from experiments.processes.progress import shown_progress
from experiments.processes.ranks import Ranks
from experiments.training.stage_parts import StageParts
from lightning_modules.networks.music_adapter import MusicAdapters
from metrics.functional.bootstrap import cluster_bootstrap

REPORT = "report.json"
#: Clips at a time in the report.
_BATCH = 64


@dataclass(frozen=True)
class Styles:
    """The genres of a data set."""

    names: list[str]
    of_piece: dict[str, int]
    """Number of the genre of each piece of music."""


def adapter_parts(settings: Settings, ranks: Ranks) -> StageParts:
    """Everything that trains music adapters.

    Validation has pieces of its own, taken from the training split, whatever `clips.val_by_music`
    says: the accuracy that is reported comes from pieces that neither taught nor chose.

    Args:
        settings: resolved.
        ranks: processes that share each batch.

    Raises:
        SettingsError: the data has no genres, or its splits share music.
    """
    settings = replace(settings, clips=replace(settings.clips, val_by_music=True))
    with shown_progress("Music embeddings") as progress:
        music = cache_music(settings, splits=SPLITS, ranks=ranks, progress=progress)
    share = settings.adapter.batch_size // ranks.world
    data = build_clip_data(settings, share, frames="none", music=music)
    styles = find_styles(data)
    check_splits(data)
    torch.manual_seed(settings.seed)
    adapters = build_adapters(settings, styles.names)

    def export(folder: Path, notes: dict[str, Any]) -> None:
        adapters.save_pretrained(folder)
        report = {**measure_adapters(adapters, settings, music, styles), "training": notes}
        write_text(folder / REPORT, json.dumps(report, indent=1) + "\n")

    steps = settings.adapter.steps
    return StageParts(
        module=build_adapter_module(settings, adapters, styles.of_piece),
        data=data,
        steps=steps,
        batch_size=settings.adapter.batch_size,
        validate_every=settings.run.validate_every or max(1, steps // 4),
        ema_decay=0.0,
        gradient_clip=1.0,
        sync_batch_norm=True,
        monitor="val/loss",
        maximise=False,
        export=export,
    )


def find_styles(data: AISTDataModule) -> Styles:
    """The genres of the pieces that are in any split.

    Raises:
        SettingsError: a video has none, there is only one, or a piece has two.
    """
    index = data.index
    of_piece: dict[str, str] = {}
    for name, piece, genre in zip(
        index.names, index.music, index.table["genre"].to_pylist(), strict=True
    ):
        if name not in data.splits:
            continue
        if not genre:
            raise SettingsError(
                f'"{data.root}" names no genre for {name}, and music adapters learn genres; use '
                "videos with AIST names."
            )
        if of_piece.setdefault(piece, genre) != genre:
            raise SettingsError(
                f'"{data.root}" has the piece {piece} under two genres, {of_piece[piece]} and '
                f"{genre}; a piece needs one."
            )
    names = sorted(set(of_piece.values()))
    if len(names) < 2:
        raise SettingsError(
            f'"{data.root}" has {len(names)} genre, and telling genres apart needs two at least.'
        )
    return Styles(names, {piece: names.index(genre) for piece, genre in of_piece.items()})


def check_splits(data: AISTDataModule) -> None:
    """Refuse splits that share music, or of which one is empty.

    Raises:
        SettingsError: naming a shared piece.
    """
    pieces: dict[str, set[str]] = {split: set() for split in SPLITS}
    for name, piece in zip(data.index.names, data.index.music, strict=True):
        if name in data.splits:
            pieces[data.splits[name]].add(piece)
    for split, found in pieces.items():
        if not found:
            raise SettingsError(
                f'"{data.root}" has no music for {split}; music adapters need at least three '
                "pieces, or clips.split=music."
            )
    shared = (pieces["train"] | pieces["val"]) & pieces["test"] | pieces["train"] & pieces["val"]
    if shared:
        raise SettingsError(
            f"The splits share the music {min(shared)}, so that an accuracy would be learnt by "
            "heart; give clips.split=music or crossmodal."
        )


@torch.no_grad()
def measure_adapters(
    adapters: MusicAdapters, settings: Settings, music: tuple[FeatureStore, ...], styles: Styles
) -> dict[str, Any]:
    """Share of the test clips whose genre is named rightly, with intervals over pieces of music.

    Beside each adapter: the genre whose mean frozen embedding (of training clips, each dimension
    standardised) is nearest.

    Args:
        adapters: trained.
        settings: that they were trained with.
        music: stores of the embeddings.
        styles: of the data.
    """
    adapters = adapters.eval().cpu()
    data = build_clip_data(settings, _BATCH, frames="none", music=music)
    known, known_styles, _ = _features(data, "train", adapters.names, styles)
    heard, truth, pieces = _features(data, "test", adapters.names, styles)
    found: dict[str, Any] = {}
    for name in adapters.names:
        said = adapters.heads[name](heard[name].adapted_by(adapters.adapters[name])).logits
        frozen = _nearest_mean(known[name].pooled, known_styles, heard[name].pooled)
        found[name] = {
            "accuracy": _interval(said.argmax(1) == truth, pieces),
            "frozen": _interval(frozen == truth, pieces),
        }
    train = {piece for piece, split in _splits_of_pieces(data).items() if split == "train"}
    return {
        "features": found,
        "classes": styles.names,
        "chance": float(torch.bincount(truth).max() / len(truth)),
        "test_clips": len(truth),
        "test_pieces": len(set(pieces)),
        "train_pieces": len(train),
    }


def print_report(path: Path) -> None:
    """Print the accuracies of a report on held-out music."""
    report = json.loads(path.read_text(encoding="utf-8"))
    pieces, chance = report["test_pieces"], report["chance"]
    print(f"Genres named rightly on {pieces} held-out pieces of music (chance {chance:.2f}):")
    for name, found in report["features"].items():
        adapted, frozen = _shown(found["accuracy"]), _shown(found["frozen"])
        print(f"  {name}: {adapted}; nearest mean of the frozen embedding: {frozen}")


def _shown(row: dict[str, float | None]) -> str:
    low, high = row["low"], row["high"]
    between = "" if low is None or high is None else f" [{low:.2f}, {high:.2f}]"
    return f"{row['mean']:.2f}{between}"


@dataclass(frozen=True)
class _Heard:
    values: Tensor
    """(N, D) or (N, T, D)."""

    @property
    def pooled(self) -> Tensor:
        """(N, D)."""
        return self.values.mean(1) if self.values.ndim == 3 else self.values

    def adapted_by(self, adapter: torch.nn.Module) -> Tensor:
        """(N, D)."""
        return _Heard(adapter(self.values)).pooled


def _features(
    data: AISTDataModule, split: Any, names: tuple[str, ...], styles: Styles
) -> tuple[dict[str, _Heard], Tensor, list[str]]:
    """Features of a split's clips, their genres (N,) and pieces."""
    dataset = data.dataset(split)
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    pieces: list[str] = []
    for first in range(0, len(dataset), _BATCH):
        batch = dataset.__getitems__(list(range(first, min(first + _BATCH, len(dataset)))))
        pieces += batch.music_ids
        for name in names:
            parts[name].append(batch.music[name])
    heard = {name: _Heard(torch.cat(values)) for name, values in parts.items()}
    return heard, torch.tensor([styles.of_piece[piece] for piece in pieces]), pieces


def _nearest_mean(known: Tensor, styles: Tensor, heard: Tensor) -> Tensor:
    """The class (M,) of the nearest mean of `known` (N, D) for each of `heard` (M, D)."""
    spread = known.std(0).clamp_min(1e-6)
    classes = sorted(set(styles.tolist()))
    means = torch.stack([known[styles == style].mean(0) for style in classes])
    nearest = torch.cdist(heard / spread, means / spread).argmin(1)
    return torch.tensor(classes)[nearest]


def _interval(right: Tensor, pieces: list[str]) -> dict[str, float | None]:
    interval = cluster_bootstrap(right.numpy().astype(np.float64), pieces)
    low, high = (None if np.isnan(x) else x for x in (interval.low, interval.high))
    return {"mean": interval.mean, "low": low, "high": high}


def _splits_of_pieces(data: AISTDataModule) -> dict[str, str]:
    index = data.index
    return {
        piece: data.splits[name]
        for name, piece in zip(index.names, index.music, strict=True)
        if name in data.splits
    }
