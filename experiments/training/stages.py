"""Build each stage: LightningModule, data, samples, export."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from datamodules.aist import AISTDataModule, ClipContent
from datamodules.batch import ClipBatch
from datamodules.cache import FeatureStore
from datamodules.files import write_text
from datamodules.media.video import write_video
from experiments.caching.features import flow_of
from experiments.factories.modules import (
    build_adapter_module,
    build_autoencoder_module,
    build_diffusion,
    build_pipeline,
)
from experiments.factories.music import build_adapters
from experiments.factories.networks import build_autoencoder, check_norm, compile_network
from experiments.factories.preparation import build_split_rule, measure_scene
from experiments.training.adapter import REPORT, find_genres, measure_adapters
from experiments.training.resolve import Caches, ResolvedRun
from experiments.training.samples import SOUND_RATE, draw_autoencoder, draw_diffusion
from lightning_modules.callbacks.monitor import SIGNS, FailureMonitor
from lightning_modules.callbacks.samples import Drawn, SampleVideos
from lightning_modules.checkpoints import save_autoencoder

#: Training clips that are decoded at a time for the limits of the failure monitor.
MONITOR_BATCH = 8
#: Training clips from which the statistics of latent flow are computed.
STATISTICS_CLIPS = 1024


@dataclass(frozen=True)
class StageParts:
    """One stage, built and ready to train."""

    module: LightningModule
    data: AISTDataModule
    export: Callable[[Path, dict[str, Any]], None]  # to a folder, with notes on the run
    monitor: str = "val/loss"  # metric of which the lowest value is the best checkpoint
    ema_decay: float = 0.0  # of the moving average of the weights; 0 keeps none
    sync_batch_norm: bool = False  # compute its statistics over all processes
    samples: SampleVideos | None = None  # writes videos of validation clips
    failures: FailureMonitor | None = None  # watches what validation generates


def build_parts(
    run: ResolvedRun, caches: Caches, max_statistics: int = STATISTICS_CLIPS
) -> StageParts:
    """Build the stage of a run; SettingsError if its settings do not fit data or processes.

    Args:
        run: The run.
        caches: Its cached features. If latent flow is missing, it is computed in each step.
        max_statistics: Clips from which the statistics of latent flow are computed.
    """
    if run.stage == "autoencoder":
        return _autoencoder_parts(run)
    if run.stage == "music-adapter":
        return _adapter_parts(run, caches)
    return _diffusion_parts(run, caches, max_statistics)


def _autoencoder_parts(run: ResolvedRun) -> StageParts:
    settings, train = run.settings, run.settings.stage1.train
    # Seed here and not earlier, so that the initial weights do not depend on what was loaded.
    torch.manual_seed(settings.seed)
    network = build_autoencoder(settings.stage1)  # or the weights of stage1.train.initial
    check_norm(network, settings.stage1, run.ranks.world_size)
    compile_network(network, settings.run)

    def export(folder: Path, notes: dict[str, Any]) -> None:
        save_autoencoder(network, folder, notes)

    return StageParts(
        build_autoencoder_module(settings.stage1, network, settings.seed),
        run.data,
        export,
        # L1 error relative to that of copying the reference frame: below 1 the flow helps.
        monitor="val/l1_ratio",
        ema_decay=train.ema_decay,
        sync_batch_norm=train.sync_batch_norm,
        samples=_sample_videos(run, (), lambda batch: draw_autoencoder(network, batch)),
    )


def evenly_spread(ids: Sequence[str], limit: int) -> list[str]:
    """Return at most `limit` of the ids, evenly spread over all of them."""
    count = min(limit, len(ids))
    return [ids[place * len(ids) // count] for place in range(count)]


def _diffusion_parts(run: ResolvedRun, caches: Caches, max_statistics: int) -> StageParts:
    assert run.stage1 is not None
    assert caches.flow is not None
    settings, store = run.settings, caches.flow
    flows: Iterable[Tensor]
    if caches.missing_flow:
        # Only when a training is planned: all frames are decoded, and stage 1 runs in each step.
        data = run.data.with_content(ClipContent(frames="all", music=caches.music))
        frames = run.data.with_content(ClipContent(frames="all")).dataset("train")
        flows = [flow_of(run.stage1.network, frames.__getitems__([0])).float()]
    else:
        # With cached flow the networks read no frame but the reference.
        data = run.data.with_content(
            ClipContent(frames="reference", latent_flow=store, music=caches.music)
        )
        ids = data.dataset("train").clip_ids
        spread = evenly_spread(ids, max_statistics)
        flows = (store.get(clip)["latent_flow"].float() for clip in spread)
    # The denoiser works on flow normalized to zero mean and unit variance per channel; the
    # statistics are taken from `flows`, (T, 3, h, w) each, and become part of the denoiser.
    torch.manual_seed(settings.seed)
    module = build_diffusion(settings, run.stage1.network, flows)
    compile_network(module.denoiser, settings.run)

    def export(folder: Path, notes: dict[str, Any]) -> None:
        # The empty background and typical place of a dancer, for people cut out of an image.
        scene = measure_scene(Path(settings.data), build_split_rule(settings))
        rendered = any(
            truth is not None for truth in run.data.index.table["beats_truth"].to_pylist()
        )
        notes = {**notes, "rendered_dancers": rendered}
        build_pipeline(settings, module, notes, scene).save_pretrained(folder)

    return StageParts(
        module,
        data,
        export,
        ema_decay=settings.stage2.train.ema_decay,
        samples=_sample_videos(run, caches.music, lambda batch: draw_diffusion(module, batch)),
        failures=_build_monitor(run, data),
    )


def _adapter_parts(run: ResolvedRun, caches: Caches) -> StageParts:
    data = run.data.with_content(ClipContent(frames="none", music=caches.music))
    genres = find_genres(data)
    # After all loading, so that the initial weights depend on the seed alone.
    torch.manual_seed(run.settings.seed)
    adapters = build_adapters(run.settings, genres.names)

    def export(folder: Path, notes: dict[str, Any]) -> None:
        adapters.save_pretrained(folder)
        report = {**measure_adapters(adapters, data, genres), "training": notes}
        write_text(folder / REPORT, json.dumps(report, indent=1) + "\n")

    # Adapters are small and trained for few steps: no moving average.
    module = build_adapter_module(run.settings, adapters, genres.of_music)
    return StageParts(module, data, export, sync_batch_norm=True)


def _sample_videos(
    run: ResolvedRun, music: tuple[FeatureStore, ...], draw: Callable[[ClipBatch], Drawn]
) -> SampleVideos | None:
    """Return the callback that writes sample videos; None if the settings request no samples."""
    settings = run.settings.run
    if not settings.samples:
        return None

    def load() -> ClipBatch:
        # At the first showing only, then kept: (B, T, 3, H, W) frames and (B, S) sound.
        content = ClipContent(frames="all", sample_rate=SOUND_RATE, music=music)
        dataset = run.data.with_content(content).dataset("val", view="clips")
        return dataset.__getitems__(list(range(min(settings.samples, len(dataset)))))

    return SampleVideos(run.folder.samples, settings.samples_every, load, draw, write_video)


def _build_monitor(run: ResolvedRun, data: AISTDataModule) -> FailureMonitor | None:
    """Return the monitor of failures in generated clips; None if the settings watch nothing."""
    monitor = run.settings.stage2.monitor
    inside = {name: getattr(monitor, name) for name in SIGNS if getattr(monitor, name)}
    if not monitor.clips or not inside:
        return None

    def load() -> Iterator[ClipBatch]:
        # Training clips of true flow set the limits; what generated clips do is measured alike.
        dataset = data.dataset("train")
        step = max(1, len(dataset) // monitor.clips)
        places = list(range(0, len(dataset), step))[: monitor.clips]
        for first in range(0, len(places), MONITOR_BATCH):
            yield dataset.__getitems__(places[first : first + MONITOR_BATCH])

    return FailureMonitor(inside, monitor.tolerated, load)
