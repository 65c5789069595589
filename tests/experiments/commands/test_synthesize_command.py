"""`dabfusion synthesize` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.cli import main
from experiments.config.load import load_settings

SMALL = ["synthetic.train_videos=1", "synthetic.size=32", "synthetic.seconds=0.5"]


def test_renders_a_set_and_says_what_is_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "dances"
    words = ["synthesize", str(out), *SMALL, "synthetic.workers=1", "seed=4"]
    assert main(words) == 0
    assert len(list((out / "videos").glob("*.mp4"))) == 41
    assert len(list((out / "truth").glob("*.npz"))) == 41
    assert json.loads((out / "synthetic.json").read_text())["seed"] == 4
    assert f"dabfusion prepare {out}" in capsys.readouterr().out
    assert main([*words, "synthetic.fps=20"]) == 2
    sentence = capsys.readouterr().err.strip()
    assert "other settings" in sentence
    assert len(sentence.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train_videos", 0),
        ("cameras", 10),
        ("seconds", 0.1),
        ("size", 8),
        ("routines", 7),
        ("width", 5),
    ],
)
def test_impossible_settings_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"synthetic\.{name} is {value}"):
        load_settings(None, [f"synthetic.{name}={value}"])
