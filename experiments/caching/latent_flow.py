"""Latent flow (and music embeddings) of every clip, computed once and kept on disk.

Stage 2 then trains without stage 1's flow networks and without decoding frames. What is there is
not computed again; another stage 1, another clip length or other videos have their own stores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from datamodules.batch import ClipBatch, to_unit
from datamodules.cache import FeatureStore
from datamodules.splits import Split
from experiments.config.load import Settings
from experiments.factories.data import build_clip_data, build_flow_store
from experiments.processes.ranks import ALONE, Ranks
from experiments.processes.share import in_batches, share_work
from lightning_modules.checkpoints import autoencoder_digest, load_autoencoder
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder

#: What training and its validation read; test clips are generated, not learnt from.
TRAINING_SPLITS: tuple[Split, ...] = ("train", "val")


def cache_latent_flow(
    settings: Settings,
    *,
    splits: tuple[Split, ...] = TRAINING_SPLITS,
    batch_size: int = 8,
    ranks: Ranks = ALONE,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureStore:
    """Latent flow of all clips of some splits under the stage 1 that `settings` name.

    Args:
        settings: resolved; `data` and `autoencoder` are folders.
        splits: whose clips.
        batch_size: clips at a time. A clip is computed among the same others whatever is there
            already and however many processes there are, so that its bytes are the same.
        ranks: processes that share the clips out.
        progress: called with (batches done, all batches).

    Returns:
        The store: items by clip id, each `latent_flow` (T, 3, h, w) float16.
    """
    autoencoder = load_autoencoder(Path(settings.autoencoder))
    data = build_clip_data(settings, batch_size)
    store = build_flow_store(settings, data.index, autoencoder_digest(autoencoder))
    datasets = [data.dataset(split, view="clips") for split in splits]
    names = [dataset.clip_ids for dataset in datasets]
    pieces = [
        (number, places)
        for number, dataset in enumerate(datasets)
        for places in in_batches(len(dataset), batch_size)
    ]

    def write(piece: tuple[int, range]) -> None:
        number, places = piece
        missing = {names[number][p] for p in places if not store.has(names[number][p])}
        if not missing:
            return
        batch = datasets[number].__getitems__(list(places))
        for clip, flow in zip(batch.clip_ids, flow_of(autoencoder, batch), strict=True):
            if clip in missing:
                store.put(clip, {"latent_flow": flow})

    share_work(
        pieces,
        write,
        networks=[autoencoder],
        run=settings.run,
        ranks=ranks,
        progress=progress,
    )
    return store


@torch.inference_mode()
def flow_of(autoencoder: LatentFlowAutoencoder, batch: ClipBatch) -> Tensor:
    """Latent flow of a batch in half precision on the CPU, (B, T, 3, h, w).

    The regions of each reference are found once a clip, not once a frame.
    """
    if batch.frames is None:
        raise ValueError("Latent flow is found from frames, which this batch does not carry.")
    device = next(autoencoder.parameters()).device
    frames = to_unit(batch.frames.to(device))
    return autoencoder.flow(frames[:, 0], frames).half().cpu()


def stored_flows(store: FeatureStore, clip_ids: list[str], most: int = 512) -> Iterator[Tensor]:
    """Latent flow of at most `most` of the clips, evenly spread, as float32: for statistics."""
    step = max(1, len(clip_ids) // most)
    for clip in clip_ids[::step]:
        yield store.get(clip)["latent_flow"].float()
