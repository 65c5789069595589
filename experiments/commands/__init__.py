"""The commands of `dabfusion`, one thin file each.

A command is a module or object with `HELP`, `EXAMPLES`, `add_arguments(parser)` and
`run(args) -> int`. It imports heavy libraries inside `run`, so that help and shell completion stay
fast.
"""

from __future__ import annotations

import importlib
from typing import Any

#: The commands in the order of the help: for each heading, the commands and where each is defined
#: in `experiments/commands`, as `module` or `module:object`.
COMMAND_GROUPS: dict[str, dict[str, str]] = {
    "Quick start": {"quickstart": "quickstart"},
    "Data": {"synthesize": "synthesize", "prepare": "prepare", "doctor": "doctor"},
    "Training": {"train": "train", "cache": "cache"},
    "Generation": {"generate": "generate", "demo": "demo"},
    "Evaluation": {
        "evaluate": "evaluate",
        "compare": "compare",
        "sweep": "sweep",
        "study": "nested:STUDY",
        "benchmark": "nested:BENCHMARK",
    },
    "Weights": {
        "import-lfdm": "lfdm:IMPORT",
        "export-lfdm": "lfdm:EXPORT",
        "download": "download",
    },
    "Settings and shell": {"settings": "settings", "completion": "completion"},
}


def verbs() -> list[str]:
    """Return the names of all commands, in the order of the help."""
    return [verb for group in COMMAND_GROUPS.values() for verb in group]


def load_command(verb: str) -> Any:
    """Import the module or object that defines a command."""
    places = {verb: place for group in COMMAND_GROUPS.values() for verb, place in group.items()}
    module, _, name = places[verb].partition(":")
    loaded = importlib.import_module(f"experiments.commands.{module}")
    return getattr(loaded, name) if name else loaded
