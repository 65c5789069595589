"""Mutated videos through preparation: quarantined with a reason, or prepared for what they show."""

from pathlib import Path

import numpy as np
import pytest
from dance_folder import SIZE, shown_time
from mutated_videos import Mutated, mutate

from datamodules.index import DatasetSettings
from datamodules.media.video import read_frames
from datamodules.preparation.video_task import VideoTask, prepare_video

COUNT = 500
SAMPLE = range(0, COUNT, 17)
#: Kinds whose picture has not the size that a clip shows at its own scale.
OTHER_SIZE = ("odd size", "rotated")
#: What the clock's milliseconds are rounded by.
SLACK_S = 2e-3
#: Half of the longest gap that preparation admits: damage may cost single pictures.
LOST_S = 0.3


def prepared(number: int, folder: Path) -> str | None:
    """Prepare mutation `number` and check what came of it: the reason, or None for a clip."""
    mutated = mutate(number, folder)
    task = VideoTask(
        "video", mutated.path, mutated.path.name, folder / "out", DatasetSettings(size=SIZE)
    )
    record = prepare_video(task)
    if "reason" in record:
        assert record["reason"], mutated.kind
        assert "unexpected" not in record["reason"], (mutated.kind, record["reason"])
        assert str(folder) not in record["reason"]
        return str(record["reason"])
    frames = read_frames(folder / "out" / "clips" / "video.mp4")
    assert frames.shape == (record["row"]["frames"], 3, SIZE, SIZE)
    if mutated.kind not in OTHER_SIZE:
        check_times(mutated, [shown_time(frame) for frame in frames])
    return None


def check_times(mutated: Mutated, shown: list[float]) -> None:
    """Every clip frame shows the source frame nearest to its time, of those that are left."""
    slack = LOST_S if mutated.damaged else SLACK_S
    times = np.asarray(mutated.times_s)
    for k, second in enumerate(shown):
        nearest = np.abs(times - k / 10).min()
        assert abs(second - k / 10) <= nearest + slack, (mutated.kind, k, second)


@pytest.mark.parametrize("number", SAMPLE)
def test_a_sample_of_mutated_videos(number: int, tmp_path: Path) -> None:
    prepared(number, tmp_path)


@pytest.mark.long
def test_all_mutated_videos(tmp_path: Path) -> None:
    kinds: dict[str, list[bool]] = {}
    for number in range(COUNT):
        folder = tmp_path / str(number)
        folder.mkdir()
        kinds.setdefault(mutate(number, folder).kind, []).append(prepared(number, folder) is None)
    # What is merely unusual must be usable.
    for kind in ("wrong extension", "variable rate", "rotated", "chroma", "odd size"):
        assert all(kinds[kind]), kind
    assert not any(kinds["no sound"])
    assert not any(kinds["one frame"])
