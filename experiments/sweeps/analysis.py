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
    "half_beat_off": "half a beat off",
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
    metric, varied = store.sweep.metric, store.sweep.varied
    columns = list(dict.fromkeys([column_of(metric), *CONTROLS]))
    trials, clips = [], []
    for number, trial in store.trials().items():
        if trial.state.name != "COMPLETE" or trial.value is None:
            continue
        folder = store.folder(number, trial.params)
        values: dict[str, Any] = {"trial": number, SEED: text_of(trial.params.get(SEED))}
        values |= {name: text_of(trial.params.get(name)) for name in varied}
        trials.append({**values, **read_result(folder), metric: trial.value})
        if not (folder / "evaluation" / "protocol.json").is_file():
            continue
        found = read_evaluation(folder / "evaluation")
        scores = {name: found.scores.get(name, math.nan) for name in columns}
        named = {"clip": found.clips, "music_id": found.music, "protocol": found.protocol_hash}
        clips.append(pd.DataFrame({**named, **scores}).assign(**values))
    keys = ["trial", SEED, *(name for name in varied if name != SEED)]
    names = [*keys, "clip", "music_id", "protocol", *columns]
    rows = pd.concat(clips, ignore_index=True)[names] if clips else pd.DataFrame(columns=names)
    return pd.DataFrame(trials, columns=None if trials else [*keys, metric]), rows


def conditions(
    trials: pd.DataFrame, clips: pd.DataFrame, names: Sequence[str], metric: str
) -> pd.DataFrame:
    """Average the trials that share the values of ``names``.

    Args:
        trials: From `read_trials`.
        clips: From `read_trials`; without rows only seeds have an interval.
        names: Parameters.
        metric: The sweep's metric.

    Returns:
        A row for each combination: ``names``, ``seeds`` (their number), the mean of the metric,
        ``seeds_low``, ``seeds_high``, ``clips_low``, ``clips_high``; for each control ``NAME``,
        ``NAME_low``, ``NAME_high``; and ``each``, the metric of every seed.
    """
    found = []
    groups = trials.groupby(list(names), sort=False) if names else [((), trials)]
    for values, members in groups if len(trials) else ():
        scores = list(members[metric])
        seeds, over = t_interval(scores), _over_clips(clips, members, column_of(metric))
        row = dict(zip(names, values, strict=True)) | {"seeds": len(scores), metric: seeds.mean}
        row |= {"seeds_low": seeds.low, "seeds_high": seeds.high}
        row |= {"clips_low": over.low, "clips_high": over.high}
        for name in CONTROLS:
            control = _over_clips(clips, members, name)
            row |= {name: control.mean, f"{name}_low": control.low, f"{name}_high": control.high}
        found.append({**row, "each": scores})
    return pd.DataFrame(found)


def contrasts(
    trials: pd.DataFrame, clips: pd.DataFrame, names: Sequence[str], metric: str
) -> pd.DataFrame:
    """Compute paired differences between the values of each parameter, all else equal.

    Args:
        trials: Of a grid, from `read_trials`.
        clips: From `read_trials`.
        names: Parameters to compare, without ``seed``.
        metric: The sweep's metric.

    Returns:
        A row for each pair of values at each combination of the other parameters, and one over
        all combinations (``where`` is ``all``). ``difference`` is that of ``first`` and ``second``
        with its interval (``low``, ``high``) over ``pairs`` of clips, resampled by song, or over
        pairs of trials if there are no clips; ``each_seed`` has the means of the seeds,
        ``same_sign`` whether they agree in sign, and ``d_z`` is Cohen's: the mean of the clips'
        differences over their standard deviation. Pairs without a common clip of the same
        protocol, or without a common seed, are left out.
    """
    found = []
    for name in names:
        others = [other for other in names if other != name]
        values = list(dict.fromkeys(trials[name]))
        pairs = list(itertools.combinations(values, 2))
        if len(values) > MAX_VALUES:
            pairs = [(values[0], value) for value in values[1:]]
        levels = list(dict.fromkeys(trials[others].itertuples(index=False, name=None)))
        shown = levels if 1 < len(levels) <= MAX_VALUES else []
        for second, first in pairs:
            for level in [*shown, None]:
                chosen = trials
                for other, value in zip(others, level or (), strict=False):
                    chosen = chosen[chosen[other] == value]
                where = "all" if level is None else label_of(others, level)
                row = {"parameter": name, "first": first, "second": second, "where": where}
                contrast = _contrast(chosen, clips, row, [*others, SEED], metric)
                found += [] if contrast is None else [row | contrast]
    return pd.DataFrame(found)


def label_of(names: Sequence[str], values: Sequence[str]) -> str:
    """Return a label such as ``beats=frame, spectral=true``."""
    words = zip(names, values, strict=True)
    return ", ".join(f"{name.rsplit('.', 1)[-1]}={value}" for name, value in words)


def _contrast(
    trials: pd.DataFrame, clips: pd.DataFrame, row: dict[str, str], keys: list[str], metric: str
) -> dict[str, object] | None:
    column = column_of(metric)
    sides = [trials[trials[row["parameter"]] == row[side]] for side in ("first", "second")]
    pairs = sides[0].merge(sides[1], on=keys)
    seeds = (pairs[f"{metric}_x"] - pairs[f"{metric}_y"]).groupby(pairs[SEED], sort=False).mean()
    rows = [clips[clips["trial"].isin(side["trial"])] for side in sides]
    both = rows[0].merge(rows[1], on=[*keys, "clip", "protocol"])
    both["difference"] = both[f"{column}_x"] - both[f"{column}_y"]
    both = both.dropna(subset="difference")
    scored = clips["trial"].isin(trials["trial"]) & clips[column].notna()
    if pairs.empty or (both.empty and scored.any()):
        return None
    if both.empty:
        over = t_interval(list(pairs[f"{metric}_x"] - pairs[f"{metric}_y"]))
    else:
        over = cluster_bootstrap(both["difference"], list(both["music_id_x"]))
    each = both.groupby("clip")["difference"].mean()
    spread = each.std()
    return {
        "difference": over.mean,
        "low": over.low,
        "high": over.high,
        "pairs": over.clips,
        "songs": over.clusters,
        "each_seed": {str(seed): float(value) for seed, value in seeds.items()},
        "same_sign": (seeds > 0).nunique() == 1,
        "d_z": each.mean() / spread if spread > 0 else math.nan,
    }


def _over_clips(clips: pd.DataFrame, trials: pd.DataFrame, column: str) -> Interval:
    rows = clips[clips["trial"].isin(trials["trial"])]
    return cluster_bootstrap(rows[column], list(rows["music_id"]))
