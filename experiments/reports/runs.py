"""Run folders as a comparison needs them: settings, curves, scores, videos, cost."""

import csv
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.config.load import read_yaml
from experiments.errors import SettingsError
from experiments.reports.beats import MusicBeats
from experiments.runs.folder import RunFolder

#: Settings that say where a run lies and how it is logged, not what it is.
NOT_COMPARED = ("out", "resume", "run.name", "run.group", "run.project", "run.wandb")
#: Columns of a per-clip table that name things.
CLIP_COLUMNS = ("clip", "clip_id", "name", "video")
MUSIC_COLUMNS = ("music_id", "music", "cluster")


@dataclass(frozen=True)
class Evaluation:
    """One evaluation: its protocol, and one row of numbers a clip."""

    protocol: Mapping[str, Any]
    protocol_hash: str
    clips: tuple[str, ...]
    music: tuple[str, ...]
    scores: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Sample:
    """One video of ``samples/``, and what is known of its beats (seconds from its start)."""

    clip: str
    step: int | None
    path: Path
    music_beats_s: tuple[float, ...] = ()
    motion_beats_s: tuple[float, ...] = ()


@dataclass
class RunRecord:
    """One run, read. ``curves``: metric -> (step, value) in order of the file."""

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
        """The GPU, or the processor where there is none."""
        machine = self.manifest.get("machine") or {}
        gpus = machine.get("gpus") or []
        return f"{len(gpus)} × {gpus[0]}" if gpus else str(machine.get("processor") or "unknown")


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """The run folders among ``paths`` and, where one is no run itself, below it.

    Raises:
        SettingsError: A path that is not a folder, or holds no run.
    """
    found: dict[Path, Path] = {}  # by the real path: one run may be named in several ways
    for path in paths:
        if not path.is_dir():
            raise SettingsError(f'"{path}" is not a folder; give run folders, or a folder of them.')
        if RunFolder(path).config.is_file():
            found.setdefault(path.resolve(), path)
            continue
        below = sorted(config.parent for config in path.rglob("config.yaml") if _is_run(config))
        if not below:
            raise SettingsError(
                f'"{path}" holds no run (no config.yaml beside a manifest.json in it or below it); '
                "give the folder that `dabfusion train` wrote."
            )
        for run in below:
            found.setdefault(run.resolve(), run)
    return list(found.values())


def read_run(path: Path, name: str) -> RunRecord:
    """Everything a comparison shows of one run.

    Raises:
        SettingsError: ``path`` is no run folder, or one of another format.
    """
    folder = RunFolder(path)
    manifest = folder.read_manifest()
    record = RunRecord(
        name=name,
        path=path,
        stage=str(manifest["stage"]),
        settings=dict(_flatten(read_yaml(folder.config))),
        manifest=manifest,
        evaluations=_evaluations(path),
    )
    finished = manifest.get("finished")
    if isinstance(finished, dict) and finished.get("step"):
        record.steps = int(finished["step"])  # lines count from 0, and not every step has one
    data = record.settings.get("data")
    record.samples = list(_samples(folder.samples, Path(data) if data else None))
    for line in folder.read_metrics():
        step = line.pop("step", None)
        seconds = line.pop("seconds", None)
        record.seconds = record.seconds if seconds is None else float(seconds)
        if step is None:
            continue
        record.steps = max(record.steps, int(step))
        for key, value in line.items():
            if isinstance(value, int | float) and key != "epoch":
                record.curves.setdefault(key, []).append((int(step), float(value)))
    return record


def run_names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell the runs apart, in the same order."""
    resolved = [path.resolve() for path in paths]
    names = [path.name for path in resolved]
    for depth in range(2, 12):
        twice = {name for name in names if names.count(name) > 1}
        if not twice:
            break
        names = [
            "/".join(path.parts[-depth:]) if name in twice else name
            for name, path in zip(names, resolved, strict=True)
        ]
    return names


def differing_settings(runs: Sequence[RunRecord]) -> list[str]:
    """Dotted names of settings that are not the same in all runs, in the order they are read."""
    names = list(dict.fromkeys(name for run in runs for name in run.settings))
    return [
        name
        for name in names
        if name not in NOT_COMPARED
        and len({json.dumps(run.settings.get(name), sort_keys=True) for run in runs}) > 1
    ]


def read_evaluation(folder: Path) -> Evaluation:
    """``protocol.json`` and ``clips.csv`` of one evaluation.

    Raises:
        SettingsError: One of them is missing or unreadable.
    """
    try:
        protocol = json.loads((folder / "protocol.json").read_text("utf-8"))
        digest = str(protocol.get("hash") or protocol["protocol_hash"])
        with (folder / "clips.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (ValueError, KeyError, AttributeError, FileNotFoundError) as error:
        raise SettingsError(
            f'"{folder}" holds no complete evaluation ({error}); run `dabfusion evaluate` again.'
        ) from error
    columns = list(rows[0]) if rows else []
    clip_column = next((name for name in CLIP_COLUMNS if name in columns), None)
    music_column = next((name for name in MUSIC_COLUMNS if name in columns), None)
    scores = {}
    for name in columns:
        values = tuple(_number(row[name]) for row in rows)
        if name not in (clip_column, music_column) and not all(map(math.isnan, values)):
            scores[name] = values
    clips = tuple(row[clip_column] if clip_column else str(i) for i, row in enumerate(rows))
    music = tuple(row[music_column] for row in rows) if music_column else clips
    return Evaluation(protocol, digest, clips, music, scores)


def _evaluations(path: Path) -> list[Evaluation]:
    """Those of ``evaluation/`` and of the folders in it; of one protocol, the first."""
    folder = path / "evaluation"
    protocols = (folder / "protocol.json", *sorted(folder.glob("*/protocol.json")))
    found: dict[str, Evaluation] = {}
    for evaluation in (read_evaluation(p.parent) for p in protocols if p.is_file()):
        found.setdefault(evaluation.protocol_hash, evaluation)
    return list(found.values())


def _samples(folder: Path, data: Path | None) -> Iterator[Sample]:
    """Videos named ``STEP-CLIP.mp4``, as training writes them, or ``CLIP.mp4``."""
    beats = MusicBeats(data)
    for path in sorted(folder.glob("*.mp4")):
        named = re.fullmatch(r"(\d{5,})-(.+)", path.stem)
        clip = named[2] if named else path.stem
        beside: dict[str, Any] = {}
        sidecar = path.with_suffix(".json")
        if sidecar.is_file():
            beside = json.loads(sidecar.read_text("utf-8"))
        yield Sample(
            clip=clip,
            step=int(named[1]) if named else None,
            path=path,
            music_beats_s=tuple(beside.get("music_beats_s") or beats.of(clip)),
            motion_beats_s=tuple(beside.get("motion_beats_s") or ()),
        )


def _is_run(config: Path) -> bool:
    return config.with_name("manifest.json").is_file()


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
