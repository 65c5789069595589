"""The folder of a sweep: Optuna's study, one run folder for each trial, and locks.

    sweep.json                   the sweep file and the settings that all trials share
    storage.db or storage.log    Optuna's storage: SQLite, or the journal for shared folders
    trials/trial-003-width=32/   run folder of trial 3
    locks/003                    locked while trial 3 is running

A sweep is a queue in the study: every trial is enqueued under its number when the sweep is opened
(`Study.enqueue_trial`), and workers take the first that waits. A point of a grid is enqueued with
its values; in random and Bayesian search the sampler draws the values when the trial starts.

A trial holds its lock as long as any of its processes is alive. A trial that Optuna calls running
but whose lock is free has lost its worker; `RetryHeartbeatStaleTrialCallback` puts it back in the
queue, and training resumes in the same folder. Optuna's own heartbeat is not used: the journal has
none, and it would start a second training in a folder where the first has outlived its worker.
"""

import fcntl
import json
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import optuna
from optuna.pruners import HyperbandPruner, NopPruner
from optuna.samplers import RandomSampler, TPESampler
from optuna.storages import JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from datamodules.files import write_text
from experiments.errors import SettingsError
from experiments.sweeps.grammar import Sweep

FORMAT = 1
#: Attribute of Optuna's trials with our number of the trial, which stays the same in a retry.
NUMBER = "number"
#: Maximum lengths of a folder name and of one setting in it.
NAME_LENGTH, PART_LENGTH = 100, 32


@dataclass
class Claim:
    """A trial held by this worker, with its result once it has ended."""

    number: int
    trial: optuna.trial.Trial
    values: dict[str, Any]
    folder: Path
    reported: int
    """How many values of the metric Optuna already has from an earlier attempt."""
    lock: IO[str]
    state: str = "running"
    """Or complete, pruned or failed."""
    value: float | None = None
    seconds: float = 0.0


class SweepStore:
    """The folder of a sweep, created if missing.

    ``words`` are the settings that all trials share, ``cap`` is the number of trials (None takes
    the file's run_cap, or the whole grid), and ``seed`` that of random and Bayesian search.
    """

    def __init__(
        self,
        root: Path,
        sweep: Sweep,
        words: Sequence[str],
        storage: str = "sqlite",
        cap: int | None = None,
        seed: int = 0,
    ) -> None:
        self.root, self.sweep, self.seed = root, sweep, seed
        grid = sweep.grid()
        wanted = cap or sweep.run_cap or len(grid)
        self.cap = min(wanted, len(grid)) if grid else wanted
        if not self.cap:
            raise SettingsError(
                f"The sweep {sweep.name} has no end: give run_cap in its file, or --trials N."
            )
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / ".lock"):
            self._check_same(list(words), storage)
            self.study = self._open(storage)
            # Also adds what a larger cap allows or an interrupted start has left out.
            for number in sorted({*range(self.cap)} - {*self.trials()}):
                self.study.enqueue_trial(grid[number] if grid else {}, {NUMBER: number})

    def trials(self) -> dict[int, FrozenTrial]:
        """Return the last attempt at each trial by its number."""
        found = self.study.get_trials(deepcopy=False)
        return dict(sorted((_number(trial), trial) for trial in found))

    def states(self) -> dict[str, int]:
        """Return the number of trials in each of Optuna's states."""
        return dict(Counter(trial.state.name.lower() for trial in self.trials().values()))

    def claim(self) -> Claim | None:
        """Take the next trial that waits, or return None if there is none."""
        with _locked(self.root / ".lock"):
            self._retry_lost()
            waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
            if not any(_number(trial) < self.cap for trial in waiting):
                return None
            number = _number(waiting[0])
            lock = _locked(self.root / f"locks/{number:03d}")
            # Seeded by the number of the trial, so that workers do not draw the same values.
            seed = (self.seed * 1_000_003 + number) % 2**32
            bayes = self.sweep.method == "bayes"
            # With `constant_liar`, running trials count as bad ones.
            self.study.sampler = (
                TPESampler(seed=seed, constant_liar=True) if bayes else RandomSampler(seed)
            )
            trial = self.study.ask(dict(self.sweep.distributions))
        folder = self.folder(number, trial.params)
        reported = max(waiting[0].intermediate_values, default=0)
        return Claim(number, trial, trial.params, folder, reported, lock)

    def folder(self, number: int, values: Mapping[str, Any]) -> Path:
        """Return the run folder of a trial with these values of the varied parameters."""
        earlier = self.root / "trials" / f"{number:04d}"  # its name in earlier versions
        shown = {name: values[name] for name in self.sweep.varied if name in values}
        return earlier if earlier.exists() else earlier.with_name(trial_name(number, shown))

    def _retry_lost(self) -> None:
        """Enqueue running trials again that no process holds any more."""
        retry = RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)
        for number, trial in self.trials().items():
            if trial.state == TrialState.RUNNING:
                try:
                    lock = _locked(self.root / f"locks/{number:03d}", wait=False)
                except BlockingIOError:
                    continue
                with lock:
                    retry(self.study, trial)
                    self.study.tell(trial.number, state=TrialState.FAIL)

    def _open(self, storage: str) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # Retries and `constant_liar` are marked experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        place: JournalStorage | RDBStorage
        if storage == "journal":
            place = JournalStorage(JournalFileBackend(str(self.root / "storage.log")))
        else:
            address = f"sqlite:///{(self.root / 'storage.db').resolve()}"
            place = RDBStorage(address, engine_kwargs={"connect_args": {"timeout": 60}})
        pruner: NopPruner | HyperbandPruner = NopPruner()
        if self.sweep.early_stop is not None:
            low, high, eta = map(self.sweep.early_stop.get, ("min_iter", "max_iter", "eta"))
            longest = "auto" if high is None else int(high)
            pruner = HyperbandPruner(int(low or 1), longest, max(2, round(float(eta or 3))))
        return optuna.create_study(
            study_name=self.sweep.name,
            storage=place,
            direction="maximize" if self.sweep.maximize else "minimize",
            pruner=pruner,
            load_if_exists=True,
        )

    def _check_same(self, words: list[str], storage: str) -> None:
        """Write ``sweep.json``, or check that the one in the folder is of the same sweep."""
        path = self.root / "sweep.json"
        raw = {key: value for key, value in self.sweep.raw.items() if key != "run_cap"}
        record = {"format": FORMAT, "sweep": raw, "words": words, "storage": storage}
        if not path.exists():
            write_text(path, json.dumps(record, indent=1) + "\n")
            return
        found = json.loads(path.read_text("utf-8"))
        found.get("sweep", {}).pop("run_cap", None)  # a larger cap continues the same sweep
        wanted = json.loads(json.dumps(record))
        if changed := [key for key, value in wanted.items() if found.get(key) != value]:
            raise SettingsError(
                f'"{self.root}" has another sweep (its {", ".join(changed)} differ); '
                "give another --out, or the same sweep and settings to continue it."
            )


def trial_name(number: int, values: Mapping[str, Any]) -> str:
    """Return a readable folder name such as ``trial-003-width=32-seed=1``, in plain ASCII."""
    parts = [f"trial-{number:03d}"]
    for name, value in values.items():
        text = f"{value:.4g}" if isinstance(value, float) else text_of(value)
        parts.append(f"{name.rsplit('.', 1)[-1]}={text}"[:PART_LENGTH])
    name = re.sub(r"[^\w.=+-]+", "_", "-".join(parts), flags=re.ASCII)
    return name[:NAME_LENGTH].rstrip("._-")


def text_of(value: Any) -> str:
    """Return a value as it is written in YAML."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(trial: FrozenTrial) -> int:
    # Sweeps of earlier versions have no attribute; their trials were numbered by Optuna.
    return int(trial.user_attrs.get(NUMBER, trial.number))


def _locked(path: Path, wait: bool = True) -> IO[str]:
    """Open a file and lock it until it is closed, here and in processes that inherit it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        file.close()
        raise
    return file
