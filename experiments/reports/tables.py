"""Tables in Markdown, and how reports format numbers."""

import math
import re
from collections.abc import Iterable, Sequence

from metrics.functional.bootstrap import Interval

#: A number, alone or with an interval or a unit after it.
_NUMBER = re.compile(r"[-+−]?\d[\d,.]*([eE][-+]?\d+)?( .*|%)?")


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format a table in GitHub-flavored Markdown.

    Columns of numbers, also with an interval or unit after them or a dash for none, are aligned
    to the right.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    rules = []
    for place in range(len(header)):
        filled = [row[place] for row in cells if row[place] not in ("", "–")]
        rules.append("---:" if filled and all(map(_NUMBER.fullmatch, filled)) else "---")
    return "\n".join(
        "| " + " | ".join(cell.replace("|", r"\|").replace("\n", " ") for cell in line) + " |"
        for line in [header, rules, *cells]
    )


def format_number(value: float | None, sign: str = "") -> str:
    """Format with three decimals or as many digits as the number needs; a dash for None or NaN."""
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) < 10:
        plain = abs(value) >= 0.001 or value == 0
        return f"{value:{sign}.3f}" if plain else f"{value:{sign}.2g}"
    return f"{value:{sign}.3g}" if abs(value) < 1000 else f"{value:{sign},.0f}"


def format_ends(interval: Interval | None) -> str:
    """Format the ends of an interval as ``[0.51, 0.72]``; empty without an interval."""
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
