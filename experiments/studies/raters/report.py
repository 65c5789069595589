"""The analysis of a rater study as Markdown, JSON and figures."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from datamodules.files import write_text
from experiments.reports.page import without_nan
from experiments.reports.tables import markdown_table
from experiments.studies.raters.analysis import Analysis, QuestionResult
from metrics.functional.bootstrap import Interval


def write_report(analysis: Analysis, out: Path) -> Path:
    """Write ``report.md``, ``analysis.json`` and ``strengths_*.svg``; return the first.

    Args:
        analysis: From ``analyze_study``.
        out: Folder, created if needed; files of the same names are replaced.
    """
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(without_nan(asdict(analysis)), indent=1, allow_nan=False)
    write_text(out / "analysis.json", text + "\n")
    used = sum(rater.used for rater in analysis.raters)
    header = ["rater", "answers", "catch trials failed", "repeats answered the same"]
    rows = [
        [
            *(r.name, r.answers, f"{r.checks_failed} of {r.checks}"),
            *(f"{r.repeats_same} of {r.repeats}", f"{r.median_seconds:.1f}"),
            "yes" if r.used else "no",
        ]
        for r in analysis.raters
    ]
    parts = [
        f"# Rater study {analysis.study}",
        f"{used} of {len(analysis.raters)} raters used; the others failed too many catch trials. "
        f"{analysis.unseen_pairs} pairs were seen by nobody.",
        markdown_table([*header, "seconds per pair", "used"], rows),
    ]
    for question in analysis.questions:
        parts += _question(question)
        if question.strengths:
            name = f"strengths_{question.name}.svg"
            _draw_strengths(question, out / name)
            parts.append(f"![Strengths]({name})")
    write_text(out / "report.md", "\n\n".join(parts) + "\n")
    return out / "report.md"


def show(value: Interval) -> str:
    """Format as ``0.62 [0.51, 0.72]``; a dash for what is not defined."""
    if math.isnan(value.mean):
        return "–"
    return f"{value.text(2)} [–]" if math.isnan(value.low) else value.text(2)


def _question(question: QuestionResult) -> Iterator[str]:
    yield f"## {question.text}"
    yield (
        f"{question.votes} answers. Left video chosen: {show(question.left_share)} (0.50 if the "
        f"side does not matter). Agreement between raters: Krippendorff's alpha "
        f"{show(question.alpha)} (1: complete, 0: chance; interval resampled by pair)."
    )
    yield markdown_table(
        ["preferred", "to", "answers", "rate, Wilson 95%", "rate, 95% resampled by rater"],
        [
            (p.first, p.second, p.answers, show(p.rate), show(p.by_rater))
            for p in question.preferences
        ],
    )
    if question.strengths:
        yield markdown_table(
            ["method", "Bradley-Terry log strength, 95%", "95% resampled by rater"],
            [(s.method, show(s.independent), show(s.by_rater)) for s in question.strengths],
        )
    if question.with_prior:
        yield (
            "Some methods never lost: half a win was added each way between methods that met, "
            "which keeps strengths finite and makes them smaller."
        )
    if question.metrics:
        yield markdown_table(
            ["metric", "pairs", "rank correlation with preference", "predicts the majority",
             "rank correlation over methods"],
            [
                (m.metric, m.pairs, show(m.spearman), show(m.accuracy),
                 "–" if math.isnan(m.system) else f"{m.system:.2f}")
                for m in question.metrics
            ],
        )  # fmt: skip
        yield (
            "Intervals are resampled by clip. Metrics for which smaller is better have negative "
            "correlations."
        )


def _draw_strengths(question: QuestionResult, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 0.9 + 0.4 * len(question.strengths)), layout="constrained")
    axes = figure.subplots()
    rows = question.strengths[::-1]
    means = [row.independent.mean for row in rows]
    half = [row.independent.high - row.independent.mean for row in rows]
    axes.errorbar(means, [row.method for row in rows], xerr=half, fmt="o", color="#0b5f8a")
    axes.axvline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    axes.set_xlabel("Bradley-Terry log strength, 95% interval")
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
