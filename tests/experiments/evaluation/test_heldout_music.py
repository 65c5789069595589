"""A model conditioned on a frozen encoder is scored on held-out clips with their embeddings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_runs import TINY

from experiments import cli
from experiments.config.load import load_settings
from experiments.runs.folder import RunFolder
from experiments.sweeps.trial import score_run
from lightning_modules.music.wav2clip import Wav2ClipEncoder


def test_a_sweep_trial_with_wav2clip_is_scored(
    data: Path, autoencoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "Wav2CLIP.pt"
    torch.save(Wav2ClipEncoder().state_dict(), weights)
    words = [word for word in TINY if not word.startswith("music.wav2clip")]
    words += ["music.wav2clip=true", f"music.wav2clip_weights={weights}", f"data={data}"]
    words += [f"autoencoder={autoencoder}", f"out={tmp_path / 'run'}", "stage2.train.steps=1"]
    assert cli.main(["train", "diffusion", *words]) == 0
    run = RunFolder(tmp_path / "run")
    metrics = score_run(run, tmp_path / "trial", load_settings(None, words), clips=2)
    assert "heldout/corrected" in metrics
    assert (tmp_path / "trial" / "evaluation" / "clips.csv").is_file()
    # The study asks for the weights, whatever the settings switch on.
    study = ["study", "heldout", str(run.path), *TINY, f"data={data}", "--clips", "2"]
    study += ["--out", str(tmp_path / "scores")]
    capsys.readouterr()
    assert cli.main(study) == 2
    assert "music.wav2clip_weights" in capsys.readouterr().err
    assert cli.main([*study, f"music.wav2clip_weights={weights}"]) == 0
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert set(scores["alignment"]) == {"true", "reconstructed", "generated"}
