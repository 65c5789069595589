"""Everything that a run needs to know before it computes, and the cached features it reads."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field, replace
from typing import Any

from datamodules.aist import AISTDataModule
from datamodules.cache import FeatureStore
from datamodules.splits import SPLITS, Split
from experiments.caching import features
from experiments.config.load import Settings
from experiments.errors import SettingsError
from experiments.factories.data import build_clip_data, build_flow_store, build_pair_data
from experiments.processes.progress import shown_progress
from experiments.processes.ranks import Ranks, find_ranks
from experiments.runs.folder import RunFolder
from experiments.training.start import SECTIONS, Start, find_start


@dataclass(frozen=True)
class ResolvedRun:
    """One training run: what it is, where it starts, and what it builds on."""

    settings: Settings
    stage: str  # `autoencoder`, `diffusion` or `music-adapter`
    ranks: Ranks  # processes that share each batch
    start: Start
    section: Any  # of the settings: `batch_size` over all processes, `gradient_clip`, ...
    steps: int  # optimizer steps of the whole run
    validate_every: int  # steps
    checkpoint_every: int  # steps
    data: AISTDataModule  # with the index of the prepared folder
    stage1: features.Stage1 | None  # the frozen autoencoder; None unless the stage is `diffusion`

    @property
    def folder(self) -> RunFolder:
        """The run folder."""
        return self.start.folder


@dataclass(frozen=True)
class Caches:
    """Stores of cached features, and the ids of the clips that they lack."""

    flow: FeatureStore | None = None  # latent flow of each clip, (T, 3, h, w)
    music: tuple[FeatureStore, ...] = ()  # one for each frozen music encoder that is on
    missing_flow: list[str] = field(default_factory=list)
    missing_music: list[str] = field(default_factory=list)  # without mirrored copies


def resolve_run(settings: Settings, stage: str) -> ResolvedRun:
    """Check the settings against the data, the processes and the run folder; load stage 1."""
    # Each check comes before what costs more: settings, run folder, index, weights.
    ranks = find_ranks(settings.run)
    section: Any = operator.attrgetter(SECTIONS[stage])(settings)
    start = find_start(settings, stage, section.steps)
    # Equal shares make the mean over ranks of their mean losses that of the whole batch.
    if section.batch_size % ranks.world_size:
        raise SettingsError(
            f"{SECTIONS[stage]}.batch_size is {section.batch_size}, which {ranks.world_size} "
            f"processes cannot share; give a multiple of {ranks.world_size}."
        )
    share = section.batch_size // ranks.world_size
    if stage == "autoencoder":
        # Pairs of a source and a driving frame from the same clips.
        data = build_pair_data(settings, ranks.world_size)
    elif stage == "diffusion":
        data = build_clip_data(settings, share)
    else:
        # Adapters are validated on songs of their own, taken from the training split, whatever
        # `clips.val_by_music` says: the reported accuracy must come from songs that were neither
        # trained on nor used to choose the best checkpoint.
        by_music = replace(settings, clips=replace(settings.clips, val_by_music=True))
        data = build_clip_data(by_music, share, frames="none")
    # Frames are not resized on loading, so the networks would get another size than configured.
    prepared = data.index.settings.size
    if settings.clips.size != prepared:
        raise SettingsError(
            f'clips.size is {settings.clips.size}, but "{settings.data}" was prepared at '
            f"{prepared}; give clips.size={prepared}, or prepare the videos again."
        )
    return ResolvedRun(
        settings,
        stage,
        ranks,
        start,
        section,
        section.steps,
        validate_every=settings.run.validate_every or max(1, section.steps // 4),
        checkpoint_every=settings.run.checkpoint_every or max(1, section.steps // 20),
        data=data,
        stage1=features.load_stage1(settings.autoencoder) if stage == "diffusion" else None,
    )


def find_caches(run: ResolvedRun) -> Caches:
    """Find the stores of a run and what is missing in them; nothing is computed."""
    if run.stage == "autoencoder":
        return Caches()  # stage 1 learns from frames alone
    # Their names contain digests of the encoder weights, data set, rate and clip length.
    music = tuple(features.music_stores(run.settings, run.data.index).values())
    without_music = features.missing_music(music, run.data, _splits(run))
    if run.stage1 is None:
        return Caches(music=music, missing_music=without_music)
    # The store's name depends on the digest: the flow of another stage 1 is never read.
    flow = build_flow_store(run.settings, run.data.index, run.stage1.digest)
    return Caches(flow, music, features.missing_flow(flow, run.data), without_music)


def ensure_caches(run: ResolvedRun) -> Caches:
    """Compute what is missing, shared among all processes, and return the complete stores."""
    caches = find_caches(run)
    settings, data, ranks = run.settings, run.data, run.ranks
    # All ranks take part or none: they find the same items missing, because nobody can compute one
    # before all have joined the process group.
    if caches.missing_flow:
        assert run.stage1 is not None
        with shown_progress("Latent flow") as progress:
            features.cache_latent_flow(settings, run.stage1, data, ranks=ranks, progress=progress)
    if caches.missing_music:
        with shown_progress("Music embeddings") as progress:
            splits = _splits(run)
            features.cache_music(settings, data, caches.music, splits, ranks, progress)
    return Caches(caches.flow, caches.music)


def _splits(run: ResolvedRun) -> tuple[Split, ...]:
    """Adapters are also tested; test clips of stage 2 are generated, not learned from."""
    return SPLITS if run.stage == "music-adapter" else features.TRAINING_SPLITS
