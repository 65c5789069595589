"""Everything that a run needs to know before it computes, found out once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from datamodules.aist import AISTDataModule
from experiments.caching.latent_flow import Stage1, load_stage1
from experiments.config.load import Settings
from experiments.errors import SettingsError
from experiments.factories.data import build_clip_data, build_pair_data
from experiments.processes.ranks import Ranks, find_ranks
from experiments.runs.folder import RunFolder
from experiments.training.resume import Start, find_start

#: The section of the settings that holds a stage's `steps` and `batch_size`.
_SECTIONS = {
    "autoencoder": "stage1.train",
    "diffusion": "stage2.train",
    "music-adapter": "adapter",
}


@dataclass(frozen=True)
class ResolvedRun:
    """One training run: what it is, where it starts, and what it builds on."""

    settings: Settings
    stage: str
    """`autoencoder`, `diffusion` or `music-adapter`."""
    ranks: Ranks
    """Processes that share each batch."""
    start: Start
    """Run folder, and the checkpoint to resume from."""
    steps: int
    """Optimizer steps of the whole run."""
    batch_size: int
    """Clips of a step, over all processes."""
    data: AISTDataModule
    """The clips of this run, with the index of the prepared folder."""
    stage1: Stage1 | None
    """The frozen autoencoder and its digest; None unless the stage is `diffusion`."""

    @property
    def folder(self) -> RunFolder:
        """The run folder."""
        return self.start.folder

    @property
    def validate_every(self) -> int:
        """Steps between two validations."""
        return self.settings.run.validate_every or max(1, self.steps // 4)

    @property
    def checkpoint_every(self) -> int:
        """Steps between two writings of last.ckpt."""
        return self.settings.run.checkpoint_every or max(1, self.steps // 20)


def resolve_run(settings: Settings, stage: str) -> ResolvedRun:
    """Check the settings against the data, the processes and the run folder; load stage 1.

    Args:
        settings: Resolved; `data`, `out` and, for the diffusion, `autoencoder` are folders.
        stage: `autoencoder`, `diffusion` or `music-adapter`.

    Raises:
        SettingsError: The run cannot be started or resumed with these settings.
    """
    # Each check comes before what costs more: settings, run folder, index, weights.
    ranks = find_ranks(settings.run)
    steps = stage_steps(settings, stage)
    start = find_start(settings, stage, steps)
    batch_size = _check_batch(settings, stage, ranks.world_size)
    data = _build_data(settings, stage, batch_size // ranks.world_size, ranks.world_size)
    # Frames are not resized on loading, so the networks would get another size than configured.
    prepared = data.index.settings.size
    if settings.clips.size != prepared:
        raise SettingsError(
            f'clips.size is {settings.clips.size}, but "{settings.data}" was prepared at '
            f"{prepared}; give clips.size={prepared}, or prepare the videos again."
        )
    stage1 = load_stage1(settings.autoencoder) if stage == "diffusion" else None
    return ResolvedRun(settings, stage, ranks, start, steps, batch_size, data, stage1)


def stage_steps(settings: Settings, stage: str) -> int:
    """Return the optimizer steps of a stage's whole run."""
    return int(_section(settings, stage).steps)


def _check_batch(settings: Settings, stage: str, world_size: int) -> int:
    """Return the clips of a step over all processes, if these can share it equally."""
    batch_size = int(_section(settings, stage).batch_size)
    # Equal shares make the mean over ranks of their mean losses that of the whole batch.
    if batch_size % world_size:
        raise SettingsError(
            f"{_SECTIONS[stage]}.batch_size is {batch_size}, which {world_size} processes cannot "
            f"share; give a multiple of {world_size}."
        )
    return batch_size


def _section(settings: Settings, stage: str) -> Any:
    section: Any = settings
    for name in _SECTIONS[stage].split("."):
        section = getattr(section, name)
    return section


def _build_data(settings: Settings, stage: str, share: int, world_size: int) -> AISTDataModule:
    """Build the data module that reads the index; `share` is the batch size of one process."""
    if stage == "autoencoder":
        # Pairs of a source and a driving frame from the same clips.
        return build_pair_data(settings, world_size)
    if stage == "diffusion":
        return build_clip_data(settings, share)
    # Adapters are validated on songs of their own, taken from the training split, whatever
    # `clips.val_by_music` says: the reported accuracy must come from songs that were neither
    # trained on nor used to choose the best checkpoint.
    by_music = replace(settings, clips=replace(settings.clips, val_by_music=True))
    return build_clip_data(by_music, share, frames="none")
