"""The benchmark of data on toy videos: every number is there, and the videos are kept."""

import json
from pathlib import Path

import pytest

from experiments import cli
from experiments.benchmarks.data import BARS

TOY = ["--videos", "3", "--distinct", "2", "--seconds", "4", "--fps", "10", "--height", "90"]


@pytest.mark.long
def test_numbers_are_measured_and_videos_kept(tmp_path: Path) -> None:
    kept, report = tmp_path / "kept", tmp_path / "data.json"
    words = ["benchmark", "data", *TOY, "--clips", "16", "--workers", "2"]
    assert cli.main([*words, "--folder", str(kept), "--json", str(report)]) == 0
    numbers = json.loads(report.read_text())["numbers"]
    for part, bars in BARS.items():
        assert set(bars) <= set(numbers[part])
    assert 0.0 < numbers["prepare"]["cpu_share"] <= 1.0
    assert 0.0 < numbers["load"]["share_decoding"] < 1.0
    assert numbers["index"]["rows"] == 40_000
    assert str(tmp_path) not in report.read_text()
    videos = sorted(kept.rglob("*.mp4"))
    assert len(videos) == 3
    assert len({video.read_bytes() for video in videos}) == 2


def test_what_cannot_be_measured_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["benchmark", "data", "--seconds", "3"]) == 2
    assert "--seconds must be 4 or more" in capsys.readouterr().err
