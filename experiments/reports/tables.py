"""Tables as Markdown, LaTeX and CSV."""

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from metrics.functional.bootstrap import Interval

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
        "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        "–": "--", "−": "$-$", "×": r"$\times$",
    }
)  # fmt: skip


#: A number, alone or with an interval or a unit after it.
_NUMBER = re.compile(r"[-+−]?\d[\d,.]*([eE][-+]?\d+)?( .*|%)?")


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format a table in GitHub-flavored Markdown.

    A column in which every cell is a number (or a number with an interval or unit after it, or a
    dash where there is none) is aligned to the right.

    Args:
        header: Title of each column.
        rows: Cells of each row, as many as the header has; formatted with ``str``.

    Returns:
        The lines of the table, without a newline at the end.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    lines = [list(header), [_rule(column) for column in zip(*cells, strict=True)], *cells]
    if not cells:
        lines[1] = ["---"] * len(header)
    return "\n".join(
        "| " + " | ".join(cell.replace("|", r"\|").replace("\n", " ") for cell in line) + " |"
        for line in lines
    )


def _rule(column: Sequence[str]) -> str:
    filled = [cell for cell in column if cell not in ("", "–")]
    return "---:" if filled and all(map(_NUMBER.fullmatch, filled)) else "---"


@dataclass(frozen=True)
class Table:
    """Cells as text; LaTeX aligns the columns named in ``numeric`` to the right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    numeric: frozenset[str] = frozenset()

    def markdown(self) -> str:
        """Return the table in GitHub-flavored Markdown."""
        return markdown_table(self.columns, self.rows)

    def latex(self) -> str:
        """Return a LaTeX ``table`` with ``booktabs`` rules."""
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
    """Return CSV with a header and unrounded values; NaN becomes an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if isinstance(v, float) and math.isnan(v) else v for v in row])
    return text.getvalue()


def format_number(value: float | None, sign: str = "") -> str:
    """Format with three decimals or as many digits as the number needs; a dash for None or NaN."""
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) < 10:
        plain = abs(value) >= 0.001 or value == 0
        return f"{value:{sign}.3f}" if plain else f"{value:{sign}.2g}"
    return f"{value:{sign}.3g}" if abs(value) < 1000 else f"{value:{sign},.0f}"


def format_ends(interval: Interval | None) -> str:
    """Format the ends of an interval as ``[0.51, 0.72]``; empty where there is no interval."""
    if interval is None or not math.isfinite(interval.low):
        return ""
    return f"[{format_number(interval.low)}, {format_number(interval.high)}]"


def format_seconds(seconds: float) -> str:
    """Format as ``1 h 02 min``, ``3 min 05 s``, ``12.3 s`` or ``45.6 ms``; a dash for NaN."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"
