"""Run folders: their files, written so that a kill at any moment leaves the last whole state.

    config.yaml        the resolved settings
    manifest.json      provenance: command, commit, versions, hardware, data digest
    metrics.jsonl      one JSON object per line: step, seconds since the start, metrics
    checkpoints/       last.ckpt, best.ckpt, and step-N.ckpt where run.keep_every says so
    samples/           videos with sound
    export/            the trained networks, which load without the training code
    log.txt            messages and tracebacks

No path in a run folder is absolute, so it can be moved, renamed and resumed elsewhere.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from datamodules.files import write_text
from experiments.config.load import Settings, read_settings, to_dict
from experiments.errors import SettingsError

#: Version of the format; increased when an older version would misread a folder.
FORMAT = 1
STAGES = ("autoencoder", "diffusion", "music-adapter")
#: Key of the header in a checkpoint: format, stage and step.
HEADER = "dabfusion"


class RunFolder:
    """The paths of one run, and methods that read and write its small files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.manifest = path / "manifest.json"
        self.metrics = path / "metrics.jsonl"
        self.last = path / "checkpoints" / "last.ckpt"
        self.best = path / "checkpoints" / "best.ckpt"
        self.samples = path / "samples"
        self.export = path / "export"
        self.log = path / "log.txt"

    def exists(self) -> bool:
        """Return whether a run has been started here; a manifest is its first sign."""
        return self.manifest.exists() or self.last.exists()

    def write_settings(self, settings: Settings) -> None:
        """Write `config.yaml`."""
        write_text(self.config, yaml.safe_dump(to_dict(settings), sort_keys=False))

    def read_settings(self) -> Settings:
        """Read the settings in `config.yaml`; SettingsError if it is missing or unreadable."""
        self._require(self.config)
        return read_settings(self.config)

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Write `manifest.json`."""
        write_text(self.manifest, json.dumps(manifest, indent=2) + "\n")

    def read_manifest(self) -> dict[str, Any]:
        """Read `manifest.json`; SettingsError if it is missing, unreadable or of another format."""
        self._require(self.manifest)
        try:
            manifest = json.loads(self.manifest.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise SettingsError(
                f'"{self.manifest}" is not valid JSON; restore it from a copy of the run.'
            ) from error
        _check_format(self.path, manifest if isinstance(manifest, dict) else {})
        if manifest.get("stage") not in STAGES:
            raise SettingsError(
                f'"{self.manifest}" names the stage {manifest.get("stage")!r}; '
                f"it must be one of {', '.join(STAGES)}."
            )
        return dict(manifest)

    def read_metrics(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of `metrics.jsonl`, without a last line that a kill has cut off."""
        if not self.metrics.exists():
            return
        with self.metrics.open(encoding="utf-8") as file:
            for line in file:
                try:
                    yield json.loads(line)
                except ValueError:
                    return

    def _require(self, file: Path) -> None:
        if not file.is_file():
            raise SettingsError(
                f'"{self.path}" holds no run: {file.name} is missing; give the folder that '
                "`dabfusion train` wrote."
            )


def read_checkpoint(path: Path) -> Any:
    """Read a checkpoint to the CPU without running any code in it; SettingsError if damaged."""
    import torch

    try:
        # Memory-mapped, so that reading the header of a large file reads little of it.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as error:
        raise SettingsError(
            f'"{path}" is not a readable checkpoint: it is truncated, or holds other objects '
            "than tensors; use another checkpoint of the run."
        ) from error


def read_header(path: Path, stage: str) -> dict[str, Any]:
    """Return a checkpoint's format, stage and step; SettingsError if it is not of `stage`."""
    checkpoint = read_checkpoint(path)
    header = checkpoint.get(HEADER) if isinstance(checkpoint, dict) else None
    if not isinstance(header, dict):
        raise SettingsError(
            f'"{path}" is not a checkpoint of dabfusion; use the commands import-lfdm and '
            "export-lfdm for checkpoints of LFDM and MRAA."
        )
    _check_format(path, header)
    if header.get("stage") != stage:
        raise SettingsError(
            f'"{path}" is a checkpoint of `train {header.get("stage")}`, but one of '
            f"`train {stage}` is expected."
        )
    return dict(header)


def _check_format(path: Path, described: dict[str, Any]) -> None:
    if described.get("format") != FORMAT:
        raise SettingsError(
            f'"{path}" is of format {described.get("format")}, and this version reads {FORMAT}; '
            "use the version of dabfusion that wrote it."
        )
