"""Analyze the answers of a rater study: preferences, strengths, agreement, and metrics."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.errors import SettingsError
from experiments.studies.raters.answers import (
    Rater,
    count_rater,
    read_answers,
    read_metric_scores,
    votes_on,
)
from experiments.studies.raters.metrics import MetricAgreement, metric_agreement
from experiments.studies.raters.statistics import (
    Z95,
    Floats,
    add_prior_wins,
    bradley_terry,
    is_connected,
    krippendorff_alpha,
    resampled_intervals,
    wilson_interval,
)
from metrics.functional.bootstrap import Interval, cluster_bootstrap

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class AnalysisOptions:
    """Share of catch trials that a rater may fail, and the bootstrap's draws and seed."""

    max_failed: float = 0.25
    draws: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class Preference:
    """How often ``first`` was preferred to ``second``; a tie counts as half."""

    first: str
    second: str
    answers: int
    rate: Interval
    by_rater: Interval


@dataclass(frozen=True)
class Strength:
    """Bradley-Terry log strength of a method (they sum to zero), with both intervals."""

    method: str
    independent: Interval
    by_rater: Interval


@dataclass(frozen=True)
class QuestionResult:
    """Results of one question; ``with_prior``: strengths needed prior wins to be finite."""

    name: str
    text: str
    votes: int
    left_share: Interval
    alpha: Interval
    preferences: list[Preference]
    strengths: list[Strength]
    with_prior: bool
    metrics: list[MetricAgreement]


@dataclass(frozen=True)
class Analysis:
    """Results of a study."""

    study: str
    raters: list[Rater]
    questions: list[QuestionResult]
    unseen_pairs: int


def analyze_study(
    key: Mapping[str, Any],
    answers: Path,
    metrics: Mapping[str, Path],
    options: AnalysisOptions,
) -> Analysis:
    """Analyze a folder of participants' files.

    Args:
        key: As returned by ``load_key``.
        answers: Folder with one JSON file per participant.
        metrics: Per-clip CSV of each method; may be empty.
        options: Exclusion of raters and bootstrap.

    Raises:
        SettingsError: A file cannot be used, or no rater is left after exclusion.
    """
    files = read_answers(key, answers)
    raters = [count_rater(key, data, options.max_failed) for data in files.values()]
    files = {rater.name: files[rater.name] for rater in raters if rater.used}
    if not files:
        raise SettingsError(
            f"All {len(raters)} raters failed more than {options.max_failed:.0%} of the catch "
            "trials; raise --max-failed to analyze their answers anyway."
        )
    unknown = sorted(set(metrics) - set(key["methods"]))
    if unknown:
        raise SettingsError(
            f"--metrics names {', '.join(unknown)}; the study's methods are "
            f"{', '.join(key['methods'])}."
        )
    scores = {method: read_metric_scores(path) for method, path in metrics.items()}
    questions = [
        _question(question, votes_on(key, files, question["name"]), key["methods"], scores, options)
        for question in key["plan"]["questions"]
    ]
    pairs = {trial for trial, entry in key["trials"].items() if entry["kind"] == "pair"}
    seen = {item["trial"] for data in files.values() for item in data["answers"]}
    return Analysis(key["study"], raters, questions, len(pairs - seen))


def _question(
    question: Mapping[str, str],
    votes: "DataFrame",
    methods: Sequence[str],
    scores: Mapping[str, "DataFrame"],
    options: AnalysisOptions,
) -> QuestionResult:
    draws, seed = options.draws, options.seed
    preferences = []
    for first, second in itertools.combinations(methods, 2):
        some = votes[(votes["first"] == first) & (votes["second"] == second)]
        by_rater = cluster_bootstrap(some["score"], some["rater"].tolist(), draws=draws, seed=seed)
        rate = wilson_interval(some["score"])
        preferences.append(Preference(first, second, len(some), rate, by_rater))
    strengths, with_prior = _strengths(votes, methods, options)
    return QuestionResult(
        name=question["name"],
        text=question["text"],
        votes=len(votes),
        left_share=wilson_interval(votes["left"]),
        alpha=_agreement(votes, options),
        preferences=preferences,
        strengths=strengths,
        with_prior=with_prior,
        metrics=metric_agreement(
            votes, scores, {s.method: s.independent.mean for s in strengths}, draws, seed
        ),
    )


def _agreement(votes: "DataFrame", options: AnalysisOptions) -> Interval:
    """Return Krippendorff's alpha over pairs of videos, resampled by pair."""
    counts = votes.groupby(["trial", "score"]).size().unstack(fill_value=0)
    if counts.empty:
        return Interval(float("nan"), float("nan"), float("nan"), 0, 0)
    table = counts.to_numpy(dtype=np.float64)

    def alpha(rows: Any) -> float:
        return krippendorff_alpha(table[rows])

    return resampled_intervals(counts.index.tolist(), alpha, options.draws, options.seed)[0]


def _strengths(
    votes: "DataFrame", methods: Sequence[str], options: AnalysisOptions
) -> tuple[list[Strength], bool]:
    """Return the strengths, strongest first, and whether they needed prior wins."""
    met = [m for m in methods if m in {*votes["first"], *votes["second"]}]
    if len(met) < 2:
        return [], False
    first, second = (votes[side].map(met.index).to_numpy() for side in ("first", "second"))
    score = votes["score"].to_numpy()

    def fit(rows: Any) -> tuple[Floats, Floats, bool]:
        wins = np.zeros((len(met), len(met)))
        np.add.at(wins, (first[rows], second[rows]), score[rows])
        np.add.at(wins, (second[rows], first[rows]), 1 - score[rows])
        needs_prior = not is_connected(wins)
        wins = add_prior_wins(wins) if needs_prior else wins
        if is_connected(wins):
            return *bradley_terry(wins), needs_prior
        # Groups of methods that were never compared; also possible for resampled raters.
        return np.full(len(met), np.nan), np.full(len(met), np.nan), True

    raters = votes["rater"].tolist()
    strengths, errors, with_prior = fit(np.arange(len(votes)))
    if np.isnan(strengths).any():
        return [], True
    by_rater = resampled_intervals(raters, lambda rows: fit(rows)[0], options.draws, options.seed)
    rows = [
        Strength(method, Interval(value, value - half, value + half, len(votes), 0), resampled)
        for method, value, half, resampled in zip(
            met, strengths.tolist(), (Z95 * errors).tolist(), by_rater, strict=True
        )
    ]
    return sorted(rows, key=lambda row: -row.independent.mean), with_prior
