"""Does a metric agree with people? Per-clip scores of methods against raters' preferences."""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from experiments.errors import SettingsError
from experiments.studies.raters.statistics import Interval, cluster_bootstrap, spearman

#: Columns that may name the clip, in order of preference.
CLIP_COLUMNS = ("clip", "clip_id", "name", "video", "file", "path")

Scores = dict[str, dict[str, float]]
#: One judged pair: clip, share of raters for the first, difference of the metric.
Pair = tuple[str, float, float]


@dataclass(frozen=True)
class MetricAgreement:
    """One metric against preference.

    ``spearman``: rank correlation of the metric's difference with the share of raters who
    preferred the first, every pair taken in both orders so that it does not matter which method
    is called first. ``accuracy``: share of pairs whose majority the metric's larger value names
    (an equal value counts half; pairs without a majority drop out). Both intervals redraw clips.
    ``system``: rank correlation of the methods' mean scores with their strengths; NaN for fewer
    than three methods. Metrics that are better when smaller come out negative, and below 0.5.
    """

    metric: str
    pairs: int
    spearman: Interval
    accuracy: Interval
    system: float


def read_scores(path: Path) -> Scores:
    """{metric: {clip: value}} of a per-clip CSV; columns that are not numbers are left out.

    Raises:
        SettingsError: no column that names the clip, or no numbers.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        clip_column = next((name for name in CLIP_COLUMNS if name in columns), None)
        if clip_column is None:
            raise SettingsError(
                f"{path} has the columns {', '.join(columns) or 'none'}; one of "
                f"{', '.join(CLIP_COLUMNS)} must name the clip."
            )
        scores: Scores = defaultdict(dict)
        for row in reader:
            # A name with a dot in it loses its ending only if that is a file's.
            name = PurePosixPath(row[clip_column]).name
            clip = name.rsplit(".", 1)[0] if name.lower().endswith((".mp4", ".webm")) else name
            for column in columns:
                value = _number(row[column])
                if column != clip_column and value is not None:
                    scores[column][clip] = value
    if not scores:
        raise SettingsError(f"{path} holds no numbers; give the per-clip table of an evaluation.")
    return dict(scores)


def metric_agreement(
    votes: Sequence[tuple[str, str, str, float]],
    scores: Mapping[str, Scores],
    strengths: Mapping[str, float],
    draws: int,
    seed: int,
) -> list[MetricAgreement]:
    """Every metric that two methods have, the one that agrees best first.

    Args:
        votes: (clip, first method, second method, 1 for the first / 0.5 / 0).
        scores: per method, as ``read_scores`` gives them.
        strengths: Bradley-Terry log strength of each method.
        draws: bootstrap draws over clips.
        seed: of the bootstrap.
    """
    preference: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for clip, first, second, score in votes:
        preference[clip, first, second].append(score)
    results = []
    for metric in sorted({name for of in scores.values() for name in of}):
        pairs: dict[str, list[Pair]] = defaultdict(list)
        for (clip, first, second), values in preference.items():
            a = scores.get(first, {}).get(metric, {}).get(clip)
            b = scores.get(second, {}).get(metric, {}).get(clip)
            if a is not None and b is not None:
                pairs[clip].append((clip, float(np.mean(values)), a - b))
        if not pairs:
            continue
        groups = list(pairs.values())
        results.append(
            MetricAgreement(
                metric,
                sum(len(group) for group in groups),
                cluster_bootstrap(groups, _rank_correlation, draws=draws, seed=seed),
                cluster_bootstrap(groups, _accuracy, draws=draws, seed=seed),
                _system(metric, scores, strengths),
            )
        )
    return sorted(results, key=lambda r: -np.nan_to_num(r.spearman.value, nan=-2.0))


def _rank_correlation(pairs: list[Pair]) -> float:
    # Rounded: 1/3 - 1/2 and 1/2 - 2/3 are one rank, whatever their last bits say.
    preference = np.round([share - 0.5 for _, share, _ in pairs], 9)
    difference = np.array([value for *_, value in pairs])
    return spearman(
        np.concatenate([difference, -difference]), np.concatenate([preference, -preference])
    )


def _accuracy(pairs: list[Pair]) -> float:
    hits = [0.5 + 0.5 * np.sign(d) * np.sign(p - 0.5) for _, p, d in pairs if p != 0.5]
    return float(np.mean(hits)) if hits else float("nan")


def _system(metric: str, scores: Mapping[str, Scores], strengths: Mapping[str, float]) -> float:
    methods = [name for name in strengths if scores.get(name, {}).get(metric)]
    means = [np.mean(list(scores[name][metric].values())) for name in methods]
    return spearman(np.array(means), np.array([strengths[name] for name in methods]))


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if np.isfinite(value) else None
