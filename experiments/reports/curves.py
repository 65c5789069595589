"""Learning curves of runs, thinned for the page, which draws them with Plotly."""

import base64
import gzip
import math
from collections.abc import Sequence
from typing import Any

from experiments.reports.metric_names import metric_title
from experiments.reports.runs import RunRecord

#: Points of a curve; neighbors are averaged in longer ones.
MAX_POINTS = 200
#: Validation first, because runs are compared by it.
FIRST_CURVES = ("val/align_corrected", "val/loss")


def chart_data(runs: Sequence[RunRecord]) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Return what the page draws.

    Args:
        runs: Runs with their curves.

    Returns:
        One chart per metric: its key, title, whether a logarithmic axis suits it (positive values
        over a factor of 50), whether neighbors were averaged, and x and y by index of the run.
        Metrics that have the same value in all steps of all runs are not drawn; they are the
        second result, with their value.
    """
    keys = {key for run in runs for key in run.curves}
    charts, constants = [], {}
    for key in sorted(keys, key=lambda k: (not k.startswith("val/"), k not in FIRST_CURVES, k)):
        curves = {
            index: [(x, y) for x, y in run.curves.get(key, ()) if math.isfinite(y)]
            for index, run in enumerate(runs)
        }
        values = [y for points in curves.values() for _, y in points]
        if not values:
            continue
        if len(values) > 1 and min(values) == max(values):
            constants[key] = values[0]
            continue
        lines = {}
        for index, points in curves.items():
            if points:
                x, y = zip(*thin(points), strict=True)
                lines[index] = {"x": x, "y": [float(f"{value:.5g}") for value in y]}
        averaged = any(len(points) > MAX_POINTS for points in curves.values())
        logarithmic = min(values) > 0 and max(values) / min(values) >= 50
        charts.append(
            {"metric": key, "title": metric_title(key), "log": logarithmic, "lines": lines}
            | {"averaged": averaged}
        )
    return charts, constants


def thin(points: Sequence[tuple[int, float]], limit: int = MAX_POINTS) -> list[tuple[float, float]]:
    """Return at most ``limit`` points: means of equally many neighbors, and the last point."""
    if len(points) <= limit:
        return [(float(x), y) for x, y in points]
    *body, last = points
    size = math.ceil(len(body) / (limit - 1))
    groups = [body[i : i + size] for i in range(0, len(body), size)]
    means = [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]
    return [*means, (float(last[0]), last[1])]


def plotly_script() -> str:
    """Return Plotly's JavaScript, compressed by gzip, in base64 (2 MB)."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()
