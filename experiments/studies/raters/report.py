"""The analysis of a rater study as Markdown, JSON and a figure."""

import json
from dataclasses import asdict
from pathlib import Path

from datamodules.files import write_text
from experiments.reports.page import without_nan
from experiments.studies.raters.analysis import Analysis, QuestionResult
from experiments.studies.raters.statistics import Interval


def write_report(analysis: Analysis, out: Path) -> Path:
    """Write ``report.md``, ``analysis.json`` and ``strengths_*.svg`` to ``out``; return the first.

    Args:
        analysis: from ``analyse_study``.
        out: folder; made where missing, files of the same names replaced.
    """
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(without_nan(asdict(analysis)), indent=1, allow_nan=False)
    write_text(out / "analysis.json", text + "\n")
    parts = [_raters(analysis)]
    for question in analysis.questions:
        parts.append(_question(question))
        if question.strengths:
            _draw(question, out / f"strengths_{question.name}.svg")
            parts.append(f"![Strengths](strengths_{question.name}.svg)")
    report = out / "report.md"
    write_text(report, "\n\n".join(parts) + "\n")
    return report


def show(interval: Interval, form: str = ".2f") -> str:
    """``0.62 [0.51, 0.72]``; a dash for what is not defined."""
    if interval.value != interval.value:
        return "–"
    if interval.low != interval.low:
        return f"{interval.value:{form}} [–]"
    return f"{interval.value:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def _raters(analysis: Analysis) -> str:
    used = sum(rater.used for rater in analysis.raters)
    lines = [
        f"# Rater study {analysis.study}",
        "",
        f"{used} of {len(analysis.raters)} raters used (the others failed too many checks). "
        f"{analysis.unfinished_pairs} pairs were seen by nobody.",
        "",
        "| rater | answers | checks failed | repeats answered alike | seconds a pair | used |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for r in analysis.raters:
        lines.append(
            f"| {r.name} | {r.answers} | {r.checks_failed} of {r.checks} | "
            f"{r.repeats_same} of {r.repeats} | {r.median_seconds:.1f} | "
            f"{'yes' if r.used else 'no'} |"
        )
    return "\n".join(lines)


def _question(q: QuestionResult) -> str:
    lines = [
        f"## {q.text}",
        "",
        f"{q.votes} answers. Left side chosen: {show(q.left_share)} (0.50 if sides do not matter). "
        f"Agreement of raters: Krippendorff's alpha {show(q.alpha)} "
        "(1 complete, 0 chance; interval over pairs).",
        "",
        "| preferred | to | answers | rate, Wilson 95% | rate, 95% over raters |",
        "| --- | --- | ---: | --- | --- |",
    ]
    for p in q.preferences:
        lines.append(
            f"| {p.first} | {p.second} | {p.answers} | {show(p.rate)} | {show(p.by_rater)} |"
        )
    if q.strengths:
        lines += [
            "",
            "| method | Bradley-Terry log strength, 95% | 95% over raters |",
            "| --- | --- | --- |",
        ]
        lines += [
            f"| {s.method} | {show(s.independent)} | {show(s.by_rater)} |" for s in q.strengths
        ]
    if q.with_prior:
        lines += [
            "",
            "Some methods never lost: half a win each way was added between methods that met, "
            "which keeps strengths finite and draws them together.",
        ]
    if q.metrics:
        lines += [
            "",
            "| metric | pairs | rank correlation with preference | names the majority's choice "
            "| over methods |",
            "| --- | ---: | --- | --- | ---: |",
        ]
        for m in q.metrics:
            system = "–" if m.system != m.system else f"{m.system:.2f}"
            lines.append(
                f"| {m.metric} | {m.pairs} | {show(m.spearman)} | {show(m.accuracy)} | {system} |"
            )
        lines += ["", "Intervals redraw clips. Metrics better when smaller come out negative."]
    return "\n".join(lines)


def _draw(question: QuestionResult, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 0.9 + 0.4 * len(question.strengths)), layout="constrained")
    axes = figure.subplots()
    for row, strength in enumerate(reversed(question.strengths)):
        axes.plot(
            [strength.independent.low, strength.independent.high], [row, row], color="#0b5f8a"
        )
        axes.plot([strength.strength], [row], "o", color="#0b5f8a")
    names = [strength.method for strength in reversed(question.strengths)]
    axes.set_yticks(range(len(names)), labels=names)
    axes.axvline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    axes.set_xlabel("Bradley-Terry log strength, 95% interval")
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
