"""What every study writes: a page in Markdown, figures, and its numbers as JSON.

A page is made from the numbers alone, so that it can be written again from the JSON file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datamodules.files import replacing, write_text
from metrics.functional.bootstrap import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def fill_template(template: Path, **values: Any) -> str:
    """Return the page of a Jinja template in Markdown; tables are among the values, as text."""
    from jinja2 import Environment, StrictUndefined

    # Lines with only a Jinja tag leave no empty line behind.
    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
    )
    return environment.from_string(template.read_text(encoding="utf-8")).render(values)


def write_results(out: Path, page: str, results: Any, names: tuple[str, str]) -> None:
    """Write a page and its numbers (anything that JSON can hold) under these file names."""
    write_text(out / names[0], page)
    write_text(out / names[1], json.dumps(results, indent=1, default=str) + "\n")


def interval(values: Mapping[str, Any]) -> Interval:
    """Return an interval that was read from JSON."""
    return Interval(**{name: values.get(name, 0) for name in Interval.__dataclass_fields__})


def new_figure(
    rows: int, columns: int, width: float, height: float, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure (sizes in inches) and its panels row by row; options are of `subplots`."""
    from matplotlib.figure import Figure

    # A bare Figure needs no display and does not change the state of pyplot.
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(np.ravel(figure.subplots(rows, columns, squeeze=False, **options)))


def save_figure(figure: Figure, path: Path, dpi: int = 120) -> None:
    """Write a figure as a PNG file."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi)


def draw_band(
    axes: Axes, x: Sequence[float], values: Sequence[Interval], factor: float = 1.0, **style: Any
) -> None:
    """Draw means, multiplied by a factor, as a line with their intervals as a band."""
    axes.plot(x, [factor * v.mean for v in values], "o-", markersize=4, **style)
    low, high = [factor * v.low for v in values], [factor * v.high for v in values]
    axes.fill_between(x, low, high, color=style.get("color"), alpha=0.13, linewidth=0)


def draw_bars(
    axes: Axes, x: Sequence[float], values: Sequence[Interval], width: float = 0.8, **style: Any
) -> None:
    """Draw means as bars with their intervals as error bars, where there are any."""
    means = np.array([value.mean for value in values])
    ends = np.array([[v.mean - v.low, v.high - v.mean] for v in values]).T.clip(0)
    axes.bar(x, means, width, **style)
    axes.errorbar(x, means, np.nan_to_num(ends), fmt="none", ecolor="#555555", capsize=2)
