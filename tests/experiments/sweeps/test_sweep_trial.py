"""Real trials: a small sweep, and the command of Weights & Biases' agent on one and two ranks."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_runs import TINY, environment, run_cli
from wandb.sdk.launch.sweeps import utils as wandb_sweeps

from experiments import cli
from experiments.runs.folder import RunFolder
from experiments.sweeps.grammar import load_sweep
from experiments.sweeps.wandb_agents import wandb_config

STEPS = ["stage2.train.steps=2", "run.checkpoint_every=1", "run.validate_every=2"]
#: Stage 1 comes from its export here; the preset's own words about it stay as they are.
LEFT_OUT = ("stage1.", "run.threads", "run.devices", "music.beats")


def agent_command(config: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """What `wandb agent` runs for these values, from its own functions."""
    constant = {k: v["value"] for k, v in config["parameters"].items() if "value" in v}
    args = {name: {"value": value} for name, value in {**constant, **values}.items()}
    macros = wandb_sweeps.create_sweep_command_args({"args": args}) | {"env": ["/usr/bin/env"]}
    words: list[str] = []
    for word in wandb_sweeps.create_sweep_command(list(config["command"])):
        words += macros[word[2:-1]] if word.startswith("${") else [word]
    return words


def test_a_sweep_trains_scores_and_reports(
    data: Path, autoencoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = load_sweep("beat_ablation").raw
    raw["parameters"] = {"music.beats": {"values": ["frame"]}}
    raw["command"] = [word for word in raw["command"] if not word.startswith("preset=")]
    raw["command"] += ["--clips", "1"]
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    fixed = [word for word in TINY if not word.startswith("music.beats")]
    fixed += [*STEPS, f"data={data}", f"autoencoder={autoencoder}", "run.export=last"]
    out = tmp_path / "out"
    words = ["sweep", str(tmp_path / "small.yaml"), *fixed, "--out", str(out)]
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    assert "[1/1] trial 0: " in printed
    report = (out / "report" / "report.md").read_text()
    assert "Trials: 1 complete. Each was scored on 1 held-out clips of 1 songs" in report
    assert (out / "report" / "compare.html").is_file()
    (folder,) = (out / "trials").iterdir()
    assert RunFolder(folder).read_settings().music.beats == "frame"
    assert "heldout/corrected" in json.loads((folder / "trial.json").read_text())["metrics"]


@pytest.mark.long
@pytest.mark.parametrize("devices", [1, 2])
def test_agents_command_trains_scores_and_every_rank_has_the_values(
    data: Path, autoencoder: Path, tmp_path: Path, devices: int
) -> None:
    sweep = load_sweep("beat_ablation")
    fixed = [word for word in TINY if not word.startswith(LEFT_OUT)]
    fixed = [*fixed, *STEPS, f"run.devices={devices}", f"data={data}", f"autoencoder={autoencoder}"]
    config = wandb_config(sweep, fixed)
    words = agent_command(config, {"music.beats": "global", "music.spectral": True, "seed": 5})
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    agent = {
        "PATH": path,
        "WANDB_RUN_ID": "abc123",
        "WANDB_SWEEP_ID": "s1",
        "WANDB_MODE": "offline",
    }
    done = subprocess.run(
        words, cwd=tmp_path, env=environment(**agent), capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    run = RunFolder(tmp_path / "sweeps" / "s1" / "abc123")
    settings = run.read_settings()
    assert (settings.music.beats, settings.music.spectral, settings.seed) == ("global", True, 5)
    assert settings.run.devices == devices
    assert run.read_manifest()["wandb_id"] == "abc123"
    # A rank that missed a value would have built another network, and DDP would have refused it;
    # the exported one is what all of them trained.
    exported = json.loads((run.export / "music" / "config.json").read_text())
    assert exported["beats"] == "global"
    metrics = json.loads((run.path / "trial.json").read_text())["metrics"]
    assert set(metrics) >= {"heldout/corrected", "heldout/raw", "heldout/half_beat_off"}
    assert (run.path / "evaluation" / "clips.csv").is_file()


@pytest.mark.long
def test_changes_of_stage_1_and_of_length_are_scored_on_the_same_clips(
    data: Path, autoencoder: Path, tmp_path: Path
) -> None:
    changes = {
        "base": "none",
        "occlusion": "stage1.network.estimate_occlusion=false stage1.loss.teacher_occlusion=0",
        "length": "clips.frames=3",
    }
    words = [*TINY, *STEPS, "stage1.train.steps=2", f"data={data}", f"autoencoder={autoencoder}"]
    for name, change in changes.items():
        trial = [*words, f"change={change}", f"out={tmp_path / name}"]
        done = run_cli("sweep", "--trial", "diffusion", *trial, timeout=900)
        assert done.returncode == 0, done.stderr
    protocols = {
        json.loads((tmp_path / name / "evaluation" / "protocol.json").read_text())["hash"]
        for name in changes
    }
    assert len(protocols) == 1
    assert RunFolder(tmp_path / "length").read_settings().clips.frames == 3
    assert RunFolder(tmp_path / "base").read_settings().autoencoder == str(autoencoder)
    own = tmp_path / "occlusion" / "stage1"
    assert not RunFolder(own).read_settings().stage1.network.estimate_occlusion
    exported = json.loads((tmp_path / "occlusion/export/autoencoder/config.json").read_text())
    assert "false" in json.dumps(exported).split("estimate_occlusion")[1][:12]


@pytest.mark.long
def test_sweep_without_training_and_its_report(data: Path, diffusion: Path, tmp_path: Path) -> None:
    raw = yaml.safe_load(
        (Path(__file__).parents[3] / "experiments/sweeps/guidance_steps.yaml").read_text()
    )
    raw["parameters"] = {"sampling.guidance_scale": {"values": [0.0, 2.0]}}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(raw))
    out = tmp_path / "out"
    words = ["sweep", str(tmp_path / "small.yaml"), f"model={diffusion}", f"data={data}"]
    done = run_cli(*words, "sampling.steps=2", "run.threads=1", "--out", str(out), timeout=900)
    assert done.returncode == 0, done.stderr
    report = (out / "report" / "report.md").read_text()
    assert "Trials: 2 complete." in report
    assert (out / "report" / "compare.html").is_file()
    assert (
        RunFolder(out / "trials" / "trial-001-guidance_scale=2")
        .read_settings()
        .sampling.guidance_scale
        == 2.0
    )
    again = run_cli(*words, "sampling.steps=2", "run.threads=1", "--out", str(out))
    assert again.returncode == 0
    assert "trial 0" not in again.stdout
