"""`dabfusion doctor`: check a prepared folder before training."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datamodules.doctor import Diagnosis

HELP = """Check a prepared folder before training on it.

Checks for leakage between the splits, duplicates, missing cameras, sound and image tracks of
different length, frame rates and tempi that differ from what the files claim, and beats tracked at
half or double tempo. The exit status is 0 if training may start, and 2 if it should not."""

EXAMPLES = [
    "dabfusion doctor aist",
    "dabfusion doctor aist clips.split_files=splits clips.val_by_music=true",
    "dabfusion doctor aist --json report.json",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("data", type=Path, help="folder that `dabfusion prepare` wrote")
    known = "clips.split, clips.split_files, ..."
    parser.add_argument("settings", nargs="*", metavar="key=value", help=known)
    written = "also write the report to a JSON file"
    parser.add_argument("--json", type=Path, metavar="FILE", help=written)


def run(args: argparse.Namespace) -> int:
    """Print the diagnosis and return 0 if training may start, else 2."""
    from datamodules.doctor import diagnose
    from datamodules.files import write_text
    from experiments.config.load import settings_from_words
    from experiments.factories.preparation import build_split_rule

    settings = settings_from_words(args.settings)
    diagnosis = diagnose(args.data, build_split_rule(settings))
    _print(diagnosis)
    if args.json is not None:
        write_text(args.json, json.dumps(diagnosis.to_dict(), indent=2, ensure_ascii=False) + "\n")
    return 0 if diagnosis.healthy else 2


def _print(diagnosis: Diagnosis) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    facts = Table(show_header=False, box=None)
    for name, value in diagnosis.summary.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {count}" for key, count in value.items())
        facts.add_row(name.replace("_", " "), escape(str(value)))
    console.print(facts)
    if diagnosis.findings:
        table = Table("", "check", "finding", "about", title="Findings")
        colors = {"error": "red", "warning": "yellow", "note": "dim"}
        for finding in diagnosis.findings:
            count = len(finding.names)
            about = ", ".join(finding.names[:2]) + (f" and {count - 2} more" if count > 2 else "")
            level = f"[{colors[finding.level]}]{finding.level}[/]"
            table.add_row(level, finding.check, escape(finding.message), escape(about))
        console.print(table)
    stop = "Do not train on this folder; see the errors above."
    console.print("Training may start." if diagnosis.healthy else stop)
