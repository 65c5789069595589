"""`dabfusion study` and `dabfusion benchmark`: commands whose next word names a module."""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.arguments import Parser, UsageError, check_known, described_modules


@dataclass(frozen=True)
class Nested:
    """A command that runs one of the modules of a package.

    Each module has `HELP`, `EXAMPLES`, `add_arguments(parser)` and `run(args)`, as commands have.
    A study's `run` returns an exit status, a benchmark's the measured numbers. Their `args` have
    the whole command line as `args.command`.
    """

    verb: str
    package: str
    HELP: str
    EXAMPLES: list[str]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments; the module declares its own ones."""
        parser.add_argument(
            "words",
            nargs=argparse.REMAINDER,
            metavar="NAME [options]",
            help=f"{self.verb} to run and its options (default: list all)",
        )

    def load(self, name: str) -> Any:
        """Import the module of one study or benchmark."""
        end = f"{name}.study" if self.package == "studies" else name
        return importlib.import_module(f"experiments.{self.package}.{end}")

    def add_nested_arguments(self, name: str, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments of one study or benchmark."""
        self.load(name).add_arguments(parser)
        if self.package == "benchmarks":
            text = "also write the numbers to a JSON file"
            parser.add_argument("--json", type=Path, metavar="FILE", help=text)

    def run(self, args: argparse.Namespace) -> int:
        """Run one study or benchmark, or list all."""
        known = described_modules(self.package)
        if not args.words:
            for name, summary in known.items():
                print(f"{name:20}{summary}")
            return 0
        name, *options = args.words
        if name in ("-h", "--help"):
            raise UsageError(f"Give --help after the name of a {self.verb}.")
        check_known(self.verb, name, known, f"dabfusion {self.verb}")
        module = self.load(name)
        parser = Parser(f"dabfusion {self.verb} {name}", module.HELP, module.EXAMPLES)
        self.add_nested_arguments(name, parser)
        parsed = parser.parse(options)
        parsed.command = shlex.join(["dabfusion", self.verb, name, *options])
        if self.package == "studies":
            return int(module.run(parsed))
        numbers = module.run(parsed)
        if parsed.json is not None:
            from datamodules.files import write_text
            from experiments.runs.manifest import machine

            content = {"benchmark": name, "machine": machine(), "numbers": numbers}
            write_text(parsed.json, json.dumps(content, indent=2) + "\n")
            print(f"Written to {parsed.json}.", file=sys.stderr)
        return 0


STUDY = Nested(
    "study",
    "studies",
    """Run one of the project's studies and write its tables and figures.

How accurate is the flow? Do music embeddings carry motion? Does the score measure what it claims
to? What do human raters see? Without a name, the studies are listed.""",
    [
        "dabfusion study                               # list the studies",
        "dabfusion study metric --help                 # options of one study",
    ],
)

BENCHMARK = Nested(
    "benchmark",
    "benchmarks",
    """Measure time, memory and traffic of one part of the program.

Each benchmark prints a table; --json also writes its numbers, with the machine that they were
measured on.""",
    [
        "dabfusion benchmark                           # list the benchmarks",
        "dabfusion benchmark loop                      # training loop compared to a bare loop",
        "dabfusion benchmark data --json data.json     # keep the numbers",
    ],
)
