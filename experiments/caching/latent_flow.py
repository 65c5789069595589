"""Latent flow of every clip, computed once by the frozen stage 1 and kept on disk.

Stage 2 then trains without stage 1's flow networks and without decoding frames. Items that exist
are not computed again. Another stage 1, clip length or data set has a store of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from datamodules.aist import AISTDataModule, ClipContent
from datamodules.batch import ClipBatch, to_unit
from datamodules.cache import FeatureStore
from datamodules.splits import Split
from experiments.config.load import Settings
from experiments.factories.data import build_flow_store
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
    digest: str
    """Of architecture and weights; names the store of its latent flow."""


def load_stage1(path: Path | str) -> Stage1:
    """Load the stage 1 of a run or export folder.

    Raises:
        CheckpointError: The folder holds no stage 1, or not the one that its digest is of.
    """
    # `load_autoencoder` has checked the digest in the metadata against the weights.
    return Stage1(load_autoencoder(path), read_metadata(path)["digest"])


def cache_latent_flow(
    settings: Settings,
    stage1: Stage1,
    data: AISTDataModule,
    *,
    splits: Sequence[Split] = TRAINING_SPLITS,
    batch_size: int = 8,
    ranks: Ranks = SINGLE_PROCESS,
    progress: Callable[[int, int], None] | None = None,
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
    datasets = [frames.dataset(split, view="clips") for split in splits]
    names = [dataset.clip_ids for dataset in datasets]
    batches = [
        (number, places)
        for number, dataset in enumerate(datasets)
        for places in in_batches(len(dataset), batch_size)
    ]

    def write(item: tuple[int, range]) -> None:
        number, places = item
        missing = {names[number][p] for p in places if not store.has(names[number][p])}
        if not missing:
            return
        batch = datasets[number].__getitems__(list(places))
        for clip, flow in zip(batch.clip_ids, flow_of(stage1.network, batch), strict=True):
            if clip in missing:
                store.put(clip, {"latent_flow": flow})

    share_work(
        batches,
        write,
        networks=[stage1.network],
        run=settings.run,
        ranks=ranks,
        progress=progress,
    )
    return store


def missing_flow(
    store: FeatureStore, data: AISTDataModule, splits: Sequence[Split] = TRAINING_SPLITS
) -> list[str]:
    """Return the ids of the clips of some splits whose latent flow is not in the store."""
    ids = [clip for split in splits for clip in data.dataset(split, view="clips").clip_ids]
    return [clip for clip in ids if not store.has(clip)]


@torch.inference_mode()
def flow_of(autoencoder: LatentFlowAutoencoder, batch: ClipBatch) -> Tensor:
    """Return the latent flow of a batch in half precision on the CPU, (B, T, 3, h, w).

    The regions of each reference frame are found once per clip, not once per frame.
    """
    if batch.frames is None:
        raise ValueError("Latent flow is computed from frames, which this batch does not carry.")
    device = next(autoencoder.parameters()).device
    frames = to_unit(batch.frames.to(device))
    return autoencoder.flow(frames[:, 0], frames).half().cpu()


def stored_flows(
    store: FeatureStore, clip_ids: list[str], max_clips: int = 512
) -> Iterator[Tensor]:
    """Yield the latent flow of evenly spread clips as float32, to compute statistics from."""
    step = max(1, len(clip_ids) // max_clips)
    for clip in clip_ids[::step]:
        yield store.get(clip)["latent_flow"].float()
