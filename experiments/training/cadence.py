"""What the settings say of a stage's training: steps, batches, cadence. Nothing heavy is loaded."""

from __future__ import annotations

from experiments.config.load import Settings
from experiments.errors import SettingsError


def stage_steps(settings: Settings, stage: str) -> int:
    """Optimiser steps of a stage's whole run."""
    if stage == "music-adapter":
        return settings.adapter.steps
    return (settings.stage1 if stage == "autoencoder" else settings.stage2).train.steps


def stage_batch(settings: Settings, stage: str, world: int) -> int:
    """Clips of a step, over all processes.

    Args:
        settings: Resolved.
        stage: `autoencoder`, `diffusion` or `music-adapter`.
        world: Processes that share each batch.

    Raises:
        SettingsError: If they cannot.
    """
    batch_size, key = {
        "autoencoder": (settings.stage1.train.batch_size, "stage1.train"),
        "diffusion": (settings.stage2.train.batch_size, "stage2.train"),
        "music-adapter": (settings.adapter.batch_size, "adapter"),
    }[stage]
    if batch_size % world:
        raise SettingsError(
            f"{key}.batch_size is {batch_size}, which {world} processes cannot share; "
            f"give a multiple of {world}."
        )
    return batch_size


def validation_interval(settings: Settings, steps: int) -> int:
    """Steps between two validations of a run of so many steps."""
    return settings.run.validate_every or max(1, steps // 4)


def check_prepared_size(settings: Settings, prepared: int) -> None:
    """Whether clips have the size at which the data was prepared, in pixels.

    Raises:
        SettingsError: If they do not.
    """
    if settings.clips.size != prepared:
        raise SettingsError(
            f'clips.size is {settings.clips.size}, but "{settings.data}" was prepared at '
            f"{prepared}; give clips.size={prepared}, or prepare the videos again."
        )
