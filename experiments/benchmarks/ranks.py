"""Data-parallel training: step time and traffic of one process and of two on this machine."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from experiments.benchmarks.harness import call_program, print_table

HELP = """Data-parallel training: step time and traffic of one process and of two.

The global batch is the same, so each of two processes has half of it. Bytes are those that cross
the loopback device between a short and a long run; expected are 4 bytes for each trainable
parameter, which a ring of n processes moves 2 (n - 1) / n times in and out of each process. Run it
where nothing else uses the loopback device. Timed are the first steps of the preset: in stage 1 of
`quickstart` only the regions are trained in them, which is faster than the later steps."""
EXAMPLES = ["dabfusion benchmark ranks", "dabfusion benchmark ranks --preset aist128 data=aist"]
#: Steps of the short and of the long run, and steps that only warm up.
SHORT, LONG, WARMUP = 10, 50, 5
#: Bytes that this machine has sent to itself so far.
LOOPBACK = Path("/sys/class/net/lo/statistics/tx_bytes")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmark's arguments."""
    parser.add_argument("--preset", default="quickstart", help="preset to train (quickstart)")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings to change")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Return milliseconds a step and bytes a step, sent and expected, of both stages."""
    from experiments.benchmarks.loop import with_data
    from experiments.config.load import load_settings

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = with_data(load_settings(args.preset, args.settings), folder)
        words = [f"preset={args.preset}", *args.settings, f"data={settings.data}"]
        words += [f"autoencoder={settings.autoencoder}", "run.threads=1", "run.wandb=off"]
        # Batch norm over processes needs GPUs, and this benchmark runs anywhere.
        words += ["stage1.train.sync_batch_norm=false", "run.log_every=1", "run.samples=0"]
        numbers = {
            "autoencoder": _measure(["train", "autoencoder", *words], "stage1", folder / "1"),
            "diffusion": _measure(["train", "diffusion", *words], "stage2", folder / "2"),
        }
    print_table(numbers, "A training step: ms with one and with two processes, bytes of one of two")
    return numbers


def _measure(words: list[str], section: str, folder: Path) -> dict[str, float]:
    """Train a stage for some steps in one process and in two."""
    from experiments.runs.folder import read_checkpoint

    def train(devices: int, steps: int) -> tuple[float, int]:
        """Median milliseconds of a step, and bytes that crossed the loopback device."""
        out = folder / f"{devices}-{steps}"
        short = [f"out={out}", f"run.devices={devices}", f"{section}.train.steps={steps}"]
        before = int(LOOPBACK.read_text())
        call_program([*words, *short, f"run.validate_every={10 * steps}"])
        sent = int(LOOPBACK.read_text()) - before
        lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        ends = [json.loads(line)["seconds"] for line in lines[WARMUP:]]
        return 1000.0 * statistics.median(b - a for a, b in pairwise(ends)), sent

    (single, _), (_, few), (double, many) = train(1, LONG), train(2, SHORT), train(2, LONG)
    checkpoint = read_checkpoint(folder / f"2-{LONG}" / "checkpoints" / "last.ckpt")
    # Trainable are the parameters that the optimizer keeps moments of, 4 bytes each.
    moments = checkpoint["optimizer_states"][0]["state"].values()
    return {
        "ms_1": single,
        "ms_2": double,
        # The device counts the bytes of both processes.
        "bytes_sent": (many - few) / (LONG - SHORT) / 2,
        "bytes_expected": 4.0 * sum(state["exp_avg"].numel() for state in moments),
    }
