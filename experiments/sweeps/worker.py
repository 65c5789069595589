"""A worker of a sweep: takes a trial, runs it, watches its metric and records the result."""

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

from optuna.trial import TrialState

from experiments.errors import USER_ERROR, SettingsError
from experiments.runs.folder import RunFolder
from experiments.sweeps.command import build_command, fixed_values, local_command
from experiments.sweeps.store import Claim, SweepStore

#: Seconds that a trial has to end after SIGTERM.
PATIENCE_S = 60.0
#: File in a trial's folder with the metrics of the held-out clips.
RESULT = "trial.json"


@dataclass(frozen=True)
class Finished:
    """A trial that this worker has run. ``state``: complete, pruned or failed."""

    number: int
    values: dict[str, Any]
    state: str
    value: float | None
    seconds: float


class TrialUserError(SettingsError):
    """A trial refused its settings, as all others would."""


def run_worker(
    store: SweepStore,
    words: Sequence[str],
    report: Callable[[Finished], None],
    poll_s: float = 1.0,
) -> None:
    """Run trials until none is waiting.

    Args:
        store: The sweep.
        words: Settings that all trials share.
        report: Called after each trial.
        poll_s: Seconds between two reads of a running trial's metrics.

    Raises:
        TrialUserError: A trial refused its settings; the next start runs it again.
    """
    while (claim := store.claim()) is not None:
        with claim.lock:
            report(_run(store, claim, words, poll_s))


def read_result(folder: Path) -> dict[str, float]:
    """Return the metrics of a finished trial; empty if it wrote none."""
    try:
        metrics = json.loads((folder / RESULT).read_text("utf-8"))["metrics"]
    except (FileNotFoundError, KeyError, ValueError):
        return {}
    return {name: float(value) for name, value in metrics.items() if value is not None}


def _run(store: SweepStore, claim: Claim, words: Sequence[str], poll_s: float) -> Finished:
    began = time.monotonic()
    claim.folder.mkdir(parents=True, exist_ok=True)
    # Shared settings come first, so that those of the sweep, also inside `change`, override them.
    values = {**fixed_values(store.sweep, words), **claim.values}
    extra = [f"out={claim.folder}", "resume=auto", f"run.group={store.sweep.name}"]
    with (claim.folder / "trial.log").open("ab") as output:
        process = subprocess.Popen(
            local_command(build_command(store.sweep.command, values, extra)),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            # A trial that outlives its killed worker keeps the lock until it ends.
            pass_fds=[claim.lock.fileno()],
            start_new_session=True,
        )
        try:
            pruned = _watch(store, claim, process, poll_s)
        finally:
            _end(process)
    state, value = (
        (TrialState.PRUNED, None) if pruned else _outcome(store, claim, process.returncode)
    )
    store.study.tell(claim.trial, value, state)
    name = "failed" if state == TrialState.FAIL else state.name.lower()
    return Finished(claim.number, claim.values, name, value, time.monotonic() - began)


def _watch(
    store: SweepStore, claim: Claim, process: "subprocess.Popen[bytes]", poll_s: float
) -> bool:
    """Report the metric until the process ends; return whether the pruner stopped it early."""
    while True:
        ended = _wait(process, poll_s)
        if store.sweep.early_stop is not None:
            values = _values(claim.folder, store.sweep.metric)
            for count, value in list(enumerate(values, 1))[claim.reported :]:
                claim.trial.report(value, count)
                claim.reported = count
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


def _outcome(store: SweepStore, claim: Claim, status: int) -> tuple[TrialState, float | None]:
    metric = store.sweep.metric
    if status == USER_ERROR:
        log = (claim.folder / "trial.log").read_text("utf-8", errors="replace").strip()
        said = log.splitlines()[-1] if log else "it printed nothing."
        raise TrialUserError(f"Trial {claim.number} was refused: {said}")
    if status != 0:
        return TrialState.FAIL, None
    metrics = read_result(claim.folder)
    values = [metrics[metric]] if metric in metrics else _values(claim.folder, metric)
    if not values:
        known = ", ".join(sorted(metrics)) or "none"
        raise TrialUserError(
            f"Trial {claim.number} has no metric {metric} (it has: {known}); "
            "name one of those as metric.name in the sweep's file."
        )
    return TrialState.COMPLETE, values[-1]


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Send SIGTERM, and later SIGKILL, to the trial and all processes that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        _wait(process, PATIENCE_S)
