"""One page that compares runs: settings, scores by protocol, curves, synchronized videos, cost."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datamodules.files import write_text
from experiments.errors import SettingsError
from experiments.reports.curves import chart_data, plotly_script
from experiments.reports.metric_names import best_runs, metric_title
from experiments.reports.page import TEMPLATES, render_page
from experiments.reports.runs import differing_settings, read_runs, seed_groups
from experiments.reports.scores import is_clear, last_values, score_tables
from experiments.reports.tables import format_ends, format_number, format_seconds
from experiments.reports.videos import base64_of, link_to, shown_clips


@dataclass(frozen=True)
class CompareOptions:
    """What a comparison shows.

    ``baseline`` is the name of a run. Videos are embedded if they have at most ``embed_mb``
    megabytes in all, otherwise linked. ``clips`` is the number of clips shown as videos, and
    ``draws`` the number of bootstrap draws of the intervals.
    """

    title: str = "Comparison of runs"
    baseline: str | None = None
    embed_mb: float = 40.0
    clips: int = 8
    draws: int = 1000


@dataclass(frozen=True)
class Comparison:
    """What was written: numbers of runs, protocols and videos, and whether those are embedded."""

    path: Path
    runs: int
    protocols: int
    videos: int
    embedded: bool


def compare_runs(paths: Sequence[Path], out: Path, options: CompareOptions) -> Comparison:
    """Read the runs and write the page.

    Args:
        paths: Run folders, or folders that contain run folders.
        out: The page, ``*.html``.
        options: What to show.

    Raises:
        SettingsError: A run cannot be read, or the baseline is not one of the runs.
    """
    runs = read_runs(paths)
    names = [run.name for run in runs]
    if options.baseline is not None and options.baseline not in names:
        raise SettingsError(
            f'The baseline "{options.baseline}" is not one of the runs; their names are '
            f"{', '.join(names)}."
        )
    tables = score_tables(runs, options.baseline, options.draws)
    clips = shown_clips(runs, options.clips)
    videos = [sample.path for clip in clips for _, sample in clip.videos]
    embed = sum(path.stat().st_size for path in videos) <= options.embed_mb * 1e6
    charts, constants = chart_data(runs)
    first = tables[0].protocol if tables else {}
    groups = seed_groups(runs)
    context: dict[str, Any] = {
        "title": options.title,
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
        "styles": _line_styles(groups.values()),
        "plotly": plotly_script() if charts else "",
        "clips": clips,
        "embedded": [base64_of(path) for path in videos] if embed else [],
        "embed": embed,
        "link_to": lambda path: link_to(path, out),
        "is_clear": is_clear,
        "best_runs": best_runs,
    }
    filters: dict[str, Callable[..., Any]] = {
        "number": format_number,
        "ends": format_ends,
        "seconds": format_seconds,
        "setting": _format_setting,
        "metric_title": metric_title,
    }
    write_text(out, render_page(TEMPLATES / "compare.html.j2", context, filters))
    return Comparison(out, len(runs), len(tables), len(videos), embed)


def _line_styles(groups: Iterable[Sequence[int]]) -> dict[int, tuple[int, int]]:
    """Return the color and dash pattern of each run in the style sheet: one color per group."""
    return {
        run: (number % 10, (number // 10 + place) % 5)
        for number, group in enumerate(groups)
        for place, run in enumerate(group)
    }


def _format_setting(value: Any) -> str:
    if value is None or value == "":
        return "–"
    return str(value).lower() if isinstance(value, bool) else str(value)
