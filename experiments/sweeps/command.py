"""Command lines of trials, built as the agent of Weights & Biases builds them."""

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.errors import SettingsError
from experiments.sweeps.grammar import Sweep

#: Parameter whose value is a list of settings, so that a grid can vary several at once.
CHANGE = "change"


def fixed_values(sweep: Sweep, words: Sequence[str]) -> dict[str, str]:
    """Return the ``key=value`` words that all trials share as a mapping.

    Raises:
        SettingsError: A word has no ``=``, or the sweep itself varies that setting.
    """
    fixed: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise SettingsError(f'"{word}" is not a setting; settings are given as key=value.')
        if name in sweep.distributions:
            raise SettingsError(f"{name} is set by {sweep.name} and cannot be fixed by {word}.")
        fixed[name] = value
    return fixed


def build_command(
    command: Sequence[str], values: Mapping[str, Any], extra: Sequence[str] = ()
) -> list[str]:
    """Fill in the macros of a sweep file's ``command``.

    Args:
        command: The words in the file.
        values: Parameter values.
        extra: Words to append, such as ``out=FOLDER``.

    Raises:
        SettingsError: A macro is not known.
    """
    macros = {
        "env": ["/usr/bin/env"],
        "interpreter": [sys.executable],
        "program": [],
        "args": [f"--{name}={value}" for name, value in values.items()],
        "args_no_hyphens": [f"{name}={value}" for name, value in values.items()],
        "args_json": [json.dumps(dict(values))],
    }
    words: list[str] = []
    for word in command:
        filled = re.sub(
            r"\$\{envvar:([A-Z0-9_]+)\}", lambda match: os.environ.get(match[1], match[1]), word
        )
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
