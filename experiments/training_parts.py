"""What the training of a stage is made of: networks, data, cadence, samples, export."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor

from datamodules.aist import AISTDataModule
from datamodules.video import write_video
from experiments.build.data import build_clip_data, build_flow_store, build_pair_data
from experiments.build.stage1 import build_autoencoder, build_autoencoder_module
from experiments.build.stage2 import build_diffusion, build_pipeline
from experiments.config import Settings
from experiments.errors import SettingsError
from experiments.latent_cache import (
    TRAINING_SPLITS,
    cache_latent_flow,
    flow_of,
    stored_flows,
)
from experiments.music_cache import cache_music_for_training
from experiments.progress import shown_progress
from experiments.training_ranks import Ranks
from experiments.training_samples import (
    draw_autoencoder,
    draw_diffusion,
    load_samples,
)
from lightning_modules.callbacks_samples import SampleVideos
from lightning_modules.checkpoints import autoencoder_digest, load_autoencoder, save_autoencoder
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder

#: Clips that give the statistics of latent flow where it is not cached.
STATISTICS_CLIPS = 64


@dataclass(frozen=True)
class StageParts:
    """One stage, built and ready to be trained."""

    module: LightningModule
    data: LightningDataModule
    steps: int
    """Optimiser steps of the whole run."""
    batch_size: int
    """Clips of a step, over all processes."""
    validate_every: int
    """Steps between two validations."""
    ema_decay: float
    """Of the moving average of the weights; 0 keeps none."""
    gradient_clip: float
    """Largest norm of the gradient that the Trainer lets through; 0 leaves it alone."""
    sync_batch_norm: bool
    """Batch norm over all processes."""
    monitor: str
    """Metric that says which validation was best."""
    maximise: bool
    """Whether more of it is better."""
    export: Callable[[Path, dict[str, Any]], None]
    """Write the trained networks to a folder, with notes on the run."""
    samples: Callable[[Path], SampleVideos] | None = None
    """Makes what shows videos with sound in a folder."""


def stage_steps(settings: Settings, stage: str) -> int:
    """Optimiser steps of a stage's whole run."""
    return (settings.stage1 if stage == "autoencoder" else settings.stage2).train.steps


def build_parts(settings: Settings, stage: str, ranks: Ranks) -> StageParts:
    """Build one stage.

    Args:
        settings: Resolved.
        stage: `autoencoder` or `diffusion`.
        ranks: Processes that share each batch.

    Raises:
        SettingsError: If the settings do not fit the data or the processes.
    """
    batch_size = (settings.stage1 if stage == "autoencoder" else settings.stage2).train.batch_size
    if batch_size % ranks.world:
        key = "stage1" if stage == "autoencoder" else "stage2"
        raise SettingsError(
            f"{key}.train.batch_size is {batch_size}, which {ranks.world} processes cannot share; "
            f"give a multiple of {ranks.world}."
        )
    if stage == "autoencoder":
        return _autoencoder_parts(settings, ranks)
    return _diffusion_parts(settings, ranks)


def _autoencoder_parts(settings: Settings, ranks: Ranks) -> StageParts:
    train = settings.stage1.train
    data = build_pair_data(settings, ranks.world)
    _check_size(settings, data)
    torch.manual_seed(settings.seed)
    network = build_autoencoder(settings.stage1)

    def export(folder: Path, notes: dict[str, Any]) -> None:
        save_autoencoder(network, folder, notes)

    def samples(folder: Path) -> SampleVideos:
        return SampleVideos(
            folder,
            settings.run.samples_every,
            load=lambda: load_samples(settings, ()),
            draw=lambda batch: draw_autoencoder(network, batch),
            write=write_video,
        )

    return StageParts(
        module=build_autoencoder_module(settings.stage1, network, settings.seed),
        data=data,
        steps=train.steps,
        batch_size=train.batch_size,
        validate_every=_validate_every(settings, train.steps),
        ema_decay=train.ema_decay,
        gradient_clip=train.gradient_clip,
        sync_batch_norm=train.sync_batch_norm,
        monitor="val/l1_ratio",
        maximise=False,
        export=export,
        samples=samples,
    )


def _diffusion_parts(settings: Settings, ranks: Ranks) -> StageParts:
    train = settings.stage2.train
    share = train.batch_size // ranks.world
    cached = cache_for_training(settings, alone=ranks.world == 1)
    autoencoder = load_autoencoder(Path(settings.autoencoder))
    music = cache_music_for_training(settings, alone=ranks.world == 1)
    data = build_clip_data(settings, share, frames="all", music=music)
    store = build_flow_store(settings, data.index, autoencoder_digest(autoencoder))
    if cached:
        data = build_clip_data(settings, share, frames="reference", latent_flow=store, music=music)
        flows = stored_flows(store, data.dataset("train").clip_ids)
    else:
        flows = _computed_flows(data, autoencoder)
    # Here and not earlier: the weights must not depend on what was cached or loaded before.
    torch.manual_seed(settings.seed)
    module = build_diffusion(settings, autoencoder, flows)

    def export(folder: Path, notes: dict[str, Any]) -> None:
        build_pipeline(settings, module, notes).save_pretrained(folder)

    def samples(folder: Path) -> SampleVideos:
        return SampleVideos(
            folder,
            settings.run.samples_every,
            load=lambda: load_samples(settings, music),
            draw=lambda batch: draw_diffusion(module, batch),
            write=write_video,
        )

    return StageParts(
        module=module,
        data=data,
        steps=train.steps,
        batch_size=train.batch_size,
        validate_every=_validate_every(settings, train.steps),
        ema_decay=train.ema_decay,
        gradient_clip=train.clip_gradient,
        sync_batch_norm=False,
        monitor="val/loss",
        maximise=False,
        export=export,
        samples=samples,
    )


def _validate_every(settings: Settings, steps: int) -> int:
    return settings.run.validate_every or max(1, steps // 4)


def _check_size(settings: Settings, data: AISTDataModule) -> None:
    prepared = data.index.settings.size
    if settings.clips.size != prepared:
        raise SettingsError(
            f'clips.size is {settings.clips.size}, but "{settings.data}" was prepared at '
            f"{prepared}; give clips.size={prepared}, or prepare the videos again."
        )


def cache_for_training(settings: Settings, alone: bool) -> bool:
    """Have the latent flow of all training and validation clips on disk.

    Args:
        settings: Resolved.
        alone: Whether this process may compute what is missing. Of several, none does: then flow
            that is not cached at all is computed in each step.

    Returns:
        Whether it is there.

    Raises:
        SettingsError: If only some is there, as after a caching that was stopped.
    """
    data = build_clip_data(settings, 1)
    _check_size(settings, data)
    digest = autoencoder_digest(load_autoencoder(Path(settings.autoencoder)))
    store = build_flow_store(settings, data.index, digest)
    ids = [clip for split in TRAINING_SPLITS for clip in data.dataset(split).clip_ids]
    missing = [clip_id for clip_id in ids if not store.has(clip_id)]
    if missing and alone:
        with shown_progress("Latent flow") as progress:
            cache_latent_flow(settings, progress=progress)
        return True
    if missing and len(missing) < len(ids):
        raise SettingsError(
            f"The latent flow of {len(missing)} of {len(ids)} clips is not cached, of "
            f"{missing[0]} for one; finish it with `dabfusion cache` and the same settings."
        )
    return not missing


def _computed_flows(data: AISTDataModule, autoencoder: LatentFlowAutoencoder) -> Iterator[Tensor]:
    """Latent flow (1, T, 3, h, w) of training clips spread over the data set, for statistics."""
    dataset = data.dataset("train")
    for place in range(0, len(dataset), max(1, len(dataset) // STATISTICS_CLIPS)):
        yield flow_of(autoencoder, dataset[place]).float()
