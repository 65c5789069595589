"""Sweep files in the grammar of Weights & Biases, checked.

https://docs.wandb.ai/guides/sweeps/sweep-config-keys describes the grammar. Supported are
``method`` grid, random or bayes; ``metric``; ``parameters`` with value, values, or min and max
(and ``distribution`` uniform, int_uniform, q_uniform, log_uniform or log_uniform_values); nested
parameters; ``early_terminate`` of type hyperband; ``run_cap``; ``command`` with its macros.
Everything else is refused by name rather than ignored.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.config.load import RENAMED, read_yaml
from experiments.errors import SettingsError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

SWEEPS = Path(__file__).parent
METHODS = ("grid", "random", "bayes")
KNOWN_KEYS = {
    "name", "description", "program", "project", "entity", "method", "metric", "parameters",
    "early_terminate", "command", "run_cap",
}  # fmt: skip
DISTRIBUTIONS = ("uniform", "int_uniform", "q_uniform", "log_uniform_values", "log_uniform")


@dataclass(frozen=True)
class EarlyStop:
    """Brackets of hyperband, counted in reports of the metric."""

    min_iter: int = 1
    eta: float = 3.0
    max_iter: int | None = None


@dataclass(frozen=True)
class Sweep:
    """A checked sweep file."""

    name: str
    description: str
    method: str
    metric: str
    maximize: bool
    distributions: Mapping[str, BaseDistribution]
    """By parameter name. In a grid all of them are categorical."""
    command: tuple[str, ...]
    early_stop: EarlyStop | None
    run_cap: int | None
    raw: dict[str, Any]

    @property
    def varied(self) -> list[str]:
        """Names of the parameters that have more than one value."""
        return [name for name, found in self.distributions.items() if not found.single()]

    def grid(self) -> list[dict[str, Any]]:
        """Return every combination of a grid; the last parameter varies fastest."""
        choices = [getattr(found, "choices", ()) for found in self.distributions.values()]
        rows = itertools.product(*choices) if self.method == "grid" else ()
        return [dict(zip(self.distributions, row, strict=True)) for row in rows]


def shipped_sweeps() -> list[str]:
    """Return the names of the sweeps that come with the package."""
    return sorted(path.stem for path in SWEEPS.glob("*.yaml"))


def load_sweep(file: str) -> Sweep:
    """Load a sweep by the name of a shipped one or by the path of a file.

    Raises:
        SettingsError: There is no such sweep, or it cannot be run.
    """
    path = SWEEPS / f"{file}.yaml" if file in shipped_sweeps() else Path(file)
    if not path.is_file():
        raise SettingsError(
            f'There is no sweep "{file}"; give the path of a file, or one of '
            f"{', '.join(shipped_sweeps())}."
        )
    return parse_sweep(read_yaml(path), path.stem, str(path))


def parse_sweep(raw: Mapping[str, Any], name: str, source: str) -> Sweep:
    """Check the content of a sweep file.

    Args:
        raw: The mapping read from YAML.
        name: Name of the sweep if the file has none.
        source: How errors refer to the file.

    Raises:
        SettingsError: A key or value is not supported.
    """

    def check(correct: object, problem: str) -> None:
        if not correct:
            raise SettingsError(f"{source}: {problem}")

    unknown = sorted(set(raw) - KNOWN_KEYS)
    check(
        not unknown,
        f"the key {', '.join(map(repr, unknown))} is not known; known are "
        f"{', '.join(sorted(KNOWN_KEYS))}.",
    )
    method, metric, parameters = raw.get("method"), raw.get("metric"), raw.get("parameters")
    command, cap = raw.get("command"), raw.get("run_cap")
    check(method in METHODS, f"method is {method!r}; it must be one of {', '.join(METHODS)}.")
    named = isinstance(metric, Mapping) and metric.get("name")
    check(named, "metric needs a name, such as val/align_corrected.")
    assert isinstance(metric, Mapping)
    goal = metric.get("goal", "minimize")
    check(
        goal in ("minimize", "maximize"),
        f"metric.goal is {goal!r}; it must be minimize or maximize.",
    )
    check(
        isinstance(parameters, Mapping) and parameters,
        "parameters is missing or empty; name at least one.",
    )
    assert isinstance(parameters, Mapping)
    check(
        isinstance(command, Sequence) and not isinstance(command, str),
        "command is missing; it must be a list of words with ${args_no_hyphens} in it.",
    )
    assert command is not None
    check(
        cap is None or (isinstance(cap, int) and cap > 0),
        f"run_cap is {cap!r}; it must be a whole number above 0.",
    )
    return Sweep(
        name=str(raw.get("name") or name),
        description=str(raw.get("description") or ""),
        method=str(method),
        metric=str(metric["name"]),
        maximize=goal == "maximize",
        distributions=dict(_parameters(parameters, "", source, method == "grid")),
        command=tuple(str(word) for word in command),
        early_stop=_early_stop(raw.get("early_terminate"), source),
        run_cap=cap,
        raw=dict(raw),
    )


def _parameters(
    given: Mapping[str, Any], prefix: str, source: str, grid: bool
) -> Iterator[tuple[str, BaseDistribution]]:
    """Yield dotted names and distributions, those of nested parameters included."""
    for key, body in given.items():
        name = RENAMED.get(f"{prefix}{key}", f"{prefix}{key}")
        if isinstance(body, Mapping) and set(body) == {"parameters"}:
            yield from _parameters(body["parameters"], f"{name}.", source, grid)
        elif isinstance(body, Mapping):
            try:
                yield name, _distribution(body, grid)
            except ValueError as error:
                raise SettingsError(f"{source}: parameter {name} {error}") from error
        else:
            raise SettingsError(
                f"{source}: parameter {name} is {body!r}; write `value:`, `values:` or "
                "`min:` and `max:` below it."
            )


def _distribution(body: Mapping[str, Any], grid: bool) -> BaseDistribution:
    """Translate one parameter.

    Raises:
        ValueError: It is not supported; the message follows "parameter NAME".
    """
    # Imported here, as shell completion needs only the names of the shipped sweeps.
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    warnings.filterwarnings("ignore", "Choices for a categorical distribution")
    kind = body.get("distribution")
    if "value" in body:
        return CategoricalDistribution((body["value"],))
    if "values" in body:
        values = body["values"]
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise ValueError(f"has the values {values!r}; give a list of at least one.")
        if kind not in (None, "categorical") or "probabilities" in body:
            raise ValueError("has values with a distribution; only plain values are supported.")
        return CategoricalDistribution(values)
    if "min" not in body or "max" not in body:
        raise ValueError("needs value, values, or min and max.")
    if kind not in (None, *DISTRIBUTIONS):
        raise ValueError(
            f"has the distribution {kind!r}; supported are {', '.join(DISTRIBUTIONS)}."
        )
    low, high = body["min"], body["max"]
    whole = isinstance(low, int) and isinstance(high, int) and kind in (None, "int_uniform")
    if kind == "log_uniform":  # its min and max are exponents of e
        low, high = math.exp(low), math.exp(high)
    log = kind in ("log_uniform", "log_uniform_values")
    if not low < high or (log and low <= 0):
        raise ValueError(
            f"ranges from {low} to {high}; min must be below max, and above 0 if logarithmic."
        )
    step = 1 if whole else float(body.get("q", 1.0)) if kind == "q_uniform" else None
    if not grid:
        return IntDistribution(low, high) if whole else FloatDistribution(low, high, log, step)
    if step is None:
        raise ValueError(
            "is a continuous range, which a grid cannot list; give values, or choose method "
            "random or bayes."
        )
    count = math.floor((high - low) / step + 1e-9) + 1
    return CategoricalDistribution([low + place * step for place in range(count)])


def _early_stop(body: Any, source: str) -> EarlyStop | None:
    if body is None:
        return None
    if not isinstance(body, Mapping) or body.get("type") != "hyperband":
        raise SettingsError(f"{source}: early_terminate needs `type: hyperband`.")
    low, high = int(body.get("min_iter", 1)), body.get("max_iter")
    if low < 1 or (high is not None and int(high) < low):
        raise SettingsError(
            f"{source}: early_terminate counts from min_iter={low} to max_iter={high}; "
            "give 1 or more, and max_iter not below min_iter."
        )
    return EarlyStop(low, float(body.get("eta", 3)), None if high is None else int(high))
