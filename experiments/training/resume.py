"""What to do with a run folder that may already hold a run: start, resume, or refuse."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments.config.load import Settings, to_dict
from experiments.errors import SettingsError
from experiments.processes.ranks import is_main_rank
from experiments.runs.folder import RunFolder
from experiments.runs.manifest import build_manifest, data_digest, stage1_digest
from experiments.training.inputs import check_inputs

#: Settings that may change on resume: places, and how the run is watched. `devices` and `nodes`
#: only distribute the same samples differently.
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
#: Settings under `run` that change the result, and so may not change on resume.
_BINDING = ("run.precision", "run.on_nan", "run.explode_factor")
#: Settings that a stage does not read.
_OTHERS = {
    "autoencoder": ("stage2.", "adapter."),
    "diffusion": ("stage1.", "adapter."),
    "music-adapter": ("stage1.", "stage2."),
}


@dataclass(frozen=True)
class Start:
    """Where a training begins."""

    folder: RunFolder
    checkpoint: Path | None
    """Checkpoint to resume from; None starts at step 0."""
    step: int
    """Steps that are already done."""
    finished: bool
    """Whether the run is complete, so that there is nothing to train."""


def find_start(settings: Settings, stage: str, steps: int) -> Start:
    """Check the inputs and decide where this process begins; nothing is written.

    Only rank 0 refuses, so that each refusal is printed once. The others follow what it does.

    Args:
        settings: Resolved.
        stage: `autoencoder`, `diffusion` or `music-adapter`.
        steps: Optimizer steps of the whole run.

    Raises:
        SettingsError: See `check_inputs` and `decide_start`.
    """
    if not is_main_rank():
        return follow(settings, stage, steps)
    check_inputs(settings, stage)
    return decide_start(settings, stage, steps)


def decide_start(settings: Settings, stage: str, steps: int) -> Start:
    """Decide by the run folder and the setting `resume` where the training begins.

    Raises:
        SettingsError: There is a run and there should be none, or the other way round, or the
            existing run had other settings, data or stage 1.
    """
    folder = run_folder(settings, stage)
    if folder.path.exists() and not folder.path.is_dir():
        raise SettingsError(f'out="{folder.path}" is a file; give a folder for the run.')
    # A manifest is the first sign of a run; a kill before it leaves a folder that can be reused.
    if not folder.exists():
        if settings.resume == "always":
            raise SettingsError(
                f'resume=always, but "{folder.path}" holds no run; give its folder as out=, '
                "or resume=auto to start one."
            )
        return Start(folder, None, 0, finished=False)
    if settings.resume == "never":
        raise SettingsError(
            f'"{folder.path}" already holds a run; give another folder as out=, '
            "or resume=auto to continue this one."
        )
    _check_same_run(folder, settings, stage)
    return _last_step(folder, stage, steps)


def follow(settings: Settings, stage: str, steps: int) -> Start:
    """Return the same start as rank 0, for another rank, without its checks."""
    folder = run_folder(settings, stage)
    if settings.resume == "never":
        return Start(folder, None, 0, finished=False)
    return _last_step(folder, stage, steps)


def _last_step(folder: RunFolder, stage: str, steps: int) -> Start:
    """Start at the last checkpoint, if there is one."""
    if not folder.last.exists():
        return Start(folder, None, 0, finished=False)
    from experiments.training.checkpoints import read_header  # loads torch, so only if needed

    # A run with fewer steps than now requested continues; one killed in its export repeats that.
    done = int(read_header(folder.last, stage)["step"])
    finished = done >= steps and folder.read_manifest().get("finished") is not None
    return Start(folder, folder.last, done, finished)


def run_folder(settings: Settings, stage: str) -> RunFolder:
    """Return the folder in the setting `out`, or `runs/STAGE-PRESET`."""
    if settings.out:
        return RunFolder(Path(settings.out).expanduser())
    name = Path(settings.preset).stem or "default"
    return RunFolder(Path("runs") / f"{stage}-{name}")


def open_folder(start: Start, settings: Settings, stage: str) -> dict[str, Any]:
    """Create the folder, write settings and manifest, or add this resume to the manifest.

    Returns:
        The manifest as written.
    """
    folder = start.folder
    for path in (folder.last.parent, folder.samples):
        path.mkdir(parents=True, exist_ok=True)
    manifest = build_manifest(settings, stage)
    # The first start stays as it is noted; each resume is added to the list.
    if start.checkpoint is not None:
        again = {key: manifest[key] for key in ("command", "started", "versions", "machine")}
        again |= {"step": start.step, "commit": manifest["code"].get("commit")}
        manifest = folder.read_manifest()
        manifest |= {"resumed": [*manifest["resumed"], again], "finished": None}
    folder.write_settings(settings)
    folder.write_manifest(manifest)
    return manifest


def close_folder(folder: RunFolder, outcome: dict[str, Any]) -> None:
    """Mark the run as finished in the manifest, with its outcome (steps, best validation)."""
    finished = {"at": datetime.now(UTC).isoformat(timespec="seconds"), **outcome}
    folder.write_manifest(folder.read_manifest() | {"finished": finished})


def _check_same_run(folder: RunFolder, settings: Settings, stage: str) -> None:
    manifest = folder.read_manifest()
    if manifest["stage"] != stage:
        raise SettingsError(
            f'"{folder.path}" is a run of `train {manifest["stage"]}`, not of `train {stage}`; '
            "give another folder as out=."
        )
    before, now = _flat(to_dict(folder.read_settings())), _flat(to_dict(settings))
    for name, value in now.items():
        free = name.startswith((*_FREE, *_OTHERS[stage])) or name.endswith(_FREE_ENDINGS)
        if (name in _BINDING or not free) and before.get(name) != value:
            raise SettingsError(
                f'The run in "{folder.path}" was started with {name}={_shown(before.get(name))}, '
                f"but {_shown(value)} is given now; give another folder as out=, "
                "or the same value."
            )
    # The folders may have been moved, so their contents are compared and not their paths.
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
    """Return nested settings as {"a.b.c": value}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
