"""Sweep files in the grammar of Weights & Biases, checked, and the commands of their trials.

https://docs.wandb.ai/guides/sweeps/sweep-config-keys describes the grammar. Supported are
``method`` grid, random or bayes; ``metric``; ``parameters`` with value, values, or min and max
(and ``distribution`` uniform, int_uniform, q_uniform, log_uniform or log_uniform_values); nested
parameters; ``early_terminate`` of type hyperband; ``run_cap``; ``command`` with its macros.
Everything else is refused by name rather than ignored.
"""

from __future__ import annotations

import itertools
import math
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.config.load import RENAMED
from experiments.config.yaml_text import read_yaml
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
    early_stop: Mapping[str, Any] | None
    """``min_iter``, ``max_iter`` and ``eta`` of hyperband, counted in reports of the metric."""
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

    def fixed_values(self, words: Sequence[str]) -> dict[str, str]:
        """Return the ``key=value`` words that all trials share as a mapping."""
        fixed: dict[str, str] = {}
        for word in words:
            name, sign, value = word.partition("=")
            if not sign or not name:
                raise SettingsError(f'"{word}" is not a setting; settings are given as key=value.')
            if name in self.distributions:
                raise SettingsError(f"{name} is set by {self.name} and cannot be fixed by {word}.")
            fixed[name] = value
        return fixed


def shipped_sweeps() -> list[str]:
    """Return the names of the sweeps that come with the package."""
    return sorted(path.stem for path in SWEEPS.glob("*.yaml"))


def load_sweep(file: str) -> Sweep:
    """Load a sweep by the name of a shipped one or by the path of a file."""
    path = SWEEPS / f"{file}.yaml" if file in shipped_sweeps() else Path(file)
    if not path.is_file():
        raise SettingsError(
            f'There is no sweep "{file}"; give the path of a file, or one of '
            f"{', '.join(shipped_sweeps())}."
        )
    try:
        return parse_sweep(read_yaml(path), path.stem)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error


def parse_sweep(raw: Mapping[str, Any], name: str) -> Sweep:
    """Check the content of a sweep file; ``name`` is used if the file has none."""
    method, parameters, command = raw.get("method"), raw.get("parameters"), raw.get("command")
    metric = raw["metric"] if isinstance(raw.get("metric"), Mapping) else {}
    cap, early, goal = raw.get("run_cap"), raw.get("early_terminate"), metric.get("goal")
    stop = early if isinstance(early, Mapping) else {"type": "hyperband" if early is None else ""}
    low, high = int(stop.get("min_iter", 1)), stop.get("max_iter")
    _refuse(
        *(
            (key not in KNOWN_KEYS,
             f"the key {key!r} is not known; known are {', '.join(sorted(KNOWN_KEYS))}.")
            for key in raw
        ),
        (method not in METHODS,
         f"method is {method!r}; it must be one of {', '.join(METHODS)}."),
        (not metric.get("name"), "metric needs a name, such as val/align_corrected."),
        (goal not in (None, "minimize", "maximize"),
         f"metric.goal is {goal!r}; it must be minimize or maximize."),
        (not parameters or not isinstance(parameters, Mapping),
         "parameters is missing or empty; name at least one."),
        (not isinstance(command, Sequence) or isinstance(command, str),
         "command is missing; it must be a list of words with ${args_no_hyphens} in it."),
        (cap is not None and (not isinstance(cap, int) or cap < 1),
         f"run_cap is {cap!r}; it must be a whole number above 0."),
        (stop.get("type") != "hyperband", "early_terminate needs `type: hyperband`."),
        (low < 1 or (high is not None and int(high) < low),
         f"early_terminate counts from min_iter={low} to max_iter={high}; "
         "give 1 or more, and max_iter not below min_iter."),
    )  # fmt: skip
    return Sweep(
        name=str(raw.get("name") or name),
        description=str(raw.get("description") or ""),
        method=str(method),
        metric=str(metric["name"]),
        maximize=goal == "maximize",
        distributions=dict(_parameters(parameters or {}, "", method == "grid")),
        command=tuple(str(word) for word in command or ()),
        early_stop=early,
        run_cap=cap,
        raw=dict(raw),
    )


def _refuse(*rules: tuple[object, str]) -> None:
    """Raise a SettingsError with the sentence of the first rule whose condition is true."""
    for wrong, sentence in rules:
        if wrong:
            raise SettingsError(sentence)


def _parameters(
    given: Mapping[str, Any], prefix: str, grid: bool
) -> Iterator[tuple[str, BaseDistribution]]:
    """Yield dotted names and distributions, those of nested parameters included."""
    for key, body in given.items():
        name = RENAMED.get(f"{prefix}{key}", f"{prefix}{key}")
        if not isinstance(body, Mapping):
            raise SettingsError(
                f"parameter {name} is {body!r}; write `value:`, `values:` or `min:` and `max:` "
                "below it."
            )
        if set(body) == {"parameters"}:
            yield from _parameters(body["parameters"], f"{name}.", grid)
            continue
        try:
            yield name, _distribution(body, grid)
        except ValueError as error:
            raise SettingsError(f"parameter {name} {error}") from error


def _distribution(body: Mapping[str, Any], grid: bool) -> BaseDistribution:
    """Translate one parameter; messages of errors follow "parameter NAME"."""
    # Imported here, as shell completion needs only the names of the shipped sweeps.
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    warnings.filterwarnings("ignore", "Choices for a categorical distribution")
    kind = body.get("distribution")
    if "value" in body:
        return CategoricalDistribution((body["value"],))
    if "values" in body:
        values = body["values"]
        _refuse(
            (not isinstance(values, Sequence) or isinstance(values, str) or not values,
             f"has the values {values!r}; give a list of at least one."),
            (kind not in (None, "categorical") or "probabilities" in body,
             "has values with a distribution; only plain values are supported."),
        )  # fmt: skip
        return CategoricalDistribution(values)
    bounds: Any = (body.get("min"), body.get("max"))
    _refuse((None in bounds, "needs value, values, or min and max."))
    low, high = bounds
    whole = isinstance(low, int) and isinstance(high, int) and kind in (None, "int_uniform")
    log = kind in ("log_uniform", "log_uniform_values")
    if kind == "log_uniform":  # its min and max are exponents of e
        low, high = math.exp(low), math.exp(high)
    step = 1 if whole else float(body.get("q", 1.0)) if kind == "q_uniform" else None
    _refuse(
        (kind not in (None, *DISTRIBUTIONS),
         f"has the distribution {kind!r}; supported are {', '.join(DISTRIBUTIONS)}."),
        (not low < high or (log and low <= 0),
         f"ranges from {low} to {high}; min must be below max, and above 0 if logarithmic."),
        (grid and step is None,
         "is a continuous range, which a grid cannot list; give values, or choose method "
         "random or bayes."),
    )  # fmt: skip
    if grid and step is not None:
        count = math.floor((high - low) / step + 1e-9) + 1
        return CategoricalDistribution([low + place * step for place in range(count)])
    return IntDistribution(low, high) if whole else FloatDistribution(low, high, log, step)


def build_command(
    command: Sequence[str], values: Mapping[str, Any], extra: Sequence[str] = ()
) -> list[str]:
    """Fill in the macros of a sweep file's ``command``, as the agent of Weights & Biases does."""
    macros = {
        "env": ["/usr/bin/env"],
        "interpreter": [sys.executable],
        "args": [f"--{name}={value}" for name, value in values.items()],
        "args_no_hyphens": [f"{name}={value}" for name, value in values.items()],
    }
    words: list[str] = []
    for word in command:
        filled = re.sub(r"\$\{envvar:([A-Z0-9_]+)\}", lambda m: os.environ.get(m[1], m[1]), word)
        macro = re.fullmatch(r"\$\{(\w+)\}", filled)
        if macro is not None and macro[1] not in macros:
            raise SettingsError(
                f"The macro {word} in the command is not known; known are "
                f"{', '.join('${' + name + '}' for name in macros)}."
            )
        words += [filled] if macro is None else macros[macro[1]]
    return [*words, *extra]


def local_command(words: Sequence[str]) -> list[str]:
    """Replace ``dabfusion`` by the installation that is running."""
    rest = list(words[1:] if words[:1] == ["/usr/bin/env"] else words)
    if rest[:1] == ["dabfusion"]:
        return [sys.executable, "-m", "experiments.cli", *rest[1:]]
    return rest
