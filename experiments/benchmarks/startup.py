"""Start-up time of the command line, and which imports it is spent in."""

from __future__ import annotations

import argparse
import re
import tempfile
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from experiments.benchmarks.harness import add_options, call_program, print_table

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
    add_options(parser, {"--repeats": (5, "runs of each command")})


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Return seconds of each command (wall and processor), and import times by package."""
    from experiments.benchmarks.loop import with_data
    from experiments.config.load import load_settings

    repeats = max(1, args.repeats)
    with tempfile.TemporaryDirectory() as folder:
        settings = with_data(load_settings("quickstart", []), Path(folder))
        plan = ["preset=quickstart", f"data={settings.data}", f"out={folder}/run"]
        plan += ["--dry-run", "--no-probe"]
        commands = {
            "help": ["--help"],
            "plan_autoencoder": ["train", "autoencoder", *plan],
            "plan_diffusion": ["train", "diffusion", f"autoencoder={settings.autoencoder}", *plan],
        }
        numbers = {name: _measure(words, repeats, BARS[name]) for name, words in commands.items()}
    print_table(numbers, "Start-up, and the slowest imports in ms")
    return {"repeats": repeats, "commands": numbers}


def _measure(words: list[str], repeats: int, bar_s: float) -> dict[str, Any]:
    """Seconds of `dabfusion` with these words; the first call fills the file system's caches."""
    calls = [call_program(words) for _ in range(1 + repeats)][1:]
    walls, processor, _ = zip(*calls, strict=True)
    profile = call_program(words, "-X", "importtime")[2]
    spent: Counter[str] = Counter()  # microseconds in the modules of each package
    line = r"^import time: +(\d+) \| +\d+ \| +(\S+)$"
    for microseconds, module in re.findall(line, profile, re.MULTILINE):
        spent[module.split(".")[0]] += int(microseconds)
    return {
        "wall_s": median(walls),
        "least_s": min(walls),
        "most_s": max(walls),
        "processor_s": median(processor),
        "bar_s": bar_s,
        "import_ms": {name: round(us / 1000, 1) for name, us in spent.most_common(LISTED)},
    }
