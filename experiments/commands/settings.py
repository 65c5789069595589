"""`dabfusion settings`: every setting with its type, default and meaning."""

from __future__ import annotations

import argparse
import itertools
import json
import textwrap
from operator import attrgetter

HELP = """List the settings with their types, defaults and meanings.

Settings are given to other commands as key=value. A preset is a file of settings; settings on the
command line override those of the preset."""

EXAMPLES = [
    "dabfusion settings                            # all settings",
    "dabfusion settings stage2.train               # whose name or text contains this",
    "dabfusion settings learning_rate preset=quickstart   # with a preset's values",
    "dabfusion settings --presets                  # the presets with their costs and scores",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "words", nargs="*", metavar="FILTER|key=value", help="text to search for, or settings"
    )
    parser.add_argument("--presets", action="store_true", help="list the presets instead")


def run(args: argparse.Namespace) -> int:
    """Print the settings or the presets."""
    from experiments.config.load import PRESETS, all_settings, preset_names, settings_from_words
    from experiments.errors import SettingsError

    if args.presets:
        for name in preset_names():
            # The comment at the top of a preset: command, cost, expected score.
            lines = (PRESETS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
            comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
            print(name, *(f"    {line.lstrip('#').strip()}" for line in comment), "", sep="\n")
        return 0
    filters = [word.lower() for word in args.words if "=" not in word]
    settings = settings_from_words([word for word in args.words if "=" in word])
    found = [
        setting
        for setting in all_settings().values()
        if all(f in f"{setting.name} {setting.doc}".lower() for f in filters)
    ]
    if not found:
        raise SettingsError(
            f'No setting has "{" ".join(filters)}" in its name or text; '
            "`dabfusion settings` lists all of them."
        )
    for setting in found:
        value = attrgetter(setting.name)(settings)
        note = "" if value == setting.default else f", default {_show(setting.default)}"
        print(f"{setting.name} = {_show(value)}    ({setting.type_text}{note})")
        print(textwrap.fill(setting.doc, 96, initial_indent="    ", subsequent_indent="    "))
    return 0


def _show(value: object) -> str:
    """Return a value as it may be written on the command line."""
    if isinstance(value, str):
        return value or '""'
    return json.dumps(value, separators=(",", ":")).replace('"', "")
