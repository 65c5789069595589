"""The report's tables, computed again from the trials' own rows by other code."""

import csv
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from runs_on_disk import add_evaluation, make_run
from scipy import stats

from datamodules.media.video import read_image
from experiments.reports.tables import Table
from experiments.sweeps.analysis import Condition, Contrast, conditions, contrasts, read_trials
from experiments.sweeps.figure import draw_sweep
from experiments.sweeps.grammar import load_sweep
from experiments.sweeps.report import write_sweep_report
from experiments.sweeps.store import SweepStore
from metrics.functional.bootstrap import Interval

BEATS, STYLES, SEEDS, CLIPS = ("none", "global", "frame"), (False, True), (0, 1, 2), 24
GAIN = {"none": 0.0, "global": 0.1, "frame": 0.4}
KEYS = ["music.beats", "music.spectral"]
METRIC = "heldout/corrected"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SweepStore:
    """A finished beat ablation whose trials were written by hand."""
    root = tmp_path_factory.mktemp("sweep")
    body: dict[str, Any] = {
        "name": "ablation",
        "description": "made up",
        "method": "grid",
        "metric": {"name": METRIC, "goal": "maximize"},
        "parameters": {
            "music.beats": {"values": list(BEATS)},
            "music.spectral": {"values": list(STYLES)},
            "seed": {"values": list(SEEDS)},
        },
        "command": [sys.executable, "-c", "pass"],
    }
    (root / "s.yaml").write_text(yaml.safe_dump(body, sort_keys=False))
    store = SweepStore(root / "out", load_sweep(str(root / "s.yaml")), [])
    generator = np.random.default_rng(0)
    hard = generator.normal(0, 0.3, CLIPS)
    while (claim := store.claim()) is not None:
        gain = GAIN[claim.values["music.beats"]] + 0.05 * claim.values["music.spectral"]
        scores = hard + gain + generator.normal(0, 0.05) + generator.normal(0, 0.1, CLIPS)
        make_run(claim.folder, {"seed": claim.values["seed"]}, steps=5)
        columns = {"corrected": list(scores), "half_beat_off": list(-gain + 0.1 * hard)}
        add_evaluation(claim.folder, "p", columns)
        metrics = {METRIC: float(scores.mean())}
        (claim.folder / "trial.json").write_text(json.dumps({"metrics": metrics}))
        store.study.tell(claim.trial, metrics[METRIC])
        claim.lock.close()
    return store


def rows_of(store: SweepStore) -> pd.DataFrame:
    """All clips from the folders alone: trial n is the n-th combination of the grid."""
    frames = []
    for number, folder in enumerate(sorted((store.root / "trials").iterdir())):
        frame = pd.read_csv(folder / "evaluation" / "clips.csv")
        values = (BEATS[number // 6], STYLES[number // 3 % 2], SEEDS[number % 3])
        frames.append(frame.assign(**dict(zip([*KEYS, "seed"], values, strict=True))))
    return pd.concat(frames, ignore_index=True)


def redrawn(values: pd.Series, music: pd.Series, draws: int = 4000) -> tuple[float, float]:
    """95% interval of the mean, pieces redrawn one draw after the other."""
    pieces = [group.to_numpy() for _, group in values.groupby(music.to_numpy())]
    generator = np.random.default_rng(7)
    means = []
    for _ in range(draws):
        drawn = generator.integers(0, len(pieces), len(pieces))
        means.append(np.concatenate([pieces[i] for i in drawn]).mean())
    return tuple(np.quantile(means, [0.025, 0.975]))


def test_conditions_are_right(store: SweepStore, tmp_path: Path) -> None:
    write_sweep_report(store, tmp_path / "report")
    table = pd.read_csv(tmp_path / "report" / "table.csv", keep_default_na=False)
    groups = rows_of(store).groupby(KEYS, sort=False)
    assert len(table) == len(groups) == 6
    for (values, group), (_, row) in zip(groups, table.iterrows(), strict=True):
        assert (row["music.beats"], row["music.spectral"]) == values
        means = group.groupby("seed").corrected.mean()
        low, high = stats.t.interval(0.95, 2, means.mean(), stats.sem(means))
        assert [row[METRIC], row.seeds_low, row.seeds_high] == pytest.approx(
            [means.mean(), low, high]
        )
        ends = redrawn(group.corrected, group.music_id)
        assert (row.clips_low, row.clips_high) == pytest.approx(ends, abs=0.02)
        assert float(row.half_beat_off) == pytest.approx(group.half_beat_off.mean())
        assert row.other_music == ""


@pytest.mark.parametrize("style", [False, True, None])
@pytest.mark.parametrize(("first", "second"), [("frame", "global"), ("frame", "none")])
def test_paired_differences_are_right(
    store: SweepStore, tmp_path: Path, first: str, second: str, style: bool | None
) -> None:
    write_sweep_report(store, tmp_path / "report")
    where = "all" if style is None else f"spectral={str(style).lower()}"
    table = pd.read_csv(tmp_path / "report" / "differences.csv", keep_default_na=False)
    row = table.set_index(["first", "second", "where"]).loc[first, second, where]
    rows = rows_of(store)
    if style is not None:
        rows = rows[rows["music.spectral"] == style]
    wide = rows.pivot_table(
        index=["clip", "music_id", "seed", "music.spectral"],
        columns="music.beats",
        values="corrected",
    )
    difference = (wide[first] - wide[second]).reset_index(name="value")
    assert row.pairs == len(difference) == CLIPS * 3 * (2 if style is None else 1)
    assert row.difference == pytest.approx(difference.value.mean())
    ends = redrawn(difference.value, difference.music_id)
    assert (row.low, row.high) == pytest.approx(ends, abs=0.01)
    seeds = difference.groupby("seed").value.mean()
    assert json.loads(row.each_seed) == pytest.approx({str(k): v for k, v in seeds.items()})
    assert row.same_sign == (seeds > 0).all()
    clips = difference.groupby("clip").value.mean()
    assert row.d_z == pytest.approx(clips.mean() / clips.std())


def test_pairing_cancels_what_clips_share(store: SweepStore) -> None:
    trials = read_trials(store)
    single = conditions(trials, KEYS, METRIC)[-1].over_clips
    paired = contrasts(trials, KEYS, METRIC)
    frame = next(c for c in paired if (c.first, c.second, c.where) == ("frame", "none", "all"))
    assert frame.difference.high - frame.difference.low < 0.5 * (single.high - single.low)
    assert frame.difference.low > 0.25
    assert frame.same_sign
    pooled = [(c.parameter, c.second, c.first) for c in paired if c.where == "all"]
    assert pooled == [
        ("music.beats", "none", "global"),
        ("music.beats", "none", "frame"),
        ("music.beats", "global", "frame"),
        ("music.spectral", "false", "true"),
    ]


def test_a_seed_that_disagrees_is_told(store: SweepStore) -> None:
    trials = [t for t in read_trials(store) if not t.values["music.spectral"]]
    for bad in (False, True):
        if bad:
            fallen = {**trials[-2].metrics, METRIC: -9.0}
            trials[-2] = replace(trials[-2], metrics=fallen)
        found = {(c.first, c.second): c for c in contrasts(trials, KEYS[:1], METRIC)}
        assert found["frame", "none"].same_sign is not bad


def test_report_files(store: SweepStore, tmp_path: Path) -> None:
    report = write_sweep_report(store, tmp_path / "report").read_text()
    assert "Trials: 18 complete. Each was scored on 24 held-out clips of 12 pieces" in report
    assert len(re.findall(r"^\| (none|global|frame) ", report, re.MULTILINE)) == 6
    assert report.count("| frame − global |") == 3
    latex = (tmp_path / "report" / "tables.tex").read_text()
    assert latex.count(r"\begin{tabular}") == 2
    assert latex.count(r"\\") == 7 + 1 + (9 + 4)
    assert (tmp_path / "report" / "figure.svg").stat().st_size > 2000
    trials = pd.read_csv(tmp_path / "report" / "trials.csv", keep_default_na=False)
    assert list(trials.trial) == list(range(18))
    means = rows_of(store).groupby([*KEYS, "seed"], sort=False).corrected.mean()
    assert list(trials[METRIC]) == pytest.approx(list(means))


def test_rows_behind_the_report_are_all_there(store: SweepStore, tmp_path: Path) -> None:
    write_sweep_report(store, tmp_path / "report")
    written = pd.read_csv(tmp_path / "report" / "clips.csv", keep_default_na=False)
    expected = rows_of(store)[["music.beats", "seed", "clip", "music_id", "corrected"]]
    pd.testing.assert_frame_equal(written[expected.columns], expected)


def test_mixed_protocols_are_said_and_not_subtracted(store: SweepStore, tmp_path: Path) -> None:
    shutil.copytree(store.root, tmp_path / "copy")
    mixed = SweepStore(tmp_path / "copy", store.sweep, [])
    for number in (15, 16, 17):
        other = mixed.folder(number) / "evaluation" / "protocol.json"
        other.write_text(json.dumps({"hash": "another"}))
    report = write_sweep_report(mixed, tmp_path / "report").read_text()
    assert "scored by 2 protocols" in report
    with (tmp_path / "report" / "differences.csv").open() as file:
        rows = {(r["first"], r["second"], r["where"]): r for r in csv.DictReader(file)}
    assert ("frame", "none", "spectral=true") not in rows
    assert rows["frame", "none", "all"]["pairs"] == str(CLIPS * 3)


def test_cells_are_escaped() -> None:
    table = Table(("a_b", "c"), (("50% & more", "x|y"),), "cap_tion", frozenset({"c"}))
    assert r"50\% \& more" in table.latex()
    assert r"a\_b" in table.latex()
    assert r"x\|y" in table.markdown()
    assert "lr" in table.latex()


def test_long_names_stay_inside_the_figure(tmp_path: Path) -> None:
    words = " ".join(f"stage2.network.setting{number}=value" for number in range(6))
    over = Interval(0.1, 0.0, 0.2, 40, 10)
    found = [Condition(f"change={words}", (words,), (0.1,), over, over, {}) for _ in range(2)]
    pair = Contrast("change", words, words, "all", over, {0: 0.1}, 0.5)
    draw_sweep(found, [pair], "heldout/corrected", tmp_path / "figure.png")
    picture = read_image(tmp_path / "figure.png")
    assert picture[:, :, 0].min() == 255  # what is cut off ends at the edge
