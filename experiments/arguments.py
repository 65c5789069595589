"""Parsing of command lines: errors as one sentence, and names that are modules of a package."""

from __future__ import annotations

import argparse
import ast
import difflib
import math
from pathlib import Path
from typing import Any, NoReturn


class UsageError(ValueError):
    """A command line that cannot be parsed, in one sentence."""


class Parser(argparse.ArgumentParser):
    """argparse, but what is wrong is raised as one sentence instead of printed with the usage."""

    def __init__(
        self,
        prog: str,
        description: str = "",
        epilog: str | None = None,
        add_help: bool = True,
    ) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            add_help=add_help,
        )

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would have printed."""
        raise UsageError(f"{self.prog}: {message}; `{self.prog} --help` shows how it is used.")

    def option_strings(self) -> list[str]:
        """Every `--option` that is declared."""
        return list(self._option_string_actions)

    def parse(self, words: list[str]) -> argparse.Namespace:
        """Options and positional words in any order, where the arguments allow it.

        Raises:
            UsageError: If they cannot be parsed, or a number is not finite.
        """
        rest = (argparse.REMAINDER, argparse.PARSER)  # these take all that follows
        mixed = all(action.nargs not in rest for action in self._actions)
        args = self.parse_intermixed_args(words) if mixed else self.parse_args(words)
        for name, value in vars(args).items():
            if isinstance(value, float) and not math.isfinite(value):
                self.error(f"--{name.replace('_', '-')} is {value}, but must be a finite number")
        return args

    def takes_settings(self) -> bool:
        """Whether `key=value` words are among the positional ones."""
        return any("key=value" in str(action.metavar) for action in self._actions)


def described_modules(package: str, needs_help: bool = False) -> dict[str, str]:
    """The modules of `experiments/PACKAGE` and one line on each, without importing them.

    Args:
        package: `studies` or `benchmarks`.
        needs_help: Only those that define a string `HELP`; the line is then its first. Otherwise
            those that define `run`, and the line is the docstring's first.
    """
    found: dict[str, str] = {}
    pattern = "*/study.py" if package == "studies" else "*.py"
    for path in sorted((Path(__file__).parent / package).glob(pattern)):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        help_text = _string_constant(tree, "HELP")
        text = help_text if needs_help else ast.get_docstring(tree)
        if "run" in names and text:
            found[path.parent.name if path.stem == "study" else path.stem] = (
                text.strip().splitlines()[0]
            )
    return found


def find_module(package: str, words: list[str], needs_help: bool = False) -> tuple[str, list[str]]:
    """The module that the first words name, and the words that are left.

    `metric shifts` is the module `metric_shifts` if there is one, and else `metric` with the
    argument `shifts`.

    Raises:
        UsageError: If there is none, naming the nearest.
    """
    known = described_modules(package, needs_help)
    plain = [word.replace("-", "_") for word in words]
    for count in range(len(words), 0, -1):
        name = "_".join(plain[:count])
        if name in known:
            return name, words[count:]
    kind = {"studies": "study", "benchmarks": "benchmark"}[package]
    if not known:
        raise UsageError(f'There is no {kind} "{words[0]}", and no other one either.')
    near = difflib.get_close_matches(plain[0], known, n=1, cutoff=0.0)[0].replace("_", " ")
    raise UsageError(
        f'There is no {kind} "{words[0]}"; the nearest is {near}, `dabfusion {kind}` lists them.'
    )


def _string_constant(tree: ast.Module, name: str) -> str | None:
    for node in tree.body:
        targets: list[Any] = []
        if isinstance(node, ast.Assign):
            targets = list(node.targets)
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        named = any(isinstance(target, ast.Name) and target.id == name for target in targets)
        value = getattr(node, "value", None)
        if named and isinstance(value, ast.Constant) and isinstance(value.value, str):
            return value.value
    return None
