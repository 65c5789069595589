"""What processes exchange in a step, and gain by it: one against two on this machine.

The global batch is the same, so each of two processes has half of it. Bytes are those that really
cross the loopback device between a short and a long run; expected are 4 bytes for each parameter
that learns, which a ring of n processes moves 2 (n - 1) / n times in and out of each. Run it where
nothing else uses the loopback device. The steps are the first ones of the preset: in stage 1 of
`quickstart` the regions learn alone in them, which is quicker than what follows.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from experiments.arguments import Parser

HELP = "Step time and bytes exchanged of one process against two, on this machine."
#: Steps of the short and of the long run; steps of a run that only warm up.
SHORT, LONG, WARMUP = 10, 50, 5
STAGES = {"autoencoder": "stage1", "diffusion": "stage2"}


def run(options: list[str]) -> dict[str, Any]:
    """Measure both stages.

    Args:
        options: `--preset NAME` (quickstart) and `key=value` settings.

    Returns:
        For each stage: milliseconds a step with one and two processes, bytes a step that each of
        two sends, and those that the number of parameters predicts.
    """
    parser = Parser("dabfusion benchmark ranks", HELP)
    parser.add_argument("--preset", default="quickstart")
    parser.add_argument("settings", nargs="*", metavar="key=value")
    args = parser.parse(options)
    numbers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        from experiments.benchmarks.loop import with_data
        from experiments.config.load import load_settings

        settings = with_data(load_settings(args.preset, args.settings), Path(folder))
        words = [f"preset={args.preset}", *args.settings, f"data={settings.data}"]
        words += [f"autoencoder={settings.autoencoder}", "run.threads=1", "run.wandb=off"]
        print(f"{'stage':14}{'1 process':>12}{'2 processes':>13}{'MB sent':>10}{'expected':>10}")
        for stage in STAGES:
            numbers[stage] = found = _measure(stage, words, Path(folder) / f"runs-{stage}")
            print(
                f"{stage:14}{found['ms_1']:9.1f} ms{found['ms_2']:10.1f} ms"
                f"{found['bytes_sent'] / 1e6:10.2f}{found['bytes_expected'] / 1e6:10.2f}"
            )
    return numbers


def _measure(stage: str, words: list[str], folder: Path) -> dict[str, float]:
    alone, _ = _train(stage, words, folder / "1", 1, LONG)
    _, few = _train(stage, words, folder / "2-short", 2, SHORT)
    shared, many = _train(stage, words, folder / "2", 2, LONG)
    return {
        "ms_1": 1000.0 * alone,
        "ms_2": 1000.0 * shared,
        # The device counts what both processes send.
        "bytes_sent": (many - few) / (LONG - SHORT) / 2,
        "bytes_expected": 4.0 * _parameters(folder / "2"),
    }


def _train(stage: str, words: list[str], out: Path, devices: int, steps: int) -> tuple[float, int]:
    """Median seconds of a step, and bytes that crossed the loopback device during the run."""
    short = [f"out={out}", f"run.devices={devices}", f"{STAGES[stage]}.train.steps={steps}"]
    # Batch norm over processes is for GPUs alone, and this is measured anywhere.
    short += ["stage1.train.sync_batch_norm=false"]
    short += ["run.log_every=1", "run.samples=0", f"run.validate_every={10 * steps}"]
    command = [sys.executable, "-m", "experiments.cli", "train", stage, *words, *short]
    before = _loopback_bytes()
    subprocess.run(command, check=True, capture_output=True, env=dict(os.environ))
    sent = _loopback_bytes() - before
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ends = [json.loads(line)["seconds"] for line in lines[WARMUP:]]
    return statistics.median(after - before for before, after in pairwise(ends)), sent


def _parameters(run: Path) -> int:
    """Parameters that learn: as many as the optimiser has moments of."""
    from experiments.training.checkpoints import read_checkpoint

    checkpoint = read_checkpoint(run / "checkpoints" / "last.ckpt")
    states = checkpoint["optimizer_states"][0]["state"].values()
    return sum(state["exp_avg"].numel() for state in states)


def _loopback_bytes() -> int:
    """Bytes that this machine has sent to itself so far."""
    for line in Path("/proc/net/dev").read_text(encoding="ascii").splitlines():
        name, _, counts = line.partition(":")
        if name.strip() == "lo":
            return int(counts.split()[8])
    raise ValueError("This system counts no bytes of a loopback device.")
