"""`dabfusion study`: run one of the studies, each a folder in `experiments/studies`."""

from __future__ import annotations

import argparse
import importlib
import shlex

from experiments.arguments import Parser, described_modules, find_module

HELP = """Run one of the project's studies and write its tables and figures.

How accurate is the flow? Do music embeddings carry motion? Does the score measure what it claims
to? What do human raters see? Without a name, the studies are listed."""

EXAMPLES = [
    "dabfusion study                               # list the studies",
    "dabfusion study metric --help                 # options of one study",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments; everything after the study's name is passed to the study."""
    parser.add_argument("words", nargs=argparse.REMAINDER, help="the study and its own options")


def run(args: argparse.Namespace) -> int:
    """Run one study, or list them."""
    if not args.words:
        for name, summary in described_modules("studies", needs_help=True).items():
            print(f"{name:20}{summary}")
        return 0
    name, rest = find_module("studies", args.words, needs_help=True)
    study = importlib.import_module(f"experiments.studies.{name}.study")
    examples = "\n".join(["examples:", *(f"  {example}" for example in study.EXAMPLES)])
    parser = Parser(f"dabfusion study {name}", study.HELP, examples)
    study.add_arguments(parser)
    try:
        parsed = parser.parse(rest)
    except SystemExit as stop:  # raised by --help, after it has printed
        return int(stop.code or 0)
    parsed.command = shlex.join(["dabfusion", "study", name, *rest])
    return int(study.run(parsed))
