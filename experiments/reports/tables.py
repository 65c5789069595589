"""One table, three ways: Markdown, LaTeX and CSV."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
        "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        "–": "--", "−": "$-$", "×": r"$\times$",
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
