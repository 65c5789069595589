"""Work shared among processes: the same result as from one, and finished work is kept."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_runs import TINY, command, environment, rank_of, run_cli

from datamodules.media.video import read_frames
from experiments.processes.share import in_batches, share_work

#: Clips that no other test has cached.
WORDS = [*TINY, "clips.frames=5", "clips.stride=5"]


def test_batches_cover_every_place_once() -> None:
    assert [list(batch) for batch in in_batches(5, 2)] == [[0, 1], [2, 3], [4]]
    assert in_batches(0, 3) == []


def test_a_single_process_works_in_order_and_reports_progress() -> None:
    seen: list[tuple[int, int]] = []
    done = share_work("abc", str.upper, progress=lambda count, total: seen.append((count, total)))
    assert done == ["A", "B", "C"]
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_two_processes_cache_the_bytes_of_one(
    data: Path, autoencoder: Path, tmp_path: Path
) -> None:
    stores = {}
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        words = cache_words(data, autoencoder, folder)
        done = run_cli("cache", *words, "--batch-size", "3", f"run.devices={devices}")
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("Latent flow is in") == 1
        stores[devices] = entries(folder)
    assert stores[1]
    assert stores[1] == stores[2]


@pytest.mark.long
def test_a_killed_cache_resumes_and_ends_with_the_same_bytes(
    data: Path, autoencoder: Path, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    one = ["--batch-size", "1"]
    assert run_cli("cache", *cache_words(data, autoencoder, whole), *one).returncode == 0
    words = [*cache_words(data, autoencoder, killed), *one, "run.devices=2"]
    process = subprocess.Popen(
        command("cache", *words), stderr=subprocess.PIPE, env=environment(), text=True
    )
    until = time.monotonic() + 240
    while not entries(killed) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.001)
    os.kill(rank_of(process.pid, 1), signal.SIGKILL)
    _, stderr = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "rank 1 was ended by SIGKILL" in stderr
    assert "finished work is kept" in stderr
    before = entries(killed)
    assert before
    assert before.items() < entries(whole).items()  # some of it, and none of it cut off
    done = run_cli("cache", *words)
    assert done.returncode == 0, done.stderr
    assert entries(killed) == entries(whole)


@pytest.mark.long
def test_training_on_two_ranks_caches_for_itself(
    data: Path, autoencoder: Path, tmp_path: Path
) -> None:
    words = [*cache_words(data, autoencoder, tmp_path / "cache"), f"out={tmp_path / 'run'}"]
    done = run_cli("train", "diffusion", *words, "stage2.train.steps=2", "run.devices=2")
    assert done.returncode == 0, done.stderr
    assert entries(tmp_path / "cache")


@pytest.mark.long
def test_two_processes_generate_and_score_what_one_does(
    data: Path, diffusion: Path, tmp_path: Path
) -> None:
    results = {}
    for devices in (1, 2):
        out = tmp_path / str(devices)
        words = ["study", "heldout", str(diffusion), *TINY, f"data={data}", "--out", str(out)]
        done = run_cli(*words, f"run.devices={devices}", "clips.stride=5")
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("Scores, rows and a contact sheet") == 1
        results[devices] = out
    one, two = (json.loads((results[n] / "scores.json").read_text()) for n in (1, 2))
    assert_close(one, two)
    for kind in ("true", "generated"):
        rows = [(results[n] / f"{kind}.csv").read_text() for n in (1, 2)]
        assert rows[0].count("\n") > 3
        assert rows[0] == rows[1]


@pytest.mark.long
def test_two_processes_generate_the_dances_of_a_list(
    data: Path, diffusion: Path, tmp_path: Path
) -> None:
    songs = sorted((data / "clips").glob("*.mp4"))[:3]
    frame = read_frames(songs[0], indices=[0])[0]
    Image.fromarray(frame.permute(1, 2, 0).numpy()).save(tmp_path / "person.png")
    lines = [f"person.png,{song},{song.stem}.mp4" for song in songs]
    table = tmp_path / "dances.csv"
    table.write_text("\n".join(["picture,song,out", *lines]), encoding="utf-8")
    words = ["generate", str(diffusion), "--list", str(table), "--batch", "1", "--seconds", "0.4"]
    for count in (1, 2):
        done = run_cli(*words, str(tmp_path / str(count)), "--devices", str(count))
        assert done.returncode == 0, done.stderr
    for song in songs:
        one, two = (read_frames(tmp_path / count / f"{song.stem}.mp4") for count in ("1", "2"))
        assert torch.equal(one, two)


def test_two_processes_score_a_folder_as_one_does(data: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for path in sorted((data / "clips").glob("*.mp4"))[:3]:  # two for one rank, one for the other
        shutil.copy(path, videos)
    (videos / "broken.mp4").write_bytes(b"no video")
    for count in (1, 2):
        words = [str(videos), "--out", str(tmp_path / str(count)), "--processes", str(count)]
        done = run_cli("evaluate", *words)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("3 videos, 1 left out") == 1
    for name in ("clips.csv", "scores.json", "protocol.json"):
        one, two = ((tmp_path / count / name).read_bytes() for count in ("1", "2"))
        assert one == two


def assert_close(one: object, two: object) -> None:
    """The same tree, with numbers that agree to 1e-6."""
    if isinstance(one, dict):
        assert isinstance(two, dict)
        assert one.keys() == two.keys()
        for key in one:
            assert_close(one[key], two[key])
    elif isinstance(one, float):
        assert two == pytest.approx(one, rel=1e-6, abs=1e-6, nan_ok=True)
    else:
        assert one == two


def cache_words(data: Path, autoencoder: Path, cache: Path) -> list[str]:
    """Settings with a separate cache folder."""
    return [*WORDS, f"data={data}", f"autoencoder={autoencoder}", f"clips.cache={cache}"]


def entries(folder: Path) -> dict[str, bytes]:
    """Every stored item by its path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("[!.]*.safetensors")
    }
