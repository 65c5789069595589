"""The comparison at Weights & Biases, as far as it goes without their server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from runs_on_disk import add_evaluation, make_run

from experiments.errors import SettingsError
from experiments.reports.runs import read_run
from experiments.reports.scores import score_tables
from experiments.reports.wandb_report import report_blocks

PROGRAM = """
import sys
from pathlib import Path
from experiments.reports.wandb_report import log_page
log_page(Path(sys.argv[1]), "project", "title")
"""


def logged_run(folder: Path, run_id: str, wandb: str = "online") -> Path:
    run = make_run(folder, {"run": {"wandb": wandb}})
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "wandb_id": run_id}))
    add_evaluation(run, "protocol", {"corrected": [0.1, 0.3, 0.2, 0.2], "jerk": [5.0] * 4})
    return run


def test_report_shows_scores_and_the_runs_that_were_logged(tmp_path: Path) -> None:
    reports = pytest.importorskip("wandb_workspaces.reports.v2")
    for name, run_id, wandb in (("a", "id1", "online"), ("b", "id2", "off"), ("c", "id3", "auto")):
        logged_run(tmp_path / name, run_id, wandb)
    runs = [read_run(tmp_path / name, name) for name in "abc"]
    blocks = report_blocks(runs, score_tables(runs, draws=50), "project")
    (scores,) = [block.text for block in blocks if isinstance(block, reports.MarkdownBlock)]
    assert "| b | 4 | 0.200 [0.200, 0.200] |" in scores
    assert "jerk" not in scores
    grids = [block for block in blocks if isinstance(block, reports.PanelGrid)]
    assert [type(grid.panels[0]).__name__ for grid in grids] == [
        "RunComparer", "LinePlot", "MediaBrowser",
    ]  # fmt: skip
    assert [panel.title for panel in grids[1].panels] == ["val/align_corrected", "train/loss"]
    assert {grid.runsets[0].filters for grid in grids} == {"ID in ['id1', 'id3']"}


def test_report_of_runs_that_were_not_logged_is_refused(tmp_path: Path) -> None:
    run = read_run(logged_run(tmp_path / "b", "id2", "off"), "b")
    with pytest.raises(SettingsError, match="None of the runs was logged"):
        report_blocks([run], [], "project")


def test_report_is_refused_in_a_sentence_without_an_account(tmp_path: Path) -> None:
    run, out = logged_run(tmp_path / "a", "id1"), tmp_path / "r.html"
    done = subprocess.run(
        [sys.executable, "-m", "experiments.cli", "compare", str(run), "--out", str(out),
         "--wandb-report", "project"],
        env=nobody(tmp_path), capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 2
    assert "not logged in: run `wandb login`" in done.stderr
    assert "Traceback" not in done.stderr
    assert out.is_file()


def nobody(folder: Path) -> dict[str, str]:
    """An environment in which nobody is logged in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    return {**kept, "NETRC": str(folder / "none"), "WANDB_SILENT": "true"}


@pytest.mark.long
def test_page_is_logged_offline(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text("<!doctype html><title>Comparison</title><p>every run</p>")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(page)],
        cwd=tmp_path,
        env=nobody(tmp_path),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    logged = list((tmp_path / "wandb").glob("offline-run-*/files/media/html/*.html"))
    assert [file.read_text() for file in logged] == [page.read_text()]
