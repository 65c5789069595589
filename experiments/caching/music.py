"""Embeddings of every clip's sound by the frozen encoders, computed once and kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from datamodules.cache import FeatureStore
from datamodules.clips import ClipDataset
from datamodules.index import Index
from datamodules.splits import Split
from datamodules.windows import music_clip_id
from experiments.caching.latent_flow import TRAINING_SPLITS
from experiments.config.load import Settings
from experiments.factories.data import build_clip_data, build_music_store
from experiments.factories.music import build_encoders
from experiments.processes.progress import shown_progress
from experiments.processes.ranks import ALONE, Ranks
from experiments.processes.share import in_batches, share_work
from lightning_modules.music import clap
from lightning_modules.music.clap import weights_digest

#: Clips at a time.
BATCH = 4


def hears_encoders(settings: Settings) -> bool:
    """Whether the model hears music through a frozen encoder at all."""
    return settings.music.clap or settings.music.clap_tokens or settings.music.wav2clip


def music_stores(settings: Settings, index: Index) -> dict[str, FeatureStore]:
    """The store of each feature that the conditioner will read, by the feature's name."""
    music = settings.music
    weights = {
        "clap": music.clap_weights if music.clap else "",
        "clap_tokens": music.clap_weights if music.clap_tokens else "",
        "wav2clip": music.wav2clip_weights if music.wav2clip else "",
    }
    return {
        name: build_music_store(settings, index, name, weights_digest(Path(path)))
        for name, path in weights.items()
        if path
    }


def cache_music(
    settings: Settings,
    *,
    splits: tuple[Split, ...] = TRAINING_SPLITS,
    ranks: Ranks = ALONE,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[FeatureStore, ...]:
    """Embeddings of all clips of some splits under the encoders that `settings` name.

    Args:
        settings: resolved.
        splits: whose clips.
        ranks: processes that share the clips out.
        progress: called with (batches done, all batches).

    Returns:
        One store a feature; none where the model hears through no frozen encoder.

    Raises:
        CheckpointError: an encoder is switched on, but its weights are not given or not its own.
    """
    encoders = build_encoders(settings)
    data = build_clip_data(settings, BATCH, frames="none", sample_rate=clap.SAMPLE_RATE)
    stores = music_stores(settings, data.index)
    if encoders is None or not stores:
        return ()
    # Once by its name: a mirrored clip sounds like its original.
    clips: dict[str, tuple[ClipDataset, int]] = {}
    for split in splits:
        dataset = data.dataset(split, view="clips")
        for place, window in enumerate(dataset.windows):
            clips.setdefault(
                music_clip_id(data.index.names[window.video], window), (dataset, place)
            )
    names = list(clips)

    def write(places: range) -> None:
        chosen = [names[place] for place in places]
        missing = [name for name in chosen if not all(s.has(name) for s in stores.values())]
        if not missing:
            return
        heard = [clips[name][0].__getitems__([clips[name][1]]) for name in chosen]
        waveforms = torch.cat([batch.waveform for batch in heard if batch.waveform is not None])
        frames = settings.clips.frames
        found = encoders.features(waveforms, clap.SAMPLE_RATE, frames, heard[0].fps)
        for row, name in enumerate(chosen):
            if name in missing:
                for kind, store in stores.items():
                    store.put(name, {kind: found[kind][row].half().cpu().contiguous()})

    share_work(
        in_batches(len(names), BATCH), write, run=settings.run, ranks=ranks, progress=progress
    )
    return tuple(stores.values())


def cache_music_for_training(settings: Settings, ranks: Ranks) -> tuple[FeatureStore, ...]:
    """Have the embeddings of all training and validation clips' sound on disk.

    Args:
        settings: Resolved.
        ranks: Processes that train, and share out what is missing.

    Returns:
        One store a feature; none where the model hears through no frozen encoder.

    Raises:
        CheckpointError: If an encoder is switched on without its weights.
    """
    stores, missing = uncached_music(settings)
    if not missing:
        return stores
    with shown_progress("Music embeddings") as progress:
        return cache_music(settings, ranks=ranks, progress=progress)


def uncached_music(settings: Settings) -> tuple[tuple[FeatureStore, ...], list[str]]:
    """Where the embeddings of training and validation clips lie, and clips whose are not there."""
    if not hears_encoders(settings):
        return (), []
    data = build_clip_data(settings, 1, frames="none")
    stores = tuple(music_stores(settings, data.index).values())
    names = {
        music_clip_id(data.index.names[window.video], window)
        for split in TRAINING_SPLITS
        for window in data.windows(split)
    }
    return stores, sorted(n for n in names if not all(store.has(n) for store in stores))


def cache_needed_music(
    settings: Settings, needs: Sequence[str], split: Split, ranks: Ranks = ALONE
) -> tuple[FeatureStore, ...]:
    """Embeddings of a split's clips for a trained model, whatever the settings switch on.

    Args:
        settings: resolved; with the encoders' weights.
        needs: the features that the model hears.
        split: whose clips.
        ranks: processes that share the clips out.

    Raises:
        CheckpointError: a feature's weights are not given or not its own.
    """
    music = replace(
        settings.music,
        clap="clap" in needs,
        clap_tokens="clap_tokens" in needs,
        wav2clip="wav2clip" in needs,
    )
    return cache_music(replace(settings, music=music), splits=(split,), ranks=ranks)
