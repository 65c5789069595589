"""Parsing of command lines, with errors as one sentence."""

from __future__ import annotations

import argparse
import ast
import difflib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn


class UsageError(ValueError):
    """A command line that cannot be parsed, in one sentence."""


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises one sentence instead of printing the usage and exiting."""

    def __init__(self, prog: str, description: str = "", examples: Sequence[str] = ()) -> None:
        lines = "".join(f"\n  {example}" for example in examples)
        super().__init__(
            prog=prog,
            description=description,
            epilog=f"examples:{lines}" if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would have printed."""
        raise UsageError(f"{self.prog}: {message}; see `{self.prog} --help`.")

    def parse(self, words: list[str]) -> argparse.Namespace:
        """Parse options and positional words, in any order where the arguments allow it.

        Raises:
            UsageError: If they cannot be parsed, or a number is not finite.
        """
        rest = (argparse.REMAINDER, argparse.PARSER)  # these take all words that follow
        mixed = all(action.nargs not in rest for action in self._actions)
        args = self.parse_intermixed_args(words) if mixed else self.parse_args(words)
        for name, value in vars(args).items():
            if isinstance(value, float) and not math.isfinite(value):
                self.error(f"--{name.replace('_', '-')} is {value}, but must be a finite number")
        return args


@dataclass(frozen=True)
class Command:
    """A command; modules of `experiments/commands` that define one each have the same names."""

    HELP: str
    EXAMPLES: list[str]
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def check_known(kind: str, word: str, known: Iterable[str], listing: str) -> None:
    """Raise a UsageError with the nearest known word, and how to list all, if a word is unknown."""
    known = list(known)
    if word not in known:
        near = difflib.get_close_matches(word, known, n=1, cutoff=0.0)[0]
        raise UsageError(
            f'There is no {kind} "{word}"; the nearest is {near}, and `{listing}` lists all.'
        )


def described_modules(package: str) -> dict[str, str]:
    """Return the studies or benchmarks and the first line of each one's `HELP`.

    The files are parsed and not imported, so that listing them is fast.

    Args:
        package: `studies` (files `NAME/study.py`) or `benchmarks` (files `NAME.py`).
    """
    found: dict[str, str] = {}
    pattern = "*/study.py" if package == "studies" else "*.py"
    for path in sorted((Path(__file__).parent / package).glob(pattern)):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "HELP":
                name = path.parent.name if package == "studies" else path.stem
                found[name] = ast.literal_eval(node.value).strip().splitlines()[0]
    return found
