"""Embeddings of every clip's sound by the frozen encoders, computed once and kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from datamodules.cache import FeatureStore
from datamodules.index import Index
from datamodules.splits import Split
from datamodules.windows import music_clip_id
from experiments.build.data import build_clip_data, build_music_store
from experiments.build.music import build_encoders
from experiments.config import Settings
from experiments.errors import SettingsError
from experiments.latent_cache import TRAINING_SPLITS
from experiments.progress import shown_progress
from lightning_modules import clap
from lightning_modules.clap import weights_digest

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
    progress: Callable[[int, int], None] | None = None,
) -> tuple[FeatureStore, ...]:
    """Embeddings of all clips of some splits under the encoders that `settings` name.

    Args:
        settings: resolved.
        splits: whose clips.
        progress: called with (clips done, all clips).

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
    datasets = [data.dataset(split, view="clips") for split in splits]
    total, done = sum(map(len, datasets)), 0
    for dataset in datasets:
        names = [music_clip_id(data.index.names[w.video], w) for w in dataset.windows]
        known = {n for n in names if all(store.has(n) for store in stores.values())}
        # A mirrored clip sounds like its original.
        missing = {name: place for place, name in enumerate(names) if name not in known}
        done += sum(name in known for name in names)
        places = list(missing.values())
        for start in range(0, len(places), BATCH):
            chosen = places[start : start + BATCH]
            batch = dataset.__getitems__(chosen)
            assert batch.waveform is not None
            frames = settings.clips.frames
            found = encoders.features(batch.waveform, batch.sample_rate, frames, batch.fps)
            for row, place in enumerate(chosen):
                for name, store in stores.items():
                    store.put(names[place], {name: found[name][row].half().cpu().contiguous()})
            done += sum(name == names[place] for place in chosen for name in names)
            if progress is not None:
                progress(done, total)
    return tuple(stores.values())


def cache_music_for_training(settings: Settings, alone: bool) -> tuple[FeatureStore, ...]:
    """Have the embeddings of all training and validation clips' sound on disk.

    Args:
        settings: Resolved.
        alone: Whether this process may compute what is missing.

    Returns:
        One store a feature; none where the model hears through no frozen encoder.

    Raises:
        CheckpointError: If an encoder is switched on without its weights.
        SettingsError: If some embeddings are missing and several processes train.
    """
    if not hears_encoders(settings):
        return ()
    if alone:
        with shown_progress("Music embeddings") as progress:
            return cache_music(settings, progress=progress)
    data = build_clip_data(settings, 1, frames="none")
    stores = music_stores(settings, data.index)
    names = [
        music_clip_id(data.index.names[window.video], window)
        for split in TRAINING_SPLITS
        for window in data.windows(split)
    ]
    if any(not store.has(name) for store in stores.values() for name in names):
        raise SettingsError(
            "The music embeddings of the clips are not all cached, and several processes cannot "
            "do it together; run `dabfusion cache` with the same settings first."
        )
    return tuple(stores.values())
