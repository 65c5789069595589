"""Held-out clips are generated and scored from the command line, each split separately."""

import json
from pathlib import Path

import pytest
from tiny_runs import TINY

from experiments import cli
from experiments.reports.runs import read_run


def test_scores_of_every_set_are_written(data: Path, diffusion: Path, tmp_path: Path) -> None:
    for split in ("val", "test"):
        words = ["study", "heldout", str(diffusion), *TINY, f"data={data}", "--split", split]
        assert cli.main([*words, "--clips", "3", "--out", str(tmp_path / split)]) == 0
    found = {s: json.loads((tmp_path / s / "scores.json").read_text()) for s in ("val", "test")}
    for scores in found.values():
        assert {kind["corrected"]["clips"] for kind in scores["alignment"].values()} == {3}
        assert scores["reconstruction"]["l1_copy"] > 0
    names = [(tmp_path / s / "true.csv").read_text().split("\n", 1)[1] for s in ("val", "test")]
    assert "_ch01" in names[0]
    assert "_ch02" in names[1]
    assert "_ch02" not in names[0]
    # The run itself keeps them with their protocol, for `dabfusion compare`.
    kept = read_run(diffusion, "run").evaluations
    assert [evaluation.protocol["split"] for evaluation in kept] == ["test", "val"]
    assert all(len(evaluation.scores["corrected"]) == 3 for evaluation in kept)


def test_a_missing_data_folder_is_one_sentence(
    diffusion: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["study", "heldout", str(diffusion)]) == 2
    assert "data=" in capsys.readouterr().err
