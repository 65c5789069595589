"""Tables of a sweep: conditions, paired differences, and controls, each with 95% intervals.

Two kinds of interval answer two questions. Over seeds (Student's t over the means of the seeds):
would another training give the same? Over clips (bootstrap, resampled by song): would other music
give the same? Everything is computed from the rows of the trials themselves.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from experiments.evaluation.evaluations import read_evaluation
from experiments.sweeps.store import SweepStore, text_of
from experiments.sweeps.worker import read_result
from metrics.functional.bootstrap import Interval, cluster_bootstrap, t_interval

SEED = "seed"
#: Scores that are 0 or below for a dance that follows its own music, with their titles.
CONTROLS = {
    "half_beat_off": "shifted (control)",
    "shifted": "16 shifts",
    "other_music": "other music",
}
#: Parameters with more values are compared with their first value only, and only pooled.
MAX_VALUES = 3


def column_of(metric: str) -> str:
    """Return the column of per-clip rows that belongs to a metric (``heldout/NAME``: ``NAME``)."""
    return metric.rsplit("/", 1)[-1]


def read_trials(store: SweepStore) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the complete trials.

    Returns:
        One row for each trial: ``trial``, ``seed``, the varied parameters as text, and metrics; and
        one row for each clip of a trial: in addition ``clip``, ``music_id``, ``protocol``, and the
        per-clip scores of the metric and of `CONTROLS` (NaN where there are none).
    """
    metric = store.sweep.metric
    columns = list(dict.fromkeys([column_of(metric), *CONTROLS]))
    keys = list(dict.fromkeys([SEED, *store.sweep.varied]))
    names = ["trial", *keys, "clip", "music_id", "protocol", *columns]
    trials, clips = [], [pd.DataFrame(columns=names)]
    for number, trial in store.trials().items():
        if trial.state.name != "COMPLETE" or trial.value is None:
            continue
        folder = store.folder(number, trial.params)
        values: dict[str, Any] = {"trial": number}
        values |= {name: text_of(trial.params.get(name)) for name in keys}
        trials.append({**values, **read_result(folder), metric: trial.value})
        if (folder / "evaluation" / "protocol.json").is_file():
            found = read_evaluation(folder / "evaluation")
            scores = {name: found.scores.get(name, math.nan) for name in columns}
            named = {"clip": found.clips, "music_id": found.music, "protocol": found.protocol_hash}
            clips.append(pd.DataFrame({**named, **scores}).assign(**values)[names])
    rows = pd.concat(clips[1:] or clips, ignore_index=True)
    return pd.DataFrame(trials, columns=None if trials else ["trial", *keys, metric]), rows


def conditions(
    trials: pd.DataFrame, clips: pd.DataFrame, names: Sequence[str], metric: str
) -> pd.DataFrame:
    """Average the trials that share the values of the parameters ``names``.

    Returns a row for each combination: ``names``, ``seeds`` (their number), the mean of the metric,
    ``seeds_low``, ``seeds_high``, ``clips_low``, ``clips_high``; for each control ``NAME``,
    ``NAME_low``, ``NAME_high``; and ``each``, the metric of every seed.
    """
    rows = []
    groups = trials.groupby(list(names), sort=False) if names else [((), trials)]
    for values, members in groups if len(trials) else ():
        scored = clips[clips["trial"].isin(members["trial"])]
        column, music = column_of(metric), list(scored["music_id"])
        over = {name: cluster_bootstrap(scored[name], music) for name in (column, *CONTROLS)}
        seeds = t_interval(list(members[metric]))
        row = dict(zip(names, values, strict=True)) | {"seeds": len(members), metric: seeds.mean}
        row |= _ends("seeds", seeds) | _ends("clips", over[column])
        for name in CONTROLS:
            row |= {name: over[name].mean} | _ends(name, over[name])
        rows.append({**row, "each": list(members[metric])})
    return pd.DataFrame(rows)


def _ends(name: str, interval: Interval) -> dict[str, float]:
    return {f"{name}_low": interval.low, f"{name}_high": interval.high}


def contrasts(
    trials: pd.DataFrame, clips: pd.DataFrame, names: Sequence[str], metric: str
) -> pd.DataFrame:
    """Compute paired differences between the values of each parameter of a grid, all else equal.

    Returns a row for each pair of values at each combination of the other parameters, and one over
    all combinations (``where`` is ``all``). ``difference`` is that of ``first`` and ``second``
    with its interval (``low``, ``high``) over ``pairs`` of clips, resampled by song, or over
    pairs of trials if there are no clips; ``each_seed`` has the means of the seeds,
    ``same_sign`` whether they agree in sign, and ``d_z`` is Cohen's: the mean of the clips'
    differences over their standard deviation. Pairs without a common clip of the same
    protocol, or without a common seed, are left out.
    """
    rows = []
    for name in names:
        others = [other for other in names if other != name]
        values = list(trials[name].unique())
        pairs = list(itertools.combinations(values, 2))
        if len(values) > MAX_VALUES:
            pairs = [(values[0], value) for value in values[1:]]
        levels = list(dict.fromkeys(trials[others].itertuples(index=False, name=None)))
        shown = levels if 1 < len(levels) <= MAX_VALUES else []
        for (second, first), level in itertools.product(pairs, [*shown, None]):
            where = "all" if level is None else label_of(others, level)
            row = {"parameter": name, "first": first, "second": second, "where": where}
            same = trials
            if level is not None:
                same = trials[(trials[others] == list(level)).all(axis=1)]
            sides = [same[same[name] == value] for value in (first, second)]
            rows.append(row | _difference(sides, clips, [*others, SEED], metric))
    return pd.DataFrame(row for row in rows if "difference" in row)


def label_of(names: Sequence[str], values: Sequence[str]) -> str:
    """Return a label such as ``beats=frame, spectral=true``."""
    words = zip(names, values, strict=True)
    return ", ".join(f"{name.rsplit('.', 1)[-1]}={value}" for name, value in words)


def _difference(
    trials: Sequence[pd.DataFrame], clips: pd.DataFrame, keys: list[str], metric: str
) -> dict[str, Any]:
    """Compare two groups of trials that share ``keys``; empty if they cannot be compared."""
    column = column_of(metric)
    pairs = trials[0].merge(trials[1], on=keys)
    pairs["difference"] = pairs[f"{metric}_x"] - pairs[f"{metric}_y"]
    sides = [clips[clips["trial"].isin(side["trial"])] for side in trials]
    both = sides[0].merge(sides[1], on=[*keys, "clip", "protocol"])
    both["difference"] = both[f"{column}_x"] - both[f"{column}_y"]
    both = both.dropna(subset="difference")
    scored = any(side[column].notna().any() for side in sides)
    if pairs.empty or (both.empty and scored):
        return {}
    over = cluster_bootstrap(both["difference"], list(both["music_id_x"]))
    if both.empty:
        over = t_interval(list(pairs["difference"]))
    by_seed = pairs.groupby(SEED, sort=False)["difference"].mean()
    by_clip = both.groupby("clip")["difference"].mean()
    return {
        "difference": over.mean,
        "low": over.low,
        "high": over.high,
        "pairs": over.clips,
        "songs": over.clusters,
        "each_seed": {str(seed): float(value) for seed, value in by_seed.items()},
        "same_sign": (by_seed > 0).nunique() == 1,
        "d_z": by_clip.mean() / by_clip.std() if by_clip.std() > 0 else math.nan,
    }
