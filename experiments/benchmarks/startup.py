"""How long the command line takes before it does anything: help, the plan of a training, imports.

Every command runs in a process of its own, several times. Wall-clock time is what a person waits;
processor time is what a busy machine does not lengthen. The import profile is Python's own
(`-X importtime`): time spent in the modules of each package themselves, without what they import.
"""

from __future__ import annotations

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

from experiments.arguments import Parser

HELP = "How long `dabfusion --help` and `dabfusion train ... --dry-run --no-probe` take."
#: Seconds that each may take on two cores.
BARS = {"help": 0.7, "plan_autoencoder": 6.0, "plan_diffusion": 6.0}
#: Packages that the profile lists.
LISTED = 12


def run(options: list[str]) -> dict[str, Any]:
    """Measure, and print a table and the import profiles.

    Args:
        options: `--repeats N`.

    Returns:
        For each command, seconds by the wall clock (median, least, most), processor seconds, and
        milliseconds by package.
    """
    parser = Parser("dabfusion benchmark startup", HELP)
    parser.add_argument("--repeats", type=int, default=5, help="runs of each command (5)")
    repeats = max(1, parser.parse_args(options).repeats)
    numbers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        commands = _commands(Path(folder))
        print(f"{'command':20}{'wall s':>9}{'CPU s':>9}{'bar s':>9}")
        for name, words in commands.items():
            _call(words)  # fills the caches of the file system
            times = [_call(words) for _ in range(repeats)]
            walls, processor = [t[0] for t in times], [t[1] for t in times]
            numbers[name] = {
                "wall_s": statistics.median(walls),
                "least_s": min(walls),
                "most_s": max(walls),
                "processor_s": statistics.median(processor),
                "bar_s": BARS[name],
                "import_ms": import_profile(words),
            }
            found = numbers[name]
            print(f"{name:20}{found['wall_s']:9.2f}{found['processor_s']:9.2f}{BARS[name]:9.1f}")
    for name, found in numbers.items():
        print(f"\nimports of {name}, ms")
        for package, spent in found["import_ms"].items():
            print(f"  {package:24}{spent:8.1f}")
    return {"repeats": repeats, "commands": numbers}


def _commands(folder: Path) -> dict[str, list[str]]:
    """The commands' words; the plans are of the preset `quickstart`, on rendered clips."""
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
    """Seconds by the wall clock and of the processor that one call takes."""
    before, began = _spent(), time.perf_counter()
    command = [sys.executable, "-m", "experiments.cli", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=_environment())
    return time.perf_counter() - began, _spent() - before


def import_profile(words: list[str]) -> dict[str, float]:
    """Milliseconds spent in the modules of each package while a command runs, the most first.

    Args:
        words: behind `dabfusion`.
    """
    command = [sys.executable, "-X", "importtime", "-m", "experiments.cli", *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=_environment())
    spent: Counter[str] = Counter()
    for microseconds, module in re.findall(
        r"^import time: +(\d+) \| +\d+ \| +(\S+)$", done.stderr, re.MULTILINE
    ):
        spent[module.split(".")[0]] += int(microseconds)
    return {package: round(total / 1000, 1) for package, total in spent.most_common(LISTED)}


def _environment() -> dict[str, str]:
    """As a person's shell: the threads that this process was limited to are not passed on."""
    return {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}


def _spent() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
