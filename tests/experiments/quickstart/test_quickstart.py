"""The smallest quickstart from the command line, and what a second run does."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from experiments.cli import main
from experiments.errors import DONE, USER_ERROR
from experiments.quickstart.plan import plan_quickstart
from experiments.reports.runs import read_run

#: A quickstart of seconds: few and short videos, small images.
TINY = [
    *("synthetic.train_videos=3", "synthetic.seconds=2.4", "synthetic.size=32"),
    *("clips.size=32", "clips.frames=8", "clips.stride=8", "run.wandb=off", "run.threads=1"),
    *("sampling.steps=2", "sampling.overlap=2"),
]


def quickstart(out: Path, *words: str) -> int:
    return main(["quickstart", "--minutes", "0.5", "--out", str(out), *TINY, *words])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "quickstart"
    assert quickstart(out) == DONE
    return out


def test_every_result_is_written(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert list((finished / "videos").glob("*.mp4"))
    assert (finished / "contact_sheet.png").stat().st_size > 1000
    assert (finished / "diffusion" / "export" / "model_index.json").exists()
    results = json.loads((finished / "results.json").read_text())
    assert set(results["alignment"]) == {"true", "reconstructed", "generated"}
    assert results["alignment"]["true"]["corrected"]["clips"] == 10
    assert math.isfinite(results["reconstruction"]["l1_ratio"])
    assert results["beats"]["f1"] > 0.5


def test_scores_are_ready_to_be_compared(finished: Path) -> None:
    run = read_run(finished / "diffusion", "run")
    (evaluation,) = run.evaluations
    rows = pd.read_csv(finished / "scores" / "generated.csv")
    assert evaluation.clips == tuple(rows["clip"])
    assert evaluation.music == tuple(rows["music_id"])
    assert list(evaluation.scores["corrected"]) == pytest.approx(
        list(rows["corrected"]), nan_ok=True
    )
    assert evaluation.protocol["clips"] == 10


def written(folder: Path) -> dict[Path, int]:
    """When each file was written; the list of what was left out is written anew each time."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != "quarantine.jsonl"]
    return {path: path.stat().st_mtime_ns for path in files}


def test_a_second_run_only_prints_the_table(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = written(finished)
    assert quickstart(finished) == DONE
    assert "half a beat" in capsys.readouterr().out
    assert written(finished) == before


def test_the_same_seed_gives_the_same_table(finished: Path, tmp_path: Path) -> None:
    assert quickstart(tmp_path / "again") == DONE
    again = json.loads((tmp_path / "again" / "results.json").read_text())
    assert again == json.loads((finished / "results.json").read_text())


def test_a_folder_of_another_quickstart_is_refused(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quickstart(finished, "seed=5") == USER_ERROR
    assert "other settings" in capsys.readouterr().err


def test_minutes_scale_steps_and_nothing_else() -> None:
    short, long = (plan_quickstart(Path("x"), minutes, []) for minutes in (9.0, 40.0))
    for stage in ("stage1", "stage2"):
        one = getattr(short.settings, stage).train.steps
        other = getattr(long.settings, stage).train.steps
        assert other / one == pytest.approx(38.5 / 7.5, rel=0.01)
    assert short.settings.synthetic == long.settings.synthetic
    assert short.settings.stage2.network == long.settings.stage2.network


@pytest.mark.parametrize("minutes", ["0", "-3", "nan", "1e9"])
def test_impossible_budgets_are_refused(minutes: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quickstart", "--minutes", minutes, "--out", "nowhere"]) == USER_ERROR
    assert "--minutes" in capsys.readouterr().err
    assert not Path("nowhere").exists()
