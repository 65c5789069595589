"""One page that compares runs: settings, scores by protocol, curves, synchronized videos, cost."""

import base64
import gzip
import json
import math
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from datamodules.files import write_text
from experiments.errors import SettingsError
from experiments.reports.page import TEMPLATES, render_page
from experiments.reports.runs import RunRecord, Sample, read_runs
from experiments.reports.scores import best_runs, is_clear, last_values, metric_title, score_tables
from experiments.reports.tables import format_ends, format_number, format_seconds

#: Settings that only say where a run is and how it is logged.
NOT_COMPARED = ("out", "resume", "run.name", "run.group", "run.project", "run.wandb")
#: Points of a curve; neighbors are averaged in longer ones.
MAX_POINTS = 200
#: Validation first, because runs are compared by it.
FIRST_CURVES = ("val/align_corrected", "val/loss")


class Comparison(NamedTuple):
    """What was written: numbers of runs, protocols and videos, and whether those are embedded."""

    path: Path
    runs: int
    protocols: int
    videos: int
    embedded: bool


def compare_runs(
    paths: Sequence[Path],
    out: Path,
    *,
    title: str = "Comparison of runs",
    baseline: str | None = None,
    embed_mb: float = 40.0,
    max_clips: int = 8,
    draws: int = 1000,
) -> Comparison:
    """Read the runs below ``paths`` and write the page ``out``.

    The other runs are compared to the ``baseline``, by default the first. Videos are embedded if
    they have at most ``embed_mb`` megabytes in all, otherwise linked.
    """
    runs = read_runs(paths)
    names = [run.name for run in runs]
    if baseline is not None and baseline not in names:
        raise SettingsError(
            f'The baseline "{baseline}" is not one of the runs; their names are {", ".join(names)}.'
        )
    tables = score_tables(runs, baseline, draws)
    clips = shown_clips(runs, max_clips)
    videos = [sample.path for clip in clips.values() for _, sample in clip]
    embed = sum(path.stat().st_size for path in videos) <= embed_mb * 1e6
    charts, constants = chart_data(runs)
    first = tables[0].protocol if tables else {}
    groups = seed_groups(runs)
    context: dict[str, Any] = {
        "title": title,
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "runs": runs,
        "number_of": {name: number for number, name in enumerate(names)},
        "settings": differing_settings(runs),
        "tables": tables,
        "first_protocol": {key: value for key, value in first.items() if "hash" not in key},
        "last": last_values(runs),
        "charts": charts,
        "constants": constants,
        "groups": groups,
        # Color and dash pattern of each run in the style sheet: one color per group.
        "styles": {
            run: (number % 10, (number // 10 + place) % 5)
            for number, group in enumerate(groups.values())
            for place, run in enumerate(group)
        },
        "plotly": _compressed_plotly() if charts else "",
        "clips": clips,
        # The page decodes a video when it comes into view.
        "embedded": [base64.b64encode(path.read_bytes()).decode() for path in videos if embed],
        "embed": embed,
        "link_to": lambda path: link_to(path, out),
        "is_clear": is_clear,
        "best_runs": best_runs,
    }
    filters: dict[str, Callable[..., Any]] = {
        "number": format_number,
        "ends": format_ends,
        "seconds": format_seconds,
        "metric_title": metric_title,
    }
    write_text(out, render_page(TEMPLATES / "compare.html.j2", context, filters))
    return Comparison(out, len(runs), len(tables), len(videos), embed)


def differing_settings(runs: Sequence[RunRecord]) -> list[str]:
    """Return the dotted names of settings that are not the same in all runs."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    return [
        name
        for name in names
        if name not in NOT_COMPARED and len({_setting_key(run, name) for run in runs}) > 1
    ]


def seed_groups(runs: Sequence[RunRecord]) -> dict[str, list[int]]:
    """Group runs that differ only in their seed; return indices of runs by the group's name.

    A run that is alone gives its name to the group, otherwise the group's settings do.
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


def shown_clips(
    runs: Sequence[RunRecord], max_clips: int
) -> dict[str, list[tuple[RunRecord, Sample]]]:
    """Return the newest video of each run by clip, clips that most runs have first.

    Clips with the same name from different data are different clips, which their titles tell.
    """
    clips: dict[tuple[str, str], dict[str, tuple[RunRecord, Sample]]] = {}
    for run in runs:
        data = str(run.manifest.get("data_digest") or "")
        for sample in sorted(run.samples, key=lambda s: -1 if s.step is None else s.step):
            clips.setdefault((sample.clip, data), {})[run.name] = (run, sample)
    order = sorted(clips, key=lambda key: (-len(clips[key]), key))[:max_clips]
    names = [clip for clip, _ in order]
    return {
        clip if names.count(clip) == 1 else f"{clip} · data {data[:8]}": [
            *clips[clip, data].values()
        ]
        for clip, data in order
    }


def link_to(video: Path, page: Path) -> str:
    """Return the address of a video relative to the page."""
    relative = os.path.relpath(video.resolve(), page.parent.resolve())
    return quote(Path(relative).as_posix())


def chart_data(runs: Sequence[RunRecord]) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Return the charts of the page, one per metric, and the metrics that are constant.

    A chart has its key, title, whether a logarithmic axis suits it (positive values over a factor
    of 50), whether neighbors were averaged, and x and y by index of the run.
    """
    keys = {key for run in runs for key in run.curves}
    charts, constants = [], {}
    for key in sorted(keys, key=lambda k: (not k.startswith("val/"), k not in FIRST_CURVES, k)):
        curves = {
            index: [(x, y) for x, y in run.curves.get(key, ()) if math.isfinite(y)]
            for index, run in enumerate(runs)
        }
        values = [y for points in curves.values() for _, y in points]
        if len(values) > 1 and min(values) == max(values):
            constants[key] = values[0]
        elif values:
            lines = {}
            for index, points in curves.items():
                if points:
                    x, y = zip(*thin(points), strict=True)
                    lines[index] = {"x": x, "y": [float(f"{value:.5g}") for value in y]}
            averaged = any(len(points) > MAX_POINTS for points in curves.values())
            logarithmic = min(values) > 0 and max(values) / min(values) >= 50
            chart = {"metric": key, "title": metric_title(key), "log": logarithmic}
            charts.append({**chart, "averaged": averaged, "lines": lines})
    return charts, constants


def thin(points: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    """Return at most ``MAX_POINTS``: means of equally many neighbors, and the last point."""
    if len(points) <= MAX_POINTS:
        return [(float(x), y) for x, y in points]
    *body, last = points
    size = math.ceil(len(body) / (MAX_POINTS - 1))
    groups = [body[i : i + size] for i in range(0, len(body), size)]
    means = [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]
    return [*means, (float(last[0]), last[1])]


def _compressed_plotly() -> str:
    """Return Plotly's JavaScript, compressed by gzip, in base64 (2 MB)."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def _setting_key(run: RunRecord, name: str) -> str:
    return json.dumps(run.settings.get(name), sort_keys=True)
