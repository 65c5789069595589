"""What an offline run of Weights & Biases stores, and that a resume continues in it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny_runs import TINY, run_cli

from datamodules.media.video import probe
from experiments.runs.folder import RunFolder


@pytest.mark.long
@pytest.mark.parametrize("stage", ["autoencoder", "diffusion"])
def test_an_offline_run_stores_everything_under_one_id(
    stage: str, data: Path, autoencoder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = [*TINY, f"data={data}", f"autoencoder={autoencoder}", f"out={out}"]
    words += ["clips.frames=12", "run.wandb=offline", "run.samples=2", "run.checkpoint_every=2"]
    key = "stage1" if stage == "autoencoder" else "stage2"
    first = run_cli("train", stage, *words, f"{key}.train.steps=4")
    assert first.returncode == 0, first.stderr
    assert "anonymous" not in first.stderr
    assert run_cli("train", stage, *words, f"{key}.train.steps=8", "resume=always").returncode == 0

    run_id = RunFolder(out).read_manifest()["wandb_id"]
    files = sorted((out / "wandb").glob("offline-run-*/run-*.wandb"))
    assert [file.stem for file in files] == [f"run-{run_id}"] * 2
    rows = [history(file) for file in files]
    steps = [row["trainer/global_step"] for part in rows for row in part if "train/loss" in row]
    assert steps == list(range(8))  # continued, none twice, none missing
    for file, part in zip(files, rows, strict=True):
        config = inspect(file, "--summary")["config"]
        assert config["stage1"]["network"]["regions"] == 2
        media = file.parent / "files"
        videos = [media / video["path"] for video in stored(part, "val/samples.videos")]
        assert len(videos) == 2
        assert all(probe(video).has_audio for video in videos)
        for name in ["flow"] if stage == "autoencoder" else ["flow", "beats"]:
            (image,) = stored(part, f"val/{name}.filenames")
            assert min(Image.open(media / image).size) > 90
        found = json.loads((media / stored(part, "val/clips.path")).read_text(encoding="utf-8"))
        assert ("l1" if stage == "autoencoder" else "generated_corrected") in found["columns"]
        assert len(found["data"]) == 2
        if stage == "diffusion":
            seen = [line[found["columns"].index("generated_corrected")] for line in found["data"]]
            assert stored(part, "val/align_pixels_corrected") == pytest.approx(
                sum(seen) / 2, abs=1e-6
            )
    with (out / "samples" / "0000008-clips.csv").open(encoding="utf-8") as kept:
        assert [row["clip"] for row in csv.DictReader(kept)] == [line[0] for line in found["data"]]


def stored(rows: list[dict[str, Any]], key: str) -> Any:
    """What the one row that has it holds under a key."""
    (found,) = (row[key] for row in rows if key in row)
    return found


def history(file: Path) -> list[dict[str, Any]]:
    """The rows that a run's file holds, by wandb's own reader."""
    records = [json.loads(line) for line in read(file).splitlines()]
    return [record["history"]["item"] for record in records if record["type"] == "history"]


def inspect(file: Path, option: str) -> dict[str, Any]:
    """What else wandb's reader says of a run's file."""
    return dict(json.loads(read(file, option)))


def read(file: Path, *options: str) -> str:
    wandb = str(Path(sys.executable).with_name("wandb"))
    words = [wandb, "leet", "inspect", *options, "--json", str(file)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout
