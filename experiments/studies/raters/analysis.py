"""Answers of a rater study -> preference rates, strengths, agreement, what metrics predict them."""

import itertools
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from experiments.errors import SettingsError
from experiments.studies.raters.build import FORMAT, VERSION
from experiments.studies.raters.metrics import MetricAgreement, metric_agreement, read_scores
from experiments.studies.raters.statistics import (
    Floats,
    Interval,
    bradley_terry,
    bradley_terry_errors,
    cluster_bootstrap,
    is_connected,
    krippendorff_alpha,
    prior_wins,
    wilson_interval,
)


@dataclass(frozen=True)
class AnalysisOptions:
    """``max_failed``: share of checks a rater may fail; ``draws``: bootstrap draws."""

    max_failed: float = 0.25
    draws: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class Vote:
    """One answer to one question: ``score`` is 1 for the first method, 0 the second, 0.5 a tie."""

    rater: str
    trial: str
    clip: str
    first: str
    second: str
    score: float
    chose_left: float


@dataclass
class Rater:
    """A participant's file, counted. ``used`` is False for who failed too many checks."""

    name: str
    answers: int = 0
    checks: int = 0
    checks_failed: int = 0
    repeats: int = 0
    repeats_same: int = 0
    median_seconds: float = float("nan")
    finished: bool = False
    used: bool = True


@dataclass(frozen=True)
class Preference:
    """How often ``first`` was preferred to ``second``."""

    first: str
    second: str
    answers: int
    rate: Interval
    by_rater: Interval


@dataclass(frozen=True)
class Strength:
    """Bradley-Terry log strength (they sum to zero) with both intervals."""

    method: str
    strength: float
    independent: Interval
    by_rater: Interval


@dataclass
class QuestionResult:
    """Everything about one question. ``with_prior`` tells that strengths needed prior wins."""

    name: str
    text: str
    votes: int
    preferences: list[Preference]
    strengths: list[Strength]
    with_prior: bool
    alpha: Interval
    left_share: Interval
    metrics: list[MetricAgreement] = field(default_factory=list)


@dataclass
class Analysis:
    """The study's numbers."""

    study: str
    raters: list[Rater]
    questions: list[QuestionResult]
    unfinished_pairs: int


def analyse_study(
    key: Mapping[str, Any],
    answers: Path,
    metrics: Mapping[str, Path],
    options: AnalysisOptions,
) -> Analysis:
    """Count the answers in a folder of participants' files.

    Args:
        key: as ``load_key`` returns it.
        answers: folder of one JSON file a participant.
        metrics: per-clip CSV of each method, or empty.
        options: exclusion rule and bootstrap.

    Raises:
        SettingsError: no usable file, a file of another study, or nobody left after exclusion.
    """
    files = _read_answers(key, answers)
    raters = [_count_rater(key, name, data, options) for name, data in files.items()]
    used = {rater.name for rater in raters if rater.used}
    if not used:
        raise SettingsError(
            f"All {len(raters)} raters failed more than {options.max_failed:.0%} of the checks; "
            "raise --max-failed to look at their answers all the same."
        )
    scores = {method: read_scores(path) for method, path in metrics.items()}
    unknown = sorted(set(scores) - set(key["methods"]))
    if unknown:
        raise SettingsError(
            f"--metrics names {', '.join(unknown)}; the study's methods are "
            f"{', '.join(key['methods'])}."
        )
    questions = []
    for question in key["plan"]["questions"]:
        votes = [
            vote
            for name, data in files.items()
            if name in used
            for vote in _votes(key, name, data, question["name"])
        ]
        result = _question_result(question, votes, key["methods"], options)
        result.metrics = metric_agreement(
            [(v.clip, v.first, v.second, v.score) for v in votes],
            scores,
            {s.method: s.strength for s in result.strengths},
            options.draws,
            options.seed,
        )
        questions.append(result)
    pairs = {trial for trial, entry in key["trials"].items() if entry["kind"] == "pair"}
    seen = {item["trial"] for name in used for item in files[name]["answers"]}
    return Analysis(key["study"], raters, questions, len(pairs - seen))


def _read_answers(key: Mapping[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
    paths = sorted(folder.rglob("*.json")) if folder.is_dir() else []
    if not paths:
        raise SettingsError(f"{folder} holds no JSON file; give the folder of the raters' files.")
    files: dict[str, dict[str, Any]] = {}
    for path in paths:
        try:
            data = json.loads(path.read_text("utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} is not JSON ({error}); ask for the file again.") from None
        if (
            not isinstance(data, dict)
            or data.get("format") != FORMAT
            or data.get("version") != VERSION
            or not isinstance(data.get("answers"), list)
            or not isinstance(data.get("participant"), str)
        ):
            raise SettingsError(f"{path} is not a rater's file of version {VERSION}; take it out.")
        if data.get("study") != key["study"]:
            raise SettingsError(
                f"{path} belongs to study {data.get('study')}, this key to {key['study']}; "
                "take the file out or give the other key."
            )
        name = data["participant"]
        # The same person may send the file twice; the longer one holds the other's answers.
        if name not in files or len(data["answers"]) > len(files[name]["answers"]):
            files[name] = data
    return files


def _count_rater(
    key: Mapping[str, Any], name: str, data: Mapping[str, Any], options: AnalysisOptions
) -> Rater:
    first_question = key["plan"]["questions"][0]["name"]
    rater = Rater(name, finished=bool(data.get("finished")))
    first_answers: dict[str, str] = {}
    for item in data["answers"]:
        entry = key["trials"].get(item["trial"])
        answer = item["answers"].get(first_question)
        if entry is None or item.get("failed") or answer is None:
            continue
        rater.answers += 1
        if entry["kind"] == "check":
            rater.checks += 1
            rater.checks_failed += answer != entry["right"]
        elif item.get("repeat"):
            if item["trial"] in first_answers:
                rater.repeats += 1
                rater.repeats_same += answer == first_answers[item["trial"]]
        else:
            first_answers[item["trial"]] = answer
    seconds = [item["seconds"] for item in data["answers"] if item.get("seconds") is not None]
    if seconds:
        rater.median_seconds = float(np.median(seconds))
    rater.used = rater.checks_failed <= options.max_failed * rater.checks
    return rater


def _votes(key: Mapping[str, Any], name: str, data: Mapping[str, Any], question: str) -> list[Vote]:
    votes = []
    for item in data["answers"]:
        entry = key["trials"].get(item["trial"])
        answer = item["answers"].get(question)
        if entry is None or entry["kind"] != "pair" or item.get("repeat") or answer is None:
            continue
        first, second = sorted(entry["methods"].values())
        score = 0.5 if answer == "tie" else float(entry["methods"][answer] == first)
        left = 0.5 if answer == "tie" else float(answer == item["left"])
        votes.append(Vote(name, item["trial"], entry["clip"], first, second, score, left))
    return votes


def _by_rater(votes: list[Vote]) -> list[list[Vote]]:
    groups: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        groups[vote.rater].append(vote)
    return list(groups.values())


def _question_result(
    question: Mapping[str, str], votes: list[Vote], methods: list[str], options: AnalysisOptions
) -> QuestionResult:
    def share(items: list[Vote]) -> float:
        return float(np.mean([vote.score for vote in items])) if items else float("nan")

    preferences = []
    for first, second in itertools.combinations(methods, 2):
        some = [vote for vote in votes if (vote.first, vote.second) == (first, second)]
        rate = wilson_interval(sum(vote.score for vote in some), len(some))
        by_rater = cluster_bootstrap(_by_rater(some), share, draws=options.draws, seed=options.seed)
        preferences.append(Preference(first, second, len(some), rate, by_rater))
    strengths, with_prior = _strengths(votes, methods, options)
    left = wilson_interval(sum(vote.chose_left for vote in votes), len(votes))
    return QuestionResult(
        name=question["name"],
        text=question["text"],
        votes=len(votes),
        preferences=preferences,
        strengths=strengths,
        with_prior=with_prior,
        alpha=_agreement(votes, options),
        left_share=left,
    )


def _wins(votes: list[Vote], methods: list[str]) -> Floats:
    index = {method: number for number, method in enumerate(methods)}
    wins = np.zeros((len(methods), len(methods)))
    for vote in votes:
        wins[index[vote.first], index[vote.second]] += vote.score
        wins[index[vote.second], index[vote.first]] += 1 - vote.score
    return wins


def _strengths(
    votes: list[Vote], methods: list[str], options: AnalysisOptions
) -> tuple[list[Strength], bool]:
    met = [m for m in methods if any(m in (vote.first, vote.second) for vote in votes)]
    if len(met) < 2:
        return [], False

    def fit(items: list[Vote]) -> Floats:
        wins = _wins(items, met)
        if not is_connected(wins):
            wins = wins + prior_wins(wins)
        # A redrawn set of raters may not connect all methods at all.
        return bradley_terry(wins) if is_connected(wins) else np.full(len(met), np.nan)

    wins = _wins(votes, met)
    with_prior = not is_connected(wins)
    if with_prior:
        wins = wins + prior_wins(wins)
    strengths = fit(votes)
    if np.isnan(strengths).any():
        return [], True
    errors = bradley_terry_errors(wins, strengths)
    generator = np.random.default_rng(options.seed)
    groups = _by_rater(votes)
    low = high = np.full(len(met), np.nan)
    if len(groups) > 1:
        drawn = []
        for _ in range(options.draws):
            chosen = generator.integers(0, len(groups), len(groups))
            drawn.append(fit([vote for index in chosen for vote in groups[index]]))
        low, high = np.nanquantile(np.stack(drawn), [0.025, 0.975], axis=0)
    rows = [
        Strength(
            method,
            float(strengths[i]),
            Interval(
                float(strengths[i]),
                float(strengths[i] - 1.96 * errors[i]),
                float(strengths[i] + 1.96 * errors[i]),
            ),
            Interval(float(strengths[i]), float(low[i]), float(high[i])),
        )
        for i, method in enumerate(met)
    ]
    return sorted(rows, key=lambda row: -row.strength), with_prior


def _agreement(votes: list[Vote], options: AnalysisOptions) -> Interval:
    """Krippendorff's alpha over pairs; the interval redraws pairs, not raters."""
    raters = sorted({vote.rater for vote in votes})
    row = {name: number for number, name in enumerate(raters)}
    units: dict[str, Floats] = {}
    for vote in votes:
        column = units.setdefault(vote.trial, np.full(len(raters), np.nan))
        column[row[vote.rater]] = vote.score

    def alpha(columns: list[Floats]) -> float:
        return krippendorff_alpha(np.stack(columns, -1)) if columns else float("nan")

    columns = [[column] for column in units.values()]
    return cluster_bootstrap(columns, alpha, draws=options.draws, seed=options.seed)
