"""A hundred things that cannot be done: one sentence, status 2, nothing executed, nothing lost."""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tiny_runs import TINY

from experiments import cli

WORDS = [
    # unknown keys
    ("sede=1", "nearest is seed"),
    ("dat=x", "nearest is data"),
    ("auto_encoder=x", "nearest is autoencoder"),
    ("learning_rate=1", "stage1.train.learning_rate"),
    ("stage1.learning_rate=1", "stage1.train.learning_rate"),
    ("stage1.train.lr=1", "no setting"),
    ("stage2.train.batchsize=1", "stage2.train.batch_size"),
    ("stage2.netwrok.width=8", "stage2.network.width"),
    ("stage3.train.steps=1", "train.steps"),
    ("clip.frames=4", "clips.frames"),
    ("clips.frame=4", "clips.frames"),
    ("music.beat=frame", "music.beats"),
    ("sampling.step=4", "sampling.steps"),
    ("run.device=2", "run.devices"),
    ("run.wandb.mode=off", "no setting"),
    ("synthetic.size.x=1", "no setting"),
    # no settings at all
    ("quickstart", "key=value"),
    ("=1", "no setting"),
    ("seed", "seed=..."),
    ("run", "key=value"),
    ("run=fast", "group of settings"),
    ("stage1.train=10", "group of settings"),
    # values of the wrong type
    ("seed=one", "whole number"),
    ("seed=1.5", "whole number"),
    ("seed=", "whole number"),
    ("seed=[1]", "whole number"),
    ("seed={a: 1}", "whole number"),
    ("seed=[", "whole number"),
    ("stage1.train.steps=1e3.5", "whole number"),
    ("stage1.train.learning_rate=fast", "number"),
    ("stage1.train.learning_rate=nan", "finite"),
    ("stage1.train.learning_rate=inf", "finite"),
    ("stage1.train.sizes=64", "list of whole number"),
    ("stage1.train.sizes=[a]", "list of whole number"),
    ("clips.mirror=maybe", "true | false"),
    ("clips.mirror=often", "true | false"),
    ("clips.speeds=[fast]", "list of number"),
    ("out=${nothing}", "nothing"),
    # values that are not among the choices
    ("run.wandb=offlin", "nearest is offline"),
    ("run.accelerator=cuda", "one of auto, cpu, gpu"),
    ("run.precision=16", "nearest is 16-mixed"),
    ("resume=yes", "one of never, auto, always"),
    ("clips.fit=stretch", "letterbox"),
    ("clips.split=random", "crossmodal"),
    ("stage1.network.norm=layer", "batch"),
    ("stage2.network.prediction=noise", "epsilon"),
    ("music.beats=beat", "frame"),
    ("sampling.solver=euler", "dpm++"),
    # values out of range
    ("seed=-1", "between 0"),
    ("seed=99999999999", "between 0"),
    ("run.log_every=0", "at least 1"),
    ("run.devices=-1", "at least 0"),
    ("run.nodes=0", "at least 1"),
    ("run.samples=-3", "at least 0"),
    ("run.explode_factor=0.5", "above 1"),
    ("run.rank_timeout_s=0", "at least 5"),
    ("stage1.train.steps=0", "at least 1"),
    ("stage1.train.batch_size=-2", "at least 1"),
    ("stage1.train.learning_rate=0", "above 0"),
    ("stage1.network.kernel=4", "odd"),
    ("stage1.loss.pixels=-1", "0 or more"),
    ("stage2.train.steps=0", "above 0"),
    ("stage2.loss.drop_music=2", "0 to 1"),
    ("clips.frames=1", "between 2"),
    ("clips.size=33", "even"),
    ("clips.speeds=[9]", "between 0.25 and 4"),
    ("synthetic.fps=0", "between 1"),
    ("sampling.steps=0", "1"),
    # presets
    ("preset=quikstart", "nearest is quickstart"),
    ("preset=nowhere.yaml", "no file"),
    ("preset=/", "no preset"),
]

FILES = {
    "unknown key": ("sed: 1", "nearest is seed"),
    "unknown group": ("stage9:\n  x: 1", "no setting"),
    "wrong type": ("seed: [1]", "whole number"),
    "a list": ("- seed", "holds no settings"),
    "a number": ("3", "holds no settings"),
    "broken": ("seed: [1", "line"),
    "tabs": ("run:\n\tsamples: 1", "line 2"),
    "code": ("seed: !!python/object/apply:os.system ['touch executed']", "no readable YAML"),
    "numbers for keys": ("1: 2", "holds no settings"),
    "a group as a value": ("run: fast", "group"),
}


def refused(capsys: pytest.CaptureFixture[str], words: list[str], expected: str) -> None:
    """The command ends with status 2 and one sentence that says what is expected."""
    capsys.readouterr()
    assert cli.main(words) == 2
    printed = capsys.readouterr()
    sentences = [line for line in printed.err.splitlines() if line.strip()]
    assert len(sentences) == 1, printed.err
    assert expected in sentences[0]
    assert printed.out == ""
    assert not Path("executed").exists()


@pytest.mark.parametrize(("word", "expected"), WORDS)
def test_words(word: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, ["train", "autoencoder", word], expected)


@pytest.mark.parametrize("name", FILES)
def test_files_of_settings(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, expected = FILES[name]
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    refused(capsys, ["train", "autoencoder", f"preset={path}"], expected)


Change = Callable[[Path], None]


class Code:
    """Pickled, it would run a command when it is loaded."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch executed",)


def edit(name: str, **values: object) -> Change:
    """Change fields of a JSON file."""

    def change(run: Path) -> None:
        path = run / name
        path.write_text(json.dumps(json.loads(path.read_text()) | values), encoding="utf-8")

    return change


def write(name: str, content: bytes) -> Change:
    """Overwrite a file."""
    return lambda run: (run / name).write_bytes(content) and None


def cut(name: str, share: float) -> Change:
    """Cut a file off."""

    def change(run: Path) -> None:
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[: int(len(content) * share)])

    return change


def remove(name: str) -> Change:
    """Remove a file."""
    return lambda run: (run / name).unlink()


def save(content: object) -> Change:
    """Put something else in place of the last checkpoint."""
    return lambda run: torch.save(content, run / "checkpoints/last.ckpt")


def pickled(run: Path) -> None:
    """A checkpoint that holds code."""
    (run / "checkpoints/last.ckpt").write_bytes(pickle.dumps({"state_dict": Code()}))


RUNS: dict[str, tuple[Change, list[str], str]] = {
    "exists": (lambda run: None, ["resume=never"], "already holds a run"),
    "other seed": (lambda run: None, ["seed=7"], "seed=0"),
    "other rate": (lambda run: None, ["stage1.train.learning_rate=0.1"], "learning_rate"),
    "other network": (lambda run: None, ["stage1.network.regions=3"], "regions"),
    "other clips": (lambda run: None, ["clips.frames=5"], "clips.frames"),
    "other precision": (lambda run: None, ["run.precision=bf16-mixed"], "run.precision"),
    "other data": (edit("manifest.json", data_digest="0" * 64), [], "other data"),
    "other stage": (edit("manifest.json", stage="diffusion"), [], "train diffusion"),
    "unknown stage": (edit("manifest.json", stage="dance"), [], "stage"),
    "newer format": (edit("manifest.json", format=99), [], "format 99"),
    "older format": (edit("manifest.json", format=0), [], "format 0"),
    "manifest cut": (cut("manifest.json", 0.5), [], "no readable JSON"),
    "manifest a list": (write("manifest.json", b"[1]"), [], "format"),
    "manifest gone": (remove("manifest.json"), [], "manifest.json is missing"),
    "config gone": (remove("config.yaml"), [], "config.yaml is missing"),
    "config broken": (write("config.yaml", b"seed: ["), [], "no readable YAML"),
    "config of later": (write("config.yaml", b"colour: red"), [], "no setting"),
    "config binary": (write("config.yaml", b"\xff\xfe\x00"), [], "no readable YAML"),
    "checkpoint cut": (cut("checkpoints/last.ckpt", 0.6), [], "cut off"),
    "checkpoint empty": (write("checkpoints/last.ckpt", b""), [], "cut off"),
    "checkpoint text": (write("checkpoints/last.ckpt", b"hello"), [], "no readable"),
    "checkpoint code": (pickled, [], "more than numbers"),
    "checkpoint object": (save({"model": Code()}), [], "more than numbers"),
    "checkpoint foreign": (save({"state_dict": {}}), [], "no checkpoint of dabfusion"),
    "checkpoint a tensor": (save(torch.zeros(3)), [], "no checkpoint of dabfusion"),
    "checkpoint later": (
        save({"dabfusion": {"format": 9, "stage": "autoencoder", "step": 1}}),
        [],
        "format 9",
    ),
    "checkpoint of stage 2": (
        save({"dabfusion": {"format": 1, "stage": "diffusion", "step": 1}}),
        [],
        "train diffusion",
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_run_folders(
    name: str,
    autoencoder: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change, words, expected = RUNS[name]
    run = tmp_path / "run"
    shutil.copytree(autoencoder, run)
    change(run)
    before = contents(run)
    given = [*TINY, f"data={data}", f"out={run}", "stage1.train.steps=12", "resume=auto"]
    refused(capsys, ["train", "autoencoder", *given, *words], expected)
    assert contents(run) == before  # nothing lost


FOLDERS: dict[str, tuple[Change, str]] = {
    "weights cut": (cut("export/autoencoder.safetensors", 0.7), "autoencoder.safetensors"),
    "weights gone": (remove("export/autoencoder.safetensors"), "has not finished"),
    "weights pickled": (
        write("export/autoencoder.safetensors", pickle.dumps(Code())),
        "autoencoder.safetensors",
    ),
    "config gone": (remove("export/config.json"), "config.json"),
    "config cut": (cut("export/config.json", 0.5), "config.json"),
    "newer export": (edit("export/config.json", version=9), "version"),
    "other weights": (edit("export/config.json", digest="0" * 16), "digest"),
    "all gone": (shutil.rmtree, "is no folder"),
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
    "all gone": (shutil.rmtree, [], "is no folder"),
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


def test_places(
    data: Path, diffusion: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*TINY, f"data={data}", "stage1.train.steps=2"]
    train = ["train", "autoencoder", *words]
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    refused(capsys, ["train", "autoencoder"], "data= is not given")
    refused(capsys, ["train", "diffusion", f"data={data}"], "autoencoder= is not given")
    refused(capsys, ["train", "autoencoder", f"data={file}"], "is no folder")
    refused(capsys, [*train, f"out={file}"], "is a file")
    refused(capsys, [*train, f"out={file}/run"], "is a file")
    refused(capsys, [*train, f"out={tmp_path}/no", "resume=always"], "holds no run")
    refused(capsys, [*train, f"out={tmp_path}/{'n' * 300}"], "too long")
    refused(capsys, [*train, f"out={diffusion}", "resume=auto"], "train diffusion")
    refused(capsys, [*train, f"out={tmp_path}/no", "run.wandb=online"], "wandb login")
    if Path("/sys/kernel").is_dir():  # where nobody may make a folder, not even root
        refused(capsys, [*train, "out=/sys/dabfusion"], "no permission")
    words = [*TINY, f"data={data}", f"autoencoder={diffusion}", f"out={tmp_path}/no"]
    refused(capsys, ["train", "diffusion", *words], "is a trained diffusion")
    if os.geteuid() != 0:  # root may write anywhere
        tmp_path.chmod(0o500)
        refused(capsys, [*train, f"out={tmp_path}/run"], "permission")


def test_no_space(
    autoencoder: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*TINY, f"data={data}", f"out={tmp_path / 'run'}", "stage1.train.steps=2"]
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
    sentences = [line for line in said if not line.startswith("train autoencoder: step")]
    assert len(sentences) == 1, said
    assert expected in sentences[0]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
