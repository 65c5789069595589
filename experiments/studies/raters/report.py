"""The analysis of a rater study as Markdown and JSON."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from datamodules.files import write_text
from experiments.reports.page import without_nan
from experiments.reports.tables import markdown_table
from metrics.functional.bootstrap import Interval


def write_report(analysis: Mapping[str, Any], out: Path) -> Path:
    """Write ``report.md``, which is returned, and ``analysis.json``."""
    write_text(out / "analysis.json", json.dumps(without_nan(analysis), indent=1) + "\n")
    raters = analysis["raters"]
    parts = [
        f"# Rater study {analysis['study']}",
        f"{sum(rater['used'] for rater in raters)} of {len(raters)} raters used; the others failed "
        f"too many catch trials. {analysis['unseen_pairs']} pairs were answered by nobody.",
        _table(raters),
        *(part for question in analysis["questions"] for part in _question(question)),
    ]
    write_text(out / "report.md", "\n\n".join(parts) + "\n")
    return out / "report.md"


def show(value: Any) -> str:
    """Format a cell; an interval as ``0.62 [0.51, 0.72]``, a dash for what is not defined."""
    if isinstance(value, Interval):
        return f"{show(value.mean)} [–]" if math.isnan(value.low) else value.text(2)
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.2f}"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _table(rows: list[dict[str, Any]]) -> str:
    header = [name.replace("_", " ") for name in rows[0]]
    return markdown_table(header, [list(map(show, row.values())) for row in rows])


def _question(question: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {question['text']}"
    yield (
        f"{question['votes']} answers; 95% intervals, resampled by rater. Left video chosen: "
        f"{show(question['left_share'])} (0.50 if the side does not matter). Agreement between "
        f"raters: Krippendorff's alpha {show(question['alpha'])} (1: complete, 0: chance; "
        "resampled by pair)."
    )
    for name, note in (
        ("preferences", "A tie counts half."),
        ("strengths", "Bradley-Terry model. Where a method never lost, half a win is added each "
         "way between methods that met, which keeps strengths finite and makes them smaller."),
        ("metrics", "Agreement of metrics with preferences, resampled by clip. Metrics for which "
         "smaller is better have negative correlations."),
    ):  # fmt: skip
        if question[name]:
            yield from (_table(question[name]), note)
