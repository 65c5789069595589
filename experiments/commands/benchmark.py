"""`dabfusion benchmark`: what a part costs, printed as a table and kept as JSON."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from experiments.arguments import Parser, described_modules, find_module

HELP = """Measure what a part costs: time, memory, bytes.

Each benchmark prints a table; --json keeps its numbers, with the versions and hardware they were
measured on."""

EXAMPLES = [
    "dabfusion benchmark                           # which there are",
    "dabfusion benchmark loop                      # the training loop against a bare one",
    "dabfusion benchmark data --json data.json     # keep the numbers",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments; what follows the benchmark's name is its own, but --json."""
    parser.add_argument(
        "words",
        nargs=argparse.REMAINDER,
        metavar="NAME [options] [--json FILE]",
        help="which benchmark (without it, list them), its options, and where to keep the numbers",
    )


def run(args: argparse.Namespace) -> int:
    """Run one benchmark, or list them."""
    keep = Parser("dabfusion benchmark", add_help=False)  # --help is the benchmark's own
    keep.add_argument("--json", type=Path, metavar="FILE")
    kept, words = keep.parse_known_args(args.words)
    if not words:
        for name, summary in described_modules("benchmarks").items():
            print(f"{name:20}{summary}")
        return 0
    name, options = find_module("benchmarks", words)
    try:
        numbers = importlib.import_module(f"experiments.benchmarks.{name}").run(options)
    except SystemExit as stop:  # --help has printed and wants to leave
        return int(stop.code or 0)
    if kept.json is not None:
        from experiments.runs.manifest import machine

        text = json.dumps({"benchmark": name, "machine": machine(), "numbers": numbers}, indent=2)
        kept.json.write_text(text + "\n", encoding="utf-8")
        print(f"Kept in {kept.json}.", file=sys.stderr)
    return 0
