"""What a sweep's trials say: conditions, paired differences, and controls, each with intervals.

Two sources of uncertainty, two intervals: over seeds (Student's t over the seeds' means: would
another training come out alike?) and over clips (bootstrap that redraws pieces of music: would
other music?). Everything follows from the trials' own rows.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.reports.runs import Evaluation, read_evaluation
from experiments.sweeps.store import SweepStore, decode
from experiments.sweeps.worker import read_result
from metrics.functional.bootstrap import Interval, cluster_bootstrap, t_interval

SEED = "seed"
#: Scores that must fall to 0 or below where a dance follows its music, and what they are.
CONTROLS = {
    "half_beat_off": "half a beat off",
    "shifted": "16 shifts",
    "other_music": "other music",
}
#: A parameter of more values is compared with its first one only, and only pooled.
FEW_VALUES = 3


@dataclass(frozen=True)
class Trial:
    """A complete trial: its values, its metrics, and its per-clip rows where it has any."""

    number: int
    values: Mapping[str, Any]
    metrics: Mapping[str, float]
    evaluation: Evaluation | None


@dataclass(frozen=True)
class Condition:
    """All seeds of one combination of values, for one metric."""

    label: str
    values: tuple[Any, ...]
    per_seed: tuple[float, ...]
    over_seeds: Interval
    over_clips: Interval
    controls: Mapping[str, Interval]
    """Over clips, by the names of `CONTROLS`."""


@dataclass(frozen=True)
class Contrast:
    """What changing one parameter from ``second`` to ``first`` does, all else the same."""

    parameter: str
    first: str
    second: str
    where: str
    """The other parameters' values, or ``all``."""
    difference: Interval
    """Over pairs of the same clip, seed and other values, pieces of music redrawn; over pairs of
    trials (Student's t) where there are no rows."""
    per_seed: Mapping[Any, float]
    effect: float
    """Cohen's d_z: the mean of the clips' differences over their standard deviation."""

    @property
    def same_sign(self) -> bool:
        """Whether every seed agrees on the direction."""
        return len({value > 0 for value in self.per_seed.values()}) == 1


def read_trials(store: SweepStore) -> list[Trial]:
    """The complete trials in order of their numbers."""
    from optuna.trial import TrialState

    found = []
    for frozen in store.study.get_trials(deepcopy=False):
        if frozen.state != TrialState.COMPLETE or frozen.value is None:
            continue
        folder = store.folder(frozen.number)
        evaluated = (folder / "evaluation" / "protocol.json").is_file()
        found.append(
            Trial(
                frozen.number,
                {name: decode(value) for name, value in frozen.params.items()},
                {**read_result(folder), store.sweep.metric: frozen.value},
                read_evaluation(folder / "evaluation") if evaluated else None,
            )
        )
    return found


def conditions(trials: Sequence[Trial], names: Sequence[str], metric: str) -> list[Condition]:
    """Trials grouped by the values of ``names``.

    The per-clip scores of ``metric`` are those of the column that its last part names
    (``heldout/corrected``: ``corrected``); without per-clip rows only seeds have an interval.
    """
    groups: dict[tuple[str, ...], list[Trial]] = {}
    for trial in trials:
        groups.setdefault(tuple(str(trial.values.get(name)) for name in names), []).append(trial)
    found = []
    for members in groups.values():
        values = tuple(members[0].values.get(name) for name in names)
        scores = [trial.metrics[metric] for trial in members]
        controls = {name: _over_clips(members, name) for name in CONTROLS}
        found.append(
            Condition(
                label=label_of(names, values),
                values=values,
                per_seed=tuple(scores),
                over_seeds=t_interval(scores),
                over_clips=_over_clips(members, column_of(metric)),
                controls={name: control for name, control in controls.items() if control.clips},
            )
        )
    return found


def contrasts(trials: Sequence[Trial], names: Sequence[str], metric: str) -> list[Contrast]:
    """Paired differences between the values of each parameter, all else the same.

    Args:
        trials: of a grid.
        names: parameters that are compared; ``seed`` is not one of them.
        metric: as for ``conditions``.

    Returns:
        For each pair of values one at each combination of the other parameters, and one over all
        of them. Pairs that share no clip of one protocol and no seed are left out.
    """
    found = []
    for name in names:
        others = [other for other in names if other != name]
        values = _distinct(trials, [name])
        pairs = list(itertools.combinations(values, 2))
        if len(values) > FEW_VALUES:
            pairs = [pair for pair in pairs if pair[0] == values[0]]
        levels = _distinct(trials, others) if others else []
        shown = levels if 1 < len(levels) <= FEW_VALUES else []
        for (second,), (first,) in pairs:
            for level in [*shown, None]:
                members = [t for t in trials if level is None or _key(t, others) == level]
                where = "all" if level is None else label_of(others, level)
                contrast = _contrast(members, (name, first, second), others, where, metric)
                if contrast is not None:
                    found.append(contrast)
    return found


def column_of(metric: str) -> str:
    """The column of per-clip rows that belongs to a metric."""
    return metric.rsplit("/", 1)[-1]


def label_of(names: Sequence[str], values: Sequence[Any]) -> str:
    """``beats=frame, spectral=true``."""
    words = zip(names, values, strict=True)
    return ", ".join(f"{name.rsplit('.', 1)[-1]}={text_of(value)}" for name, value in words)


def text_of(value: Any) -> str:
    """A value as it is written in YAML."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _contrast(
    trials: Sequence[Trial],
    change: tuple[str, str, str],
    others: Sequence[str],
    where: str,
    metric: str,
) -> Contrast | None:
    name, first, second = change
    keys = [*others, SEED]
    known = {_key(t, keys): t for t in trials if text_of(t.values.get(name)) == second}
    clips: dict[str, list[float]] = {}
    music: dict[str, str] = {}
    seeds: dict[Any, list[float]] = {}
    for trial in trials:
        other = known.get(_key(trial, keys))
        if other is None or text_of(trial.values.get(name)) != first:
            continue
        seed = trial.values.get(SEED)
        seeds.setdefault(seed, []).append(trial.metrics[metric] - other.metrics[metric])
        for clip, piece, value in _pairs(trial, other, column_of(metric)):
            clips.setdefault(clip, []).append(value)
            music[clip] = piece
    if not seeds or (not clips and _over_clips(trials, column_of(metric)).clips):
        return None
    values = [value for of in clips.values() for value in of]
    clusters = [music[clip] for clip, of in clips.items() for _ in of]
    return Contrast(
        name,
        first,
        second,
        where,
        cluster_bootstrap(values, clusters)
        if values
        else t_interval([value for of in seeds.values() for value in of]),
        {seed: float(np.mean(of)) for seed, of in seeds.items()},
        _standardised([float(np.nanmean(of)) for of in clips.values()]),
    )


def _pairs(trial: Trial, other: Trial, column: str) -> list[tuple[str, str, float]]:
    """Clip, music and difference of the clips that both have, none where protocols differ."""
    mine, theirs = trial.evaluation, other.evaluation
    if mine is None or theirs is None or mine.protocol_hash != theirs.protocol_hash:
        return []
    if column not in mine.scores or column not in theirs.scores:
        return []
    known = dict(zip(theirs.clips, theirs.scores[column], strict=True))
    rows = zip(mine.clips, mine.music, mine.scores[column], strict=True)
    found = [(clip, piece, value - known[clip]) for clip, piece, value in rows if clip in known]
    return [row for row in found if not math.isnan(row[2])]


def _over_clips(trials: Sequence[Trial], column: str) -> Interval:
    values: list[float] = []
    music: list[str] = []
    for trial in trials:
        if trial.evaluation is not None and column in trial.evaluation.scores:
            values += trial.evaluation.scores[column]
            music += trial.evaluation.music
    return cluster_bootstrap(values, music)


def _standardised(differences: Sequence[float]) -> float:
    if len(differences) < 2:
        return math.nan
    spread = float(np.std(differences, ddof=1))
    return float(np.mean(differences)) / spread if spread > 0 else math.nan


def _key(trial: Trial, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(text_of(trial.values.get(name)) for name in names)


def _distinct(trials: Sequence[Trial], names: Sequence[str]) -> list[tuple[str, ...]]:
    """Combinations of values as text, in the order in which trials have them."""
    return list(dict.fromkeys(_key(trial, names) for trial in trials))
