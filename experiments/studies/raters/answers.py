"""The files of a rater study: its key, the participants' answers, and scores of the videos."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from datamodules.files import VIDEO_SUFFIXES
from experiments.errors import SettingsError
from experiments.evaluation.evaluations import CLIP_COLUMNS, read_clip_scores

if TYPE_CHECKING:
    from pandas import DataFrame

#: Format and its version in all files of a study.
HEAD = {"format": "dabfusion-raters", "version": 1}


def load_key(path: Path) -> dict[str, Any]:
    """Read ``key.json``, or that of a study's folder; it says which method made which video."""
    path = path / "key.json" if path.is_dir() else path
    return _read_json(path, "give the key.json that `dabfusion study raters build` wrote")


def read_answers(key: Mapping[str, Any], folder: Path) -> "DataFrame":
    """Read the participants' files; of several files of one participant, the longest.

    Returns:
        One row per pair of videos and question: ``rater``, ``question``, ``trial``, ``clip``,
        ``seconds``, ``repeat`` (whether the pair was shown before), ``check`` (whether it is a
        catch trial), and ``score``: 1 if the first method was preferred, 0 if the second, 0.5 for
        a tie; of a catch trial, 1 if the answer is right, otherwise 0. Pairs also have ``first``
        and ``second`` (methods in alphabetical order) and ``left`` (1 if the left video was
        chosen, 0.5 for a tie). Answers about videos that could not be played are left out.
    """
    import pandas

    paths = sorted(folder.rglob("*.json")) if folder.is_dir() else []
    files: dict[str, dict[str, Any]] = {}
    for path in paths:
        data = _read_json(path, "ask the participant for the file again, or remove it")
        if data.get("study") != key["study"] or not isinstance(data.get("answers"), list):
            raise SettingsError(
                f"{path} belongs to study {data.get('study')}, but the key to {key['study']}, or "
                "it contains no answers; remove the file or give the other key."
            )
        # A participant may send the file twice; the longer one includes the other's answers.
        known = files.setdefault(str(data.get("participant")), data)
        if len(data["answers"]) >= len(known["answers"]):
            files[str(data.get("participant"))] = data
    rows = [row for name, data in files.items() for row in _rows(key, name, data["answers"])]
    if not any("left" in row for row in rows):
        found = "answers" if paths else "JSON file"
        raise SettingsError(f"{folder} contains no {found}; give the folder of the answers.")
    return pandas.DataFrame(rows)


def read_metric_scores(path: Path) -> "DataFrame":
    """Read the per-clip CSV of ``dabfusion evaluate``: a row per clip, a column per score."""
    try:
        clips, _, scores = read_clip_scores(path)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read as CSV ({error}).") from error
    if clips is None or scores.empty:
        raise SettingsError(
            f"{path} does not name the clips (a column {', '.join(CLIP_COLUMNS)}) or contains no "
            "numbers; give the clips.csv of an evaluation."
        )
    # A name that contains a dot loses its ending only if that is a video's.
    names = [PurePosixPath(clip) for clip in clips]
    scores.index = [n.stem if n.suffix.lower() in VIDEO_SUFFIXES else n.name for n in names]
    return scores[~scores.index.duplicated(keep="last")]


def _rows(key: Mapping[str, Any], rater: str, answers: Any) -> Iterator[dict[str, Any]]:
    for item in answers:
        trial = key["trials"][item["trial"]]
        if item.get("failed"):
            continue
        row = {"rater": rater, "trial": item["trial"], "clip": trial["clip"]}
        row |= {"seconds": float(item.get("seconds") or "nan"), "repeat": bool(item.get("repeat"))}
        row["check"] = trial["kind"] == "check"
        for question, answer in item["answers"].items():
            if row["check"]:
                yield row | {"question": question, "score": float(answer == trial["right"])}
                continue
            first, second = sorted(trial["methods"].values())
            pair = {"question": question, "first": first, "second": second}
            score = left = 0.5
            if answer != "tie":
                score = float(trial["methods"][answer] == first)
                left = float(answer == item["left"])
            yield row | pair | {"score": score, "left": left}


def _read_json(path: Path, advice: str) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} is not JSON ({error}); {advice}.") from error
    if not isinstance(data, dict) or not HEAD.items() <= data.items():
        raise SettingsError(f"{path} is not a rater study's file of version 1; {advice}.")
    return data
