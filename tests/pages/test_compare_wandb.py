"""The comparison as a run of Weights & Biases, offline: the page lies in it, whole."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path
from experiments.report_wandb import log_page
log_page(Path(sys.argv[1]), "project", "title")
"""


@pytest.mark.long
def test_page_is_logged_offline(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text("<!doctype html><title>Comparison</title><p>every run</p>")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(page)],
        cwd=tmp_path,
        env={**kept, "NETRC": str(tmp_path / "none"), "WANDB_SILENT": "true"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    logged = list((tmp_path / "wandb").glob("offline-run-*/files/media/html/*.html"))
    assert [file.read_text() for file in logged] == [page.read_text()]
