"""`dabfusion evaluate` on a folder of rendered videos, with bad files among them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from refusals import refused

from datamodules.errors import DataError
from datamodules.media.video import write_video
from datamodules.synthetic.dataset import DanceSpec, render_clip
from experiments.cli import main
from experiments.errors import SettingsError
from experiments.evaluation.clips import ScoredClip, clip_rows, score_clips, summarize
from experiments.evaluation.evaluations import protocol_hash, read_evaluation, score_table
from experiments.evaluation.folder import FolderOptions, music_of, score_folder, videos_in

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
    evaluation = read_evaluation(tmp_path / "one")
    assert {failure["name"] for failure in evaluation.failures} == {"silent", "broken"}
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
    assert evaluation.protocol["beats"] == {"file": 3}
    assert evaluation.clips == tuple(rows["clip"])
    assert evaluation.scores["corrected"] == tuple(rows["corrected"])
    mean = evaluation.means["corrected"]
    assert mean.low <= mean.mean <= mean.high
    assert mean.clusters == 3


def test_tables_refuse_other_protocols(folder: Path, tmp_path: Path) -> None:
    for name, more in (("a", ()), ("b", ()), ("c", ("--size", "48"))):
        assert evaluate(folder, tmp_path / name, *more) == 0
    a, b, c = (tmp_path / name for name in "abc")
    assert len(score_table([a, b])[1]) == 2
    with pytest.raises(SettingsError, match="size"):
        score_table([a, c])
    assert len(score_table([a, c], mix=True)[1]) == 2
    assert main(["evaluate", "--table", str(a), str(c)]) == 2
    protocol = json.loads((a / "protocol.json").read_text())
    (a / "protocol.json").write_text(json.dumps({**protocol, "flow": "dis"}))
    with pytest.raises(SettingsError, match="does not belong"):
        read_evaluation(a)


def test_evaluations_of_the_first_format_are_read(folder: Path, tmp_path: Path) -> None:
    """Their `other_music` is of any clips of other songs, so they are another protocol."""
    for name in ("new", "old"):
        assert evaluate(folder, tmp_path / name) == 0
    written = json.loads((tmp_path / "old" / "protocol.json").read_text())
    old = {key: value for key, value in written.items() if key != "hash"} | {"format": 1}
    for file, change in (
        ("protocol.json", old | {"hash": protocol_hash(old)}),
        ("scores.json", {"format": 1, "protocol_hash": protocol_hash(old)}),
    ):
        path = tmp_path / "old" / file
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert read_evaluation(tmp_path / "old").protocol["format"] == 1
    with pytest.raises(SettingsError, match="format 2 and 1"):
        score_table([tmp_path / "new", tmp_path / "old"])
    path.write_text(path.read_text().replace(protocol_hash(old), "0" * 16))
    with pytest.raises(SettingsError, match="does not belong"):
        read_evaluation(tmp_path / "old")


def test_a_reference_adds_distances(folder: Path, tmp_path: Path) -> None:
    assert evaluate(folder, tmp_path / "same", "--reference", str(folder)) == 0
    found = read_evaluation(tmp_path / "same")
    assert found.means["frechet"].mean == pytest.approx(0, abs=1e-6)
    assert found.means["nearest_true"].mean == pytest.approx(0, abs=1e-6)
    assert found.means["diversity"].mean > 0
    assert found.protocol["reference"]["true_videos"] == 4
    assert found.protocol["reference"]["extractor"].startswith("rendered-dancers:")
    header, _ = score_table([tmp_path / "same"])
    assert header[-3:] == ["frechet", "kernel", "protocol"]
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
    evaluation = read_evaluation(tmp_path / "scores")
    assert {failure["name"] for failure in evaluation.failures} == {"silent", "empty", "cut"}
    rows = pd.read_csv(tmp_path / "scores" / "clips.csv").set_index("clip")
    assert rows.loc[["one_frame", "three_frames"], "corrected"].tolist() == [0, 0]
    assert rows.loc["silent_with_beats", "corrected"] > 0.5
    assert np.isnan(rows.loc["silent_with_beats", "av_align"])
    assert evaluation.protocol["fps"] == ["10", "60"]


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
    means = summarize(rows)
    assert means["corrected"].mean > 0.85
    assert means["corrected"].clusters == 2
    swapped = clip_rows(score_clips(frames, 10, beats.flip(0), ["a", "b"], ["mPO1", "mBR0"]))
    assert summarize(swapped)["corrected"].mean < 0.5
    with pytest.raises(ValueError, match="one of each a clip"):
        score_clips(frames, 10, beats, ["a"], ["m", "n"])


def test_other_music_is_of_one_clip_of_each_other_song() -> None:
    """A song with many clips counts no more than one with a single clip."""

    def clip(name: str, music: str, beats_s: list[float]) -> ScoredClip:
        beats = torch.tensor(beats_s)
        return ScoredClip(
            name,
            music,
            {"corrected": 1.0},
            torch.tensor([0.5, 1.0]),
            beats,
            torch.tensor([0.0, 2.0]),
        )

    on, off = [0.5, 1.0, 1.5], [0.25, 0.75, 1.25]
    own, other = clip("a", "mBR0", on), clip("b", "mPO1", off)
    alone, both, many = (
        clip_rows([own, *others])[0]["other_music"]
        for others in (
            [other],
            [other, clip("c", "mHO5", on)],
            [other, *(clip(f"c{i}", "mHO5", on) for i in range(30))],
        )
    )
    assert alone < 0
    assert many == both > alone
    assert np.isnan(clip_rows([own])[0]["other_music"])


def test_the_song_is_found_anywhere_in_a_name() -> None:
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


def test_one_short_clip_does_not_decide_the_length_of_a_distance(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is left out and named; the protocol and the distances are those without it."""
    made = tmp_path / "made"
    clip = render_clip(DanceSpec(seed=7, size=64))
    for name, frames in (("a", 40), ("b", 40), ("c", 25), ("short", 3)):
        sound = clip.audio[: frames * clip.sample_rate // 10]
        write_video(made / f"{name}.mp4", clip.frames[:frames], 10, sound, clip.sample_rate)
    words = ["evaluate", str(made), "--reference", str(folder)]
    assert main([*words, "--out", str(tmp_path / "with")]) == 0
    printed = capsys.readouterr().err
    assert "Left out of the distances: generated/short: 3 frames at 10 frames a second" in printed
    assert "Left out of the distances: true/broken: " in printed
    found = read_evaluation(tmp_path / "with")
    assert "short" in found.clips
    assert found.protocol["reference"]["frames"] == 25
    assert found.protocol["reference"]["generated_videos"] == 3
    named = json.loads((tmp_path / "with" / "scores.json").read_text())["left_out_of_distances"]
    assert {entry["name"] for entry in named} == {"generated/short", "true/broken"}
    (made / "short.mp4").unlink()
    assert main([*words, "--out", str(tmp_path / "without")]) == 0
    alone = read_evaluation(tmp_path / "without")
    assert alone.protocol["reference"] == found.protocol["reference"]
    assert alone.means["frechet"].mean == pytest.approx(found.means["frechet"].mean)


def test_other_endings_and_linked_folders(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Endings that `prepare` takes are scored; whatever is passed over is counted and named."""
    videos, elsewhere = tmp_path / "videos", tmp_path / "elsewhere"
    videos.mkdir()
    elsewhere.mkdir()
    source = (folder / f"{NAMES[0]}.mp4").read_bytes()
    for path in (videos / "camera.MTS", videos / "phone.3gp", elsewhere / "linked.mp4"):
        path.write_bytes(source)
    (videos / "notes.txt").touch()
    (videos / "more").symlink_to(elsewhere)
    (videos / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    for _ in range(2):  # its own output is not passed over
        assert main(["evaluate", str(videos)]) == 0
        assert "2 files or folders were passed over" in capsys.readouterr().out
    assert set(read_evaluation(videos / "evaluation").clips) == {"camera", "more/linked", "phone"}
    passed = json.loads((videos / "evaluation" / "scores.json").read_text())["passed_over"]
    assert {(Path(entry["name"]).name, entry["reason"]) for entry in passed} == {
        ("notes.txt", "ending .txt"),
        ("gone.mp4", "broken link"),
    }


@pytest.mark.parametrize("kind", ["empty", "samples", "missing"])
def test_no_progress_bar_is_drawn_before_a_refusal(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = tmp_path / "videos"
    if kind != "missing":
        (videos / "samples").mkdir(parents=True)
    if kind == "samples":
        (videos / "config.yaml").touch()
        (videos / "samples" / "dance.mp4").touch()
    refused(capsys, ["evaluate", str(videos)], "videos")


def test_a_decoder_that_crashes_costs_only_its_video(folder: Path) -> None:
    scores = score_folder(folder, FolderOptions(beats=folder / "beats"), more=crash_on_second)
    assert {failure.name for failure in scores.failures} == {NAMES[1], "silent", "broken"}
    crashed = next(failure for failure in scores.failures if failure.name == NAMES[1])
    assert "crashed" in crashed.reason
    assert {clip.name for clip in scores.clips} == {NAMES[0], NAMES[2]}


def crash_on_second(name: str, frames: torch.Tensor) -> dict[str, float]:
    """As FFmpeg does on some files."""
    if name == NAMES[1]:
        os.abort()
    return {}
