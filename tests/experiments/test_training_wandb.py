"""What an offline run of Weights & Biases really stores, and that a resumed one goes on in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import TINY

from experiments import cli
from experiments.results import RunFolder


@pytest.mark.long
def test_an_offline_run_stores_metrics_config_and_videos_under_one_id(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = [*TINY, f"data={data}", f"out={out}", "run.wandb=offline", "run.samples=1"]
    train = ["train", "autoencoder", *words, "run.checkpoint_every=2"]
    assert cli.main([*train, "stage1.train.steps=4"]) == 0
    assert cli.main([*train, "stage1.train.steps=8", "resume=always"]) == 0

    run_id = RunFolder(out).read_manifest()["wandb_id"]
    files = sorted((out / "wandb").glob("offline-run-*/run-*.wandb"))
    assert [file.stem for file in files] == [f"run-{run_id}"] * 2
    steps = [
        row["trainer/global_step"] for file in files for row in history(file) if "train/loss" in row
    ]
    assert steps == list(range(8))  # counted on, none twice, none left out
    assert all(list(file.parent.glob("files/media/videos/**/*.mp4")) for file in files)
    assert all(list(file.parent.glob("files/media/images/**/*.png")) for file in files)


def history(file: Path) -> list[dict[str, Any]]:
    """The rows that a run's file holds, by wandb's own reader."""
    wandb = str(Path(sys.executable).with_name("wandb"))
    done = subprocess.run(
        [wandb, "leet", "inspect", "--json", str(file)], capture_output=True, text=True, check=True
    )
    records = [json.loads(line) for line in done.stdout.splitlines()]
    return [record["history"]["item"] for record in records if record["type"] == "history"]
