"""Start-up time of the command line, and which imports it is spent in."""

from __future__ import annotations

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from experiments.benchmarks.harness import print_table

HELP = """Start-up: how long `dabfusion --help` and `train --dry-run --no-probe` take.

Every command runs in a process of its own. Processor time does not depend on other programs on the
machine. The import profile (`python -X importtime`) gives, for each package, the time spent in its
own modules, without what they import."""
EXAMPLES = ["dabfusion benchmark startup --repeats 9"]
#: Seconds that each may take on two cores.
BARS = {"help": 0.7, "plan_autoencoder": 6.0, "plan_diffusion": 6.0}
#: Packages that the profile lists.
LISTED = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmark's arguments."""
    parser.add_argument("--repeats", type=int, default=5, help="runs of each command (5)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Return seconds of each command (wall and processor), and import times by package."""
    repeats = max(1, args.repeats)
    with tempfile.TemporaryDirectory() as folder:
        commands = _commands(Path(folder))
        numbers = {name: _measure(words, repeats, BARS[name]) for name, words in commands.items()}
    print_table(
        ("command", "wall s", "CPU s", "bar s", "slowest imports, ms"),
        [
            (
                name,
                f"{found['wall_s']:.2f}",
                f"{found['processor_s']:.2f}",
                f"{found['bar_s']:.1f}",
                ", ".join(f"{package} {ms:.0f}" for package, ms in found["import_ms"].items()),
            )
            for name, found in numbers.items()
        ],
    )
    return {"repeats": repeats, "commands": numbers}


def _measure(words: list[str], repeats: int, bar_s: float) -> dict[str, Any]:
    _call(words)  # fills the file system's caches
    times = [_call(words) for _ in range(repeats)]
    walls = [wall for wall, _ in times]
    return {
        "wall_s": statistics.median(walls),
        "least_s": min(walls),
        "most_s": max(walls),
        "processor_s": statistics.median(processor for _, processor in times),
        "bar_s": bar_s,
        "import_ms": import_profile(words),
    }


def _commands(folder: Path) -> dict[str, list[str]]:
    """The words of each command; the plans are those of the preset `quickstart`."""
    from experiments.benchmarks.loop import with_data
    from experiments.config.load import load_settings

    settings = with_data(load_settings("quickstart", []), folder)
    given = [f"data={settings.data}", f"out={folder / 'run'}", "--dry-run", "--no-probe"]
    plan = ["preset=quickstart", *given]
    return {
        "help": ["--help"],
        "plan_autoencoder": ["train", "autoencoder", *plan],
        "plan_diffusion": ["train", "diffusion", f"autoencoder={settings.autoencoder}", *plan],
    }


def _call(words: list[str]) -> tuple[float, float]:
    """Wall-clock and processor seconds of one call."""
    before, began = _processor_time(), time.perf_counter()
    command = [sys.executable, "-m", "experiments.cli", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=_environment())
    return time.perf_counter() - began, _processor_time() - before


def import_profile(words: list[str]) -> dict[str, float]:
    """Return milliseconds spent in the modules of each package, the slowest packages first.

    Args:
        words: The words after `dabfusion`.
    """
    command = [sys.executable, "-X", "importtime", "-m", "experiments.cli", *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=_environment())
    spent: Counter[str] = Counter()
    line = r"^import time: +(\d+) \| +\d+ \| +(\S+)$"
    for microseconds, module in re.findall(line, done.stderr, re.MULTILINE):
        spent[module.split(".")[0]] += int(microseconds)
    return {package: round(total / 1000, 1) for package, total in spent.most_common(LISTED)}


def _environment() -> dict[str, str]:
    """This process's environment without its limit of threads."""
    return {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}


def _processor_time() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
