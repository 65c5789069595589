"""Progress bars appear with the first report of progress, so that refusals are one sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from refusals import refused

from experiments.processes.progress import shown_progress


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Standard error is a terminal."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)


@pytest.mark.usefixtures("terminal")
def test_a_bar_is_drawn_with_the_first_call(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="refused"), shown_progress("Work"):
        raise ValueError("refused")
    assert capsys.readouterr().err == ""
    with shown_progress("Work") as progress:
        progress(1, 2)
    assert "Work" in capsys.readouterr().err


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("verb", ["prepare", "evaluate", "synthesize"])
def test_no_bar_is_drawn_before_a_refusal(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    words = {
        "prepare": [str(tmp_path / "empty"), str(tmp_path / "out")],
        "evaluate": [str(tmp_path / "empty")],
        "synthesize": [str(tmp_path / "file")],
    }
    refused(capsys, [verb, *words[verb]], str(tmp_path))
