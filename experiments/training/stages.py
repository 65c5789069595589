"""Build each stage: LightningModule, data, samples, export."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.aist import AISTDataModule, ClipContent
from datamodules.batch import ClipBatch
from experiments.caching.latent_flow import flow_of, stored_flows
from experiments.config.load import Settings
from experiments.factories.compiled import compile_network
from experiments.factories.scene import training_scene
from experiments.factories.stage1 import build_autoencoder, build_autoencoder_module, check_norm
from experiments.factories.stage2 import build_diffusion, build_pipeline
from experiments.training.adapter import adapter_parts
from experiments.training.caches import Caches
from experiments.training.resolve import ResolvedRun
from experiments.training.samples import draw_autoencoder, draw_diffusion
from experiments.training.stage_parts import StageParts, sample_videos
from lightning_modules.callbacks.monitor import SIGNS, FailureMonitor
from lightning_modules.checkpoints import save_autoencoder

#: Training clips that are decoded at a time for the limits of the failure monitor.
MONITOR_BATCH = 8
#: Training clips from which the statistics of latent flow are computed.
STATISTICS_CLIPS = 512


def build_parts(
    run: ResolvedRun, caches: Caches, max_statistics: int = STATISTICS_CLIPS
) -> StageParts:
    """Build the stage of a run.

    Args:
        run: The run.
        caches: Its cached features. If latent flow is missing, it is computed in each step.
        max_statistics: Clips from which the statistics of latent flow are computed.

    Raises:
        SettingsError: The settings do not fit the data or the processes.
    """
    if run.stage == "autoencoder":
        return _autoencoder_parts(run)
    if run.stage == "music-adapter":
        return adapter_parts(run, caches)
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
        module=build_autoencoder_module(settings.stage1, network, settings.seed),
        data=run.data,
        ema_decay=train.ema_decay,
        gradient_clip=train.gradient_clip,
        sync_batch_norm=train.sync_batch_norm,
        # L1 error relative to that of copying the reference frame: below 1 the flow helps.
        monitor="val/l1_ratio",
        export=export,
        samples=sample_videos(run, (), lambda batch: draw_autoencoder(network, batch)),
    )


def _diffusion_parts(run: ResolvedRun, caches: Caches, max_statistics: int) -> StageParts:
    assert run.stage1 is not None
    settings, train, stage1 = run.settings, run.settings.stage2.train, run.stage1.network
    flows: Iterable[Tensor]
    if caches.missing_flow:
        # Only when a training is planned: all frames are decoded, and stage 1 runs in each step.
        data = run.data.with_content(ClipContent(frames="all", music=caches.music))
        first = run.data.with_content(ClipContent(frames="all")).dataset("train").__getitems__([0])
        flows = [flow_of(stage1, first).float()]
    else:
        assert caches.flow is not None
        # With cached flow the networks read no frame but the reference.
        data = run.data.with_content(
            ClipContent(frames="reference", latent_flow=caches.flow, music=caches.music)
        )
        flows = stored_flows(caches.flow, data.dataset("train").clip_ids, max_statistics)
    # The denoiser works on flow normalized to zero mean and unit variance per channel; the
    # statistics are taken from `flows`, (T, 3, h, w) each, and become part of the denoiser.
    torch.manual_seed(settings.seed)
    module = build_diffusion(settings, stage1, flows)
    compile_network(module.denoiser, settings.run)

    def export(folder: Path, notes: dict[str, Any]) -> None:
        # The empty background and typical place of a dancer, for people cut out of an image.
        scene = training_scene(settings)
        rendered = any(
            truth is not None for truth in run.data.index.table["beats_truth"].to_pylist()
        )
        notes = {**notes, "rendered_dancers": rendered}
        build_pipeline(settings, module, notes, scene).save_pretrained(folder)

    return StageParts(
        module=module,
        data=data,
        ema_decay=train.ema_decay,
        gradient_clip=train.gradient_clip,
        sync_batch_norm=False,  # the denoiser has group norm only
        monitor="val/loss",
        export=export,
        samples=sample_videos(run, caches.music, lambda batch: draw_diffusion(module, batch)),
        failures=build_monitor(settings, data),
    )


def build_monitor(settings: Settings, data: AISTDataModule) -> FailureMonitor | None:
    """Build the monitor of failures in generated clips; None if it is off.

    Args:
        settings: `stage2.monitor` says what is watched.
        data: Of stage 2, with latent flow and reference frames, or with all frames.
    """
    monitor = settings.stage2.monitor
    inside = {name: getattr(monitor, name) for name in SIGNS if getattr(monitor, name)}
    if not monitor.clips or not inside:
        return None
    return FailureMonitor(inside, monitor.tolerated, lambda: _spread(data, monitor.clips))


def _spread(data: AISTDataModule, clips: int) -> Iterator[ClipBatch]:
    """Yield at most `clips` training clips, evenly spread over the data set, in batches."""
    # Training clips of true flow set the limits; what generated clips do is measured alike.
    dataset = data.dataset("train")
    places = list(range(0, len(dataset), max(1, len(dataset) // clips)))[:clips]
    for first in range(0, len(places), MONITOR_BATCH):
        yield dataset.__getitems__(places[first : first + MONITOR_BATCH])
