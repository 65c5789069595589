"""A worker of a sweep: takes a trial, runs it, watches its metric and records the result."""

import json
import math
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from optuna.trial import TrialState

from experiments.errors import USER_ERROR, SettingsError
from experiments.runs.folder import RunFolder
from experiments.sweeps.grammar import Sweep, build_command, local_command
from experiments.sweeps.store import Claim, SweepStore

#: Seconds that a trial has to end after SIGTERM.
PATIENCE_S = 60.0
#: File in a trial's folder with the metrics of the held-out clips.
RESULT = "trial.json"


class TrialUserError(SettingsError):
    """A trial refused its settings, as all others would; the next start runs it again."""


def run_worker(store: SweepStore, words: Sequence[str], poll_s: float = 1.0) -> Iterator[Claim]:
    """Run trials until none is waiting; read their metrics every ``poll_s`` seconds."""
    while (claim := store.claim()) is not None:
        began = time.monotonic()
        with claim.lock:
            process = _start(store.sweep, claim, words)
            try:
                pruned = _watch(store.sweep, claim, process, poll_s)
            finally:
                # SIGTERM, and later SIGKILL, to the trial and all processes that it has started.
                for number in (signal.SIGTERM, signal.SIGKILL):
                    if process.poll() is None:
                        os.killpg(process.pid, number)
                        _ended(process, PATIENCE_S)
            state = TrialState.PRUNED
            if not pruned:
                state = _outcome(store.sweep.metric, claim, process.returncode)
            store.study.tell(claim.trial, claim.value, state)
        claim.state = "failed" if state == TrialState.FAIL else state.name.lower()
        claim.seconds = time.monotonic() - began
        yield claim


def read_result(folder: Path) -> dict[str, float]:
    """Return the metrics of a finished trial; empty if it wrote none."""
    try:
        metrics = json.loads((folder / RESULT).read_text("utf-8"))["metrics"]
    except (FileNotFoundError, KeyError, ValueError):
        return {}
    return {name: float(value) for name, value in metrics.items() if value is not None}


def _start(sweep: Sweep, claim: Claim, words: Sequence[str]) -> "subprocess.Popen[bytes]":
    claim.folder.mkdir(parents=True, exist_ok=True)
    # Shared settings come first, so that those of the sweep, also inside `change`, override them.
    values = {**sweep.fixed_values(words), **claim.values}
    extra = [f"out={claim.folder}", "resume=auto", f"run.group={sweep.name}"]
    with (claim.folder / "trial.log").open("ab") as output:
        return subprocess.Popen(
            local_command(build_command(sweep.command, values, extra)),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            # A trial that outlives its killed worker keeps the lock until it ends.
            pass_fds=[claim.lock.fileno()],
            start_new_session=True,
        )


def _watch(sweep: Sweep, claim: Claim, process: "subprocess.Popen[bytes]", poll_s: float) -> bool:
    """Report the metric until the process ends; return whether the pruner stopped it early."""
    ended = False
    while not ended:
        ended = _ended(process, poll_s)
        values = [] if sweep.early_stop is None else _logged(claim.folder, sweep.metric)
        for count, value in list(enumerate(values, 1))[claim.reported :]:
            claim.trial.report(value, count)
            claim.reported = count
            if not ended and claim.trial.should_prune():
                return True
    return False


def _ended(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    """Wait for the process; return whether it has ended."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.poll() is not None


def _logged(folder: Path, metric: str) -> list[float]:
    """Return the finite values of a metric that training has logged."""
    found = [line.get(metric) for line in RunFolder(folder).read_metrics()]
    return [float(value) for value in found if value is not None and math.isfinite(value)]


def _outcome(metric: str, claim: Claim, status: int) -> TrialState:
    """Return the state of a trial by its exit status, and set its value."""
    if status == USER_ERROR:
        log = (claim.folder / "trial.log").read_text("utf-8", errors="replace").strip()
        said = log.splitlines()[-1] if log else "it printed nothing."
        raise TrialUserError(f"Trial {claim.number} was refused: {said}")
    if status != 0:
        return TrialState.FAIL
    metrics = read_result(claim.folder)
    values = [metrics[metric]] if metric in metrics else _logged(claim.folder, metric)
    if not values:
        known = ", ".join(sorted(metrics)) or "none"
        raise TrialUserError(
            f"Trial {claim.number} has no metric {metric} (it has: {known}); "
            "name one of those as metric.name in the sweep's file."
        )
    claim.value = values[-1]
    return TrialState.COMPLETE
