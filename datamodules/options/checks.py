"""Checks of the ranges of options."""

from __future__ import annotations

import math


def check_range(options: object, low: float, high: float, *names: str) -> None:
    """Check that the named fields of `options` are numbers in [low, high].

    Raises:
        ValueError: A field is outside; the message begins with the field's name.
    """
    for name in names:
        value = getattr(options, name)
        if not low <= value <= high:
            span = f"at least {low:g}" if high == math.inf else f"between {low:g} and {high:.10g}"
            raise ValueError(f"{name} is {value:.10g}, but must be {span}.")


def check_positive(options: object, *names: str) -> None:
    """Check that the named fields of `options` are above 0.

    Raises:
        ValueError: A field is not; the message begins with the field's name.
    """
    for name in names:
        value = getattr(options, name)
        if not value > 0:
            raise ValueError(f"{name} is {value:.10g}, but must be above 0.")
