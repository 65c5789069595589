"""The report's table, computed again from the trials' own files by other code."""

import csv
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from runs_on_disk import add_evaluation, make_run
from scipy import stats

from experiments.report_tables import Table
from experiments.sweep_grammar import load_sweep
from experiments.sweep_report import write_sweep_report
from experiments.sweep_store import SweepStore
from experiments.sweep_worker import read_result

BEATS, STYLES, SEEDS, CLIPS = ("none", "global", "frame"), (False, True), (0, 1, 2), 24
GAIN = {"none": 0.0, "global": 0.1, "frame": 0.4}


@pytest.fixture
def store(tmp_path: Path) -> SweepStore:
    """A finished beat ablation whose trials were written by hand."""
    body: dict[str, Any] = {
        "name": "ablation",
        "description": "made up",
        "method": "grid",
        "metric": {"name": "heldout/corrected", "goal": "maximize"},
        "parameters": {
            "music.beats": {"values": list(BEATS)},
            "music.spectral": {"values": list(STYLES)},
            "seed": {"values": list(SEEDS)},
        },
        "command": [sys.executable, "-c", "pass"],
    }
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(body, sort_keys=False))
    store = SweepStore(tmp_path / "out", load_sweep(str(tmp_path / "s.yaml")), [])
    generator = np.random.default_rng(0)
    hard = generator.normal(0, 0.3, CLIPS)
    while (claim := store.claim()) is not None:
        gain = GAIN[claim.values["music.beats"]] + 0.05 * claim.values["music.spectral"]
        scores = hard + gain + generator.normal(0, 0.05) + generator.normal(0, 0.1, CLIPS)
        make_run(claim.folder, {"seed": claim.values["seed"]}, steps=5)
        add_evaluation(claim.folder, "p", {"corrected": list(scores)})
        metrics = {"heldout/corrected": float(scores.mean())}
        (claim.folder / "trial.json").write_text(json.dumps({"metrics": metrics}))
        store.study.tell(claim.trial, metrics["heldout/corrected"])
        claim.lock.close()
    return store


def recomputed(store: SweepStore) -> dict[tuple[str, str], dict[str, float]]:
    """From the folders alone: trial n is the n-th combination of beats, style and seed."""
    rows: dict[tuple[str, str], list[list[float]]] = {}
    for number, folder in enumerate(sorted((store.root / "trials").iterdir())):
        beats, style = BEATS[number // 6], STYLES[number // 3 % 2]
        with (folder / "evaluation" / "clips.csv").open() as file:
            scores = [float(row["corrected"]) for row in csv.DictReader(file)]
        rows.setdefault((beats, str(style)), []).append(scores)
    base = np.array(rows["none", "False"])
    table = {}
    for key, seeds in rows.items():
        means = np.mean(seeds, axis=1)
        low, high = stats.t.interval(0.95, 2, means.mean(), stats.sem(means))
        others = base.mean(axis=1)
        pooled = math.sqrt((means.var(ddof=1) + others.var(ddof=1)) / 2)
        table[key] = {
            "heldout/corrected": means.mean(),
            "seeds_low": low,
            "seeds_high": high,
            "difference": float(np.mean(np.array(seeds) - base)),
            "hedges_g": (means.mean() - others.mean()) / pooled * (1 - 3 / 15),
        }
    return table


def test_table_is_right(store: SweepStore, tmp_path: Path) -> None:
    write_sweep_report(store, tmp_path / "report")
    expected = recomputed(store)
    with (tmp_path / "report" / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    for number, row in enumerate(rows):
        mine = expected[row["music.beats"], row["music.spectral"]]
        assert row["n"] == "3"
        for name, value in mine.items():
            if number == 0 and name in ("difference", "hedges_g"):
                assert row[name] == ""
            else:
                assert float(row[name]) == pytest.approx(value, rel=1e-9)
        mean = float(row["heldout/corrected"])
        assert float(row["clips_low"]) < mean < float(row["clips_high"])
    frame = next(row for row in rows if row["music.beats"] == "frame")
    # Paired by clip, the hardness of clips falls out: the interval is far narrower.
    width = float(frame["difference_high"]) - float(frame["difference_low"])
    assert width < 0.5 * (float(frame["clips_high"]) - float(frame["clips_low"]))
    assert float(frame["difference_low"]) > 0.25


def test_report_files(store: SweepStore, tmp_path: Path) -> None:
    report = write_sweep_report(store, tmp_path / "report").read_text()
    assert "Trials: 18 complete." in report
    assert len(re.findall(r"^\| (none|global|frame) ", report, re.MULTILINE)) == 6
    latex = (tmp_path / "report" / "table.tex").read_text()
    assert latex.count(r"\\") == 7
    assert r"heldout/corrected" in latex
    assert "music.beats" in latex
    assert (tmp_path / "report" / "figure.svg").stat().st_size > 2000
    with (tmp_path / "report" / "trials.csv").open() as file:
        trials = list(csv.DictReader(file))
    assert [row["trial"] for row in trials] == [str(n) for n in range(18)]
    for row in trials:
        folder = store.folder(int(row["trial"]))
        expected = read_result(folder)["heldout/corrected"]
        assert float(row["heldout/corrected"]) == pytest.approx(expected)


def test_mixed_protocols_are_said_and_not_subtracted(store: SweepStore, tmp_path: Path) -> None:
    other = store.folder(17) / "evaluation" / "protocol.json"
    other.write_text(json.dumps({"hash": "another"}))
    report = write_sweep_report(store, tmp_path / "report").read_text()
    assert "scored by 2 protocols" in report


def test_cells_are_escaped() -> None:
    table = Table(("a_b", "c"), (("50% & more", "x|y"),), "cap_tion", frozenset({"c"}))
    assert r"50\% \& more" in table.latex()
    assert r"a\_b" in table.latex()
    assert r"x\|y" in table.markdown()
    assert "lr" in table.latex()
