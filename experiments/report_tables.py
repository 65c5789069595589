"""One table, four ways: Markdown, LaTeX, CSV, and a figure of means with intervals."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
        "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        "–": "--", "×": r"$\times$",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Cells as text; ``numeric`` names the columns that are set flush right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    numeric: frozenset[str] = frozenset()

    def markdown(self) -> str:
        """A GitHub-flavoured table."""
        rule = ["---:" if name in self.numeric else "---" for name in self.columns]
        lines = [self.columns, tuple(rule), *self.rows]
        return "\n".join(
            "| " + " | ".join(c.replace("|", r"\|") for c in row) + " |" for row in lines
        )

    def latex(self) -> str:
        """A ``table`` with ``booktabs`` rules."""
        kinds = "".join("r" if name in self.numeric else "l" for name in self.columns)
        body = [" & ".join(cell.translate(_LATEX) for cell in row) + r" \\" for row in self.rows]
        head = " & ".join(name.translate(_LATEX) for name in self.columns) + r" \\"
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{self.caption.translate(_LATEX)}}}",
                rf"\begin{{tabular}}{{{kinds}}}",
                r"\toprule",
                head,
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
            ]
        )


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Unrounded values with a header; empty where there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if isinstance(v, float) and math.isnan(v) else v for v in row])
    return text.getvalue()


@dataclass(frozen=True)
class Bar:
    """A mean with its interval, and the single values (seeds) behind it."""

    label: str
    mean: float
    low: float
    high: float
    points: tuple[float, ...] = ()


def draw_bars(bars: Sequence[Bar], title: str, path: Path) -> None:
    """Means with intervals as dots and lines, one row each, single values as small circles."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.1 + 0.38 * len(bars)), layout="constrained")
    axes = figure.subplots()
    for row, bar in enumerate(bars):
        if not math.isnan(bar.low):
            axes.plot([bar.low, bar.high], [row, row], color="#0b5f8a", linewidth=2)
        axes.plot([bar.mean], [row], "o", color="#0b5f8a")
        axes.plot(bar.points, [row] * len(bar.points), "o", mfc="none", color="#8a8a8a", ms=4)
    axes.set_yticks(range(len(bars)), labels=[bar.label for bar in bars])
    axes.invert_yaxis()
    axes.set_xlabel(title)
    axes.grid(axis="x", color="#e0e0e0", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)
