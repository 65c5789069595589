"""Preparation killed without warning, again and again, ends as if nothing had happened."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
from dance_folder import SIZE, write_dance

from datamodules.index import DatasetSettings
from datamodules.preparation import pool
from datamodules.preparation.pool import run_all
from datamodules.preparation.prepare import PrepareOptions, prepare
from datamodules.preparation.video_task import VideoTask

ROOT = Path(__file__).resolve().parents[3]
OPTIONS = PrepareOptions(DatasetSettings(size=SIZE))
RUN = """
import sys
from dataclasses import replace
from pathlib import Path
from datamodules.index import DatasetSettings
from datamodules.preparation.prepare import PrepareOptions, prepare
if __name__ == "__main__":
    options = PrepareOptions(DatasetSettings(size=int(sys.argv[3])), workers=2)
    print("ready", flush=True)
    prepare(Path(sys.argv[1]), Path(sys.argv[2]), options)
"""
MARK = "TEST_PREPARES_INTO"
FILES = ("index.parquet", "dataset.json", "quarantine.jsonl")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    for number in range(12):
        music = f"mBR{1 + number % 4}"
        name = f"gBR_sBM_c01_d{number:02d}_{music}_ch03"
        write_dance(folder / f"{name}.mp4", music, seconds=2.0, shade=20 * number)
    (folder / "broken.mp4").write_bytes(b"\0" * 100)
    return folder


@pytest.fixture(scope="module")
def undisturbed(many: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed")
    prepare(many, out, OPTIONS)
    return {file: (out / file).read_bytes() for file in FILES}


def start(many: Path, out: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", RUN, str(many), str(out), str(SIZE)]
    marked = {**os.environ, MARK: str(out)}  # workers inherit it
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, env=marked)


def kill_at(many: Path, out: Path, records: int, later_s: float) -> None:
    """Kill a preparation some moments after it has so many more records."""
    before = len(list((out / "records").glob("*.json"))) if out.exists() else 0
    process = start(many, out)
    while process.poll() is None:
        if len(list((out / "records").glob("*.json"))) >= before + records:
            time.sleep(later_s)
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    process.wait()


def check(many: Path, out: Path, undisturbed: dict[str, bytes]) -> None:
    prepare(many, out, OPTIONS)
    for file in FILES:
        assert (out / file).read_bytes() == undisturbed[file], file
    assert not list(out.rglob("*.partial"))


def test_a_killed_preparation_leaves_nothing_running_and_ends_the_same(
    many: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    kill_at(many, out, 3, 0.0)
    assert 3 <= len(list((out / "records").glob("*.json"))) <= 13
    wait_for_workers(out)
    check(many, out, undisturbed)


@pytest.mark.long
def test_twenty_kills_at_random_moments(
    many: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for number in range(20):
        out = tmp_path / str(number // 4)  # four kills of each preparation
        kill_at(many, out, int(rng.integers(0, 4)), float(rng.uniform(0.0, 0.3)))
        if number % 4 == 3:
            check(many, out, undisturbed)


def wait_for_workers(out: Path) -> None:
    """Wait until no process is left that was started for the folder; workers follow their
    parent."""
    deadline = time.monotonic() + 120.0
    alive: list[str] = []
    while time.monotonic() < deadline:
        pids = [pid for pid in os.listdir("/proc") if pid.isdigit()]
        alive = [pid for pid in pids if f"{MARK}={out}".encode() in _environment(pid)]
        if not alive:
            return
        time.sleep(0.1)
    raise AssertionError(f"still running: {alive}")


def _environment(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


class _Killer(os.PathLike[str]):
    """A path that brings down any worker process that looks at it."""

    def __init__(self, parent: int) -> None:
        self.parent = parent

    def __fspath__(self) -> str:
        return "/nowhere"

    def stat(self) -> os.stat_result:
        if os.getpid() != self.parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return os.stat("/")


def test_a_video_that_kills_its_worker_is_quarantined_and_the_rest_goes_on(tmp_path: Path) -> None:
    tasks = []
    for number in range(4):
        path = write_dance(tmp_path / f"v{number}.mp4", seconds=2.0)
        tasks.append(
            VideoTask(f"v{number}", path, path.name, tmp_path / "out", DatasetSettings(size=SIZE))
        )
    tasks[2] = VideoTask(
        "v2", _Killer(os.getpid()), "v2.mp4", tmp_path / "out", DatasetSettings(size=SIZE)  # type: ignore[arg-type]
    )  # fmt: skip
    done: list[int] = []
    records = run_all(tasks, 2, done.append)
    assert sorted(record["name"] for record in records) == [f"v{n}" for n in range(4)]
    reasons = {record["name"]: record["reason"] for record in records if "reason" in record}
    assert reasons == {"v2": "v2.mp4 crashes the decoder."}
    assert done[-1] == 4


class _Breaking:
    """An executor that works at once, and whose `submit` fails from some call on, as that of a pool
    does whose process has just died."""

    left = 0

    def __init__(self) -> None:
        self._processes: dict[int, object] = {}

    def submit(self, work, task):
        if _Breaking.left == 0:
            _Breaking.left = -1
            raise BrokenProcessPool("a process died")
        _Breaking.left -= 1
        future: Future = Future()
        future.set_result(work(task))
        return future

    def shutdown(self, **_: object) -> None:
        pass


@pytest.mark.parametrize("after", [0, 1, 5, 6, 7, 11])
def test_no_video_is_lost_when_the_pool_breaks_while_videos_are_handed_out(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [
        VideoTask(f"v{n}", tmp_path / f"v{n}.mp4", f"v{n}.mp4", tmp_path, DatasetSettings())
        for n in range(12)
    ]
    monkeypatch.setattr(pool, "prepare_video", lambda task: {"name": task.name})
    monkeypatch.setattr(pool, "_pool", lambda workers: _Breaking())
    _Breaking.left = after
    records = run_all(tasks, 2, lambda done: None)
    assert sorted(r["name"] for r in records) == sorted(task.name for task in tasks)
    assert not any("reason" in record for record in records)


def test_a_process_that_died_idle_does_not_quarantine_the_next_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [
        VideoTask(f"v{n}", tmp_path / f"v{n}.mp4", f"v{n}.mp4", tmp_path, DatasetSettings())
        for n in range(3)
    ]
    monkeypatch.setattr(pool, "prepare_video", lambda task: {"name": task.name})
    monkeypatch.setattr(pool, "_pool", lambda workers: _Breaking())
    _Breaking.left = 1
    records: list[dict] = []
    pool._run_alone(tasks, records, lambda done: None)
    assert [record.get("reason") for record in records] == [None] * 3
