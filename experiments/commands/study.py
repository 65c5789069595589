"""`dabfusion study`: questions with an answer, each a folder under `experiments/studies`."""

from __future__ import annotations

import argparse
import importlib

from experiments.arguments import Parser, described_modules, find_module

HELP = """Answer one of the project's questions, with figures.

How accurate is the flow, do the music embeddings carry what moves a dancer, does the score measure
what it says, what do people see."""

EXAMPLES = [
    "dabfusion study                               # which there are",
    "dabfusion study metric --help                 # what one of them takes",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments; what follows the study's name is the study's own."""
    parser.add_argument("words", nargs=argparse.REMAINDER, help="the study, and its own options")


def run(args: argparse.Namespace) -> int:
    """Run one study, or list them."""
    if not args.words:
        for name, summary in described_modules("studies", needs_help=True).items():
            print(f"{name.replace('_', ' '):20}{summary}")
        return 0
    name, rest = find_module("studies", args.words, needs_help=True)
    study = importlib.import_module(f"experiments.studies.{name}.study")
    examples = "\n".join(["examples:", *(f"  {example}" for example in study.EXAMPLES)])
    parser = Parser(f"dabfusion study {name.replace('_', ' ')}", study.HELP, examples)
    study.add_arguments(parser)
    try:
        parsed = parser.parse(rest)
    except SystemExit as stop:  # --help has printed and wants to leave
        return int(stop.code or 0)
    return int(study.run(parsed))
