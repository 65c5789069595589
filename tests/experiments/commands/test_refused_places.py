"""Places that cannot be read or written, and a full disk: one sentence, status 2."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from refusals import refused
from tiny_runs import TINY

from experiments import cli
from experiments.runs.folder import RunFolder


def test_places(
    data: Path,
    autoencoder: Path,
    diffusion: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [*TINY, f"data={data}", "stage1.train.steps=2"]
    train = ["train", "autoencoder", *words]
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    refused(capsys, ["train", "autoencoder"], "data= is not given")
    refused(capsys, ["train", "diffusion", f"data={data}"], "autoencoder= is not given")
    refused(capsys, ["train", "autoencoder", f"data={file}"], "is not a folder")
    refused(capsys, [*train, f"out={file}"], "is a file")
    refused(capsys, [*train, f"out={file}/run"], "is a file")
    refused(capsys, [*train, f"out={tmp_path}/no", "resume=always"], "holds no run")
    refused(capsys, [*train, f"out={tmp_path}/{'n' * 300}"], "too long")
    refused(capsys, [*train, f"out={diffusion}", "resume=auto"], "train diffusion")
    refused(capsys, [*train, f"out={tmp_path}/no", "run.wandb=online"], "wandb login")
    nothing = tmp_path / "nothing"
    report = ["sweep", "beat_ablation", "--report", f"--out={nothing}"]
    refused(capsys, report, "has no sweep")
    assert not nothing.exists()
    if Path("/sys/kernel").is_dir():  # where nobody may make a folder, not even root
        refused(capsys, [*train, "out=/sys/dabfusion"], "no permission")
    words = [*TINY, f"data={data}", f"autoencoder={diffusion}", f"out={tmp_path}/no"]
    refused(capsys, ["train", "diffusion", *words], "stage 2")
    other = tmp_path / "other"
    shutil.copytree(diffusion, other)
    manifest = RunFolder(other).read_manifest()
    assert manifest["autoencoder_digest"]
    RunFolder(other).write_manifest(manifest | {"autoencoder_digest": "0" * 16})
    words = [*TINY, f"data={data}", f"autoencoder={autoencoder}", f"out={other}"]
    words += ["stage2.train.steps=14", "run.checkpoint_every=5", "resume=auto"]
    refused(capsys, ["train", "diffusion", *words], "another stage 1")
    if os.geteuid() != 0:  # root may write anywhere
        tmp_path.chmod(0o500)
        refused(capsys, [*train, f"out={tmp_path}/run"], "permission")


def test_no_space(
    autoencoder: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*TINY, f"data={data}", f"out={tmp_path / 'run'}", "stage1.train.steps=2"]
    words.append("stage1.loss.perceptual=0")  # without a note that it has no effect
    with largest_file((autoencoder / "checkpoints" / "last.ckpt").stat().st_size - 1):
        refused_but_for_progress(capsys, ["train", "autoencoder", *words], "larger than")
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []  # and no half of one
    assert cli.main(["train", "autoencoder", *words, "resume=auto"]) == 0


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: the nearest to a full disk that a test can make."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def refused_but_for_progress(
    capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    """`refused`, of a run that has got as far as its steps."""
    capsys.readouterr()
    assert cli.main(words) == 2
    said = capsys.readouterr().err.splitlines()
    sentences = [line for line in said if not line.startswith("train autoencoder:")]
    assert len(sentences) == 1, said
    assert expected in sentences[0]
