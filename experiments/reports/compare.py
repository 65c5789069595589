"""One page that compares runs: settings, scores by protocol, curves, videos in sync, cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datamodules.files import write_text
from experiments.errors import SettingsError
from experiments.reports.curves import Chart, chart
from experiments.reports.page import render_page
from experiments.reports.runs import (
    RunRecord,
    differing_settings,
    find_runs,
    read_run,
    run_names,
)
from experiments.reports.scores import ScoreTable, last_values, score_tables
from experiments.reports.videos import clips_context, embedded, shown_clips
from metrics.functional.bootstrap import Interval

#: Colours and dash patterns of the page's style sheet; run n takes n % 10 and n // 10.
COLOURS, DASHES = 10, 5


FIRST_CURVES = ("val/align_corrected", "val/loss")


@dataclass(frozen=True)
class CompareOptions:
    """``embed_mb``: videos of at most so many megabytes in all go into the page, more are linked
    relative to it; ``clips``: how many clips are shown; ``baseline``: name of a run."""

    title: str = "Comparison of runs"
    baseline: str | None = None
    embed_mb: float = 40.0
    clips: int = 8
    draws: int = 1000


@dataclass(frozen=True)
class Comparison:
    """What was written."""

    path: Path
    runs: int
    protocols: int
    videos: int
    embedded: bool


def compare_runs(paths: Sequence[Path], out: Path, options: CompareOptions) -> Comparison:
    """Read the runs and write the page.

    Args:
        paths: run folders, or folders of run folders.
        out: the page, ``*.html``.
        options: what to show.

    Raises:
        SettingsError: from reading the runs, or the baseline is none of them.
    """
    folders = find_runs(paths)
    names = run_names(folders)
    if options.baseline is not None and options.baseline not in names:
        raise SettingsError(
            f'The baseline "{options.baseline}" is none of the runs; they are called '
            f"{', '.join(names)}."
        )
    runs = [read_run(folder, name) for folder, name in zip(folders, names, strict=True)]
    tables = score_tables(runs, options.baseline, options.draws)
    clips = shown_clips(runs, options.clips)
    shown = [sample for clip in clips for _, sample in clip.videos]
    size = sum(sample.path.stat().st_size for sample in shown)
    embed = size <= options.embed_mb * 1e6
    context = {
        "title": options.title,
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "runs": [_run_context(index, run) for index, run in enumerate(runs)],
        "settings": _settings_context(runs),
        "tables": [_table_context(table, tables[0], names) for table in tables],
        "unscored": [run.name for run in runs if not run.evaluations],
        "last": _last_context(runs, names),
        "charts": _charts(runs, names),
        "clips": clips_context(clips, names, out, embed),
        "embedded": embedded(clips) if embed else [],
        "linked": not embed,
    }
    write_text(out, render_page("compare.html.j2", context))
    return Comparison(out, len(runs), len(tables), len(shown), embed)


def format_number(value: float | None, sign: str = "") -> str:
    """Three decimals, or as many as a number needs; a dash for what is not there."""
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) < 10:
        plain = abs(value) >= 0.001 or value == 0
        return f"{value:{sign}.3f}" if plain else f"{value:{sign}.2g}"
    return f"{value:{sign}.3g}" if abs(value) < 1000 else f"{value:{sign},.0f}"


def format_seconds(seconds: float) -> str:
    """``1 h 02 min``, ``3 min 05 s`` or ``12.3 s``."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"


def _run_context(index: int, run: RunRecord) -> dict[str, Any]:
    code = run.manifest.get("code") or {}
    per_step = run.seconds / run.steps if run.steps else math.nan
    return {
        "index": index,
        "name": run.name,
        "stage": run.stage,
        "preset": run.manifest.get("preset") or "–",
        "colour": index % COLOURS,
        "dash": index // COLOURS % DASHES,
        "steps": run.steps,
        "seconds": None if math.isnan(run.seconds) else run.seconds,
        "time": format_seconds(run.seconds),
        "per_step": None if math.isnan(per_step) else per_step,
        "per_step_text": format_seconds(per_step) if per_step >= 1 else _milliseconds(per_step),
        "machine": run.machine,
        "commit": str(code.get("commit") or "–")[:10] + (" +" if code.get("dirty") else ""),
        "finished": bool(run.manifest.get("finished")),
        "command": run.manifest.get("command") or "",
    }


def _milliseconds(seconds: float) -> str:
    return "–" if math.isnan(seconds) else f"{1000 * seconds:.3g} ms"


def _settings_context(runs: Sequence[RunRecord]) -> dict[str, Any]:
    names = differing_settings(runs)
    rows = [[_setting_text(run.settings.get(name)) for name in names] for run in runs]
    return {"names": names, "rows": rows}


def _setting_text(value: Any) -> str:
    if value is None or value == "":
        return "–"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _table_context(table: ScoreTable, first: ScoreTable, names: Sequence[str]) -> dict[str, Any]:
    keys = [key for key in {**first.protocol, **table.protocol} if "hash" not in key]
    rows = []
    for row in table.rows:
        cells = []
        for metric in table.metrics:
            score = row.scores.get(metric)
            difference = row.differences.get(metric)
            cells.append(
                {
                    "value": score.mean if score and math.isfinite(score.mean) else None,
                    "text": format_number(score.mean) if score else "–",
                    "interval": _interval(score),
                    "difference": _difference(difference),
                    "certain": difference is not None and _is_clear(difference),
                }
            )
        rows.append({"index": names.index(row.run), "clips": row.clips, "cells": cells})
    return {
        "hash": table.protocol_hash,
        "protocol": table.protocol,
        "apart": [key for key in keys if first.protocol.get(key) != table.protocol.get(key)],
        "metrics": table.metrics,
        "rows": rows,
        "baseline": names.index(table.baseline),
    }


def _is_clear(difference: Interval) -> bool:
    """Whether the interval leaves out 0, by more than rounding."""
    least = 1e-9 * max(abs(difference.low), abs(difference.high), 1.0)
    return difference.low > least or difference.high < -least


def _interval(score: Interval | None) -> str:
    if score is None or not math.isfinite(score.low):
        return ""
    return f"[{format_number(score.low)}, {format_number(score.high)}]"


def _difference(score: Interval | None) -> str:
    if score is None or not math.isfinite(score.mean):
        return ""
    return f"{format_number(score.mean, '+')} {_interval(score)}".strip()


def _last_context(runs: Sequence[RunRecord], names: Sequence[str]) -> dict[str, Any]:
    values = last_values(runs)
    rows = []
    for index, name in enumerate(names):
        cells = [
            {"value": values[metric].get(name), "text": format_number(values[metric].get(name))}
            for metric in values
        ]
        if any(cell["value"] is not None for cell in cells):
            rows.append({"index": index, "cells": cells})
    return {"metrics": list(values), "rows": rows}


def _charts(runs: Sequence[RunRecord], names: Sequence[str]) -> list[Chart]:
    # Validation first: it is what runs are compared by.
    keys = {key for run in runs for key in run.curves}
    charts = []
    for key in sorted(keys, key=lambda k: (not k.startswith("val/"), k not in FIRST_CURVES, k)):
        curves = {i: run.curves[key] for i, run in enumerate(runs) if key in run.curves}
        drawn = chart(key, curves, names)
        if drawn is not None:
            charts.append(drawn)
    return charts
