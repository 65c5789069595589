"""The plan of a training, before it is started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_runs import TINY

from experiments import cli


def test_a_dry_run_prints_the_plan_and_leaves_nothing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = [*TINY, f"data={data}", f"out={out}", "stage1.train.steps=1000"]
    assert cli.main(["train", "autoencoder", *words, "--dry-run"]) == 0
    text = capsys.readouterr().out
    for word in ("1000 of 1000", "2 clips each", "trained", "memory", "disk", "ms per step"):
        assert word in text
    assert not out.exists()


def test_without_its_probe_it_says_nothing_of_time(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*TINY, f"data={data}", f"out={tmp_path / 'run'}"]
    assert cli.main(["train", "autoencoder", *words, "--dry-run", "--no-probe"]) == 0
    assert "ms per step" not in capsys.readouterr().out


def test_plan_training_and_manifest_say_that_the_perceptual_loss_is_not_used(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = [*TINY, f"data={data}", f"out={out}", "stage1.train.steps=1"]
    notice = "Stage 1 trains without the published perceptual loss"
    assert cli.main(["train", "autoencoder", *words, "--dry-run", "--no-probe"]) == 0
    assert capsys.readouterr().out.count(notice) == 1
    assert cli.main(["train", "autoencoder", *words]) == 0
    assert capsys.readouterr().err.count(notice) == 1
    (written,) = json.loads((out / "manifest.json").read_text())["notices"]
    assert written.startswith(notice)
