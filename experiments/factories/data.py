"""Settings -> the data module, and the stores of cached features it joins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from datamodules.aist import (
    AISTDataModule,
    ClipContent,
    LoaderOptions,
    WindowRule,
)
from datamodules.cache import FeatureStore
from datamodules.index import Index
from experiments.config.load import Settings
from experiments.factories.splits import build_split_rule


def build_pair_data(settings: Settings, world_size: int = 1) -> AISTDataModule:
    """Frame pairs for stage 1, with key points where its loss asks for them.

    Args:
        settings: `stage1.train.batch_size` pairs are shared by the processes.
        world_size: processes.
    """
    loss = settings.stage1.loss
    labelled = max(loss.joints, loss.teacher_flow, loss.teacher_occlusion) > 0.0
    content = ClipContent(spectral=False, keypoints=labelled)
    batch_size = max(1, settings.stage1.train.batch_size // world_size)
    return _build(settings, "pairs", content, batch_size)


def build_clip_data(
    settings: Settings,
    batch_size: int,
    *,
    frames: Literal["all", "reference", "none"] = "all",
    latent_flow: FeatureStore | None = None,
    music: Sequence[FeatureStore] = (),
    sample_rate: int = 0,
) -> AISTDataModule:
    """Clips of T frames.

    Args:
        settings: resolved.
        batch_size: clips of a step on each process.
        frames: which frames a batch carries; with cached latent flow stage 2 needs the reference.
        latent_flow: of the same stage 1 and data, see `build_flow_store`; None leaves it out.
        music: of cached music embeddings, see `build_music_store`.
        sample_rate: hertz of the waveform; 0 leaves it out.
    """
    content = ClipContent(
        frames=frames,
        spectral=True,
        sample_rate=sample_rate,
        latent_flow=latent_flow,
        music=tuple(music),
    )
    return _build(settings, "clips", content, batch_size)


def _build(
    settings: Settings, view: Literal["clips", "pairs"], content: ClipContent, batch_size: int
) -> AISTDataModule:
    clips = settings.clips
    return AISTDataModule(
        root=Path(settings.data),
        rule=build_window_rule(settings),
        view=view,
        split=build_split_rule(settings),
        content=content,
        loading=LoaderOptions(
            batch_size=batch_size,
            workers=clips.workers,
            memory_mb=clips.memory_mb,
            pin_memory=settings.run.accelerator == "gpu",
        ),
        beats=clips.beats,
        seed=settings.seed,
        evaluation_stride=clips.evaluation_stride,
        pairs_per_clip=clips.pairs_per_clip,
    )


def build_window_rule(settings: Settings) -> WindowRule:
    """How training clips are cut."""
    clips = settings.clips
    return WindowRule(
        frames=clips.frames,
        stride=clips.stride or max(1, clips.frames // 4),
        fps=clips.fps,
        on_beat=clips.start == "beat",
        mirror=clips.mirror,
        speeds=tuple(clips.speeds),
    )


def build_flow_store(settings: Settings, index: Index, autoencoder_digest: str) -> FeatureStore:
    """The latent flow of every clip under one stage 1; another one has another store."""
    depends = {"autoencoder": autoencoder_digest, **_clip_identity(settings, index)}
    return FeatureStore(cache_folder(settings), "latent_flow", depends)


def build_music_store(
    settings: Settings, index: Index, kind: str, network_digest: str
) -> FeatureStore:
    """The embeddings of every clip's sound under one frozen network, such as `clap`."""
    depends = {"network": network_digest, **_clip_identity(settings, index)}
    return FeatureStore(cache_folder(settings), kind, depends)


def cache_folder(settings: Settings) -> Path:
    """Where cached features lie."""
    return Path(settings.clips.cache) if settings.clips.cache else Path(settings.data) / "cache"


def _clip_identity(settings: Settings, index: Index) -> dict[str, str | float | int]:
    """What a clip id leaves open: the videos, and how many frames at which rate a clip has."""
    return {"data": index.digest, "fps": settings.clips.fps, "frames": settings.clips.frames}
