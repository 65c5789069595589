"""Embeddings of every clip's sound by the frozen encoders, computed once and kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from datamodules.aist import AISTDataModule, ClipContent
from datamodules.cache import FeatureStore
from datamodules.clips import ClipDataset
from datamodules.index import Index
from datamodules.splits import Split
from datamodules.windows import music_clip_id
from experiments.caching.latent_flow import TRAINING_SPLITS, lacking, store_missing
from experiments.config.load import Settings
from experiments.factories.data import build_clip_data, build_music_store
from experiments.factories.music import build_encoders, encoder_digests
from experiments.processes.progress import Progress
from experiments.processes.ranks import SINGLE_PROCESS, Ranks
from experiments.processes.share import in_batches, share_work
from lightning_modules.music import clap

#: Clips at a time.
BATCH = 4


def music_stores(settings: Settings, index: Index) -> dict[str, FeatureStore]:
    """Return the store of each feature of a frozen encoder that is on, by the feature's name."""
    return {
        name: build_music_store(settings, index, name, digest)
        for name, digest in encoder_digests(settings).items()
    }


def cache_music(
    settings: Settings,
    data: AISTDataModule,
    stores: Sequence[FeatureStore],
    splits: Sequence[Split] = TRAINING_SPLITS,
    ranks: Ranks = SINGLE_PROCESS,
    progress: Progress | None = None,
) -> None:
    """Compute the missing embeddings of all clips of some splits; see `cache_latent_flow`.

    Args:
        settings: Resolved.
        data: The clips; what its batches carry does not matter.
        stores: From `music_stores`; without any, nothing is computed.
        splits: Splits whose clips are cached.
        ranks: Processes that share the clips.
        progress: Called with (batches done, all batches).

    Raises:
        CheckpointError: An encoder's weights are missing or belong to another network.
    """
    encoders = build_encoders(settings)
    if encoders is None or not stores:
        return
    clips = _clips_by_music(data, splits)
    ids = list(clips)

    def write(places: range) -> None:
        chosen = ids[places.start : places.stop]
        store_missing(stores, chosen, lambda: embed([clips[name] for name in chosen]))

    def embed(chosen: list[tuple[ClipDataset, int]]) -> list[Tensor]:
        # From the sound (B, S) of the clips to (B, D), or (B, T, D) for features of each frame.
        batches = [dataset.__getitems__([place]) for dataset, place in chosen]
        waveforms = torch.cat([batch.waveform for batch in batches if batch.waveform is not None])
        frames, fps = settings.clips.frames, batches[0].fps
        found = encoders.features(waveforms, clap.SAMPLE_RATE, frames, fps)
        return [found[store.kind] for store in stores]

    share_work(in_batches(len(ids), BATCH), write, (), settings.run, ranks, progress)


def missing_music(
    stores: Sequence[FeatureStore], data: AISTDataModule, splits: Sequence[Split]
) -> list[str]:
    """Return the ids of the clips of some splits that are missing in any of the stores."""
    return lacking(stores, list(_clips_by_music(data, splits))) if stores else []


def cache_needed_music(
    settings: Settings, needs: Sequence[str], split: Split, ranks: Ranks = SINGLE_PROCESS
) -> tuple[FeatureStore, ...]:
    """Cache the embeddings of a split's clips that a trained model needs.

    Args:
        settings: Resolved, with the encoders' weights. Which encoders are on does not matter.
        needs: Music features of the model.
        split: The clips.
        ranks: Processes that share the clips.

    Returns:
        One store for each feature of a frozen encoder.
    """
    music = replace(
        settings.music,
        clap="clap" in needs,
        clap_tokens="clap_tokens" in needs,
        wav2clip="wav2clip" in needs,
    )
    settings = replace(settings, music=music)
    data = build_clip_data(settings, BATCH, frames="none")
    stores = tuple(music_stores(settings, data.index).values())
    cache_music(settings, data, stores, (split,), ranks)
    return stores


def _clips_by_music(
    data: AISTDataModule, splits: Sequence[Split]
) -> dict[str, tuple[ClipDataset, int]]:
    """Return the data set and place of each clip; a mirrored clip shares its original's sound."""
    sound = data.with_content(ClipContent(frames="none", sample_rate=clap.SAMPLE_RATE))
    clips: dict[str, tuple[ClipDataset, int]] = {}
    for split in splits:
        dataset = sound.dataset(split, view="clips")
        for place, window in enumerate(dataset.windows):
            name = music_clip_id(data.index.names[window.video], window)
            clips.setdefault(name, (dataset, place))
    return clips
