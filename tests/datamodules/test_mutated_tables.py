"""Damaged index, split and beat files: refused with a sentence, or read for what they say."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dance_folder import TRAIN
from mutated_tables import COUNT, mutate

from datamodules.aist_names import parse
from datamodules.errors import DataError
from datamodules.index import DatasetSettings, read_dataset, read_index, write_index
from datamodules.media.beats import read_beat_file
from datamodules.splits import read_list

SAMPLE = range(0, COUNT, 3)
REST = [n for n in range(COUNT) if n not in SAMPLE]


def refused(read: Callable[[], object]) -> str | None:
    """The sentence of a refusal, or None where the file was read."""
    try:
        read()
    except DataError as error:
        return str(error)
    return None


def check_index(prepared: Path, folder: Path, numbers: list[int]) -> None:
    for file in ("index.parquet", "dataset.json"):
        shutil.copy(prepared / file, folder / file)
    whole = {file: (prepared / file).read_bytes() for file in ("index.parquet", "dataset.json")}
    for number in numbers:
        file = ("index.parquet", "dataset.json")[number % 2]
        (folder / file).write_bytes(mutate(whole[file], number))
        refusal = refused(lambda: read_index(folder))
        if refusal is None:  # blank space in JSON says nothing
            assert file == "dataset.json", number
            assert read_dataset(folder) == read_dataset(prepared)
        else:
            assert str(folder) in refusal
            assert "\n" not in refusal
        (folder / file).write_bytes(whole[file])
    assert read_index(folder).names == read_index(prepared).names


def check_lists(folder: Path, numbers: list[int]) -> None:
    content = "\n".join(name.replace(name[8:11], "cAll") for name in TRAIN * 3).encode()
    path = folder / "crossmodal_train.txt"
    for number in numbers:
        path.write_bytes(mutate(content, number))
        refusal = refused(lambda: read_list(path))
        if refusal is not None:
            assert str(path) in refusal
            continue
        names = read_list(path)
        text = path.read_bytes().decode("utf-8-sig")
        # Read means read for what it says, line by line.
        said = [
            parse(line.strip()).with_camera("cAll") for line in text.splitlines() if line.strip()
        ]
        assert names == list(dict.fromkeys(said))


def check_beats(folder: Path, numbers: list[int]) -> None:
    content = "".join(f"{0.2 + 0.5 * k:.3f}\t{k}\n" for k in range(40)).encode()
    path = folder / "beats.txt"
    for number in numbers:
        path.write_bytes(mutate(content, number))
        refusal = refused(lambda: read_beat_file(path))
        if refusal is not None:
            assert str(path) in refusal
            continue
        beats = read_beat_file(path)
        assert np.isfinite(beats).all()
        assert (np.diff(beats) > 0).all()
        assert beats[0] >= 0


def check_all(prepared: Path, folder: Path, numbers: list[int]) -> None:
    check_index(prepared, folder, [n for n in numbers if n % 4 < 2])
    check_lists(folder, [n for n in numbers if n % 4 == 2])
    check_beats(folder, [n for n in numbers if n % 4 == 3])


def test_a_sample_of_damaged_tables(prepared: Path, tmp_path: Path) -> None:
    check_all(prepared, tmp_path, list(SAMPLE))


@pytest.mark.long
def test_all_damaged_tables(prepared: Path, tmp_path: Path) -> None:
    check_all(prepared, tmp_path, REST)
    for check in (check_lists, check_beats):
        check(tmp_path, list(range(COUNT)))


def test_an_index_of_another_folder_or_version_is_refused(prepared: Path, tmp_path: Path) -> None:
    row = read_index(prepared).row(0)
    write_index(tmp_path, DatasetSettings(size=64), [row], "x")
    shutil.copy(prepared / "index.parquet", tmp_path / "index.parquet")
    with pytest.raises(DataError, match="does not match the digest"):
        read_index(tmp_path)
    text = (prepared / "dataset.json").read_text().replace('"version": 1', '"version": 2')
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DataError, match="format version 2"):
        read_index(tmp_path)
    (tmp_path / "dataset.json").unlink()
    with pytest.raises(DataError, match="not a prepared folder"):
        read_index(tmp_path)
    with pytest.raises(DataError, match="not a prepared folder"):
        read_index(tmp_path / "index.parquet")


def test_forty_thousand_rows_load_in_under_a_second(prepared: Path, tmp_path: Path) -> None:
    row = read_index(prepared).row(0)
    rows = [{**row, "name": f"v{n:05d}", "beats": row["beats"] * 8} for n in range(40_000)]
    write_index(tmp_path, DatasetSettings(size=64), rows, "x")
    began = time.process_time()  # of this process alone, whatever else the machine does
    index = read_index(tmp_path)
    beats = index.beats()
    taken = time.process_time() - began
    assert len(index) == len(beats) == 40_000
    assert beats[7] is not None
    assert beats[7].tolist() == row["beats"] * 8
    assert taken < 1.0
