import errno
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dance_folder import RATE, SIZE, beats_of, clicks, shown_time, write_dance, write_folder
from made_videos import clock_frame, encode

from datamodules.doctor import diagnose
from datamodules.errors import DataError
from datamodules.files import describe_passed_over, is_no_space, write_bytes
from datamodules.index import DatasetSettings, read_index
from datamodules.media.spectrum import onset_envelope
from datamodules.media.video import probe, read_audio, read_frames, write_video
from datamodules.preparation.beats import BeatOptions, locate
from datamodules.preparation.prepare import PrepareOptions, name_of, names_of, prepare

OPTIONS = PrepareOptions(DatasetSettings(size=SIZE))


def rows(out: Path) -> dict[str, dict]:
    index = read_index(out)
    return {name: index.row(number) for number, name in enumerate(index.names)}


@pytest.mark.skipif(sys.platform != "linux", reason="/proc lists the threads")
def test_reading_the_index_starts_no_thread(prepared: Path) -> None:
    """Threads of Arrow's that still run at exit have aborted a process after its work."""
    code = (
        "import os, sys; from pathlib import Path; from datamodules.index import read_index\n"
        "before = len(os.listdir('/proc/self/task')); read_index(Path(sys.argv[1]))\n"
        "print(len(os.listdir('/proc/self/task')) - before)"
    )
    words = [sys.executable, "-c", code, str(prepared)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


def test_the_index_says_what_the_videos_are(prepared: Path, dances: Path) -> None:
    found = rows(prepared)
    assert sorted(found) == sorted(path.stem for path in dances.iterdir())
    row = found["gHO_sBM_c05_d20_mHO3_ch10"]
    assert (row["genre"], row["situation"], row["camera"]) == ("HO", "BM", "c05")
    assert (row["dancer"], row["music"], row["choreography"]) == ("d20", "mHO3", "ch10")
    assert row["tempo_name_bpm"] == 125.0
    assert row["source"] == "gHO_sBM_c05_d20_mHO3_ch10.mp4"
    assert len(row["source_digest"]) == 64
    assert row["frames"] == row["source_frames"] == 40
    assert (row["source_width"], row["source_height"]) == (112, 48)
    assert row["audio_duration_s"] == pytest.approx(4.0, abs=0.05)
    assert row["beats_truth"] is None


def test_beats_are_those_of_the_music(prepared: Path) -> None:
    for name, row in rows(prepared).items():
        truth = beats_of(row["music"], row["source_duration_s"])
        assert len(row["beats"]) == len(truth), name
        np.testing.assert_allclose(row["beats"], truth, atol=0.025, err_msg=name)
        assert row["tempo_bpm"] == pytest.approx(row["tempo_name_bpm"], rel=0.02)
        assert row["beat_source"] == "piece"


@pytest.mark.parametrize("fps", [24, 25, 60])
def test_frames_are_taken_by_time_so_that_picture_and_sound_agree(tmp_path: Path, fps: int) -> None:
    name = "gBR_sBM_c01_d04_mBR4_ch03"
    write_dance(tmp_path / "in" / f"{name}.mp4", "mBR4", seconds=5.0, fps=fps)
    prepare(tmp_path / "in", tmp_path / "out", OPTIONS)
    clip = tmp_path / "out" / "clips" / f"{name}.mp4"
    frames = read_frames(clip)
    assert frames.shape == (50, 3, SIZE, SIZE)
    shown = [shown_time(frame) for frame in frames]
    np.testing.assert_allclose(shown, np.arange(50) / 10, atol=0.5 / fps + 2e-3)
    envelope = onset_envelope(read_audio(clip, RATE), RATE)
    for beat in beats_of("mBR4", 5.0):
        near = envelope[round(beat * 100) - 5 : round(beat * 100) + 6]
        assert near.max() > 0.5 * envelope.max()
    assert probe(clip).duration_s == pytest.approx(5.0)


def test_a_variable_frame_rate_keeps_its_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    times = np.sort(np.round(rng.uniform(0, 4.0, 90), 3))
    times[0] = 0.0
    times = np.unique(times)
    (tmp_path / "in").mkdir()
    encode(
        tmp_path / "in" / "vfr.mp4",
        [clock_frame(t) for t in times],
        times.tolist(),
        sound=clicks(beats_of("mBR4", 4.0), 4.0),
    )
    prepare(tmp_path / "in", tmp_path / "out", OPTIONS)
    shown = [shown_time(f) for f in read_frames(tmp_path / "out" / "clips" / "vfr.mp4")]
    for k, second in enumerate(shown):
        assert abs(second - k / 10) <= np.abs(times - k / 10).min() + 2e-3


def test_what_cannot_be_used_is_quarantined_with_its_reason(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", ("gBR_sBM_c01_d04_mBR1_ch03",))
    picture = [clock_frame(k / 10) for k in range(20)]
    silence = np.zeros(2 * RATE, dtype=np.float32)
    encode(folder / "silent.mp4", picture, sound=silence)
    encode(folder / "soundless.mp4", picture)
    encode(folder / "short.mp4", picture[:1], sound=clicks(np.asarray([0.1]), 0.5))
    (folder / "text.mp4").write_text("no video")
    (folder / "empty.mp4").write_bytes(b"")
    whole = write_dance(tmp_path / "whole.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    nested = folder / "more" / "gBR_sBM_c01_d04_mBR1_ch03.mp4"
    write_dance(nested, "mBR1")
    report = prepare(folder, tmp_path / "out", OPTIONS)
    reasons = {entry["source"]: entry["reason"] for entry in report.quarantined}
    assert report.prepared == 1
    assert "is silent" in reasons["silent.mp4"]
    assert "no sound" in reasons["soundless.mp4"]
    assert "1 frames" in reasons["short.mp4"]
    assert "same name" in reasons["more/gBR_sBM_c01_d04_mBR1_ch03.mp4"]
    assert set(reasons) >= {"text.mp4", "empty.mp4", "cut.mp4"}
    assert not any(str(tmp_path) in reason for reason in reasons.values())
    listed = (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in listed] == report.quarantined


@pytest.mark.parametrize(
    "options",
    [
        replace(OPTIONS, beats=BeatOptions(beat_files=Path("absent"))),
        replace(OPTIONS, beats=BeatOptions(music=Path("absent"))),
        replace(OPTIONS, keypoints=Path("absent")),
    ],
)
def test_an_absent_folder_is_refused_before_any_work(
    options: PrepareOptions, dances: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="absent is not a folder"):
        prepare(dances, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_what_the_system_refuses_is_tried_again(tmp_path: Path) -> None:
    write_dance(tmp_path / "in" / "a.mp4")
    write_dance(tmp_path / "in" / "b.mp4", shade=90)
    in_the_way = tmp_path / "out" / "clips" / "b.mp4"
    prepare(tmp_path / "in", tmp_path / "out", OPTIONS)
    in_the_way.unlink()
    in_the_way.mkdir()
    report = prepare(tmp_path / "in", tmp_path / "out", OPTIONS)
    assert [entry["name"] for entry in report.quarantined] == ["b"]
    in_the_way.rmdir()
    assert prepare(tmp_path / "in", tmp_path / "out", OPTIONS).prepared == 2


def test_nothing_usable_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match="holds no videos"):
        prepare(tmp_path / "in", tmp_path / "out", OPTIONS)
    (tmp_path / "in" / "bad.mp4").write_text("no video")
    with pytest.raises(DataError, match="None of the 1 videos"):
        prepare(tmp_path / "in", tmp_path / "out", OPTIONS)
    with pytest.raises(DataError, match="not a folder"):
        prepare(tmp_path / "in" / "bad.mp4", tmp_path / "out", OPTIONS)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("keep me")
    with pytest.raises(DataError, match="is not empty"):
        prepare(tmp_path / "in", tmp_path / "full", OPTIONS)


def test_a_second_run_does_nothing_and_other_settings_are_refused(
    dances: Path, prepared: Path, tmp_path: Path
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(prepared, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    report = prepare(dances, out, OPTIONS)
    assert (report.prepared, report.taken_over) == (9, 9)
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert after == before
    with pytest.raises(DataError, match="was prepared at"):
        prepare(dances, out, replace(OPTIONS, settings=DatasetSettings(size=64)))


def test_a_changed_added_or_removed_video_changes_its_row_alone(tmp_path: Path) -> None:
    names = ("gBR_sBM_c01_d04_mBR1_ch03", "gPO_sFM_c01_d10_mPO2_ch11")
    folder, out = write_folder(tmp_path / "in", names), tmp_path / "out"
    prepare(folder, out, OPTIONS)
    first = rows(out)
    write_dance(folder / f"{names[0]}.mp4", "mBR1", seconds=3.0)
    write_dance(folder / "gLO_sBM_c01_d13_mLO4_ch05.mp4", "mLO4")
    report = prepare(folder, out, OPTIONS)
    second = rows(out)
    assert report.taken_over == 1
    assert second[names[1]] == first[names[1]]
    assert second[names[0]]["frames"] == 30
    assert len(second) == 3
    (folder / f"{names[1]}.mp4").unlink()
    prepare(folder, out, OPTIONS)
    assert names[1] not in rows(out)


def test_processes_and_one_process_give_the_same_bytes(
    dances: Path, prepared: Path, tmp_path: Path
) -> None:
    prepare(dances, tmp_path / "out", replace(OPTIONS, workers=2))
    for file in ("index.parquet", "dataset.json", "quarantine.jsonl"):
        assert (tmp_path / "out" / file).read_bytes() == (prepared / file).read_bytes()


def test_the_users_beats_and_music_win(tmp_path: Path) -> None:
    name, other = "gBR_sBM_c01_d04_mBR4_ch03", "gBR_sBM_c01_d05_mBR4_ch04"
    folder = write_folder(tmp_path / "in", (name, other))
    given = tmp_path / "given"
    given.mkdir()
    (given / f"{other}.txt").write_text("0.5\n1.5\n2.5\n")
    # The whole piece begins two seconds before the videos do, and its beats are given.
    offset = 2.0 + 0.2
    beats = np.arange(offset % 0.5, 12.0, 0.5)
    encode(given / "mBR4.mp4", [clock_frame(0.0)] * 2, sound=clicks(beats[4:], 12.0))
    (given / "mBR4.txt").write_text("\n".join(str(beat) for beat in beats[4::2]))
    options = replace(OPTIONS, beats=BeatOptions(given, given))
    prepare(folder, tmp_path / "out", options)
    found = rows(tmp_path / "out")
    assert found[other]["beats"] == [0.5, 1.5, 2.5]
    assert found[other]["beat_source"] == found[name]["beat_source"] == "file"
    np.testing.assert_allclose(np.diff(found[name]["beats"]), 1.0, atol=1e-3)
    assert found[name]["music_match"] > 0.6
    (given / "mBR4.txt").write_text("later\nsooner\n")
    with pytest.raises(DataError, match="Line 1"):
        prepare(folder, tmp_path / "out", options)


def test_a_video_is_found_in_its_piece_and_another_one_is_not() -> None:
    rng = np.random.default_rng(5)
    beats = np.cumsum(rng.uniform(0.3, 0.7, 40))
    piece = onset_envelope(clicks(beats, 20.0), RATE)
    part = onset_envelope(clicks(beats, 20.0)[round(6.307 * RATE) : round(11 * RATE)], RATE)
    place = locate(part, piece)
    assert place.offset_s == pytest.approx(6.307, abs=0.006)
    assert place.match > 0.8
    other = onset_envelope(clicks(np.cumsum(rng.uniform(0.3, 0.7, 20)), 5.0), RATE)
    assert locate(other, piece).match < 0.6
    assert locate(np.zeros(500), piece).match == 0.0


def test_a_video_with_other_sound_is_tracked_by_itself(tmp_path: Path) -> None:
    name, other = "gBR_sBM_c01_d04_mBR4_ch03", "gBR_sBM_c01_d05_mBR4_ch04"
    write_dance(tmp_path / "in" / f"{name}.mp4", "mBR4", seconds=6.0)
    write_dance(tmp_path / "in" / f"{other}.mp4", "mBR1", seconds=5.0)
    prepare(tmp_path / "in", tmp_path / "out", OPTIONS)
    found = rows(tmp_path / "out")
    assert found[name]["beat_source"] == "piece"
    assert found[other]["beat_source"] == "own"
    assert found[other]["music_match"] < 0.6


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("gBR_sBM_c01_d04_mBR0_ch01.mp4", "gBR_sBM_c01_d04_mBR0_ch01"),
        ("deep/gBR_sBM_c01_d04_mBR0_ch01.avi", "gBR_sBM_c01_d04_mBR0_ch01"),
        ("armour/mPO2.mp4", "armour-mPO2"),
        ("my dance @ home.mov", "my-dance-home"),
        ("été.mp4", "été"),
        ("@.mp4", "video"),
    ],
)
def test_names_can_be_file_names_and_parts_of_clip_ids(source: str, name: str) -> None:
    assert name_of(source) == name


@pytest.mark.parametrize("limit", [12_000, 5_000], ids=["at a clip", "at its features"])
def test_a_full_disk_stops_with_what_is_done(dances: Path, tmp_path: Path, limit: int) -> None:
    """A limit on the size of files stands in for the disk: the system's answer is as final."""
    import resource

    out = tmp_path / "out"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError) as raised:
            prepare(dances, out, OPTIONS)
        assert is_no_space(raised.value)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    left = [path.name for path in out.rglob("*") if ".partial" in path.name]
    assert left == []
    report = prepare(dances, out, OPTIONS)
    assert report.prepared == 9
    assert report.quarantined == []


def test_writing_is_all_or_nothing(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "file", b"new")
    assert (tmp_path / "a" / "file").read_bytes() == b"new"
    os.mkdir(tmp_path / "taken")
    with pytest.raises(OSError, match="directory"):
        write_bytes(tmp_path / "taken", b"x")
    assert set(os.listdir(tmp_path)) == {"a", "taken"}
    assert is_no_space(OSError(errno.ENOSPC, "full"))
    assert not is_no_space(OSError(errno.EACCES, "no"))


def test_linked_folders_and_camera_endings_are_prepared_and_the_rest_is_named(
    tmp_path: Path,
) -> None:
    elsewhere, folder = tmp_path / "card", tmp_path / "in"
    write_dance(elsewhere / "00001.mts", shade=40)
    write_dance(folder / "own.mp4")
    (elsewhere / "00001.mts").rename(elsewhere / "00001.MTS")
    (folder / "camera").symlink_to(elsewhere)
    (elsewhere / "circle").symlink_to(folder)
    (folder / "notes.xyz").write_text("no video")
    report = prepare(folder, tmp_path / "out", OPTIONS)
    assert sorted(rows(tmp_path / "out")) == ["camera-00001", "own"]
    assert [item.path.name for item in report.passed_over] == ["circle", "notes.xyz"]


def test_a_cut_video_is_prepared_from_its_first_whole_frame_and_the_doctor_notes_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "in").mkdir()
    frames = [clock_frame(k / 10) for k in range(60)]
    sound = clicks(beats_of("mBR4", 6.0), 6.0)
    options = {"g": "8", "preset": "ultrafast", "crf": "10"}
    whole = encode(tmp_path / "whole.ts", frames, fps=10, options=options, sound=sound)
    content = whole.read_bytes()
    (tmp_path / "in" / "cut.ts").write_bytes(content[len(content) // 188 // 8 * 188 :])
    prepare(tmp_path / "in", tmp_path / "out", OPTIONS)
    clip = tmp_path / "out" / "clips" / "cut.mp4"
    shown = np.asarray([shown_time(frame) for frame in read_frames(clip)])
    assert shown[0] > 0.5
    np.testing.assert_allclose(shown - shown[0], np.arange(len(shown)) / 10, atol=0.05)
    envelope = onset_envelope(read_audio(clip, RATE), RATE)
    for beat in beats_of("mBR4", 6.0) - shown[0]:
        if beat > 0.1 and beat < len(shown) / 10 - 0.1:
            near = envelope[round(beat * 100) - 6 : round(beat * 100) + 7]
            assert near.max() > 0.4 * envelope.max()
    findings = {finding.check: finding for finding in diagnose(tmp_path / "out").findings}
    assert findings["skipped_heads"].names[0].startswith("cut: ")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("dance \U0001f600.mp4", "dance \U0001f680.mp4"),
        ("a b.mp4", "a!b.mp4"),
        ("a/b.mp4", "a-b.mp4"),
        ("a.mp4", "a.mov"),
        ("Dance.mp4", "dance.mp4"),
        ("\u00e9t\u00e9.mp4", "e\u0301te\u0301.mp4"),
        ("\u8e0a\u308a" * 60 + "1.mp4", "\u8e0a\u308a" * 60 + "2.mp4"),
        ("!.mp4", "?.mp4"),
        ("x/" * 120 + "a.mp4", "x/" * 120 + "b.mp4"),
    ],
)
def test_names_are_told_apart_and_short_enough_for_any_file_system(one: str, other: str) -> None:
    names = list(names_of([one, other, "plain.mp4"]).values())
    assert len({name.casefold() for name in names}) == 3
    assert names[2] == "plain"
    assert all(len(f"{name}.safetensors".encode()) < 200 for name in names)
    assert not any(set(name) & set("/@") for name in names)
    assert names_of([other, one])[one] == names[0]  # whatever the order


def test_long_names_and_deep_folders_are_prepared(tmp_path: Path) -> None:
    source = write_dance(tmp_path / "source.mp4")
    long = "\u8e0a\u308a\u5b50\u306e" * 20  # 80 letters, 240 bytes
    deep = tmp_path / "in" / "/".join(["folder with a long name " * 6] * 4)
    deep.mkdir(parents=True)
    shutil.copy(source, tmp_path / "in" / f"{long}.mp4")
    write_dance(tmp_path / "b.mp4", shade=70)
    shutil.copy(tmp_path / "b.mp4", deep / "video \U0001f600.mp4")
    report = prepare(tmp_path / "in", tmp_path / "out", OPTIONS)
    assert (report.prepared, report.quarantined) == (2, [])
    assert prepare(tmp_path / "in", tmp_path / "out", OPTIONS).taken_over == 2


def test_a_video_with_a_long_name_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("\u8e0a" * 83 + ".mp4")  # 253 bytes: a longer temporary name fails
    write_video(path, torch.zeros(3, 3, 32, 32, dtype=torch.uint8), 10)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_names_that_are_not_valid_unicode_are_prepared(tmp_path: Path) -> None:
    source = write_dance(tmp_path / "source.mp4")
    (tmp_path / "in").mkdir()
    shutil.copy(source, os.fsencode(tmp_path / "in") + b"/\xe9t\xe9.mp4")
    Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/\xe8.mp4")).write_bytes(b"no video")
    Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/\xe8.txt")).write_bytes(b"words")
    report = prepare(tmp_path / "in", tmp_path / "out", OPTIONS)
    assert (report.prepared, len(report.quarantined)) == (1, 1)
    describe_passed_over(report.passed_over).encode()
