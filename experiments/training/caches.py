"""The caches that a training reads: latent flow of stage 1 and embeddings of the music."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from datamodules.cache import FeatureStore
from datamodules.splits import SPLITS, Split
from experiments.caching.latent_flow import TRAINING_SPLITS, cache_latent_flow, missing_flow
from experiments.caching.music import cache_music, missing_music, music_stores
from experiments.factories.data import build_flow_store
from experiments.processes.progress import shown_progress
from experiments.training.resolve import ResolvedRun


@dataclass(frozen=True)
class Caches:
    """Stores of cached features, and the clips that they lack."""

    flow: FeatureStore | None = None
    """Latent flow of each clip, (T, 3, h, w); None for stages that do not read it."""
    music: tuple[FeatureStore, ...] = ()
    """One store for each frozen music encoder that is on."""
    missing_flow: list[str] = field(default_factory=list)
    """Clip ids."""
    missing_music: list[str] = field(default_factory=list)
    """Clip ids, without mirrored copies."""


def find_caches(run: ResolvedRun) -> Caches:
    """Find the stores of a run and what is missing in them; nothing is computed."""
    if run.stage == "autoencoder":
        return Caches()  # stage 1 learns from frames alone
    # Their names contain digests of the encoder weights, data set, rate and clip length.
    music = tuple(music_stores(run.settings, run.data.index).values())
    without_music = missing_music(music, run.data, _splits(run))
    if run.stage1 is None:
        return Caches(None, music, [], without_music)
    # The store's name depends on the digest: the flow of another stage 1 is never read.
    flow = build_flow_store(run.settings, run.data.index, run.stage1.digest)
    return Caches(flow, music, missing_flow(flow, run.data), without_music)


def ensure_caches(run: ResolvedRun) -> Caches:
    """Compute what is missing, shared among all processes, and return the complete stores."""
    caches = find_caches(run)
    # All ranks take part or none: they find the same items missing, because nobody can compute one
    # before all have joined the process group.
    if caches.missing_flow:
        assert run.stage1 is not None
        with shown_progress("Latent flow") as progress:
            cache_latent_flow(
                run.settings, run.stage1, run.data, ranks=run.ranks, progress=progress
            )
    if caches.missing_music:
        with shown_progress("Music embeddings") as progress:
            cache_music(
                run.settings,
                run.data,
                caches.music,
                splits=_splits(run),
                ranks=run.ranks,
                progress=progress,
            )
    return replace(caches, missing_flow=[], missing_music=[])


def _splits(run: ResolvedRun) -> tuple[Split, ...]:
    """Adapters are also tested; test clips of stage 2 are generated, not learned from."""
    return SPLITS if run.stage == "music-adapter" else TRAINING_SPLITS
