"""Data-parallel training: step time and traffic of one process and of two on this machine."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from experiments.benchmarks.harness import print_table

HELP = """Data-parallel training: step time and traffic of one process and of two.

The global batch is the same, so each of two processes has half of it. Bytes are those that cross
the loopback device between a short and a long run; expected are 4 bytes for each trainable
parameter, which a ring of n processes moves 2 (n - 1) / n times in and out of each process. Run it
where nothing else uses the loopback device. Timed are the first steps of the preset: in stage 1 of
`quickstart` only the regions are trained in them, which is faster than the later steps."""
EXAMPLES = ["dabfusion benchmark ranks", "dabfusion benchmark ranks --preset aist128 data=aist"]
#: Steps of the short and of the long run, and steps that only warm up.
SHORT, LONG, WARMUP = 10, 50, 5
STAGES = {"autoencoder": "stage1", "diffusion": "stage2"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmark's arguments."""
    parser.add_argument("--preset", default="quickstart", help="preset to train (quickstart)")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings to change")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Return milliseconds a step and bytes a step, sent and expected, of both stages."""
    from experiments.benchmarks.loop import with_data
    from experiments.config.load import load_settings

    numbers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        settings = with_data(load_settings(args.preset, args.settings), Path(folder))
        words = [f"preset={args.preset}", *args.settings, f"data={settings.data}"]
        words += [f"autoencoder={settings.autoencoder}", "run.threads=1", "run.wandb=off"]
        for stage in STAGES:
            numbers[stage] = _measure(stage, words, Path(folder) / f"runs-{stage}")
    print_table(
        ("stage", "1 process", "2 processes", "MB sent", "expected"),
        [
            (
                stage,
                *(f"{found[key]:.1f} ms" for key in ("ms_1", "ms_2")),
                *(f"{found[key] / 1e6:.2f}" for key in ("bytes_sent", "bytes_expected")),
            )
            for stage, found in numbers.items()
        ],
    )
    return numbers


def _measure(stage: str, words: list[str], folder: Path) -> dict[str, float]:
    single, _ = _train(stage, words, folder / "1", 1, LONG)
    _, few = _train(stage, words, folder / "2-short", 2, SHORT)
    double, many = _train(stage, words, folder / "2", 2, LONG)
    return {
        "ms_1": 1000.0 * single,
        "ms_2": 1000.0 * double,
        # The device counts the bytes of both processes.
        "bytes_sent": (many - few) / (LONG - SHORT) / 2,
        "bytes_expected": 4.0 * _trainable_parameters(folder / "2"),
    }


def _train(stage: str, words: list[str], out: Path, devices: int, steps: int) -> tuple[float, int]:
    """Median seconds of a step, and bytes that crossed the loopback device during the run."""
    short = [f"out={out}", f"run.devices={devices}", f"{STAGES[stage]}.train.steps={steps}"]
    # Batch norm over processes needs GPUs, and this benchmark runs anywhere.
    short += ["stage1.train.sync_batch_norm=false"]
    short += ["run.log_every=1", "run.samples=0", f"run.validate_every={10 * steps}"]
    command = [sys.executable, "-m", "experiments.cli", "train", stage, *words, *short]
    before = _loopback_bytes()
    subprocess.run(command, check=True, capture_output=True)
    sent = _loopback_bytes() - before
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ends = [json.loads(line)["seconds"] for line in lines[WARMUP:]]
    return statistics.median(after - before for before, after in pairwise(ends)), sent


def _trainable_parameters(run: Path) -> int:
    """The number of parameters that the optimizer keeps moments of."""
    from experiments.runs.folder import read_checkpoint

    checkpoint = read_checkpoint(run / "checkpoints" / "last.ckpt")
    states = checkpoint["optimizer_states"][0]["state"].values()
    return sum(state["exp_avg"].numel() for state in states)


def _loopback_bytes() -> int:
    """Bytes that this machine has sent to itself so far."""
    for line in Path("/proc/net/dev").read_text(encoding="ascii").splitlines():
        name, _, counts = line.partition(":")
        if name.strip() == "lo":
            return int(counts.split()[8])
    raise ValueError("This system does not count the bytes of a loopback device.")
