"""Latent flow of every clip, computed once by the frozen stage 1 and kept on disk.

Stage 2 then trains without stage 1's flow networks and without decoding frames. Items that exist
are not computed again. Another stage 1, clip length or data set has a store of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from datamodules.aist import AISTDataModule, ClipContent
from datamodules.batch import ClipBatch, to_unit
from datamodules.cache import FeatureStore
from datamodules.clips import ClipDataset
from datamodules.splits import Split
from experiments.config.load import Settings
from experiments.factories.data import build_flow_store
from experiments.processes.progress import Progress
from experiments.processes.ranks import SINGLE_PROCESS, Ranks
from experiments.processes.share import in_batches, share_work
from lightning_modules.checkpoints import load_autoencoder, read_metadata
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder

#: Splits that training and validation read; test clips are generated, not learned from.
TRAINING_SPLITS: tuple[Split, ...] = ("train", "val")


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
    """Compute the missing latent flow of all clips of some splits.

    Args:
        settings: Resolved.
        stage1: The autoencoder.
        data: The clips; what its batches carry does not matter.
        splits: Splits whose clips are cached.
        batch_size: Clips at a time. A clip is always computed in the same batch, whatever exists
            already and however many processes there are, so that its bytes are the same.
        ranks: Processes that share the clips.
        progress: Called with (batches done, all batches).

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
        store_missing([store], ids, lambda: [flow_of(network, clips.__getitems__(places))])

    share_work(batches, write, [stage1.network], settings.run, ranks, progress)
    return store


def store_missing(
    stores: Sequence[FeatureStore], ids: list[str], compute: Callable[[], Sequence[Tensor]]
) -> None:
    """Compute a batch if any of it is missing in a store, and store what is missing.

    Args:
        stores: Where the features are kept.
        ids: Clips of the batch.
        compute: Returns the features (B, ...) of the whole batch, one tensor for each store.
    """
    missing = lacking(stores, ids)
    if missing:
        for store, features in zip(stores, compute(), strict=True):
            for clip, feature in zip(ids, features, strict=True):
                if clip in missing:
                    store.put(clip, {store.kind: feature.half().cpu()})


def lacking(stores: Sequence[FeatureStore], ids: Sequence[str]) -> list[str]:
    """Return the ids that are not in all of the stores."""
    return [name for name in ids if not all(store.has(name) for store in stores)]


def missing_flow(store: FeatureStore, data: AISTDataModule) -> list[str]:
    """Return the ids of the clips for training and validation whose latent flow is not cached."""
    datasets = [data.dataset(split, view="clips") for split in TRAINING_SPLITS]
    return lacking([store], [clip for dataset in datasets for clip in dataset.clip_ids])


@torch.inference_mode()
def flow_of(autoencoder: LatentFlowAutoencoder, batch: ClipBatch) -> Tensor:
    """Return the latent flow of a batch with frames in half precision on the CPU, (B, T, 3, h, w).

    The regions of each reference frame are found once per clip, not once per frame.
    """
    assert batch.frames is not None
    device = next(autoencoder.parameters()).device
    frames = to_unit(batch.frames.to(device))
    return autoencoder.flow(frames[:, 0], frames).half().cpu()
