"""Several processes: the result of one, each message once, and an end when one process dies."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_runs import TINY, command, differences, environment, metrics, rank_of, run_cli

from experiments.runs.folder import read_header

STEPS, LONG = 10, 30


@pytest.mark.parametrize(
    "stage", ["diffusion", pytest.param("autoencoder", marks=pytest.mark.long)]
)
def test_two_processes_compute_what_one_does(
    stage: str, data: Path, autoencoder: Path, tmp_path: Path
) -> None:
    for devices in (1, 2):
        words = words_of(stage, data, autoencoder, tmp_path / str(devices))
        done = run_cli("train", stage, *words, f"run.devices={devices}")
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("Trained:") == 1  # printed once
    one, two = metrics(tmp_path / "1"), metrics(tmp_path / "2")
    assert_equal_metrics(one, two)


@pytest.mark.long
def test_two_nodes_of_torchrun_compute_what_one_process_does(
    data: Path, autoencoder: Path, tmp_path: Path
) -> None:
    single = words_of("diffusion", data, autoencoder, tmp_path / "single")
    assert run_cli("train", "diffusion", *single).returncode == 0
    words = words_of("diffusion", data, autoencoder, tmp_path / "nodes")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    torchrun = [str(Path(sys.executable).with_name("torchrun")), "--nnodes", "2"]
    torchrun += ["--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port", str(port)]
    nodes = [
        subprocess.Popen(
            [*torchrun, "--node-rank", str(node), *command("train", "diffusion", *words)[1:]],
            env=environment(),
        )
        for node in range(2)
    ]
    assert [node.wait(timeout=300) for node in nodes] == [0, 0]
    assert_equal_metrics(metrics(tmp_path / "single"), metrics(tmp_path / "nodes"))


@pytest.mark.parametrize(
    "stage", ["autoencoder", pytest.param("diffusion", marks=pytest.mark.long)]
)
def test_a_rank_that_dies_ends_the_run_which_then_resumes(
    stage: str, data: Path, autoencoder: Path, tmp_path: Path
) -> None:
    out, whole = tmp_path / "run", tmp_path / "whole"
    key = "stage1" if stage == "autoencoder" else "stage2"
    more = [f"{key}.train.steps={LONG}", "run.checkpoint_every=2", "run.validate_every=10"]
    words = [*words_of(stage, data, autoencoder, out), *more, "run.devices=2"]
    process = start("train", stage, *words)
    wait_for(out / "checkpoints" / "last.ckpt", process)
    os.kill(rank_of(process.pid, 1), signal.SIGKILL)
    began = time.monotonic()
    _, stderr = process.communicate(timeout=240)
    assert time.monotonic() - began < 60
    assert process.returncode == 1
    assert "rank 1 was ended by SIGKILL" in stderr
    assert "resume=auto" in stderr
    assert "Traceback" not in stderr
    assert 0 < read_header(out / "checkpoints" / "last.ckpt", stage)["step"] < LONG

    # Two processes resume and end as if none had died; a single one computes the same.
    single = tmp_path / "single"
    shutil.copytree(out, single)
    for folder, devices in ((out, 2), (whole, 2), (single, 1)):
        words = [*words_of(stage, data, autoencoder, folder), *more, "resume=auto"]
        done = run_cli("train", stage, *words, f"run.devices={devices}")
        assert done.returncode == 0, done.stderr
    assert differences(whole, out) == []
    assert metrics(whole) == metrics(out)
    # Rounding adds up over more steps than the bar of 1e-6 is about.
    assert_equal_metrics(metrics(whole), metrics(single), validation=1e-4)


def test_what_every_rank_refuses_is_printed_once(
    data: Path, autoencoder: Path, tmp_path: Path
) -> None:
    words = words_of("autoencoder", data, autoencoder, tmp_path / "run")
    done = run_cli("train", "autoencoder", *words, "clips.size=64", "run.devices=2")
    assert done.returncode == 2
    assert done.stderr.count("clips.size is 64") == 1
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.long
def test_sigterm_stops_both_ranks_after_the_same_step(
    data: Path, autoencoder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = [*words_of("autoencoder", data, autoencoder, out), "run.devices=2"]
    process = start("train", "autoencoder", *words, "stage1.train.steps=100000")
    wait_for(out / "metrics.jsonl", process)
    os.kill(rank_of(process.pid, 1), signal.SIGTERM)  # one rank gets it, both stop
    _, stderr = process.communicate(timeout=240)
    assert process.returncode == 130, stderr
    assert stderr.count("Stopped at step") == 1
    last = read_header(out / "checkpoints" / "last.ckpt", "autoencoder")["step"]
    assert last == max(line["step"] for line in metrics(out)) + 1  # written, nothing lost


def test_slurm_announces_the_end_and_the_job_is_requeued(
    autoencoder: Path, data: Path, tmp_path: Path
) -> None:
    out, requeued = tmp_path / "run", tmp_path / "requeued"
    program = tmp_path / "bin" / "scontrol"  # what SLURM would install
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" > {requeued}\n', encoding="utf-8")
    program.chmod(0o755)
    variables = {
        "SLURM_JOB_ID": "1234",
        "SLURM_JOB_NAME": "dance",
        "SLURM_NTASKS": "1",
        "SLURM_NNODES": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
    }
    words = [*TINY, f"data={data}", f"out={out}", "run.checkpoint_every=5", "resume=auto"]
    words += ["stage1.train.steps=12"]
    process = start("train", "autoencoder", *words, **variables)
    wait_for(out / "metrics.jsonl", process)
    process.send_signal(signal.SIGUSR1)
    _, stderr = process.communicate(timeout=240)
    assert process.returncode == 130, stderr
    assert requeued.read_text(encoding="utf-8") == "requeue 1234\n"
    done = run_cli("train", "autoencoder", *words, **variables)  # the same job, started again
    assert done.returncode == 0, done.stderr
    assert differences(autoencoder, out) == []
    assert metrics(autoencoder) == metrics(out)


def start(*words: str, **variables: str) -> subprocess.Popen[str]:
    """Start `dabfusion WORDS` in another process and capture its stderr."""
    return subprocess.Popen(
        command(*words),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(**variables),
        text=True,
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a run has written a file."""
    until = time.monotonic() + 240
    while not path.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    assert path.exists()


def words_of(stage: str, data: Path, autoencoder: Path, out: Path) -> list[str]:
    """A run of a few steps that validates twice."""
    words = [*TINY, f"data={data}", f"out={out}", f"run.validate_every={STEPS // 2}"]
    if stage == "autoencoder":
        return [*words, f"stage1.train.steps={STEPS}"]
    return [*words, f"autoencoder={autoencoder}", f"stage2.train.steps={STEPS}"]


def assert_equal_metrics(
    one: list[dict[str, float]], two: list[dict[str, float]], validation: float = 1e-6
) -> None:
    """The same lines; losses of steps to 1e-4, metrics of validations to 1e-6 or `validation`."""
    assert [line.keys() for line in one] == [line.keys() for line in two]
    compared = 0
    for a, b in zip(one, two, strict=True):
        for key, value in a.items():
            if key == "train/loss":
                assert b[key] == pytest.approx(value, rel=1e-4)
                compared += 1
            elif key.startswith("val/"):
                assert b[key] == pytest.approx(value, rel=validation, abs=validation)
                compared += 1
    assert compared >= STEPS + 2
