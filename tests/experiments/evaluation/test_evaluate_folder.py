"""`dabfusion evaluate` on a folder of rendered videos, with bad files among them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from datamodules.errors import DataError
from datamodules.media.video import write_video
from datamodules.synthetic.dataset import DanceSpec, render_clip
from experiments.cli import main
from experiments.errors import SettingsError
from experiments.evaluation.clips import clip_rows, score_clips, summarise
from experiments.evaluation.folder import music_of, videos_in
from experiments.evaluation.protocol import read_evaluation, score_table

NAMES = ("gBR_sBM_c01_d01_mBR0_ch01", "gPO_sBM_c01_d02_mPO1_ch02", "gHO_sBM_c01_d06_mHO5_ch06")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three dancers with sound and their beat files, a silent film and a broken file."""
    root = tmp_path_factory.mktemp("videos")
    (root / "beats").mkdir()
    for seed, name in enumerate(NAMES):
        clip = render_clip(DanceSpec(name=name, seed=seed, size=64))
        write_video(root / f"{name}.mp4", clip.frames, 10, clip.audio, clip.sample_rate)
        np.savetxt(root / "beats" / f"{name}.txt", clip.beats_s[clip.beats_s >= 0])
    write_video(root / "silent.mp4", clip.frames, 10)
    (root / "broken.mp4").write_bytes(b"this is no video")
    return root


def evaluate(folder: Path, out: Path, *more: str) -> int:
    return main(["evaluate", str(folder), "--out", str(out), "--beats", str(folder / "beats"),
                 *more])  # fmt: skip


def test_a_folder_is_scored_and_bad_files_are_listed(folder: Path, tmp_path: Path) -> None:
    assert evaluate(folder, tmp_path / "one") == 0
    protocol, scores = read_evaluation(tmp_path / "one")
    assert {failure["name"] for failure in scores["failures"]} == {"silent", "broken"}
    rows = pd.read_csv(tmp_path / "one" / "clips.csv")
    assert sorted(rows["clip"]) == sorted(NAMES)
    assert set(rows["music_id"]) == {"mBR0", "mPO1", "mHO5"}
    assert rows["corrected"].mean() > 0.85
    assert rows["other_difference"].mean() > 0.3
    assert rows["shifted"].abs().max() < 0.1
    pd.testing.assert_frame_equal(
        rows, pd.read_parquet(tmp_path / "one" / "clips.parquet"), check_exact=False, atol=1e-6
    )
    assert rows["av_align"].between(0, 1).all()
    assert rows["av_align"].max() > 0
    assert rows["warp_error"].between(1e-6, 0.05).all()
    assert protocol["beats"] == {"file": 3}
    mean = scores["means"]["corrected"]
    assert mean["low"] <= mean["mean"] <= mean["high"]
    assert mean["clusters"] == 3


def test_tables_refuse_other_protocols(folder: Path, tmp_path: Path) -> None:
    for name, more in (("a", ()), ("b", ()), ("c", ("--size", "48"))):
        assert evaluate(folder, tmp_path / name, *more) == 0
    a, b, c = (tmp_path / name for name in "abc")
    assert score_table([a, b]).count("\n") == 3
    with pytest.raises(SettingsError, match="size"):
        score_table([a, c])
    assert score_table([a, c], mix=True).count("\n") == 3
    assert main(["evaluate", "--table", str(a), str(c)]) == 2
    protocol = json.loads((a / "protocol.json").read_text())
    (a / "protocol.json").write_text(json.dumps({**protocol, "flow": "dis"}))
    with pytest.raises(SettingsError, match="does not belong"):
        read_evaluation(a)


def test_a_reference_adds_distances(folder: Path, tmp_path: Path) -> None:
    assert evaluate(folder, tmp_path / "same", "--reference", str(folder)) == 0
    protocol, scores = read_evaluation(tmp_path / "same")
    assert scores["distances"]["frechet"]["mean"] == pytest.approx(0, abs=1e-6)
    assert scores["distances"]["nearest_true"]["mean"] == pytest.approx(0, abs=1e-6)
    assert scores["distances"]["diversity"]["mean"] > 0
    assert protocol["reference"]["true_videos"] == 4
    assert protocol["reference"]["extractor"].startswith("rendered-dancers:")
    table = score_table([tmp_path / "same"])
    assert "| frechet | kernel |" in table
    assert evaluate(folder, tmp_path / "alone") == 0
    with pytest.raises(SettingsError, match="reference"):
        score_table([tmp_path / "same", tmp_path / "alone"])


def test_oddities_are_scored_or_named(folder: Path, tmp_path: Path) -> None:
    """One frame, a fraction of a second, another rate and size, no sound with and without beats."""
    odd = tmp_path / "odd"
    clip = render_clip(DanceSpec(seed=5, size=64))
    (odd / "beats").mkdir(parents=True)
    for name, frames, fps in (
        ("one_frame", clip.frames[:1], 10),
        ("three_frames", clip.frames[:3], 10),
        ("fast", clip.frames, 60),
        ("tall", clip.frames[..., :40], 10),
    ):
        write_video(odd / f"{name}.mp4", frames, fps, clip.audio, clip.sample_rate)
    write_video(odd / "silent.mp4", clip.frames, 10)
    write_video(odd / "silent_with_beats.mp4", clip.frames, 10)
    np.savetxt(odd / "beats" / "silent_with_beats.txt", clip.beats_s[clip.beats_s >= 0])
    (odd / "empty.mp4").touch()
    (odd / "cut.mp4").write_bytes((odd / "tall.mp4").read_bytes()[:2000])
    assert evaluate(odd, tmp_path / "scores", "--reference", str(folder)) == 0
    protocol, scores = read_evaluation(tmp_path / "scores")
    assert {failure["name"] for failure in scores["failures"]} == {"silent", "empty", "cut"}
    rows = pd.read_csv(tmp_path / "scores" / "clips.csv").set_index("clip")
    assert rows.loc[["one_frame", "three_frames"], "corrected"].tolist() == [0, 0]
    assert rows.loc["silent_with_beats", "corrected"] > 0.5
    assert np.isnan(rows.loc["silent_with_beats", "av_align"])
    assert protocol["fps"] == ["10", "60"]
    assert protocol["reference"]["frames"] >= 1


def test_what_cannot_be_scored_is_a_sentence(tmp_path: Path, capsys: object) -> None:
    del capsys
    empty = tmp_path / "empty"
    empty.mkdir()
    for words in (
        ["evaluate"],
        ["evaluate", str(tmp_path / "none")],
        ["evaluate", str(empty)],
        ["evaluate", str(empty), "--size", "3"],
    ):
        assert main(words) == 2
    (empty / "bad.mp4").write_bytes(b"no")
    assert main(["evaluate", str(empty)]) == 2


def test_clips_in_memory() -> None:
    clips = [render_clip(DanceSpec(name=n, seed=s, size=64)) for s, n in enumerate(NAMES[:2])]
    beats = torch.nn.utils.rnn.pad_sequence(
        [torch.from_numpy(clip.beats_s) for clip in clips], batch_first=True,
        padding_value=torch.nan,
    )  # fmt: skip
    frames = torch.stack([clip.frames for clip in clips])
    rows = clip_rows(score_clips(frames, 10, beats, ["a", "b"], ["mBR0", "mPO1"]))
    means = summarise(rows)
    assert means["corrected"].mean > 0.85
    assert means["corrected"].clusters == 2
    swapped = clip_rows(score_clips(frames, 10, beats.flip(0), ["a", "b"], ["mPO1", "mBR0"]))
    assert summarise(swapped)["corrected"].mean < 0.5
    with pytest.raises(ValueError, match="one of each a clip"):
        score_clips(frames, 10, beats, ["a"], ["m", "n"])


def test_the_piece_is_found_anywhere_in_a_name() -> None:
    assert music_of("gBR_sBM_c01_d01_mBR0_ch01") == "mBR0"
    assert music_of("samples/step-10/person mJB5 03") == "mJB5"
    assert music_of("holiday") is None


def test_a_distance_needs_two_videos(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "dance.mp4").touch()
    assert evaluate(folder, tmp_path / "out", "--reference", str(tmp_path / "one")) == 2
    assert "at least two" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_files_that_share_a_name_are_all_scored(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mov", "b.v2.mp4", ".hidden.mp4"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.mp4").mkdir()
    assert list(videos_in(tmp_path)) == ["a.mov", "a.mp4", "b.v2"]


def test_a_run_is_not_mistaken_for_videos(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "samples").mkdir(parents=True)
    (run / "config.yaml").touch()
    (run / "samples" / "clip.mp4").touch()
    for folder in (run, tmp_path, run / "samples"):
        with pytest.raises(DataError, match=r"run is a run, whose .* side by side"):
            videos_in(folder)
