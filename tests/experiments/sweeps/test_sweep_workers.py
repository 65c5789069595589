"""Real workers in real processes: shared storage, kills, workers that join late, early stopping."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from experiments.errors import SettingsError
from experiments.sweeps.grammar import load_sweep
from experiments.sweeps.store import Claim, SweepStore, trial_name
from experiments.sweeps.worker import TrialUserError, run_worker

PROGRAM = Path(__file__).with_name("sweep_trial_program.py")


def write_sweep(folder: Path, parameters: dict[str, Any], **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    body = {
        "name": "test",
        "method": "grid",
        "metric": {"name": "heldout/score", "goal": "maximize"},
        "parameters": parameters,
        "command": [sys.executable, str(PROGRAM), "${args_no_hyphens}"],
        **changes,
    }
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(body, sort_keys=False))
    return path


def open_store(path: Path, storage: str = "sqlite", **options: Any) -> SweepStore:
    return SweepStore(path.parent / "out", load_sweep(str(path)), [], storage, **options)


def work(store: SweepStore, words: tuple[str, ...] = ()) -> list[Claim]:
    return list(run_worker(store, words, poll_s=0.05))


def start_worker(path: Path, *words: str, storage: str = "sqlite") -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "experiments.cli", "sweep", str(path), *words]
    out = str(path.parent / "out")
    return subprocess.Popen(
        [*command, "--out", out, "--storage", storage],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def starts(folder: Path) -> list[int]:
    """How often each trial's program was started."""
    files = sorted((folder / "out" / "trials").glob("*/starts"))
    return [len(file.read_text().splitlines()) for file in files]


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_grid_runs_every_point_once(tmp_path: Path, storage: str) -> None:
    path = write_sweep(tmp_path, {"a": {"values": [1, 2]}, "b": {"values": [0, 5]}})
    finished = work(open_store(path, storage))
    assert [(f.values["a"], f.values["b"], f.value) for f in finished] == [
        (1, 0, 1.0), (1, 5, 1.5), (2, 0, 2.0), (2, 5, 2.5),
    ]  # fmt: skip
    assert work(open_store(path, storage)) == []
    assert open_store(path, storage).states() == {"complete": 4}


@pytest.mark.long
@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_two_workers_share_and_a_third_joins_late(tmp_path: Path, storage: str) -> None:
    path = write_sweep(tmp_path, {"a": {"values": list(range(6))}, "pause": {"value": 0.25}})
    workers = [start_worker(path, storage=storage) for _ in range(2)]
    _wait_for(lambda: len(starts(tmp_path)) > 1)
    workers.append(start_worker(path, storage=storage))
    outputs = [worker.communicate(timeout=240)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], outputs
    assert starts(tmp_path) == [1] * 6
    ran = Counter(
        line.split()[2]
        for text in outputs
        for line in text.splitlines()
        if "trial" in line and "] " in line
    )
    assert sorted(ran.values()) == [1] * 6


def test_killed_twice_and_resumed(tmp_path: Path) -> None:
    path = write_sweep(
        tmp_path, {"a": {"values": [1]}, "lines": {"value": 25}, "pause": {"value": 0.06}}
    )
    for _ in range(2):
        worker = start_worker(path)
        _wait_for(lambda: starts(tmp_path) != [])
        lines = _lines(tmp_path)
        _wait_for(lambda known=lines: _lines(tmp_path) > known + 3)
        _kill_with_trial(worker, tmp_path)
    before = _lines(tmp_path)
    assert 0 < before < 25
    finished = work(open_store(path))
    assert [(f.number, f.value) for f in finished] == [(0, 1.0)]
    assert starts(tmp_path) == [3]
    assert open_store(path).states() == {"complete": 1}
    # It resumed: no line was written twice.
    assert _lines(tmp_path) == 25


@pytest.mark.long
def test_a_trial_that_outlives_its_worker_is_not_started_twice(tmp_path: Path) -> None:
    path = write_sweep(
        tmp_path, {"a": {"values": [1, 2]}, "lines": {"value": 20}, "pause": {"value": 0.15}}
    )
    worker = start_worker(path)
    _wait_for(lambda: _lines(tmp_path) > 2)
    worker.kill()
    worker.communicate()
    # Its trial is still running and holds its lock: the next worker takes the other one first.
    finished = work(open_store(path))
    assert [f.values["a"] for f in finished] == [2, 1]
    assert starts(tmp_path)[1] == 1
    assert _lines(tmp_path) == 20


def test_a_larger_cap_adds_the_missing_trials_of_a_grid(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, {"a": {"values": [1, 2, 3, 4]}})
    assert open_store(path, cap=1).states() == {"waiting": 1}
    assert open_store(path, cap=9).states() == {"waiting": 4}
    path = write_sweep(tmp_path / "second", {"a": {"values": [1, 2, 3, 4]}})
    assert [one.values["a"] for one in work(open_store(path, cap=2))] == [1, 2]
    assert [one.values["a"] for one in work(open_store(path))] == [3, 4]
    assert open_store(path).states() == {"complete": 4}


def test_sigterm_ends_the_trial_too(tmp_path: Path) -> None:
    path = write_sweep(
        tmp_path, {"a": {"values": [1]}, "pause": {"value": 0.2}, "lines": {"value": 99}}
    )
    worker = start_worker(path)
    _wait_for(lambda: _lines(tmp_path) > 1)
    worker.send_signal(signal.SIGTERM)
    said = worker.communicate(timeout=240)
    assert worker.returncode == 130, said
    after = _lines(tmp_path)
    time.sleep(0.6)
    assert _lines(tmp_path) == after
    assert open_store(path).claim() is not None


@pytest.mark.long
def test_hyperband_ends_poor_trials_early(tmp_path: Path) -> None:
    path = write_sweep(
        tmp_path,
        {"a": {"values": [9, 8, 7, 1, 0.5, 0.4, 0.3, 0.2, 0.1]}, "lines": {"value": 9},
         "pause": {"value": 0.1}},
        metric={"name": "val/score", "goal": "maximize"},
        early_terminate={"type": "hyperband", "min_iter": 1, "max_iter": 9, "eta": 3},
    )  # fmt: skip
    finished = work(open_store(path))
    states = Counter(f.state for f in finished)
    assert states["pruned"] >= 2
    assert finished[0].state == "complete"
    assert all(f.values["a"] < 9 for f in finished if f.state == "pruned")


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_search_stops_at_run_cap_and_draws_differ(tmp_path: Path, method: str) -> None:
    parameters = {"a": {"min": 0.0, "max": 1.0}, "seed": {"min": 0, "max": 9}}
    path = write_sweep(tmp_path, parameters, method=method, run_cap=4)
    finished = work(open_store(path))
    assert len({f.values["a"] for f in finished}) == 4
    assert all(isinstance(f.values["seed"], int) for f in finished)
    assert work(open_store(path)) == []
    assert len(work(open_store(path, cap=6))) == 2


def test_a_users_error_stops_the_sweep_and_leaves_the_trial_open(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, {"a": {"values": [1, 2]}})
    with pytest.raises(TrialUserError, match="this trial fails"):
        work(open_store(path), ("fail=2",))
    assert [f.state for f in work(open_store(path))] == ["complete", "complete"]


def test_a_failed_trial_is_counted_and_the_others_run(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, {"a": {"values": [1, 2]}})
    assert [f.state for f in work(open_store(path), ("fail=1",))] == ["failed", "failed"]


def test_missing_metric_is_named(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, {"a": {"values": [1]}}, metric={"name": "val/typo"})
    with pytest.raises(TrialUserError, match="heldout/score"):
        work(open_store(path))


def test_another_sweep_in_the_folder_is_refused(tmp_path: Path) -> None:
    open_store(write_sweep(tmp_path, {"a": {"values": [1]}}))
    with pytest.raises(SettingsError, match="another sweep"):
        open_store(write_sweep(tmp_path, {"a": {"values": [2]}}))
    endless = write_sweep(tmp_path, {"a": {"min": 0.0, "max": 1.0}}, method="random")
    with pytest.raises(SettingsError, match="has no end"):
        open_store(endless)


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_values_of_every_kind_survive_the_storage(tmp_path: Path, storage: str) -> None:
    values = [1, 0.5, True, None, "text", [1, 2], {"a": [1]}]
    path = write_sweep(tmp_path, {"c": {"values": values}})
    assert [f.values["c"] for f in work(open_store(path, storage))] == values


def test_an_interrupted_set_up_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_sweep(tmp_path, {"a": {"values": [1, 2, 3]}})
    enqueue, calls = optuna.Study.enqueue_trial, []

    def interrupted(*args: Any) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        enqueue(*args)

    monkeypatch.setattr(optuna.Study, "enqueue_trial", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_store(path)
    assert [f.values["a"] for f in work(open_store(path))] == [1, 2, 3]


def test_a_smaller_cap_leaves_the_rest_waiting(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, {"a": {"values": [1, 2, 3]}})
    open_store(path)
    assert [f.values["a"] for f in work(open_store(path, cap=2))] == [1, 2]


def test_folders_of_trials_are_readable(tmp_path: Path) -> None:
    values = {"stage2.train.learning_rate": 2e-4, "seed": 1, "music.beats": "frame"}
    assert trial_name(3, values) == "trial-003-learning_rate=0.0002-seed=1-beats=frame"
    assert trial_name(0, {}) == "trial-000"
    hostile = trial_name(
        7, {"change": "../../a b/ü:*?\\\n" + "x" * 300, **dict.fromkeys("abcdef", "y" * 40)}
    )
    assert re.fullmatch(r"trial-007-change=[\w.=+-]{1,90}", hostile, re.ASCII)
    assert "/" not in hostile
    path = write_sweep(tmp_path, {"a": {"values": [1, 0.5]}, "b": {"value": 2}})
    work(open_store(path))
    names = sorted(folder.name for folder in (tmp_path / "out" / "trials").iterdir())
    assert names == ["trial-000-a=1", "trial-001-a=0.5"]


def _lines(folder: Path) -> int:
    files = (folder / "out" / "trials").glob("trial-000*/metrics.jsonl")
    return sum(len(file.read_text().splitlines()) for file in files)


def _wait_for(condition: Any, seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.05)


def _kill_with_trial(worker: "subprocess.Popen[str]", folder: Path) -> None:
    """SIGKILL to the worker and to the trial it has started, as a loss of power would."""
    children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    worker.kill()
    worker.communicate()
    for child in children:
        os.kill(int(child), signal.SIGKILL)
