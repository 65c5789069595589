"""`dabfusion completion`: completion of commands, options and settings in a shell."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from typing import Any

from experiments.arguments import Parser, described_modules
from experiments.commands import load_command, verbs

HELP = """Print a script that completes commands, options and settings in bash or zsh."""

EXAMPLES = [
    'eval "$(dabfusion completion bash)"            # for this shell; add it to ~/.bashrc to keep',
    'eval "$(dabfusion completion zsh)"',
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("shell", choices=["bash", "zsh"], help="shell to print the script for")


def run(args: argparse.Namespace) -> int:
    """Print the script, which calls `dabfusion` with environment variables of argcomplete."""
    from argcomplete.shell_integration import shellcode

    print(shellcode(["dabfusion"], shell=args.shell))
    return 0


def autocomplete() -> None:
    """Answer the shell and exit, if argcomplete's environment variables are set."""
    import argcomplete

    line = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT", "0"))]
    # Finished `key=value` words decide nothing, and argparse takes no more of them after an option.
    line = re.sub(r"(?<=\s)[a-z_][\w.]*=(?:\\.|[^\s\\])*\s+", "", line)
    os.environ |= {"COMP_LINE": line, "COMP_POINT": str(len(line))}
    try:
        words = shlex.split(line)[1:]
    except ValueError:  # an open quote
        words = line.split()[1:]
    argcomplete.autocomplete(
        build_tree(words),
        always_complete_options=False,
        validator=lambda candidate, prefix: candidate.startswith(prefix),
    )


def build_tree(words: list[str]) -> Parser:
    """Return a parser of all commands; only the command that `words` name has its arguments.

    Args:
        words: The words after `dabfusion`, up to the cursor.
    """
    tree = Parser("dabfusion")
    children = tree.add_subparsers(dest="command")
    for verb in verbs():
        parser = children.add_parser(verb)
        if verb != next(iter(words), None):
            continue
        command = load_command(verb)
        if verb not in ("study", "benchmark"):
            command.add_arguments(parser)
            _add_completers(parser, verb)
            continue
        nested = parser.add_subparsers(dest="name")
        for name in described_modules(command.package):
            leaf = nested.add_parser(name)
            if words[1:2] == [name]:
                command.add_nested_arguments(name, leaf)
                _add_completers(leaf, verb)
    return tree


def _add_completers(parser: argparse.ArgumentParser, verb: str) -> None:
    for action in parser._actions:
        if "key=value" in str(action.metavar):
            complete = complete_sweep if verb == "sweep" else complete_setting
            action.completer = complete  # type: ignore[attr-defined]
            if action.nargs == "*":  # argparse takes an empty list before the first option
                action.nargs = "+"


def complete_sweep(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Return the sweeps that come with the package, and settings after the first word."""
    from experiments.sweeps.grammar import shipped_sweeps

    return [*shipped_sweeps(), *complete_setting(prefix)]


def complete_setting(prefix: str, **_: Any) -> list[str]:
    """Return what `key=value` words may start with `prefix`.

    Names are completed one level at a time, as shells complete folders; values where there is a
    list of choices, else as files.
    """
    from argcomplete.completers import FilesCompleter

    from experiments.config.load import all_settings, preset_names

    settings = all_settings()
    key, equals, typed = prefix.partition("=")
    if not equals:
        return _names(prefix, list(settings))
    setting = settings.get(key)
    choices = list(setting.choices) if setting is not None else []
    if setting is not None and setting.type_text == "true | false":
        choices = ["true", "false"]
    if key == "preset":
        choices = preset_names()
    return [f"{key}={choice}" for choice in choices or FilesCompleter()(typed)]


def _names(prefix: str, names: list[str]) -> list[str]:
    """Return the next level of all setting names with a prefix; a single group is opened."""
    depth = prefix.count(".") + 1
    while True:
        found = dict.fromkeys(
            f"{name}=" if name.count(".") < depth else ".".join(name.split(".")[:depth]) + "."
            for name in names
            if name.startswith(prefix)
        )
        if len(found) != 1 or not next(iter(found)).endswith("."):
            return list(found)
        depth += 1
