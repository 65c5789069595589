"""Read run folders for a comparison: settings, curves, scores, sample videos and cost."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.config.load import current_values
from experiments.config.yaml_text import read_mapping
from experiments.errors import SettingsError
from experiments.evaluation.evaluations import Evaluation, read_evaluations
from experiments.runs.folder import RunFolder


@dataclass(frozen=True)
class Sample:
    """A sample video of a run, with its beats in seconds from the start of the video."""

    clip: str
    step: int | None
    path: Path
    music_beats_s: Sequence[float]
    motion_beats_s: Sequence[float]


@dataclass(frozen=True)
class RunRecord:
    """One run; ``curves`` maps a metric to (step, value) pairs in the order of the log."""

    name: str
    stage: str
    machine: str
    steps: int
    seconds: float
    settings: dict[str, Any]
    manifest: dict[str, Any]
    curves: dict[str, list[tuple[int, float]]]
    evaluations: list[Evaluation]
    samples: list[Sample]


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """Return the run folders among ``paths`` and below those that are not run folders."""
    found: dict[Path, Path] = {}  # keyed by resolved path: a run may be given in several ways
    for path in paths:
        if not path.is_dir():
            raise SettingsError(f'"{path}" is not a folder; give run folders, or a folder of them.')
        configs = [path / "config.yaml"]
        if not configs[0].is_file():
            configs = sorted(path.rglob("config.yaml"))
            configs = [c for c in configs if c.with_name("manifest.json").is_file()]
        if not configs:
            raise SettingsError(
                f'"{path}" contains no run (no config.yaml next to a manifest.json in it or below '
                "it); give the folder that `dabfusion train` wrote."
            )
        for config in configs:
            found.setdefault(config.parent.resolve(), config.parent)
    return list(found.values())


def read_runs(paths: Sequence[Path]) -> list[RunRecord]:
    """Find and read all runs, each with a name that is unique among them."""
    folders = find_runs(paths)
    return [read_run(path, name) for path, name in zip(folders, run_names(folders), strict=True)]


def read_run(path: Path, name: str) -> RunRecord:
    """Read everything that a comparison shows of one run."""
    folder = RunFolder(path)
    manifest = folder.read_manifest()
    machine = manifest.get("machine") or {}
    gpus = machine.get("gpus") or []
    finished = manifest.get("finished")
    # Logged steps count from 0, and not every step is logged.
    steps = int(finished.get("step") or 0) if isinstance(finished, dict) else 0
    seconds, curves = math.nan, dict[str, list[tuple[int, float]]]()
    for line in folder.read_metrics():
        seconds = float(line.pop("seconds", None) or seconds)
        step = line.pop("step", None)
        if step is not None:
            steps = max(steps, int(step))
            for key, value in line.items():
                if isinstance(value, int | float) and key != "epoch":
                    curves.setdefault(key, []).append((int(step), float(value)))
    return RunRecord(
        name=name,
        stage=str(manifest["stage"]),
        machine=f"{len(gpus)} × {gpus[0]}" if gpus else str(machine.get("processor") or "unknown"),
        steps=steps,
        seconds=seconds,
        settings=current_values(read_mapping(folder.config)),
        manifest=manifest,
        curves=curves,
        evaluations=read_evaluations(path / "evaluation"),
        samples=list(_read_samples(folder.samples)),
    )


def run_names(paths: Sequence[Path]) -> list[str]:
    """Return the shortest path endings that tell the runs apart, in the same order."""
    resolved = [path.resolve() for path in paths]
    names = [path.name for path in resolved]
    for depth in range(2, 12):
        repeated = {name for name in names if names.count(name) > 1}
        names = [
            "/".join(path.parts[-depth:]) if name in repeated else name
            for name, path in zip(names, resolved, strict=True)
        ]
    return names


def _read_samples(folder: Path) -> Iterator[Sample]:
    """Yield videos named ``STEP-CLIP.mp4``, as training writes them, or ``CLIP.mp4``."""
    for path in sorted(folder.glob("*.mp4")):
        named = re.fullmatch(r"(\d{5,})-(.+)", path.stem)
        beats_file = path.with_suffix(".json")
        beats = json.loads(beats_file.read_text("utf-8")) if beats_file.is_file() else {}
        yield Sample(
            named[2] if named else path.stem,
            int(named[1]) if named else None,
            path,
            beats.get("music_beats_s") or (),
            beats.get("motion_beats_s") or (),
        )
