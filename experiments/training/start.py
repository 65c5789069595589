"""Where a training begins: checks of its inputs, and a new or a resumed run folder.

Importing this module loads neither torch nor Lightning, so that refusals are quick.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.config.load import Settings, current_values, to_dict
from experiments.errors import SettingsError
from experiments.processes.ranks import is_main_rank
from experiments.runs.folder import RunFolder, read_header
from experiments.runs.manifest import build_manifest, data_digest, stage1_digest

#: The section of the settings that trains each stage: `steps`, `batch_size`, `gradient_clip`.
SECTIONS = {
    "autoencoder": "stage1.train",
    "diffusion": "stage2.train",
    "music-adapter": "adapter",
}
#: Settings that a stage does not read, so that they may change on resume.
_UNREAD = {
    "autoencoder": ("stage2.", "adapter."),
    "diffusion": ("stage1.", "adapter."),
    "music-adapter": ("stage1.", "stage2."),
}
#: Settings that may change on resume: places, and how the run is watched. `devices` and `nodes`
#: only distribute the same samples differently.
_FREE = ("preset", "data", "autoencoder", "out", "resume", "run.", "sampling.", "synthetic.")
_FREE_ENDINGS = (
    *(".train.steps", "adapter.steps", "music.adapter", ".validation_clips"),
    *(".workers", ".memory_mb", ".cache"),
)
#: Settings under `run` that change the result, and so may not change on resume.
_BINDING = ("run.precision", "run.on_nan", "run.explode_factor")
_CLAP = ("clap_weights", "a LAION CLAP checkpoint or a Hugging Face CLAP folder")
#: For each frozen encoder: the setting of its weights, and what they should be.
_ENCODERS = {
    "clap": _CLAP,
    "clap_tokens": _CLAP,
    "wav2clip": ("wav2clip_weights", "the released Wav2CLIP.pt"),
}


@dataclass(frozen=True)
class Start:
    """Where a training begins: its folder, and the checkpoint of its last step if there is one."""

    folder: RunFolder
    checkpoint: Path | None
    step: int  # steps that are already done
    finished: bool  # whether nothing is left to train


def find_start(settings: Settings, stage: str, steps: int) -> Start:
    """Check the inputs and decide where this process begins; nothing is written.

    Only rank 0 checks, so that each refusal is printed once. The others start where it does.
    `steps` are those of the whole run.
    """
    name = f"runs/{stage}-{Path(settings.preset).stem or 'default'}"
    folder = RunFolder(Path(settings.out or name).expanduser())
    if is_main_rank():
        check_inputs(settings, stage)
        _check_folder(folder, settings, stage)
    if settings.resume == "never" or not folder.last.exists():
        return Start(folder, None, 0, finished=False)
    # A run with fewer steps than now requested continues; one killed in its export repeats that.
    done = int(read_header(folder.last, stage)["step"])
    finished = done >= steps and folder.read_manifest().get("finished") is not None
    return Start(folder, folder.last, done, finished)


def check_inputs(settings: Settings, stage: str) -> None:
    """Check that the folders and files in the settings exist and are of the expected kind."""
    data = Path(settings.data)
    found = "holds no dataset.json" if data.is_dir() else "is not a folder"
    _refuse_if(
        not settings.data,
        "data= is not given; give the folder that `dabfusion prepare` wrote.",
    )
    # `prepare` writes dataset.json last, so a folder that has it is complete.
    _refuse_if(
        not (data / "dataset.json").is_file(),
        f'data="{data}" {found}; give the folder that `dabfusion prepare VIDEOS FOLDER` wrote.',
    )
    if stage == "autoencoder":
        return
    if stage == "diffusion":
        _refuse_if(
            not settings.autoencoder,
            "autoencoder= is not given, and the diffusion builds on a trained stage 1; give the "
            "run folder of `dabfusion train autoencoder`.",
        )
        stage1_digest(settings)  # refuses what is not a stage 1
    for name, (key, expected) in _ENCODERS.items():
        path = getattr(settings.music, key)
        if getattr(settings.music, name):
            _refuse_if(
                not path,
                f"music.{name} is on, but music.{key} is empty; give the path of {expected}, or "
                f"set music.{name}=false (music.spectral=true needs no weights).",
            )
            _refuse_if(
                not Path(path).exists(),
                f'music.{key}="{path}" does not exist; give the path of {expected}.',
            )


def _check_folder(folder: RunFolder, settings: Settings, stage: str) -> None:
    """Refuse a run where there should be none, or none where there should be this one."""
    path, exists = folder.path, folder.exists()
    _refuse_if(
        path.exists() and not path.is_dir(),
        f'out="{path}" is a file; give a folder for the run.',
    )
    _refuse_if(
        settings.resume == "always" and not exists,
        f'resume=always, but "{path}" holds no run; give its folder as out=, or resume=auto to '
        "start one.",
    )
    _refuse_if(
        settings.resume == "never" and exists,
        f'"{path}" already holds a run; give another folder as out=, or resume=auto to continue '
        "this one.",
    )
    if not exists:
        return
    manifest = folder.read_manifest()
    found = manifest["stage"]
    _refuse_if(
        found != stage,
        f'"{path}" is a run of `train {found}`, not of `train {stage}`; give another folder as '
        "out=.",
    )
    now, before = (current_values(to_dict(s)) for s in (settings, folder.read_settings()))
    free = (*_FREE, *_UNREAD[stage])
    for name, value in now.items():
        if name not in _BINDING and (name.startswith(free) or name.endswith(_FREE_ENDINGS)):
            continue
        old, new = (v if isinstance(v, str) else json.dumps(v) for v in (before[name], value))
        _refuse_if(
            old != new,
            f'The run in "{path}" was started with {name}={old}, but {new} is given now; give '
            "another folder as out=, or the same value.",
        )
    # The folders may have been moved, so their contents are compared and not their paths.
    stage1 = stage1_digest(settings) if stage == "diffusion" else None
    for name, what, known, given in (
        ("data", "other data", manifest.get("data_digest"), data_digest(Path(settings.data))),
        ("autoencoder", "another stage 1", manifest.get("autoencoder_digest"), stage1),
    ):
        _refuse_if(
            given is not None and known not in (None, given),
            f'The run in "{path}" was started with {what} than is now in '
            f'"{getattr(settings, name)}"; give the folder it was started with as {name}=.',
        )


def _refuse_if(wrong: bool, sentence: str) -> None:
    if wrong:
        raise SettingsError(sentence)


def open_folder(start: Start, settings: Settings, stage: str) -> dict[str, Any]:
    """Create the run folder, write its settings, and write and return its manifest."""
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
