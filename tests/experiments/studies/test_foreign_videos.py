"""Videos from elsewhere can crash or block their decoder; studies report them by name."""

import functools
import os
from pathlib import Path

import pytest

from datamodules.errors import DataError
from datamodules.media.video import write_video
from datamodules.synthetic.dataset import DanceSpec, render_clip
from experiments.evaluation.guarded import GuardedProcess
from experiments.studies.flow import measure
from experiments.studies.raters import build

#: Long enough to start a process that imports PyTorch on a busy machine.
PATIENCE_S = 10.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A video that can be read, one that is noise, and one that blocks its reader."""
    path = tmp_path / "videos"
    path.mkdir()
    write_video(path / "good.mp4", render_clip(DanceSpec(seconds=0.6, size=48)).frames, 10.0)
    (path / "noise.mp4").write_bytes(bytes(range(256)) * 40)
    os.mkfifo(path / "hangs.mp4")  # nothing is ever written to it
    return path


def test_the_flow_study_leaves_them_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measure, "PATIENCE_S", PATIENCE_S)
    # The search for videos passes over pipes; a network drive's file can block just as well.
    monkeypatch.setattr(measure, "videos_in", lambda path: {f.stem: f for f in path.iterdir()})
    found = measure.read_videos(folder, 3, 32)
    assert {name: tuple(video.shape) for name, video in found.items()} == {"good": (3, 3, 32, 32)}
    said = capsys.readouterr().err
    assert "Left out: hangs: " in said
    assert "did not end within 10 s" in said
    assert "Left out: noise" in said
    (folder / "good.mp4").unlink()
    (folder / "hangs.mp4").unlink()
    with pytest.raises(DataError, match="None of the videos"):
        measure.read_videos(folder, 3, 32)


def test_the_raters_page_is_refused_with_the_name_of_the_video(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("good", "noise"):
        (folder / f"{name}.mp4").unlink()
    guarded = functools.partial(GuardedProcess, patience_s=3.0)
    monkeypatch.setattr(build, "GuardedProcess", guarded)
    with pytest.raises(DataError, match=r"hangs.mp4 cannot be shown to raters: .*3 s"):
        build.build_study(tmp_path / "out", {"a": folder, "b": folder}, build.StudyPlan())
