"""Run folders that cannot be gone on with: one sentence, status 2, nothing executed or lost."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest
import torch
from refusals import Change, Code, cut, edit, refused, remove, write
from tiny_runs import TINY


def save(content: object) -> Change:
    """Put something else in place of the last checkpoint."""
    return lambda run: torch.save(content, run / "checkpoints/last.ckpt")


def pickled(run: Path) -> None:
    """A checkpoint that holds code."""
    (run / "checkpoints/last.ckpt").write_bytes(pickle.dumps({"state_dict": Code()}))


RUNS: dict[str, tuple[Change, list[str], str]] = {
    "exists": (lambda run: None, ["resume=never"], "already holds a run"),
    "other seed": (lambda run: None, ["seed=7"], "seed=0"),
    "other rate": (lambda run: None, ["stage1.train.learning_rate=0.1"], "learning_rate"),
    "other network": (lambda run: None, ["stage1.network.regions=3"], "regions"),
    "other clips": (lambda run: None, ["clips.frames=5"], "clips.frames"),
    "other precision": (lambda run: None, ["run.precision=bf16-mixed"], "run.precision"),
    "other data": (edit("manifest.json", data_digest="0" * 64), [], "other data"),
    "other stage": (edit("manifest.json", stage="diffusion"), [], "train diffusion"),
    "unknown stage": (edit("manifest.json", stage="dance"), [], "stage"),
    "newer format": (edit("manifest.json", format=99), [], "format 99"),
    "older format": (edit("manifest.json", format=0), [], "format 0"),
    "manifest cut": (cut("manifest.json", 0.5), [], "not valid JSON"),
    "manifest a list": (write("manifest.json", b"[1]"), [], "format"),
    "manifest gone": (remove("manifest.json"), [], "manifest.json is missing"),
    "config gone": (remove("config.yaml"), [], "config.yaml is missing"),
    "config broken": (write("config.yaml", b"seed: ["), [], "not readable YAML"),
    "config of later": (write("config.yaml", b"colour: red"), [], "no setting"),
    "config binary": (write("config.yaml", b"\xff\xfe\x00"), [], "not readable YAML"),
    "checkpoint cut": (cut("checkpoints/last.ckpt", 0.6), [], "truncated"),
    "checkpoint empty": (write("checkpoints/last.ckpt", b""), [], "truncated"),
    "checkpoint text": (write("checkpoints/last.ckpt", b"hello"), [], "not a readable"),
    "checkpoint code": (pickled, [], "other objects"),
    "checkpoint object": (save({"model": Code()}), [], "other objects"),
    "checkpoint foreign": (save({"state_dict": {}}), [], "not a checkpoint of dabfusion"),
    "checkpoint a tensor": (save(torch.zeros(3)), [], "not a checkpoint of dabfusion"),
    "checkpoint later": (
        save({"dabfusion": {"format": 9, "stage": "autoencoder", "step": 1}}),
        [],
        "format 9",
    ),
    "checkpoint of stage 2": (
        save({"dabfusion": {"format": 1, "stage": "diffusion", "step": 1}}),
        [],
        "train diffusion",
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_run_folders(
    name: str,
    autoencoder: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change, words, expected = RUNS[name]
    run = tmp_path / "run"
    shutil.copytree(autoencoder, run)
    change(run)
    before = contents(run)
    given = [*TINY, f"data={data}", f"out={run}", "stage1.train.steps=12", "resume=auto"]
    refused(capsys, ["train", "autoencoder", *given, *words], expected)
    assert contents(run) == before  # nothing lost


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
