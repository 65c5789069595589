"""Sweeps in Weights & Biases' grammar: one file for this machine and for their server.

https://docs.wandb.ai/guides/sweeps/sweep-config-keys describes the grammar. Supported here:
``method`` grid, random or bayes; ``metric``; ``parameters`` with value, values, or min and max
(and ``distribution`` where it follows from them, log_uniform_values, q_uniform, int_uniform);
nested parameters; ``early_terminate`` of type hyperband; ``run_cap``; ``command`` with its macros.
What is not supported is refused by name rather than ignored.
"""

import itertools
import json
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.config.load import read_yaml
from experiments.errors import SettingsError

SWEEPS = Path(__file__).parent
METHODS = ("grid", "random", "bayes")
KNOWN_KEYS = {
    "name", "description", "program", "project", "entity", "method", "metric", "parameters",
    "early_terminate", "command", "run_cap",
}  # fmt: skip
#: Parameter of a trial whose value is further words, so that a grid can list whole variants.
CHANGE = "change"


@dataclass(frozen=True)
class Parameter:
    """One parameter: ``values`` to choose from, or a range from ``low`` to ``high``.

    ``step`` 0 means continuous; ``log`` draws uniformly in the logarithm.
    """

    name: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0
    log: bool = False
    whole: bool = False


@dataclass(frozen=True)
class EarlyStop:
    """Hyperband's brackets, counted in reports of the metric."""

    min_iter: int = 1
    eta: float = 3.0
    max_iter: int | None = None


@dataclass(frozen=True)
class Sweep:
    """A sweep file, checked."""

    name: str
    description: str
    method: str
    metric: str
    maximise: bool
    parameters: tuple[Parameter, ...]
    command: tuple[str, ...]
    early_stop: EarlyStop | None
    run_cap: int | None
    raw: dict[str, Any]

    @property
    def varied(self) -> list[str]:
        """Names of parameters that have more than one value."""
        return [p.name for p in self.parameters if len(p.values) != 1]

    def grid(self) -> list[dict[str, Any]]:
        """Every combination, the last parameter turning fastest.

        Raises:
            SettingsError: a parameter is a continuous range.
        """
        columns = [_grid_values(parameter) for parameter in self.parameters]
        names = [parameter.name for parameter in self.parameters]
        return [dict(zip(names, row, strict=True)) for row in itertools.product(*columns)]


def shipped_sweeps() -> list[str]:
    """Names of the sweeps that come with the package."""
    return sorted(path.stem for path in SWEEPS.glob("*.yaml"))


def load_sweep(file: str) -> Sweep:
    """A sweep by the name of a shipped one or the path of a file.

    Raises:
        SettingsError: no such sweep, or one that cannot be run, in one sentence.
    """
    path = SWEEPS / f"{file}.yaml" if file in shipped_sweeps() else Path(file)
    if not path.is_file():
        raise SettingsError(
            f'There is no sweep "{file}"; give the path of a file, or one of '
            f"{', '.join(shipped_sweeps())}."
        )
    return parse_sweep(read_yaml(path), path.stem, str(path))


def parse_sweep(raw: Mapping[str, Any], name: str, source: str) -> Sweep:
    """Check a sweep file's mapping.

    Args:
        raw: as read from YAML.
        name: used where the file gives none.
        source: what to call the file in an error.
    """

    def fail(text: str) -> SettingsError:
        return SettingsError(f"{source}: {text}")

    unknown = sorted(set(raw) - KNOWN_KEYS)
    if unknown:
        raise fail(
            f"the key {unknown[0]!r} is not known; known are {', '.join(sorted(KNOWN_KEYS))}."
        )
    method = raw.get("method")
    if method not in METHODS:
        raise fail(f"method is {method!r}; it must be one of {', '.join(METHODS)}.")
    metric = raw.get("metric") or {}
    if not isinstance(metric, Mapping) or not metric.get("name"):
        raise fail("metric needs a name, such as val/align_corrected.")
    goal = metric.get("goal", "minimize")
    if goal not in ("minimize", "maximize"):
        raise fail(f"metric.goal is {goal!r}; it must be minimize or maximize.")
    given = raw.get("parameters")
    if not isinstance(given, Mapping) or not given:
        raise fail("parameters is missing or empty; name at least one.")
    command = raw.get("command")
    if not isinstance(command, Sequence) or isinstance(command, str):
        raise fail("command is missing; it must be a list of words with ${args_no_hyphens} in it.")
    cap = raw.get("run_cap")
    if cap is not None and (not isinstance(cap, int) or cap < 1):
        raise fail(f"run_cap is {cap!r}; it must be a whole number above 0.")
    sweep = Sweep(
        name=str(raw.get("name") or name),
        description=str(raw.get("description") or ""),
        method=method,
        metric=str(metric["name"]),
        maximise=goal == "maximize",
        parameters=tuple(_parameters(given, "", source)),
        command=tuple(str(word) for word in command),
        early_stop=_early_stop(raw.get("early_terminate"), source),
        run_cap=cap,
        raw=dict(raw),
    )
    if method == "grid":
        sweep.grid()
    return sweep


def format_word(name: str, value: Any) -> str:
    """``name=value`` as Weights & Biases' agent writes it for ``${args_no_hyphens}``."""
    return f"{name}={value}"


def fixed_values(sweep: Sweep, words: Sequence[str]) -> dict[str, str]:
    """The fixed ``key=value`` words of every trial as a mapping.

    Raises:
        SettingsError: a word without ``=``, or one that the sweep sets itself.
    """
    fixed: dict[str, str] = {}
    swept = {parameter.name for parameter in sweep.parameters}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise SettingsError(f'"{word}" is no setting: they are given as key=value.')
        if name in swept:
            raise SettingsError(f"{name} is set by {sweep.name} and cannot be fixed by {word}.")
        fixed[name] = value
    return fixed


def build_command(
    command: Sequence[str], values: Mapping[str, Any], extra: Sequence[str] = ()
) -> list[str]:
    """The words of a trial, built as Weights & Biases' agent builds them.

    Args:
        command: the file's ``command``.
        values: parameter values.
        extra: words that come at the end, such as ``out=FOLDER``.

    Raises:
        SettingsError: a macro that is not known.
    """
    flags = {
        "env": ["/usr/bin/env"],
        "interpreter": [sys.executable],
        "program": [],
        "args": [f"--{name}={value}" for name, value in values.items()],
        "args_no_hyphens": [format_word(name, value) for name, value in values.items()],
        "args_json": [json.dumps(dict(values))],
    }
    words: list[str] = []
    for word in command:
        filled = re.sub(
            r"\$\{envvar:([A-Z0-9_]+)\}", lambda match: os.environ.get(match[1], match[1]), word
        )
        macro = re.fullmatch(r"\$\{(\w+)\}", filled)
        if macro is None:
            words.append(filled)
        elif macro[1] in flags:
            words.extend(flags[macro[1]])
        else:
            raise SettingsError(
                f"The command's macro {word} is not known; known are "
                f"{', '.join('${' + name + '}' for name in flags)}."
            )
    return [*words, *extra]


def local_command(words: Sequence[str]) -> list[str]:
    """The same words, with ``dabfusion`` as this very installation of it."""
    rest = list(words)
    if rest and rest[0] == "/usr/bin/env":
        rest = rest[1:]
    if rest and rest[0] == "dabfusion":
        return [sys.executable, "-m", "experiments.cli", *rest[1:]]
    return rest


def _parameters(given: Mapping[str, Any], prefix: str, source: str) -> list[Parameter]:
    found: list[Parameter] = []
    for key, body in given.items():
        name = f"{prefix}{key}"
        if not isinstance(body, Mapping):
            raise SettingsError(
                f"{source}: parameter {name} is {body!r}; write `value:`, `values:` or "
                "`min:` and `max:` below it."
            )
        if set(body) == {"parameters"}:
            found.extend(_parameters(body["parameters"], f"{name}.", source))
        else:
            found.append(_parameter(name, body, source))
    return found


def _parameter(name: str, body: Mapping[str, Any], source: str) -> Parameter:
    def fail(text: str) -> SettingsError:
        return SettingsError(f"{source}: parameter {name} {text}")

    kind = body.get("distribution")
    if "value" in body:
        return Parameter(name, (body["value"],))
    if "values" in body:
        values = body["values"]
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise fail(f"has the values {values!r}; give a list of at least one.")
        if kind not in (None, "categorical") or "probabilities" in body:
            raise fail("has values with a distribution; plain values alone are supported.")
        return Parameter(name, tuple(values))
    if "min" not in body or "max" not in body:
        raise fail("needs value, values, or min and max.")
    low, high = body["min"], body["max"]
    whole = isinstance(low, int) and isinstance(high, int) and kind in (None, "int_uniform")
    known = (None, "uniform", "int_uniform", "q_uniform", "log_uniform_values", "log_uniform")
    if kind not in known:
        raise fail(
            f"has the distribution {kind!r}; supported are {', '.join(map(str, known[1:]))}."
        )
    if kind == "log_uniform":
        # Here min and max are exponents of e.
        low, high = math.exp(low), math.exp(high)
    log = kind in ("log_uniform", "log_uniform_values")
    if not low < high or (log and low <= 0):
        raise fail(
            f"ranges from {low} to {high}; min must be below max, and above 0 if logarithmic."
        )
    step = float(body.get("q", 1.0)) if kind == "q_uniform" else 1.0 if whole else 0.0
    return Parameter(name, (), float(low), float(high), step, log, whole)


def _early_stop(body: Any, source: str) -> EarlyStop | None:
    if body is None:
        return None
    if not isinstance(body, Mapping) or body.get("type") != "hyperband":
        raise SettingsError(f"{source}: early_terminate needs `type: hyperband`.")
    smallest = int(body.get("min_iter", 1))
    most = body.get("max_iter")
    if smallest < 1 or (most is not None and int(most) < smallest):
        raise SettingsError(
            f"{source}: early_terminate counts from min_iter={smallest} to max_iter={most}; "
            "give 1 or more, and max_iter not below min_iter."
        )
    return EarlyStop(smallest, float(body.get("eta", 3)), None if most is None else int(most))


def _grid_values(parameter: Parameter) -> list[Any]:
    if parameter.values:
        return list(parameter.values)
    if not parameter.step:
        raise SettingsError(
            f"A grid needs values for {parameter.name}, which is a continuous range; list them, "
            "or choose method random or bayes."
        )
    count = math.floor((parameter.high - parameter.low) / parameter.step + 1e-9) + 1
    points = [parameter.low + i * parameter.step for i in range(count)]
    return [round(point) for point in points] if parameter.whole else points
