"""`train music-adapter`: its run folder, a report on unseen music, and its use in stage 2."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_runs import TINY, differences, metrics

from experiments import cli
from experiments.config.load import load_settings
from experiments.factories.data import build_clip_data
from experiments.factories.music import load_adapters
from experiments.runs.folder import RunFolder
from experiments.training.adapter import find_genres
from lightning_modules.music.wav2clip import Wav2ClipEncoder
from lightning_modules.pipeline import DabFusionPipeline

WORDS = [*TINY, "music.spectral=true", "adapter.batch_size=4", "adapter.width=8"]
STEPS = ["adapter.steps=6", "run.checkpoint_every=3", "run.keep_every=3"]


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("adapter") / "run"
    assert cli.main(["train", "music-adapter", *WORDS, *STEPS, f"data={data}", f"out={out}"]) == 0
    return out


def test_the_run_folder_is_complete_and_the_report_is_of_held_out_music(run: Path) -> None:
    folder = RunFolder(run)
    assert folder.read_manifest()["stage"] == "music-adapter"
    assert folder.read_manifest()["finished"]["step"] == 6
    lines = metrics(run)
    assert [line["step"] for line in lines if "train/loss" in line] == list(range(6))
    assert any("val/accuracy_spectral" in line for line in lines)
    assert (run / "export" / "diffusion_pytorch_model.safetensors").is_file()
    report = json.loads((run / "export" / "report.json").read_text())
    assert report["test_pieces"] == 2
    assert report["train_pieces"] == 3  # of four: one validates
    assert report["chance"] == 0.5
    for kind in ("accuracy", "frozen"):
        row = report["features"]["spectral"][kind]
        assert 0 <= row["low"] <= row["mean"] <= row["high"] <= 1


def test_a_run_goes_on_bit_by_bit(run: Path, data: Path, tmp_path: Path) -> None:
    stopped = tmp_path / "run"
    shutil.copytree(run, stopped)
    (stopped / "checkpoints" / "step-3.ckpt").replace(stopped / "checkpoints" / "last.ckpt")
    manifest = json.loads((stopped / "manifest.json").read_text())
    (stopped / "manifest.json").write_text(json.dumps(manifest | {"finished": None}))
    words = [*WORDS, *STEPS, f"data={data}", f"out={stopped}", "resume=always"]
    assert cli.main(["train", "music-adapter", *words]) == 0
    assert differences(run, stopped) == []
    assert metrics(run) == metrics(stopped)


def test_stage_two_takes_the_adapters_and_exports_them(
    run: Path, data: Path, autoencoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*TINY, "music.spectral=true", f"data={data}", f"autoencoder={autoencoder}"]
    words += ["stage2.train.steps=2", f"music.adapter={run}", f"out={tmp_path / 'stage2'}"]
    assert cli.main(["train", "diffusion", *words]) == 0
    settings = load_settings(None, words)
    trained = load_adapters(settings)
    assert trained is not None
    pipe = DabFusionPipeline.from_pretrained(tmp_path / "stage2")
    wanted = trained.adapters["spectral"].state_dict()
    for name, value in pipe.music.adapters["spectral"].state_dict().items():
        assert torch.equal(value, wanted[name])
    assert cli.main(["train", "diffusion", *words, f"music.adapter={data}", "resume=auto"]) == 0
    other = [*words[:-2], f"music.adapter={data}", f"out={tmp_path / 'other'}"]
    assert cli.main(["train", "diffusion", *other]) == 2
    assert "holds no music adapters" in capsys.readouterr().err


def test_adapters_fit_one_checkpoint_only(data: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "one.pt", tmp_path / "two.pt"
    for seed, path in enumerate((first, second)):
        torch.manual_seed(seed)
        torch.save(Wav2ClipEncoder().state_dict(), path)
    words = [w for w in WORDS if not w.startswith(("music.wav2clip", "music.spectral"))]
    words += ["music.wav2clip=true", f"data={data}", f"out={tmp_path / 'run'}", "adapter.steps=2"]
    weights = f"music.wav2clip_weights={first}"
    assert cli.main(["train", "music-adapter", *words, weights]) == 0
    report = json.loads((tmp_path / "run" / "export" / "report.json").read_text())
    assert list(report["features"]) == ["wav2clip"]
    taken = [*words, weights, f"music.adapter={tmp_path / 'run'}"]
    adapters = load_adapters(load_settings(None, taken))
    assert adapters is not None
    assert adapters.names == ("wav2clip",)
    with pytest.raises(ValueError, match="another wav2clip checkpoint"):
        load_adapters(load_settings(None, [*taken, f"music.wav2clip_weights={second}"]))
    without = [*taken, "music.wav2clip=false"]
    with pytest.raises(ValueError, match="none of these features is on"):
        load_adapters(load_settings(None, without))


def test_genres_come_from_names_and_splits_that_share_music_are_refused(data: Path) -> None:
    settings = load_settings(None, [*WORDS, f"data={data}"])
    own = replace(settings, clips=replace(settings.clips, val_by_music=True))
    genres = find_genres(build_clip_data(own, 1))
    assert genres.names == ["BR", "HO", "LO", "PO"]
    assert genres.of_music["mHO3"] == genres.names.index("HO")
    with pytest.raises(ValueError, match="share the music mBR0"):
        find_genres(build_clip_data(settings, 1))  # cross-modal validation shares its songs


def test_without_features_or_weights_it_is_one_sentence(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*TINY, f"data={data}", f"out={tmp_path / 'run'}"]
    assert cli.main(["train", "music-adapter", *words]) == 2
    assert "music.spectral=true" in capsys.readouterr().err
    assert cli.main(["train", "music-adapter", *words, "music.clap=true"]) == 2
    assert "music.clap_weights is empty" in capsys.readouterr().err
