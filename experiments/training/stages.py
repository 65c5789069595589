"""What the training of a stage is made of: networks, data, cadence, samples, export."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.cache import FeatureStore
from datamodules.media.video import write_video
from experiments.caching.latent_flow import (
    TRAINING_SPLITS,
    cache_latent_flow,
    flow_of,
    stored_flows,
)
from experiments.caching.music import cache_music_for_training, uncached_music
from experiments.config.load import Settings
from experiments.factories.compiled import compile_network
from experiments.factories.data import build_clip_data, build_flow_store, build_pair_data
from experiments.factories.scene import training_scene
from experiments.factories.stage1 import build_autoencoder, build_autoencoder_module, check_norm
from experiments.factories.stage2 import build_diffusion, build_pipeline
from experiments.processes.progress import shown_progress
from experiments.processes.ranks import Ranks
from experiments.training.adapter import adapter_parts
from experiments.training.cadence import check_prepared_size, stage_batch, validation_interval
from experiments.training.monitor import build_monitor
from experiments.training.samples import (
    draw_autoencoder,
    draw_diffusion,
    load_samples,
)
from experiments.training.stage_parts import StageParts
from lightning_modules.callbacks.samples import SampleVideos
from lightning_modules.checkpoints import autoencoder_digest, load_autoencoder, save_autoencoder


def build_parts(
    settings: Settings, stage: str, ranks: Ranks, only_planned: bool = False
) -> StageParts:
    """Build one stage.

    Args:
        settings: Resolved.
        stage: `autoencoder`, `diffusion` or `music-adapter`.
        ranks: Processes that share each batch.
        only_planned: Parts to be counted and timed, not trained: nothing is cached for them, and
            latent flow has the statistics of one clip.

    Raises:
        SettingsError: If the settings do not fit the data or the processes.
    """
    stage_batch(settings, stage, ranks.world)
    if stage == "autoencoder":
        return _autoencoder_parts(settings, ranks)
    if stage == "music-adapter":
        return adapter_parts(settings, ranks)
    return _diffusion_parts(settings, ranks, only_planned)


def _autoencoder_parts(settings: Settings, ranks: Ranks) -> StageParts:
    train = settings.stage1.train
    data = build_pair_data(settings, ranks.world)
    check_prepared_size(settings, data.index.settings.size)
    torch.manual_seed(settings.seed)
    network = build_autoencoder(settings.stage1)
    check_norm(network, settings.stage1, ranks.world)
    compile_network(network, settings.run)

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
        validate_every=validation_interval(settings, train.steps),
        ema_decay=train.ema_decay,
        gradient_clip=train.gradient_clip,
        sync_batch_norm=train.sync_batch_norm,
        monitor="val/l1_ratio",
        maximise=False,
        export=export,
        samples=samples,
    )


def _diffusion_parts(settings: Settings, ranks: Ranks, only_planned: bool) -> StageParts:
    train = settings.stage2.train
    share = train.batch_size // ranks.world
    autoencoder = load_autoencoder(Path(settings.autoencoder))
    if only_planned:
        store, missing = uncached_clips(settings)
        music, _ = uncached_music(settings)
    else:
        store, missing = cache_for_training(settings, ranks), []
        music = cache_music_for_training(settings, ranks)
    if missing:
        data = build_clip_data(settings, share, music=music)
        first = build_clip_data(settings, 1).dataset("train")[0]
        flows: Iterable[Tensor] = [flow_of(autoencoder, first).float()]
    else:
        data = build_clip_data(settings, share, frames="reference", latent_flow=store, music=music)
        flows = stored_flows(store, data.dataset("train").clip_ids, 1 if only_planned else 512)
    # Here and not earlier: the weights must not depend on what was cached or loaded before.
    torch.manual_seed(settings.seed)
    module = build_diffusion(settings, autoencoder, flows)
    compile_network(module.denoiser, settings.run)

    def export(folder: Path, notes: dict[str, Any]) -> None:
        scene = training_scene(settings)
        build_pipeline(settings, module, notes, scene).save_pretrained(folder)

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
        validate_every=validation_interval(settings, train.steps),
        ema_decay=train.ema_decay,
        gradient_clip=train.clip_gradient,
        sync_batch_norm=False,
        monitor="val/loss",
        maximise=False,
        export=export,
        samples=samples,
        failures=build_monitor(settings, data),
    )


def cache_for_training(settings: Settings, ranks: Ranks) -> FeatureStore:
    """Have the latent flow of all training and validation clips on disk.

    Args:
        settings: Resolved.
        ranks: Processes that train, and share out what is missing.

    Raises:
        SettingsError: If the settings do not fit the data.
    """
    store, missing = uncached_clips(settings)
    if not missing:
        return store
    with shown_progress("Latent flow") as progress:
        return cache_latent_flow(settings, ranks=ranks, progress=progress)


def uncached_clips(settings: Settings) -> tuple[FeatureStore, list[str]]:
    """Where the latent flow of training and validation clips lies, and clips whose is not there.

    Raises:
        SettingsError: If the settings do not fit the data.
    """
    data = build_clip_data(settings, 1)
    check_prepared_size(settings, data.index.settings.size)
    digest = autoencoder_digest(load_autoencoder(Path(settings.autoencoder)))
    store = build_flow_store(settings, data.index, digest)
    ids = [clip for split in TRAINING_SPLITS for clip in data.dataset(split).clip_ids]
    return store, [clip_id for clip_id in ids if not store.has(clip_id)]
