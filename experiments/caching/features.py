"""Features of every clip by frozen networks, computed once and kept on disk.

With the latent flow of stage 1, stage 2 trains without stage 1's flow networks and without decoding
frames; with music embeddings, it trains without the music encoders. Items that exist are not
computed again. Another network, clip length or data set has a store of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from datamodules.aist import AISTDataModule, ClipContent
from datamodules.batch import ClipBatch, to_unit
from datamodules.cache import FeatureStore
from datamodules.clips import ClipDataset
from datamodules.index import Index
from datamodules.splits import Split
from datamodules.windows import music_clip_id
from experiments.config.load import Settings
from experiments.factories.data import build_clip_data, build_flow_store, build_music_store
from experiments.factories.music import build_encoders, encoder_digests
from experiments.processes.progress import Progress
from experiments.processes.ranks import SINGLE_PROCESS, Ranks
from experiments.processes.share import in_batches, share_work
from lightning_modules.checkpoints import load_autoencoder, read_metadata
from lightning_modules.music import clap
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder

#: Splits that training and validation read; test clips are generated, not learned from.
TRAINING_SPLITS: tuple[Split, ...] = ("train", "val")
#: Clips at a time whose music is embedded.
MUSIC_BATCH = 4


@dataclass(frozen=True)
class Stage1:
    """A trained, frozen autoencoder."""

    network: LatentFlowAutoencoder
    digest: str  # of architecture and weights; names the store of its latent flow


def load_stage1(path: Path | str) -> Stage1:
    """Load the stage 1 of a run or export folder; CheckpointError if it holds none."""
    # `load_autoencoder` has checked the digest in the metadata against the weights.
    return Stage1(load_autoencoder(path), read_metadata(path)["digest"])


def cache_latent_flow(
    settings: Settings,
    stage1: Stage1,
    data: AISTDataModule,
    splits: Sequence[Split] = TRAINING_SPLITS,
    batch_size: int = 8,
    ranks: Ranks = SINGLE_PROCESS,
    progress: Progress | None = None,
) -> FeatureStore:
    """Compute the missing latent flow of all clips of some splits, whatever batches carry.

    A clip is always computed in the same batch of `batch_size`, whatever exists already and however
    many processes share the clips, so that its bytes are the same.

    Returns:
        The store: items by clip id, each `latent_flow` (T, 3, h, w) float16.
    """
    store = build_flow_store(settings, data.index, stage1.digest)
    frames = data.with_content(ClipContent(frames="all"))
    batches: list[tuple[ClipDataset, list[int], list[str]]] = []
    for split in splits:
        dataset = frames.dataset(split, view="clips")
        ids = dataset.clip_ids
        for places in in_batches(len(ids), batch_size):
            batches.append((dataset, list(places), ids[places.start : places.stop]))

    def write(batch: tuple[ClipDataset, list[int], list[str]]) -> None:
        clips, places, ids = batch
        network = stage1.network
        _store_missing([store], ids, lambda: [flow_of(network, clips.__getitems__(places))])

    share_work(batches, write, [stage1.network], settings.run, ranks, progress)
    return store


@torch.inference_mode()
def flow_of(autoencoder: LatentFlowAutoencoder, batch: ClipBatch) -> Tensor:
    """Return the latent flow of a batch with frames in half precision on the CPU, (B, T, 3, h, w).

    The regions of each reference frame are found once per clip, not once per frame.
    """
    assert batch.frames is not None
    device = next(autoencoder.parameters()).device
    frames = to_unit(batch.frames.to(device))
    return autoencoder.flow(frames[:, 0], frames).half().cpu()


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
    """Compute the embeddings of all clips of some splits that are missing in `music_stores`.

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
        _store_missing(stores, chosen, lambda: embed([clips[name] for name in chosen]))

    def embed(chosen: list[tuple[ClipDataset, int]]) -> list[Tensor]:
        # From the sound (B, S) of the clips to (B, D), or (B, T, D) for features of each frame.
        batches = [dataset.__getitems__([place]) for dataset, place in chosen]
        waveforms = torch.cat([batch.waveform for batch in batches if batch.waveform is not None])
        frames, fps = settings.clips.frames, batches[0].fps
        found = encoders.features(waveforms, clap.SAMPLE_RATE, frames, fps)
        return [found[store.kind] for store in stores]

    share_work(in_batches(len(ids), MUSIC_BATCH), write, (), settings.run, ranks, progress)


def cache_needed_music(
    settings: Settings, needs: Sequence[str], split: Split, ranks: Ranks = SINGLE_PROCESS
) -> tuple[FeatureStore, ...]:
    """Cache the music features `needs` of a split's clips, whichever the settings switch on.

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
    data = build_clip_data(settings, MUSIC_BATCH, frames="none")
    stores = tuple(music_stores(settings, data.index).values())
    cache_music(settings, data, stores, (split,), ranks)
    return stores


def missing_flow(store: FeatureStore, data: AISTDataModule) -> list[str]:
    """Return the ids of the clips for training and validation whose latent flow is not cached."""
    datasets = [data.dataset(split, view="clips") for split in TRAINING_SPLITS]
    return _lacking([store], [clip for dataset in datasets for clip in dataset.clip_ids])


def missing_music(
    stores: Sequence[FeatureStore], data: AISTDataModule, splits: Sequence[Split]
) -> list[str]:
    """Return the ids of the clips of some splits that are missing in any of the stores."""
    return _lacking(stores, list(_clips_by_music(data, splits))) if stores else []


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


def _store_missing(
    stores: Sequence[FeatureStore], ids: list[str], compute: Callable[[], Sequence[Tensor]]
) -> None:
    """Compute features (B, ...) of a batch for each store, if any lacks any, and store those."""
    missing = _lacking(stores, ids)
    if missing:
        for store, features in zip(stores, compute(), strict=True):
            for clip, feature in zip(ids, features, strict=True):
                if clip in missing:
                    store.put(clip, {store.kind: feature.half().cpu()})


def _lacking(stores: Sequence[FeatureStore], ids: Sequence[str]) -> list[str]:
    """Return the ids that are not in all of the stores."""
    return [name for name in ids if not all(store.has(name) for store in stores)]
