"""Read run folders for a comparison: settings, curves, scores, sample videos and cost."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from datamodules.windows import CLIP_ID, parse_clip_id
from experiments.config.load import current_values
from experiments.config.yaml_text import read_mapping
from experiments.errors import SettingsError
from experiments.evaluation.evaluations import Evaluation, read_evaluations
from experiments.runs.folder import RunFolder

#: Settings that only say where a run is and how it is logged.
NOT_COMPARED = ("out", "resume", "run.name", "run.group", "run.project", "run.wandb")
#: Music beats are marked up to this time, seconds.
MAX_BEAT_S = 60.0


@dataclass(frozen=True)
class Sample:
    """A sample video of a run, with its beats in seconds from the start of the video."""

    clip: str
    step: int | None
    path: Path
    music_beats_s: tuple[float, ...] = ()
    motion_beats_s: tuple[float, ...] = ()


@dataclass
class RunRecord:
    """One run; ``curves`` maps a metric to (step, value) pairs in the order of the log."""

    name: str
    path: Path
    stage: str
    settings: dict[str, Any]
    manifest: dict[str, Any]
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    steps: int = 0
    seconds: float = math.nan
    evaluations: list[Evaluation] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    @property
    def machine(self) -> str:
        """The GPUs, or the processor if there is none."""
        machine = self.manifest.get("machine") or {}
        gpus = machine.get("gpus") or []
        return f"{len(gpus)} × {gpus[0]}" if gpus else str(machine.get("processor") or "unknown")


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """Return the run folders among ``paths`` and below those that are not run folders.

    Raises:
        SettingsError: A path is not a folder, or contains no run.
    """
    found: dict[Path, Path] = {}  # keyed by resolved path: a run may be given in several ways
    for path in paths:
        if not path.is_dir():
            raise SettingsError(f'"{path}" is not a folder; give run folders, or a folder of them.')
        runs = [path] if RunFolder(path).config.is_file() else sorted(_runs_below(path))
        if not runs:
            raise SettingsError(
                f'"{path}" contains no run (no config.yaml next to a manifest.json in it or below '
                "it); give the folder that `dabfusion train` wrote."
            )
        for run in runs:
            found.setdefault(run.resolve(), run)
    return list(found.values())


def read_runs(paths: Sequence[Path]) -> list[RunRecord]:
    """Find and read all runs, each with a name that is unique among them.

    Raises:
        SettingsError: As ``find_runs`` and ``read_run``.
    """
    folders = find_runs(paths)
    return [read_run(path, name) for path, name in zip(folders, run_names(folders), strict=True)]


def read_run(path: Path, name: str) -> RunRecord:
    """Read everything that a comparison shows of one run.

    Raises:
        SettingsError: ``path`` is not a run folder, or has another format.
    """
    folder = RunFolder(path)
    manifest = folder.read_manifest()
    settings = current_values(read_mapping(folder.config))
    record = RunRecord(name, path, str(manifest["stage"]), settings, manifest)
    record.evaluations = read_evaluations(path / "evaluation")
    data = settings.get("data")
    record.samples = list(_read_samples(folder.samples, Path(data) if data else None))
    for line in folder.read_metrics():
        step, seconds = line.pop("step", None), line.pop("seconds", None)
        record.seconds = record.seconds if seconds is None else float(seconds)
        if step is None:
            continue
        record.steps = max(record.steps, int(step))
        for key, value in line.items():
            if isinstance(value, int | float) and key != "epoch":
                record.curves.setdefault(key, []).append((int(step), float(value)))
    finished = manifest.get("finished")
    if isinstance(finished, dict) and finished.get("step"):
        # Logged steps count from 0, and not every step is logged.
        record.steps = max(record.steps, int(finished["step"]))
    return record


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


def differing_settings(runs: Sequence[RunRecord]) -> list[str]:
    """Return the dotted names of settings that are not the same in all runs."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    return [
        name
        for name in names
        if name not in NOT_COMPARED and len({_setting_key(run, name) for run in runs}) > 1
    ]


def seed_groups(runs: Sequence[RunRecord]) -> dict[str, list[int]]:
    """Group runs that differ only in their seed.

    Returns:
        Indices of the runs by the name of their group: the run's own name if it is alone,
        otherwise the settings that distinguish the group.
    """
    names = [name for name in differing_settings(runs) if name != "seed"]
    members: dict[tuple[str, ...], list[int]] = {}
    for index, run in enumerate(runs):
        key = (run.stage, *(_setting_key(run, name) for name in names))
        members.setdefault(key, []).append(index)
    groups = {}
    for indices in members.values():
        run = runs[indices[0]]
        label = ", ".join(f"{name.split('.')[-1]}={run.settings.get(name)}" for name in names[:3])
        several = f"{label if 0 < len(names) <= 3 else run.name} ({len(indices)} seeds)"
        groups[run.name if len(indices) == 1 else several] = indices
    return groups


def _read_samples(folder: Path, data: Path | None) -> Iterator[Sample]:
    """Yield videos named ``STEP-CLIP.mp4``, as training writes them, or ``CLIP.mp4``."""
    for path in sorted(folder.glob("*.mp4")):
        named = re.fullmatch(r"(\d{5,})-(.+)", path.stem)
        clip = named[2] if named else path.stem
        sidecar = path.with_suffix(".json")
        beats = json.loads(sidecar.read_text("utf-8")) if sidecar.is_file() else {}
        music = beats.get("music_beats_s") or _music_beats(data, clip)
        motion = beats.get("motion_beats_s") or ()
        yield Sample(clip, int(named[1]) if named else None, path, tuple(music), tuple(motion))


def _music_beats(data: Path | None, clip: str) -> list[float]:
    """Return the beats of a clip (``NAME`` or ``NAME@FIRST_FRAME``) from its prepared data."""
    if data is None or not (data / "index.parquet").is_file():
        return []
    fps, beats = _beats_of_data(data)
    name, start, speed = clip, 0.0, 1.0
    if CLIP_ID.fullmatch(clip):
        name, window = parse_clip_id(clip)
        start, speed = window.start / fps, window.speed
    found = [(beat - start) / speed for beat in beats.get(name, ())]
    return [round(beat, 4) for beat in found if 0 <= beat < MAX_BEAT_S]


@lru_cache(maxsize=8)
def _beats_of_data(data: Path) -> tuple[float, dict[str, tuple[float, ...]]]:
    from datamodules.index import read_index

    index = read_index(data)
    beats = zip(index.names, index.beats(), strict=True)
    return index.settings.fps, {name: () if of is None else tuple(of) for name, of in beats}


def _runs_below(path: Path) -> Iterator[Path]:
    configs = path.rglob("config.yaml")
    return (c.parent for c in configs if c.with_name("manifest.json").is_file())


def _setting_key(run: RunRecord, name: str) -> str:
    return json.dumps(run.settings.get(name), sort_keys=True)
