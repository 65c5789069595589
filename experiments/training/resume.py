"""What to do with a run folder that may already hold a run: start, go on, or refuse."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments.config.load import Settings, to_dict
from experiments.errors import SettingsError
from experiments.runs.folder import RunFolder
from experiments.runs.manifest import build_manifest, data_digest, stage1_digest

#: Settings that a run may go on with other values of: where things are, and how it is watched.
#: `devices` and `nodes` share the same samples out among other processes.
_FREE = ("preset", "data", "autoencoder", "out", "resume", "run.", "sampling.", "synthetic.")
_FREE_ENDINGS = (
    ".train.steps",
    "adapter.steps",
    "music.adapter",
    ".validation_clips",
    ".workers",
    ".memory_mb",
    ".cache",
)
#: Settings that a stage does not read.
_OTHERS = {
    "autoencoder": ("stage2.", "adapter."),
    "diffusion": ("stage1.", "adapter."),
    "music-adapter": ("stage1.", "stage2."),
}
#: Of the settings under `run`, those that change what is learnt.
_BINDING = ("run.precision", "run.on_nan", "run.explode_factor")


@dataclass(frozen=True)
class Start:
    """How a training begins."""

    folder: RunFolder
    checkpoint: Path | None
    """To go on from; None starts at step 0."""
    step: int
    """Steps that are already done."""
    finished: bool
    """Whether the run is complete, so that nothing is to be trained."""


def run_folder(settings: Settings, stage: str) -> RunFolder:
    """The folder that `out` names, or `runs/STAGE-PRESET`."""
    if settings.out:
        return RunFolder(Path(settings.out).expanduser())
    name = Path(settings.preset).stem or "default"
    return RunFolder(Path("runs") / f"{stage}-{name}")


def decide_start(settings: Settings, stage: str, steps: int) -> Start:
    """Look at the run folder, and say where the training begins; nothing is written.

    Args:
        settings: The resolved settings; `resume` decides.
        stage: `autoencoder` or `diffusion`.
        steps: Optimiser steps of the whole run.

    Raises:
        SettingsError: If there is a run and there should be none, or the other way round, or the
            run that is there is not this one.
    """
    folder = run_folder(settings, stage)
    if folder.path.exists() and not folder.path.is_dir():
        raise SettingsError(f'out="{folder.path}" is a file; give a folder for the run.')
    if not folder.exists():
        if settings.resume == "always":
            raise SettingsError(
                f'resume=always, but "{folder.path}" holds no run; give its folder as out=, '
                "or resume=auto to start one."
            )
        return Start(folder, None, 0, False)
    if settings.resume == "never":
        raise SettingsError(
            f'"{folder.path}" already holds a run; give another folder as out=, '
            "or resume=auto to go on with this one."
        )
    manifest = folder.read_manifest()
    _check_same_run(folder, manifest, settings, stage)
    if not folder.last.exists():
        return Start(folder, None, 0, False)
    return where_it_stopped(folder, stage, steps)


def where_it_stopped(folder: RunFolder, stage: str, steps: int) -> Start:
    """The step of the last checkpoint, and whether the run is complete with it."""
    from experiments.training.checkpoints import read_header  # torch, only where it is needed

    done = int(read_header(folder.last, stage)["step"])
    finished = done >= steps and folder.read_manifest().get("finished") is not None
    return Start(folder, folder.last, done, finished)


def open_folder(start: Start, settings: Settings, stage: str) -> dict[str, Any]:
    """Make the folder and write settings and manifest, or note in them that the run goes on.

    Returns:
        The manifest as written.
    """
    folder = start.folder
    for path in (folder.last.parent, folder.samples):
        path.mkdir(parents=True, exist_ok=True)
    if start.checkpoint is None:
        manifest = build_manifest(settings, stage)
    else:
        manifest = folder.read_manifest()
        fresh = build_manifest(settings, stage)
        again = {key: fresh[key] for key in ("command", "started", "versions", "machine")}
        again |= {"step": start.step, "commit": fresh["code"].get("commit")}
        manifest = manifest | {"resumed": [*manifest["resumed"], again], "finished": None}
    folder.write_settings(settings)
    folder.write_manifest(manifest)
    return manifest


def close_folder(folder: RunFolder, outcome: dict[str, Any]) -> None:
    """Note in the manifest that the run is complete.

    Args:
        folder: The run.
        outcome: What to note: step, best validation, seconds.
    """
    finished = {"at": datetime.now(UTC).isoformat(timespec="seconds"), **outcome}
    folder.write_manifest(folder.read_manifest() | {"finished": finished})


def _check_same_run(
    folder: RunFolder, manifest: dict[str, Any], settings: Settings, stage: str
) -> None:
    if manifest["stage"] != stage:
        raise SettingsError(
            f'"{folder.path}" is a run of `train {manifest["stage"]}`, not of `train {stage}`; '
            "give another folder as out=."
        )
    before, now = _flat(to_dict(folder.read_settings())), _flat(to_dict(settings))
    others = _OTHERS[stage]
    for name, value in now.items():
        free = name.startswith(_FREE) or name.endswith(_FREE_ENDINGS) or name.startswith(others)
        if (name in _BINDING or not free) and before.get(name) != value:
            raise SettingsError(
                f'The run in "{folder.path}" was started with {name}={_shown(before.get(name))}, '
                f"and {_shown(value)} is asked for now; give another folder as out=, "
                "or the same value."
            )
    digest = data_digest(Path(settings.data)) if settings.data else None
    if digest is not None and manifest.get("data_digest") not in (None, digest):
        raise SettingsError(
            f'The run in "{folder.path}" was started with other data than is now in '
            f'"{settings.data}"; give the folder it was started with as data=.'
        )
    known = manifest.get("autoencoder_digest")
    if known is not None and settings.autoencoder and stage1_digest(settings) != known:
        raise SettingsError(
            f'The run in "{folder.path}" was started with another stage 1 than is now in '
            f'"{settings.autoencoder}"; give the one it was started with as autoencoder=.'
        )


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
