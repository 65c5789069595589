"""The doctor: silent about healthy data, and right about each disease."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dance_folder import SIZE, TEST, TRAIN, VAL, beats_of, clicks
from made_videos import clock_frame, encode

from datamodules.doctor import Diagnosis, diagnose
from datamodules.errors import DataError
from datamodules.index import DatasetSettings, read_dataset, read_index, write_index
from datamodules.media.video import probe
from datamodules.preparation.prepare import PrepareOptions, prepare
from datamodules.preparation.video_task import record_path
from datamodules.splits import SplitRule

Row = dict[str, Any]
STEADY = [k / 20 for k in range(40)]


@pytest.fixture
def ill(prepared: Path, tmp_path: Path) -> Callable[[Callable[[list[Row]], None]], Path]:
    """A copy of the prepared folder whose rows were changed."""

    def make(change: Callable[[list[Row]], None]) -> Path:
        out = tmp_path / "ill"
        shutil.copytree(prepared, out)
        rows = read_index(out).table.to_pylist()
        change(rows)
        write_index(out, read_dataset(out)[0], rows, "changed")
        return out

    return make


def row_of(rows: list[Row], name: str) -> Row:
    return next(row for row in rows if row["name"] == name)


def found(diagnosis: Diagnosis, check: str) -> list[tuple[str, str]]:
    return [
        (f.level, " ".join([f.message, *f.names])) for f in diagnosis.findings if f.check == check
    ]


def test_healthy_data_may_be_trained_on(prepared: Path) -> None:
    diagnosis = diagnose(prepared)
    assert diagnosis.healthy
    assert {f.level for f in diagnosis.findings} <= {"note", "warning"}
    assert diagnosis.summary["splits"] == {"train": 5, "val": 2, "test": 2}
    assert diagnosis.summary["videos"] == 9
    assert found(diagnosis, "cameras")
    assert not found(diagnosis, "claimed_rates")
    assert found(diagnosis, "leakage") == [
        ("warning", found(diagnosis, "leakage")[0][1])
    ]  # val and test share their music, as AIST++ has it
    assert "val_by_music" in found(diagnosis, "leakage")[0][1]
    json.dumps(diagnosis.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("check", "level", "change", "said"),
    [
        ("durations", "warning", {"audio_duration_s": 5.0}, "+1.00 s"),
        ("gaps", "warning", {"source_largest_gap_s": 0.8}, "0.80 s"),
        ("frame_rates", "warning", {"source_fps": 27.3}, "27.300"),
        ("tempo", "warning", {"tempo_bpm": 100.0}, "100.0 for 90 bpm"),
        ("octaves", "error", {"tempo_bpm": 180.5}, "twice of 90 bpm"),
        ("octaves", "error", {"tempo_bpm": 60.0}, "two thirds of 90 bpm"),
        ("beats", "error", {"beats": [1.0]}, "fewer than two beats"),
        ("music", "warning", {"music_match": 0.2}, "0.20"),
    ],
)
def test_each_disease_is_named(
    ill: Callable[[Callable[[list[Row]], None]], Path],
    check: str,
    level: str,
    change: Row,
    said: str,
) -> None:
    diagnosis = diagnose(ill(lambda rows: row_of(rows, TRAIN[0]).update(change)))
    ((got, text),) = found(diagnosis, check)
    assert got == level
    assert TRAIN[0] in text
    assert said in text
    assert diagnosis.healthy == (level != "error")


@pytest.fixture
def claims(tmp_path: Path) -> Path:
    """A folder of dances whose containers state a rate; only one of them states a false one."""
    (folder := tmp_path / "claims").mkdir()
    shown = {
        "honest.mkv": (20, STEADY),
        "false.mkv": (25, STEADY),
        "frame-lost.mkv": (20, [second for second in STEADY if second != 1.0]),
        "last-frame-long.mp4": (10, STEADY),  # mp4 states a length, not a rate
    }
    for name, (claimed, times_s) in shown.items():
        sound = clicks(beats_of("mBR4", 2.0), 2.0)
        encode(folder / name, [clock_frame(t) for t in times_s], times_s, claimed, sound=sound)
    return folder


def test_a_rate_that_is_not_what_the_file_claims_is_told(claims: Path, tmp_path: Path) -> None:
    told = {path.stem: probe(path).claimed_fps for path in claims.iterdir()}
    long = told.pop("last-frame-long")
    assert told == {"honest": 20.0, "false": 25.0, "frame-lost": 20.0}
    assert long is not None
    assert 19.0 < long < 19.9
    assert probe(claims / "false.mkv").fps == pytest.approx(20.0)
    out, options = tmp_path / "out", PrepareOptions(DatasetSettings(size=SIZE))
    prepare(claims, out, options)
    diagnosis = diagnose(out)
    ((level, text),) = found(diagnosis, "claimed_rates")
    assert level == "warning"
    assert text.endswith("at the true rate false: 25.000 claimed, 20.000 measured")

    # A folder that was prepared before claims were kept is read, and taken over as it is.
    path, index = record_path(out, "false"), (out / "index.parquet").read_bytes()
    record = json.loads(path.read_bytes())
    del record["claimed_fps"]
    for content in ('{"claimed_fps": "fast"}', "[]", "{", json.dumps(record)):
        path.write_text(content)
        assert not found(diagnose(out), "claimed_rates")
    assert prepare(claims, out, options).taken_over == 4
    assert (out / "index.parquet").read_bytes() == index
    path.unlink()
    assert not found(diagnose(out), "claimed_rates")


@pytest.mark.parametrize(
    ("other", "level"), [(TRAIN[0], "error"), (VAL[0], "error"), (TEST[1], "warning")]
)
def test_one_file_in_two_splits_forbids_training(
    ill: Callable[[Callable[[list[Row]], None]], Path], other: str, level: str
) -> None:
    def same(rows: list[Row]) -> None:
        row_of(rows, TEST[0])["source_digest"] = row_of(rows, other)["source_digest"]

    diagnosis = diagnose(ill(same))
    assert found(diagnosis, "duplicates")[0][0] == level
    assert diagnosis.healthy == (level != "error")


def test_leakage_through_lists_forbids_training(prepared: Path, tmp_path: Path) -> None:
    lists = {
        "train": ["gBR_sBM_cAll_d04_mBR1_ch03", "gPO_sBM_cAll_d11_mPO1_ch01"],
        "val": ["gBR_sBM_cAll_d05_mBR0_ch01"],
        "test": ["gBR_sBM_cAll_d06_mBR0_ch02", "gPO_sBM_cAll_d12_mPO1_ch02"],
    }
    for split, names in lists.items():
        (tmp_path / f"crossmodal_{split}.txt").write_text("\n".join(names))
    diagnosis = diagnose(prepared, SplitRule(folder=tmp_path))
    assert not diagnosis.healthy
    assert ("error", "train/test share music mPO1") in found(diagnosis, "leakage")


def test_validation_by_music_may_share_choreographies(ill: Callable[..., Path]) -> None:
    def danced_to_another_piece(rows: list[Row]) -> None:
        row = row_of(rows, "gBR_sBM_c02_d04_mBR1_ch03")
        row |= {"name": "gBR_sBM_c02_d04_mBR2_ch03", "music": "mBR2"}

    root = ill(danced_to_another_piece)  # as AIST does: one choreography, several pieces
    levels = [
        level
        for seed in range(8)
        for level, text in found(diagnose(root, SplitRule(val_by_music=True, seed=seed)), "leakage")
        if "train/val share choreographies" in text
    ]
    assert levels
    assert set(levels) == {"note"}


def test_missing_files_and_quarantined_videos_are_told(prepared: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(prepared, out)
    (out / "clips" / f"{TRAIN[2]}.mp4").unlink()
    entry = {"name": "x", "source": "x.mp4", "reason": "x.mp4 is silent."}
    (out / "quarantine.jsonl").write_text(json.dumps(entry) + "\n")
    diagnosis = diagnose(out)
    assert found(diagnosis, "files")[0][0] == "error"
    assert "x.mp4 is silent" in found(diagnosis, "quarantine")[0][1]
    (out / "quarantine.jsonl").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        diagnose(out)


def test_the_command_answers_by_its_exit_status(
    prepared: Path,
    ill: Callable[[Callable[[list[Row]], None]], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from experiments.cli import main

    report = tmp_path / "report.json"
    assert main(["doctor", str(prepared), "--json", str(report)]) == 0
    assert json.loads(report.read_text())["healthy"] is True
    assert "Training may start." in capsys.readouterr().out
    sick = ill(lambda rows: row_of(rows, TRAIN[0]).update(beats=[]))
    assert main(["doctor", str(sick)]) == 2
    assert main(["doctor", str(tmp_path / "nowhere")]) == 2
    assert "dabfusion prepare" in capsys.readouterr().err
