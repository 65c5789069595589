"""Several processes: the same result as one, one voice, and an end when one of them dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_runs import TINY, command, environment, metrics, run_cli

from experiments.training_checkpoints import read_header

STEPS = 6


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
        assert done.stderr.count("Trained:") == 1  # said once
    one, two = metrics(tmp_path / "1"), metrics(tmp_path / "2")
    assert_equal_metrics(one, two)


@pytest.mark.long
def test_two_nodes_of_torchrun_compute_what_one_process_does(
    data: Path, autoencoder: Path, tmp_path: Path
) -> None:
    alone = words_of("diffusion", data, autoencoder, tmp_path / "alone")
    assert run_cli("train", "diffusion", *alone).returncode == 0
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
    assert_equal_metrics(metrics(tmp_path / "alone"), metrics(tmp_path / "nodes"))


def test_a_rank_that_dies_ends_the_run_with_a_sentence(
    data: Path, autoencoder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = words_of("autoencoder", data, autoencoder, out)
    words = [*words, "stage1.train.steps=100000", "run.checkpoint_every=3", "run.devices=2"]
    process = subprocess.Popen(
        command("train", "autoencoder", *words),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    until = time.monotonic() + 120
    while not (out / "checkpoints" / "last.ckpt").exists() and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(rank_of(process.pid, 1), signal.SIGKILL)
    began = time.monotonic()
    _, said = process.communicate(timeout=90)
    assert time.monotonic() - began < 60
    assert process.returncode == 1
    assert "rank 1 was ended by SIGKILL" in said
    assert "resume=auto" in said
    assert "Traceback" not in said
    assert read_header(out / "checkpoints" / "last.ckpt", "autoencoder")["step"] % 3 == 0


def words_of(stage: str, data: Path, autoencoder: Path, out: Path) -> list[str]:
    """A run of a few steps that validates twice."""
    words = [*TINY, f"data={data}", f"out={out}", f"run.validate_every={STEPS // 2}"]
    if stage == "autoencoder":
        return [*words, f"stage1.train.steps={STEPS}"]
    return [*words, f"autoencoder={autoencoder}", f"stage2.train.steps={STEPS}"]


def assert_equal_metrics(one: list[dict[str, float]], two: list[dict[str, float]]) -> None:
    """The same lines; losses of steps to 1e-4, metrics of validations to 1e-6."""
    assert [line.keys() for line in one] == [line.keys() for line in two]
    compared = 0
    for a, b in zip(one, two, strict=True):
        for key, value in a.items():
            if key == "train/loss":
                assert b[key] == pytest.approx(value, rel=1e-4)
                compared += 1
            elif key.startswith("val/"):
                assert b[key] == pytest.approx(value, rel=1e-6, abs=1e-6)
                compared += 1
    assert compared >= STEPS + 2


def rank_of(parent: int, rank: int) -> int:
    """The process that is a rank of a watched run, found by its environment."""
    for task in Path("/proc").glob("[0-9]*"):
        try:
            status = (task / "status").read_text(encoding="utf-8")
            variables = (task / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"PPid:\t{parent}\n" in status and f"LOCAL_RANK={rank}".encode() in variables:
            return int(task.name)
    raise AssertionError(f"No rank {rank} below process {parent}.")
