"""The flow study's page, made from the numbers in `results.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from experiments.config.load import current_values, to_dict
from experiments.errors import SettingsError
from experiments.evaluation.clips import summarize
from experiments.runs.folder import RunFolder
from experiments.studies.flow.measure import Row
from experiments.studies.page import fill_template, interval
from lightning_modules.checkpoints import read_metadata
from metrics.functional import Interval

#: Thirds of the clips, by speed and by how far copying the reference is from the truth.
SPEEDS = ("slow", "medium", "fast")
CONTRASTS = ("strong contrast", "medium contrast", "weak contrast")
#: Settings that do not change what is learned; folders, which mean nothing elsewhere, are left out.
_FOLDERS = ("out", "data", "autoencoder")
_APART = ("resume", "preset", "run.")


def summaries(rows: Sequence[Row]) -> dict[str, Interval]:
    """Return means with intervals, resampled by song, or by clip where there is only one song."""
    songs = {row["music"] for row in rows}
    clips = range(len(rows))
    return summarize(
        [{**rows[i], "music_id": rows[i]["music"] if len(songs) > 1 else i} for i in clips]
    )


def groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows in thirds of speed and of contrast, and by genre."""
    found: dict[str, list[Row]] = {}
    for measure, names in (("speed", SPEEDS), ("psnr_copy", CONTRASTS)):
        order = sorted(rows, key=itemgetter(measure))
        parts = np.array_split(np.arange(len(order)), len(names))
        found |= {name: [order[i] for i in part] for name, part in zip(names, parts, strict=True)}
    for genre in sorted({row["genre"] for row in rows}):
        found[genre] = [row for row in rows if row["genre"] == genre]
    return found


def read_run(path: Path) -> dict[str, Any]:
    """Return a title, settings, last validation and PSNR gains (dB) over steps done of a run."""
    folder = RunFolder(path)
    settings = folder.read_settings()
    lines = [line for line in folder.read_metrics() if "val/psnr_gain" in line]
    if not lines:
        raise SettingsError(
            f'"{path}" has no validation of stage 1 in metrics.jsonl: give a run of `dabfusion '
            "train autoencoder` that was validated at least once."
        )
    lines.sort(key=itemgetter("step"))
    loss, steps = settings.stage1.loss, settings.stage1.train.steps
    labels = max(loss.joints, loss.teacher_flow, loss.teacher_occlusion) > 0
    last, flat = lines[-1].items(), current_values(to_dict(settings)).items()
    return {
        "title": f"{steps:,} steps, {'joints' if labels else 'no labels'}",
        "steps": steps,
        "labels": labels,
        "curve": [(line["step"] + 1, line["val/psnr_gain"]) for line in lines],
        "val": {k.removeprefix("val/"): v for k, v in last if k.startswith("val/")},
        "settings": {name: value for name, value in flat if name not in _FOLDERS},
    }


def describe(path: Path) -> str:
    """Describe a run by its training, an export by its digest."""
    if not (path / "metrics.jsonl").is_file():
        return f"autoencoder {read_metadata(path)['digest']}"
    found = read_run(path)
    return f"{found['title']} at {found['settings']['clips.size']} pixels"


def changes(settings: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    """Return the settings that differ from the first ones, as words of the command line."""
    found = [
        f"{name}={value}"
        for name, value in settings.items()
        if value != first.get(name) and not name.startswith(_APART)
    ]
    return " ".join(found) or "nothing"


def page(results: Mapping[str, Any], command: str) -> str:
    """Return the report of the numbers in `results.json`."""
    rendered = [row for row in results["clips"] if "genre" in row]
    found = {name: summaries(group) for name, group in groups(rendered).items()}
    values = {"groups": found, "interval": interval, "changes": changes, "command": command}
    return fill_template(Path(__file__).with_name("report.md.j2"), **results, **values)
