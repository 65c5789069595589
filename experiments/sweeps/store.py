"""The state of a sweep on this machine: Optuna's storage, one folder a trial, and who runs what.

    sweep.json      the sweep's file and fixed words, so that no other sweep is mixed in
    storage.db      Optuna's storage (or storage.log for the journal)
    trials/0003/    the run folder of trial 3
    locks/0003      held by the worker of trial 3 and by its processes

A worker that dies gives up its lock, and only then another may take over its trial, in the same
folder, where training goes on from its last checkpoint. Claims are made under one lock for the
whole sweep, so that no trial is run twice.
"""

import fcntl
import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from datamodules.files import write_text
from experiments.errors import SettingsError
from experiments.sweeps.grammar import EarlyStop, Parameter, Sweep

if TYPE_CHECKING:
    import optuna

FORMAT = 1
STORAGES = ("sqlite", "journal")


@dataclass
class Claim:
    """A trial that this worker holds. ``adopted``: another worker had begun it."""

    trial: "optuna.trial.Trial"
    values: dict[str, Any]
    folder: Path
    lock: IO[str]
    adopted: bool


class SweepStore:
    """A sweep's folder.

    Args:
        root: the folder; made where missing.
        sweep: what is swept.
        words: fixed ``key=value`` words of every trial.
        storage: ``sqlite`` or ``journal``.
        cap: number of trials; None takes the file's run_cap, or the whole grid.
        seed: of random and Bayesian search.

    Raises:
        SettingsError: the folder holds another sweep, or there is no number of trials.
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
        self.root = root
        self.sweep = sweep
        self.seed = seed
        grid = sweep.grid() if sweep.method == "grid" else []
        self.cap = cap or sweep.run_cap or len(grid)
        if not self.cap:
            raise SettingsError(
                f"The sweep {sweep.name} has no end: give run_cap in its file, or --trials N."
            )
        root.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._check_same(list(words), storage)
            self.study = self._open(storage)
            self._enqueue(grid[: self.cap])

    def _enqueue(self, points: Sequence[dict[str, Any]]) -> None:
        """Make a trial of each point that has none: all of a new sweep, what a kill or a smaller
        cap left out of an old one."""
        trials = self.study.get_trials(deepcopy=False)
        known = [trial.system_attrs.get("fixed_params", trial.params) for trial in trials]
        for values in points:
            point = {name: encode(value) for name, value in values.items()}
            if point in known:
                known.remove(point)
            else:
                self.study.enqueue_trial(point)

    def claim(self) -> Claim | None:
        """The next trial to run: one whose worker died, else a new one, else None."""
        from optuna.trial import Trial, TrialState

        with self._locked():
            trials = self.study.get_trials(deepcopy=False)
            for frozen in trials:
                if frozen.state == TrialState.RUNNING:
                    lock = self._try_lock(frozen.number)
                    if lock is not None:
                        return self._claim(Trial(self.study, frozen._trial_id), lock, True)
            waiting = any(trial.state == TrialState.WAITING for trial in trials)
            if not waiting and (self.sweep.method == "grid" or len(trials) >= self.cap):
                return None
            # Seeded by the trial's place: workers with one seed must not draw the same values.
            self.study.sampler = self._sampler(len(trials))
            trial = self.study.ask()
            lock = self._try_lock(trial.number)
            assert lock is not None, "a trial that nobody has seen is locked"
            return self._claim(trial, lock, False)

    def states(self) -> dict[str, int]:
        """How many trials are in each of Optuna's states."""
        counts: dict[str, int] = {}
        for trial in self.study.get_trials(deepcopy=False):
            counts[trial.state.name.lower()] = counts.get(trial.state.name.lower(), 0) + 1
        return counts

    def folder(self, number: int) -> Path:
        """The run folder of a trial."""
        return self.root / "trials" / f"{number:04d}"

    def _claim(self, trial: "optuna.trial.Trial", lock: IO[str], adopted: bool) -> Claim:
        values = {p.name: self._suggest(trial, p) for p in self.sweep.parameters}
        return Claim(trial, values, self.folder(trial.number), lock, adopted)

    def _suggest(self, trial: "optuna.trial.Trial", parameter: Parameter) -> Any:
        name = parameter.name
        if self.sweep.method == "grid" or parameter.values:
            choices = [encode(value) for value in self._choices(parameter)]
            return decode(trial.suggest_categorical(name, choices))
        if parameter.whole:
            return trial.suggest_int(name, round(parameter.low), round(parameter.high))
        step = parameter.step or None
        return trial.suggest_float(
            name, parameter.low, parameter.high, step=step, log=parameter.log
        )

    def _choices(self, parameter: Parameter) -> Sequence[Any]:
        if parameter.values:
            return parameter.values
        return list(dict.fromkeys(row[parameter.name] for row in self.sweep.grid()))

    def _open(self, storage: str) -> "optuna.Study":
        import optuna
        from optuna.storages import JournalStorage, RDBStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        place: JournalStorage | RDBStorage
        if storage == "journal":
            place = JournalStorage(JournalFileBackend(str(self.root / "storage.log")))
        else:
            address = f"sqlite:///{(self.root / 'storage.db').resolve()}"
            place = RDBStorage(address, engine_kwargs={"connect_args": {"timeout": 60}})
        return optuna.create_study(
            study_name=self.sweep.name,
            storage=place,
            direction="maximize" if self.sweep.maximise else "minimize",
            sampler=self._sampler(0),
            pruner=_pruner(self.sweep.early_stop),
            load_if_exists=True,
        )

    def _sampler(self, number: int) -> "optuna.samplers.BaseSampler":
        from optuna.samplers import RandomSampler, TPESampler

        seed = (self.seed * 1_000_003 + number) % 2**32
        if self.sweep.method == "bayes":
            with warnings.catch_warnings():
                # constant_liar (running trials count as bad) is marked experimental.
                warnings.simplefilter("ignore")
                return TPESampler(seed=seed, constant_liar=True)
        return RandomSampler(seed=seed)

    def _check_same(self, words: list[str], storage: str) -> None:
        path = self.root / "sweep.json"
        record = {"format": FORMAT, "sweep": self.sweep.raw, "words": words, "storage": storage}
        if not path.exists():
            write_text(path, json.dumps(record, indent=1) + "\n")
            return
        found = json.loads(path.read_text("utf-8"))
        # A larger run_cap goes on with the same sweep.
        changed = [
            key for key in record if _without_cap(found.get(key)) != _without_cap(record[key])
        ]
        if changed:
            raise SettingsError(
                f'"{self.root}" holds another sweep (its {", ".join(changed)} differ); '
                "give another --out, or the same sweep and words to go on with it."
            )

    def _try_lock(self, number: int) -> IO[str] | None:
        path = self.root / "locks" / f"{number:04d}"
        path.parent.mkdir(exist_ok=True)
        file = path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return file

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.root / ".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def encode(value: Any) -> str | int | float | bool | None:
    """A value that Optuna can store as a category: lists become JSON with a mark before it."""
    if isinstance(value, list | dict):
        return "json:" + json.dumps(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def decode(value: Any) -> Any:
    """What ``encode`` was given."""
    if isinstance(value, str) and value.startswith("json:"):
        return json.loads(value.removeprefix("json:"))
    return value


def _without_cap(value: Any) -> Any:
    if isinstance(value, dict):
        value = {key: item for key, item in value.items() if key != "run_cap"}
    return json.loads(json.dumps(value))


def _pruner(early: EarlyStop | None) -> "optuna.pruners.BasePruner":
    from optuna.pruners import HyperbandPruner, NopPruner

    if early is None:
        return NopPruner()
    return HyperbandPruner(
        min_resource=early.min_iter,
        max_resource=early.max_iter or "auto",
        reduction_factor=max(2, round(early.eta)),
    )
