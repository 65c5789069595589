"""The files of a rater study: its key, the participants' answers, and per-clip metric scores."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from datamodules.files import VIDEO_SUFFIXES
from experiments.errors import SettingsError
from experiments.evaluation.evaluations import CLIP_COLUMNS, read_clip_scores

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT = "dabfusion-raters"
VERSION = 1

#: The answers' JSON of each participant, by the participant's id.
Answers = dict[str, dict[str, Any]]


@dataclass
class Rater:
    """Counts of one participant's answers; ``used`` is False after too many failed catch trials."""

    name: str
    answers: int = 0
    checks: int = 0
    checks_failed: int = 0
    repeats: int = 0
    repeats_same: int = 0
    median_seconds: float = float("nan")
    finished: bool = False
    used: bool = True


def load_key(path: Path) -> dict[str, Any]:
    """Read the key of a study, which says which method made which video.

    Args:
        path: ``key.json`` or the study's folder.

    Raises:
        SettingsError: It is not a key of this version.
    """
    path = path / "key.json" if path.is_dir() else path
    key = _read_json(path, "give the study's key.json")
    if key.get("format") != FORMAT or key.get("version") != VERSION:
        raise SettingsError(
            f"{path} is not the key of a rater study of version {VERSION}; give the key.json that "
            "`dabfusion study raters build` wrote."
        )
    return key


def read_answers(key: Mapping[str, Any], folder: Path) -> Answers:
    """Read the participants' files; of several files of one participant, the longest.

    Raises:
        SettingsError: There is no file, or one cannot be read or belongs to another study.
    """
    paths = sorted(folder.rglob("*.json")) if folder.is_dir() else []
    if not paths:
        raise SettingsError(f"{folder} contains no JSON file; give the folder of the answers.")
    files: Answers = {}
    for path in paths:
        data = _read_json(path, "ask the participant for the file again")
        fields = data.get("format"), data.get("version"), type(data.get("answers"))
        if fields != (FORMAT, VERSION, list) or not isinstance(data.get("participant"), str):
            raise SettingsError(
                f"{path} is not a participant's file of version {VERSION}; remove it."
            )
        if data.get("study") != key["study"]:
            raise SettingsError(
                f"{path} belongs to study {data.get('study')}, but the key to {key['study']}; "
                "remove the file or give the other key."
            )
        # A participant may send the file twice; the longer one includes the other's answers.
        known = files.get(data["participant"], {"answers": []})
        if len(data["answers"]) >= len(known["answers"]):
            files[data["participant"]] = data
    return files


def count_rater(key: Mapping[str, Any], data: Mapping[str, Any], max_failed: float) -> Rater:
    """Count one participant's answers to the first question.

    Args:
        key: As returned by ``load_key``.
        data: The participant's file.
        max_failed: Share of catch trials that a participant may fail.
    """
    first_question = key["plan"]["questions"][0]["name"]
    rater = Rater(data["participant"], finished=bool(data.get("finished")))
    seconds = [item["seconds"] for item in data["answers"] if item.get("seconds") is not None]
    rater.median_seconds = float(np.median(seconds)) if seconds else float("nan")
    first_answers: dict[str, str] = {}
    for item in data["answers"]:
        trial = key["trials"].get(item["trial"])
        answer = item["answers"].get(first_question)
        if trial is None or item.get("failed") or answer is None:
            continue
        rater.answers += 1
        if trial["kind"] == "check":
            rater.checks += 1
            rater.checks_failed += answer != trial["right"]
        elif not item.get("repeat"):
            first_answers[item["trial"]] = answer
        elif item["trial"] in first_answers:
            rater.repeats += 1
            rater.repeats_same += answer == first_answers[item["trial"]]
    rater.used = rater.checks_failed <= max_failed * rater.checks
    return rater


def votes_on(key: Mapping[str, Any], files: Answers, question: str) -> "DataFrame":
    """Return the answers to one question, without catch trials and repeats.

    Returns:
        One row per answer: ``rater``, ``trial``, ``clip``, ``first`` and ``second`` (methods in
        the order of their names), ``score`` (1 if the first was preferred, 0 if the second, 0.5
        for a tie), and ``left`` (1 if the left video was chosen, 0.5 for a tie).
    """
    import pandas

    rows = []
    for name, data in files.items():
        for item in data["answers"]:
            trial = key["trials"].get(item["trial"])
            answer = item["answers"].get(question)
            if trial is None or trial["kind"] != "pair" or item.get("repeat") or answer is None:
                continue
            first, second = sorted(trial["methods"].values())
            tie = answer == "tie"
            score = 0.5 if tie else float(trial["methods"][answer] == first)
            left = 0.5 if tie else float(answer == item["left"])
            rows.append((name, item["trial"], trial["clip"], first, second, score, left))
    columns = ["rater", "trial", "clip", "first", "second", "score", "left"]
    return pandas.DataFrame(rows, columns=columns)


def read_metric_scores(path: Path) -> "DataFrame":
    """Read the per-clip scores of a method: rows by clip, a column per metric.

    Raises:
        SettingsError: The file is not a CSV with a column that names the clip, and numbers.
    """
    try:
        clips, _, scores = read_clip_scores(path)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read as CSV ({error}).") from error
    if clips is None:
        raise SettingsError(
            f"{path} does not name the clips; one of its columns must be {', '.join(CLIP_COLUMNS)}."
        )
    if scores.empty:
        raise SettingsError(f"{path} contains no numbers; give the clips.csv of an evaluation.")
    # A name that contains a dot loses its ending only if that is a video's.
    names = [PurePosixPath(clip) for clip in clips]
    scores.index = [n.stem if n.suffix.lower() in VIDEO_SUFFIXES else n.name for n in names]
    return scores[~scores.index.duplicated(keep="last")]


def _read_json(path: Path, advice: str) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise SettingsError(f"{path} does not exist; {advice}.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not JSON ({error}); {advice}.") from error
    return data if isinstance(data, dict) else {}
