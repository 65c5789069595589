"""Auto-encoders and data that do not fit or are damaged: one sentence, status 2."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest
from refusals import Change, Code, cut, edit, refused, remove, write
from tiny_runs import TINY

FOLDERS: dict[str, tuple[Change, str]] = {
    "weights cut": (cut("export/autoencoder.safetensors", 0.7), "autoencoder.safetensors"),
    "weights gone": (remove("export/autoencoder.safetensors"), "no autoencoder.safetensors"),
    "weights pickled": (
        write("export/autoencoder.safetensors", pickle.dumps(Code())),
        "autoencoder.safetensors",
    ),
    "config gone": (remove("export/config.json"), "config.json"),
    "config cut": (cut("export/config.json", 0.5), "config.json"),
    "newer export": (edit("export/config.json", version=9), "version"),
    "other weights": (edit("export/config.json", digest="0" * 16), "digest"),
    "all gone": (shutil.rmtree, "There is no folder"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_autoencoders(
    name: str,
    autoencoder: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change, expected = FOLDERS[name]
    run = tmp_path / "autoencoder"
    shutil.copytree(autoencoder, run)
    change(run)
    out = tmp_path / "run"
    given = [*TINY, f"data={data}", f"autoencoder={run}", f"out={out}"]
    refused(capsys, ["train", "diffusion", *given], expected)
    assert not out.exists()


DATA: dict[str, tuple[Change, list[str], str]] = {
    "no dataset.json": (remove("dataset.json"), [], "dabfusion prepare"),
    "dataset.json cut": (cut("dataset.json", 0.5), [], "dataset.json"),
    "newer data": (edit("dataset.json", version=9), [], "dataset.json"),
    "index cut": (cut("index.parquet", 0.5), [], "index.parquet"),
    "index gone": (remove("index.parquet"), [], "not finished"),
    "other size": (lambda data: None, ["clips.size=64"], "clips.size"),
    "faster clips": (lambda data: None, ["clips.fps=30"], "fps"),
    "all gone": (shutil.rmtree, [], "is not a folder"),
}


@pytest.mark.parametrize("name", DATA)
def test_data_folders(
    name: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, words, expected = DATA[name]
    prepared = tmp_path / "prepared"
    shutil.copytree(data, prepared)
    change(prepared)
    given = [*TINY, f"data={prepared}", f"out={tmp_path / 'run'}", *words]
    refused(capsys, ["train", "autoencoder", *given], expected)
