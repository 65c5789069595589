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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from datamodules.files import write_text
from experiments.config.load import Settings, read_settings, to_dict
from experiments.errors import SettingsError

#: Version of the format; increased when an older version would misread a folder.
FORMAT = 1
STAGES = ("autoencoder", "diffusion", "music-adapter")


class _Inside:
    """A path in the run folder, as an attribute of `RunFolder`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, run: RunFolder, owner: type[RunFolder]) -> Path:
        return run.path / self.name


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run, and methods that read and write its small files."""

    path: Path

    config = _Inside("config.yaml")
    manifest = _Inside("manifest.json")
    metrics = _Inside("metrics.jsonl")
    last = _Inside("checkpoints/last.ckpt")
    best = _Inside("checkpoints/best.ckpt")
    samples = _Inside("samples")
    export = _Inside("export")
    log = _Inside("log.txt")

    def exists(self) -> bool:
        """Return whether a run has been started here."""
        return self.manifest.exists() or self.last.exists()

    def write_settings(self, settings: Settings) -> None:
        """Write `config.yaml`."""
        write_text(self.config, yaml.safe_dump(to_dict(settings), sort_keys=False))

    def read_settings(self) -> Settings:
        """Read the settings in `config.yaml`.

        Raises:
            SettingsError: They are missing, unreadable or of another version of the program.
        """
        if not self.config.is_file():
            raise SettingsError(
                f'"{self.path}" holds no run: config.yaml is missing; give the folder that '
                "`dabfusion train` wrote."
            )
        return read_settings(self.config)

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Write `manifest.json`."""
        write_text(self.manifest, json.dumps(manifest, indent=2) + "\n")

    def read_manifest(self) -> dict[str, Any]:
        """Read the manifest.

        Raises:
            SettingsError: It is missing, unreadable or of another format.
        """
        try:
            manifest = json.loads(self.manifest.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise SettingsError(
                f'"{self.path}" holds no run: manifest.json is missing; give the folder that '
                "`dabfusion train` wrote."
            ) from error
        except (ValueError, RecursionError) as error:
            raise SettingsError(
                f'"{self.manifest}" is not valid JSON; restore it from a copy of the run.'
            ) from error
        found = manifest.get("format") if isinstance(manifest, dict) else None
        if found != FORMAT:
            raise SettingsError(
                f'"{self.path}" is a run of format {found}, and this version reads {FORMAT}; '
                "use the version of dabfusion that wrote it."
            )
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
