"""Settings -> the data module and the stores of cached features that it reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from datamodules.aist import AISTDataModule, ClipContent, LoaderOptions, WindowRule
from datamodules.cache import FeatureStore
from datamodules.index import Index
from experiments.config.load import Settings
from experiments.factories.preparation import build_split_rule


def build_pair_data(settings: Settings, world_size: int = 1) -> AISTDataModule:
    """Build the data module of frame pairs for stage 1, with keypoints if its loss needs them.

    The settings' batch size is divided among the processes.
    """
    content = ClipContent(spectral=False, keypoints=settings.stage1.loss.uses_labels)
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
    """Build the data module of clips of T frames.

    Args:
        settings: All settings.
        batch_size: Clips per step in each process.
        frames: Frames in a batch; with cached latent flow, stage 2 needs the reference image only.
        latent_flow: Store from `build_flow_store`; None leaves latent flow out.
        music: Stores from `build_music_store`.
        sample_rate: Sample rate of the waveform in hertz; 0 leaves it out.
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
        rule=WindowRule(
            frames=clips.frames,
            stride=clips.stride or max(1, clips.frames // 4),
            fps=clips.fps,
            on_beat=clips.start == "beat",
            mirror=clips.mirror,
            speeds=tuple(clips.speeds),
        ),
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


def build_flow_store(settings: Settings, index: Index, autoencoder_digest: str) -> FeatureStore:
    """Build the store of every clip's latent flow; each stage 1 has its own store."""
    return _store(settings, index, "latent_flow", {"autoencoder": autoencoder_digest})


def build_music_store(
    settings: Settings, index: Index, kind: str, network_digest: str
) -> FeatureStore:
    """Build the store of every clip's embeddings by one frozen encoder, such as `clap`."""
    return _store(settings, index, kind, {"network": network_digest})


def _store(settings: Settings, index: Index, kind: str, network: dict[str, str]) -> FeatureStore:
    """Build a store that depends on a network and on what clip ids do not say."""
    clips = settings.clips
    folder = Path(clips.cache) if clips.cache else Path(settings.data) / "cache"
    depends = {**network, "data": index.digest, "fps": clips.fps, "frames": clips.frames}
    return FeatureStore(folder, kind, depends)
