"""`dabfusion settings`: every setting with its type, default and meaning."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.config.load import Settings

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
            print(f"{name}\n{textwrap.indent(preset_header(PRESETS / f'{name}.yaml'), '    ')}\n")
        return 0
    given = [word for word in args.words if "=" in word]
    filters = [word.lower() for word in args.words if "=" not in word]
    settings = settings_from_words(given)
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
        value = _value(settings, setting.name)
        shown = f"{setting.name} = {_show(value)}"
        note = "" if value == setting.default else f", default {_show(setting.default)}"
        print(f"{shown}    ({setting.type_text}{note})")
        print(textwrap.fill(setting.doc, 96, initial_indent="    ", subsequent_indent="    "))
    return 0


def preset_header(path: Path) -> str:
    """Return the comment lines at the top of a preset: command, cost, expected score."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("#").strip())
    return "\n".join(lines)


def _value(settings: Settings, name: str) -> object:
    node: object = settings
    for part in name.split("."):
        node = getattr(node, part)
    return node


def _show(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ",".join(_show(item) for item in value) + "]"
    return str(value) if value != "" else '""'
