"""Learning curves as inline SVG: no library in the page, sharp in print."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 460, 250
LEFT, RIGHT, TOP, BOTTOM = 58, 10, 10, 34
#: Points of a line beyond which neighbours are averaged: more would not be seen.
MAX_POINTS = 200

Curve = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Line:
    """One run in a chart: index of the run (its colour) and ``points`` in SVG coordinates."""

    run: int
    name: str
    points: str
    last: float


@dataclass(frozen=True)
class Tick:
    """A label and where it stands along its axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """All that the template draws of one metric."""

    metric: str
    logarithmic: bool
    averaged: bool
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]


def chart(metric: str, curves: Mapping[int, Curve], names: Sequence[str]) -> Chart | None:
    """The chart of one metric, or None where no run has a finite value.

    The vertical axis is logarithmic where all values are positive and span a factor of 50.

    Args:
        metric: its key.
        curves: by index of the run.
        names: of all runs.
    """
    finite = {
        run: [(x, y) for x, y in points if math.isfinite(y)] for run, points in curves.items()
    }
    thinned = {run: thin(points) for run, points in finite.items() if points}
    if not thinned:
        return None
    ys = [y for points in thinned.values() for _, y in points]
    xs = [x for points in thinned.values() for x, _ in points]
    logarithmic = min(ys) > 0 and max(ys) / min(ys) >= 50
    y_low, y_high = _span([math.log10(y) for y in ys] if logarithmic else ys)
    x_low, x_high = _span(xs)

    def place_x(x: float) -> float:
        return LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def place_y(y: float) -> float:
        value = math.log10(y) if logarithmic else y
        return HEIGHT - BOTTOM - (value - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)

    lines = [
        Line(
            run,
            names[run],
            " ".join(f"{place_x(x):.1f},{place_y(y):.1f}" for x, y in points),
            finite[run][-1][1],
        )
        for run, points in thinned.items()
    ]
    y_values = _decades(y_low, y_high) if logarithmic else _nice_ticks(y_low, y_high, 5)
    return Chart(
        metric,
        logarithmic,
        any(len(finite[run]) > MAX_POINTS for run in thinned),
        lines,
        [Tick(place_x(x), f"{x:,.0f}") for x in _nice_ticks(x_low, x_high, 4)],
        [Tick(place_y(y), f"{y:.3g}") for y in y_values],
    )


def thin(points: Curve, most: int = MAX_POINTS) -> list[tuple[float, float]]:
    """At most ``most`` points, each the mean of as many neighbours; the last one stays as it is."""
    if len(points) <= most:
        return [(float(x), y) for x, y in points]
    *body, last = points
    size = math.ceil(len(body) / (most - 1))
    groups = [body[i : i + size] for i in range(0, len(body), size)]
    means = [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]
    return [*means, (float(last[0]), last[1])]


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high:
        margin = abs(low) * 0.05 or 1.0
        return low - margin, high + margin
    return low, high


def _nice_ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers inside [low, high], as near to ``about`` of them as such numbers allow."""
    power = 10 ** math.floor(math.log10((high - low) / about))
    choices = []
    for step in (m * power for m in (1, 2, 5, 10)):
        first = math.ceil(low / step - 1e-9)
        count = math.floor(high / step + 1e-9) - first + 1
        # Multiples of the step: summing it up would leave rests such as 1e-17 for 0.
        choices.append([(first + i) * step for i in range(count)])
    return min(choices, key=lambda ticks: abs(len(ticks) - about))


def _decades(low: float, high: float) -> list[float]:
    exponents = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
    values = [10.0**e for e in exponents]
    # A span with a single power of ten inside needs numbers between.
    return (
        values
        if len(values) > 1
        else [
            m * 10.0**e
            for e in range(math.floor(low), math.ceil(high))
            for m in (1, 2, 5)
            if low <= math.log10(m * 10.0**e) <= high
        ]
    )
