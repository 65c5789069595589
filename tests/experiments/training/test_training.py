"""Run folders of finished trainings, and exact resumes after a kill at any moment."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import NAMES, TINY, command, differences, environment, forked_cli, metrics, weights

from experiments import cli
from experiments.runs.folder import RunFolder, read_header
from experiments.training.stages import evenly_spread
from experiments.training.start import find_start
from lightning_modules.checkpoints import load_autoencoder
from lightning_modules.pipeline import DabFusionPipeline

STEPS = 12
KILLS = 20


@pytest.mark.parametrize("stage", ["autoencoder", "diffusion"])
def test_a_run_folder_is_complete(stage: str, request: pytest.FixtureRequest) -> None:
    run = RunFolder(request.getfixturevalue(stage))
    manifest = run.read_manifest()
    assert manifest["stage"] == stage
    assert manifest["finished"]["step"] == STEPS
    assert manifest["versions"]["torch"] == torch.__version__
    assert manifest["data_digest"]
    lines = list(run.read_metrics())
    trained = [line for line in lines if "train/loss" in line]
    assert [line["step"] for line in trained] == list(range(STEPS))
    logged = {key for line in lines for key in line}
    assert "val/align_corrected" in logged if stage == "diffusion" else "val/l1_ratio" in logged
    header = torch.load(run.last, weights_only=True)["dabfusion"]
    assert header == {"format": 1, "stage": stage, "step": STEPS}
    assert run.best.exists()
    assert run.read_settings().seed == 0


def test_a_validation_logs_the_score_with_its_control_and_its_counts(diffusion: Path) -> None:
    (*_, last) = (line for line in metrics(diffusion) if "val/loss" in line)
    wanted = ("raw", "chance", "control_difference", "motion_beats", "music_beats", "clips")
    assert all(f"val/align_{name}" in last for name in ("corrected", *wanted))
    assert last["val/align_clips"] == 2  # stage2.train.validation_clips


def test_a_run_without_validation_clips_keeps_checkpoints(data: Path, tmp_path: Path) -> None:
    for split, names in (("train", NAMES[:4]), ("val", ["gBR_sBM_cAll_d99_mBR0_ch01"])):
        (tmp_path / f"crossmodal_{split}.txt").write_text("\n".join(names), encoding="utf-8")
    (tmp_path / "crossmodal_test.txt").write_text(NAMES[6], encoding="utf-8")
    out = tmp_path / "run"
    words = [*TINY, f"data={data}", f"out={out}", f"clips.split_files={tmp_path}"]
    for steps in (3, 5):
        more = [f"stage1.train.steps={steps}", "resume=auto", "run.samples=2"]
        assert cli.main(["train", "autoencoder", *words, *more]) == 0
        assert read_header(out / "checkpoints" / "last.ckpt", "autoencoder")["step"] == steps
    assert [resumed["step"] for resumed in RunFolder(out).read_manifest()["resumed"]] == [3]
    assert [line["step"] for line in metrics(out)] == list(range(5))


def test_only_given_paths_in_a_run_folder_are_absolute(autoencoder: Path, data: Path) -> None:
    text = (autoencoder / "manifest.json").read_text(encoding="utf-8")
    manifest = json.loads(text)
    manifest.pop("command")  # as it was typed
    manifest.pop("code")
    assert str(autoencoder) not in json.dumps(manifest)


def test_exports_load_without_the_training_part(autoencoder: Path, diffusion: Path) -> None:
    network = load_autoencoder(autoencoder)
    trained = torch.load(autoencoder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, trained[f"network.{name}"]), name
    pipeline = DabFusionPipeline.from_pretrained(diffusion / "export")
    best = torch.load(diffusion / "checkpoints" / "best.ckpt", weights_only=True)
    average = best["callbacks"]["ExponentialMovingAverage"]["average"]
    denoiser = dict(pipeline.denoiser.named_parameters())
    for name, tensor in average.items():
        if name.startswith("denoiser."):
            assert torch.equal(denoiser[name.removeprefix("denoiser.")], tensor), name


@pytest.mark.parametrize(
    ("stage", "number"),
    [
        ("autoencoder", signal.SIGKILL),
        ("diffusion", signal.SIGTERM),
        pytest.param("autoencoder", signal.SIGTERM, marks=pytest.mark.long),
        pytest.param("diffusion", signal.SIGKILL, marks=pytest.mark.long),
    ],
)
def test_a_killed_run_ends_with_the_same_bits(
    stage: str, number: signal.Signals, request: pytest.FixtureRequest, data: Path, tmp_path: Path
) -> None:
    whole = request.getfixturevalue(stage)
    out = tmp_path / "run"
    words = words_of(stage, request, data, out)
    kill_after_lines(words, out, lines=7, number=number)
    assert not (out / "export").exists()
    assert cli.main(["train", stage, *words, "resume=auto"]) == 0
    assert RunFolder(out).read_manifest()["resumed"][0]["step"] > 0
    assert differences(whole, out) == []
    assert metrics(whole) == metrics(out)


@pytest.mark.long
@pytest.mark.parametrize("stage", ["autoencoder", "diffusion"])
def test_a_run_survives_twenty_kills_at_random_moments(
    stage: str, request: pytest.FixtureRequest, data: Path, tmp_path: Path
) -> None:
    """While it starts, steps, validates, or writes checkpoints or metrics."""
    steps, whole, out = 160, tmp_path / "whole", tmp_path / "run"
    key = "stage1" if stage == "autoencoder" else "stage2"
    more = [f"{key}.train.steps={steps}", "run.validate_every=11", "run.checkpoint_every=2"]
    assert cli.main(["train", stage, *words_of(stage, request, data, whole), *more]) == 0
    words = [*words_of(stage, request, data, out), *more, "resume=auto"]
    random = np.random.default_rng(len(stage))
    last, done = RunFolder(out).last, 0
    for kill in range(KILLS):
        # One in four in the first moments, before the first step; the others some steps on.
        wanted = 0 if kill % 4 == 0 else count_lines(out) + int(random.integers(0, 5))
        seconds = float(random.uniform(0.0, 0.1 if wanted else 1.5))
        number = signal.SIGTERM if kill % 2 else signal.SIGKILL
        kill_at(stage, words, out, wanted, seconds, number)
        if last.exists():
            step = read_header(last, stage)["step"]
            assert step >= done  # no step is lost that had been written
            done = step
    assert 0 < done < steps  # every kill hit the run before its end
    assert cli.main(["train", stage, *words]) == 0
    assert differences(whole, out) == []
    assert metrics(whole) == metrics(out)


@pytest.mark.parametrize("stage", ["autoencoder", "diffusion"])
def test_another_seed_is_another_run(
    stage: str, request: pytest.FixtureRequest, data: Path, tmp_path: Path
) -> None:
    words = words_of(stage, request, data, tmp_path / "run")
    assert cli.main(["train", stage, *words, "seed=1"]) == 0
    assert differences(request.getfixturevalue(stage), tmp_path / "run") != []


def test_a_moved_run_resumes(autoencoder: Path, data: Path, tmp_path: Path) -> None:
    words = [*TINY, f"data={data}", "run.checkpoint_every=5"]
    first, moved = tmp_path / "first", tmp_path / "other" / "name"
    assert cli.main(["train", "autoencoder", *words, "stage1.train.steps=6", f"out={first}"]) == 0
    moved.parent.mkdir()
    first.rename(moved)
    again = [*words, "stage1.train.steps=12", f"out={moved}", "resume=always"]
    assert cli.main(["train", "autoencoder", *again]) == 0
    assert RunFolder(moved).read_manifest()["finished"]["step"] == STEPS


def test_a_finished_run_is_not_touched(autoencoder: Path, data: Path) -> None:
    before = (autoencoder / "manifest.json").read_text(encoding="utf-8")
    words = [*TINY, f"data={data}", f"out={autoencoder}", "stage1.train.steps=12"]
    again = [*words, "run.checkpoint_every=5", "resume=auto"]
    assert cli.main(["train", "autoencoder", *again]) == 0
    assert (autoencoder / "manifest.json").read_text(encoding="utf-8") == before


def test_no_rank_resumes_a_finished_run(autoencoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank that resumed by itself would wait for rank 0 until its timeout."""
    folder = RunFolder(autoencoder)
    settings = folder.read_settings()
    settings.out, settings.resume = str(autoencoder), "auto"
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert find_start(settings, "autoencoder", STEPS).finished
        longer = find_start(settings, "autoencoder", STEPS + 1)
        assert not longer.finished
        assert (longer.checkpoint, longer.step) == (folder.last, STEPS)


def test_a_checkpoint_holds_no_frozen_network(diffusion: Path) -> None:
    parts = {name.split(".")[0] for name in weights(diffusion) if name.startswith("weights")}
    assert parts == {"weights denoiser", "weights conditioner"}


def words_of(stage: str, request: pytest.FixtureRequest, data: Path, out: Path) -> list[str]:
    """The settings of the fixture of the same name, except for the folder."""
    words = [*TINY, f"data={data}", f"out={out}", "run.checkpoint_every=5"]
    if stage == "autoencoder":
        return [*words, f"stage1.train.steps={STEPS}"]
    runs = request.getfixturevalue("autoencoder")
    return [*words, f"autoencoder={runs}", f"stage2.train.steps={STEPS}"]


def kill_after_lines(words: list[str], out: Path, lines: int, number: signal.Signals) -> None:
    """Start a run in another process and signal it once it has logged `lines` lines."""
    stage = "diffusion" if any(word.startswith("autoencoder=") for word in words) else "autoencoder"
    process = subprocess.Popen(
        command("train", stage, *words), stderr=subprocess.PIPE, env=environment(), text=True
    )
    until = time.monotonic() + 300
    while time.monotonic() < until and process.poll() is None:
        if count_lines(out) >= lines:
            break
        time.sleep(0.002)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=240)
    assert process.returncode == (130 if number == signal.SIGTERM else -number), stderr
    if number == signal.SIGTERM:
        assert "resume=auto" in stderr


def kill_at(
    stage: str, words: list[str], out: Path, lines: int, seconds: float, number: signal.Signals
) -> None:
    """Start a run and signal it `seconds` after it has logged `lines` lines."""
    process = forked_cli("train", stage, *words)
    assert process.pid is not None
    until = time.monotonic() + 240
    while time.monotonic() < until and process.is_alive() and count_lines(out) < lines:
        time.sleep(0.002)
    process.join(seconds)
    if process.is_alive():
        os.kill(process.pid, number)
    process.join(90)
    assert process.exitcode in (0, -number, 130)


def count_lines(run: Path) -> int:
    """Lines of metrics so far."""
    log = run / "metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 1000, 1024, 5000])
def test_statistics_come_from_at_most_as_many_clips_as_stated(count: int) -> None:
    ids = [str(place) for place in range(count)]
    chosen = evenly_spread(ids, 512)
    assert len(chosen) == min(count, 512)
    places = [int(name) for name in chosen]
    assert places == sorted(set(places))
    if count:
        assert places[0] == 0
        gaps = [after - before for before, after in itertools.pairwise([*places, count])]
        assert max(gaps) - min(gaps) <= 1
