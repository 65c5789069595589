"""A worker of a sweep: claim a trial, run it, watch its metric, tell the result; again."""

import json
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import USER_ERROR, SettingsError
from experiments.runs.folder import RunFolder
from experiments.sweeps.grammar import build_command, fixed_values, local_command
from experiments.sweeps.store import Claim, SweepStore

#: Seconds that a trial has to end after SIGTERM.
PATIENCE_S = 60.0
RESULT = "trial.json"


@dataclass(frozen=True)
class Finished:
    """One trial of this worker. ``state``: complete, pruned or failed."""

    number: int
    values: dict[str, Any]
    state: str
    value: float | None
    seconds: float


class TrialUserError(SettingsError):
    """A trial's own words cannot be run: the others would fail alike."""


def run_worker(
    store: SweepStore,
    words: Sequence[str],
    report: Callable[[Finished], None],
    poll_s: float = 1.0,
) -> int:
    """Run trials until none can be claimed; returns how many this worker has finished.

    Args:
        store: the sweep.
        words: fixed words of every trial.
        report: called after each trial.
        poll_s: seconds between two looks at a running trial's metrics.

    Raises:
        TrialUserError: a trial refused its settings; it stays open for the next start.
    """
    done = 0
    while (claim := store.claim()) is not None:
        try:
            finished = _run(store, claim, words, poll_s)
        finally:
            claim.lock.close()
        report(finished)
        done += 1
    return done


def trial_words(store: SweepStore, claim: Claim, words: Sequence[str]) -> list[str]:
    """The command of one trial on this machine."""
    # Fixed words come first: what the sweep sets, also inside `change`, wins over them.
    values = {**fixed_values(store.sweep, words), **claim.values}
    extra = [f"out={claim.folder}", "resume=auto", f"run.group={store.sweep.name}"]
    return build_command(store.sweep.command, values, extra)


def read_result(folder: Path) -> dict[str, float]:
    """Metrics of a finished trial; empty where it has left none."""
    try:
        metrics = json.loads((folder / RESULT).read_text("utf-8"))["metrics"]
    except (FileNotFoundError, KeyError, ValueError):
        return {}
    return {name: float(value) for name, value in metrics.items() if value is not None}


def _run(store: SweepStore, claim: Claim, words: Sequence[str], poll_s: float) -> Finished:
    from optuna.trial import TrialState

    began = time.monotonic()
    claim.folder.mkdir(parents=True, exist_ok=True)
    log = claim.folder / "trial.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            local_command(trial_words(store, claim, words)),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            # The trial outlives a killed worker; until it ends it keeps the lock.
            pass_fds=[claim.lock.fileno()],
            start_new_session=True,
        )
        try:
            pruned = _watch(store, claim, process, poll_s)
        finally:
            _end(process)
    seconds = time.monotonic() - began
    state, value = _outcome(store, claim, process.returncode, pruned, log)
    told = {"pruned": TrialState.PRUNED, "failed": TrialState.FAIL}.get(state, TrialState.COMPLETE)
    store.study.tell(claim.trial, value if state == "complete" else None, state=told)
    return Finished(claim.trial.number, claim.values, state, value, seconds)


def _watch(
    store: SweepStore, claim: Claim, process: "subprocess.Popen[bytes]", poll_s: float
) -> bool:
    """Report the metric until the process ends; True if it was stopped early."""
    known = store.study._storage.get_trial(claim.trial._trial_id).intermediate_values
    reported = max(known, default=0)
    while True:
        ended = _wait(process, poll_s)
        if store.sweep.early_stop is not None:
            values = _values(claim.folder, store.sweep.metric)
            for count, value in list(enumerate(values, 1))[reported:]:
                claim.trial.report(value, count)
                reported = count
                if not ended and claim.trial.should_prune():
                    return True
        if ended:
            return False


def _wait(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _values(folder: Path, metric: str) -> list[float]:
    lines = RunFolder(folder).read_metrics()
    found = [line[metric] for line in lines if line.get(metric) is not None]
    return [float(value) for value in found if math.isfinite(value)]


def _outcome(
    store: SweepStore, claim: Claim, status: int, pruned: bool, log: Path
) -> tuple[str, float | None]:
    metric = store.sweep.metric
    if pruned:
        return "pruned", None
    if status == USER_ERROR:
        raise TrialUserError(f"Trial {claim.trial.number} was refused: {_last_line(log)}")
    if status != 0:
        return "failed", None
    metrics = read_result(claim.folder)
    if metric in metrics:
        return "complete", metrics[metric]
    values = _values(claim.folder, metric)
    if not values:
        known = ", ".join(sorted(metrics)) or "none"
        raise TrialUserError(
            f"Trial {claim.trial.number} has no metric {metric} (it has: {known}); "
            "name one of those as metric.name in the sweep's file."
        )
    return "complete", values[-1]


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it printed nothing."


def _end(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM to the trial and all it has started, then SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        _wait(process, PATIENCE_S)
