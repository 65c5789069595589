"""Answers simulated from known preferences, which the analysis must recover."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.errors import SettingsError
from experiments.studies.raters.analysis import analyze_study
from experiments.studies.raters.answers import HEAD, read_answers, read_metric_scores
from experiments.studies.raters.report import show, write_report

METHODS = ["base", "beats", "global"]
TRUTH = {"base": -0.9, "beats": 0.9, "global": 0.0}
CLIPS = [f"gBR_sBM_cAll_d04_mBR0_ch{n:02}" for n in range(1, 11)]


@pytest.fixture
def key() -> dict[str, Any]:
    trials: dict[str, Any] = {}
    generator = np.random.default_rng(0)
    for clip in CLIPS:
        for first, second in (("base", "beats"), ("base", "global"), ("beats", "global")):
            pair = [first, second] if generator.random() < 0.5 else [second, first]
            trials[f"{clip}-{first}-{second}"] = {
                "kind": "pair",
                "clip": clip,
                "methods": dict(zip("ab", pair, strict=True)),
            }
    trials["check"] = {"kind": "check", "clip": CLIPS[0], "right": "b"}
    return {
        "study": "s",
        "plan": {"questions": [{"name": "fit", "text": "Which fits?"}]},
        "methods": METHODS,
        "trials": trials,
    }


def write_rater(
    folder: Path, key: dict[str, Any], name: str, generator: np.random.Generator, attentive: bool
) -> None:
    answers = []
    for trial, entry in key["trials"].items():
        if entry["kind"] == "check":
            answer = "b" if attentive else "a"
        else:
            a, b = (TRUTH[entry["methods"][letter]] for letter in "ab")
            likes_a = generator.random() < 1 / (1 + np.exp(b - a))
            # Inattentive raters prefer the worst, so that including them would be noticed.
            answer = ("a" if likes_a else "b") if attentive else ("a" if a < b else "b")
        left = "a" if generator.random() < 0.5 else "b"
        answers.append(
            {"trial": trial, "left": left, "repeat": False, "answers": {"fit": answer},
             "failed": False, "seconds": 12.0}
        )  # fmt: skip
    data = {**HEAD, "study": "s", "participant": name}
    folder.mkdir(exist_ok=True)
    text = json.dumps({**data, "finished": "2026-01-01", "answers": answers})
    (folder / f"{name}.json").write_text(text)


@pytest.fixture
def answers(tmp_path: Path, key: dict[str, Any]) -> Path:
    generator = np.random.default_rng(1)
    for number in range(24):
        write_rater(tmp_path / "answers", key, f"r{number}", generator, attentive=number >= 3)
    return tmp_path / "answers"


def write_metrics(folder: Path) -> dict[str, Path]:
    """Write scores: `good` follows the truth, `inverse` is its negative, `noise` is unrelated."""
    generator = np.random.default_rng(2)
    paths = {}
    for method in METHODS:
        paths[method] = folder / f"{method}.csv"
        with paths[method].open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["clip", "music", "good", "inverse", "noise"])
            for clip in CLIPS:
                good = TRUTH[method] + 0.1 * generator.normal()
                writer.writerow([clip, "mBR0", good, -good, generator.normal()])
    return paths


def analyze(key: dict[str, Any], answers: Path, **metrics: Path) -> dict[str, Any]:
    return analyze_study(key, answers, metrics, draws=200)


def test_finds_the_strengths_and_excludes_inattentive_raters(
    key: dict[str, Any], answers: Path, tmp_path: Path
) -> None:
    analysis = analyze(key, answers, **write_metrics(tmp_path))
    assert sum(rater["used"] for rater in analysis["raters"]) == 21
    question = analysis["questions"][0]
    assert question["votes"] == 21 * 30
    assert [row["method"] for row in question["strengths"]] == ["beats", "global", "base"]
    for row in question["strengths"]:
        strength = row["log_strength"]
        assert strength.low < TRUTH[row["method"]] < strength.high
        assert strength.mean == pytest.approx(TRUTH[row["method"]], abs=0.3)
    by_name = {(p["preferred"], p["to"]): p for p in question["preferences"]}
    rate = by_name["base", "beats"]["rate"]
    assert rate.low < 1 / (1 + np.exp(1.8)) < rate.high
    assert 0.05 < question["alpha"].mean < 0.35
    assert question["left_share"].mean == pytest.approx(0.5, abs=0.06)
    metrics = {row["metric"]: row for row in question["metrics"]}
    assert set(metrics) == {"good", "inverse", "noise"}
    good, inverse = metrics["good"], metrics["inverse"]
    assert question["metrics"][0] == good
    assert good["rank_correlation"].low > 0.5
    assert good["predicts_majority"].mean > 0.9
    assert inverse["rank_correlation"].mean == pytest.approx(-good["rank_correlation"].mean)
    assert inverse["predicts_majority"].mean == pytest.approx(1 - good["predicts_majority"].mean)
    assert abs(metrics["noise"]["rank_correlation"].mean) < 0.45


def test_order_of_methods_does_not_matter(
    key: dict[str, Any], answers: Path, tmp_path: Path
) -> None:
    before = analyze(key, answers, **write_metrics(tmp_path))["questions"][0]
    for entry in key["trials"].values():
        if entry["kind"] == "pair":
            entry["methods"] = {l: {"base": "zbase"}.get(m, m) for l, m in entry["methods"].items()}
    key["methods"] = ["beats", "global", "zbase"]
    renamed = {"zbase" if m == "base" else m: p for m, p in write_metrics(tmp_path).items()}
    after = analyze(key, answers, **renamed)["questions"][0]
    correlations = [q["metrics"][0]["rank_correlation"].mean for q in (before, after)]
    assert correlations[0] == pytest.approx(correlations[1])
    assert [row["log_strength"].mean for row in after["strengths"]] == pytest.approx(
        [row["log_strength"].mean for row in before["strengths"]]
    )


def test_report_is_readable_and_json_is_strict(
    key: dict[str, Any], answers: Path, tmp_path: Path
) -> None:
    report = write_report(analyze(key, answers, **write_metrics(tmp_path)), tmp_path / "report")
    text = report.read_text()
    assert "21 of 24 raters used" in text
    assert "| beats |" in text
    assert "nan" not in text
    data = json.loads((tmp_path / "report" / "analysis.json").read_text(), parse_constant=int)
    assert len(data["questions"][0]["preferences"]) == 3


def test_one_rater_has_no_interval_over_raters(key: dict[str, Any], tmp_path: Path) -> None:
    write_rater(tmp_path / "one", key, "r", np.random.default_rng(3), attentive=True)
    preference = analyze(key, tmp_path / "one")["questions"][0]["preferences"][0]
    assert show(preference["rate"]).endswith("[–]")


def test_two_methods_have_no_strengths(key: dict[str, Any], answers: Path) -> None:
    for trial in [t for t, entry in key["trials"].items() if "global" in t]:
        key["trials"][trial] |= {"kind": "check", "right": "a"}
    question = analyze_study(key, answers, {}, max_failed=1.0, draws=20)["questions"][0]
    assert [(p["preferred"], p["to"]) for p in question["preferences"]] == [("base", "beats")]
    assert question["strengths"] == []


def test_answers_about_videos_that_did_not_play_are_left_out(
    key: dict[str, Any], answers: Path
) -> None:
    path = answers / "r5.json"
    data = json.loads(path.read_text())
    data["answers"][0]["failed"] = True
    path.write_text(json.dumps(data))
    assert (read_answers(key, answers)["rater"] == "r5").sum() == 30


def test_mistakes_are_one_sentence(key: dict[str, Any], answers: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="contains no JSON"):
        analyze(key, tmp_path / "nowhere")
    with pytest.raises(SettingsError, match="methods are"):
        analyze(key, answers, typo=write_metrics(tmp_path)["base"])
    (tmp_path / "plain.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SettingsError, match="does not name the clips"):
        read_metric_scores(tmp_path / "plain.csv")
    (answers / "other.json").write_text(
        json.dumps({**HEAD, "study": "t", "participant": "x",
                    "answers": []})
    )  # fmt: skip
    with pytest.raises(SettingsError, match="belongs to study t"):
        analyze(key, answers)
    (answers / "other.json").write_text("{")
    with pytest.raises(SettingsError, match="is not JSON"):
        analyze(key, answers)
