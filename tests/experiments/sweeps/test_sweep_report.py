"""The report's tables, computed again from the trials' own rows by other code."""

import csv
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from runs_on_disk import add_evaluation, make_run
from scipy import stats

from datamodules.media.video import read_image
from experiments.sweeps.analysis import conditions, contrasts, read_trials
from experiments.sweeps.grammar import load_sweep
from experiments.sweeps.report import draw_sweep, write_sweep_report
from experiments.sweeps.store import SweepStore

BEATS, STYLES, SEEDS, CLIPS = ("none", "global", "frame"), (False, True), (0, 1, 2), 24
GAIN = {"none": 0.0, "global": 0.1, "frame": 0.4}
KEYS = ["music.beats", "music.spectral"]
METRIC = "heldout/corrected"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SweepStore:
    """A finished beat ablation with made-up trials."""
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


def resampled(values: pd.Series, music: pd.Series, draws: int = 4000) -> tuple[float, float]:
    """95% interval of the mean, resampled by song, one draw after the other."""
    songs = [group.to_numpy() for _, group in values.groupby(music.to_numpy())]
    generator = np.random.default_rng(7)
    means = []
    for _ in range(draws):
        drawn = generator.integers(0, len(songs), len(songs))
        means.append(np.concatenate([songs[i] for i in drawn]).mean())
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
        ends = resampled(group.corrected, group.music_id)
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
    ends = resampled(difference.value, difference.music_id)
    assert (row.low, row.high) == pytest.approx(ends, abs=0.01)
    seeds = difference.groupby("seed").value.mean()
    assert json.loads(row.each_seed) == pytest.approx({str(k): v for k, v in seeds.items()})
    assert row.same_sign == (seeds > 0).all()
    clips = difference.groupby("clip").value.mean()
    assert row.d_z == pytest.approx(clips.mean() / clips.std())


def test_pairing_cancels_what_clips_share(store: SweepStore) -> None:
    trials, clips = read_trials(store)
    single = conditions(trials, clips, KEYS, METRIC).iloc[-1]
    paired = contrasts(trials, clips, KEYS, METRIC).set_index(["first", "second", "where"])
    frame = paired.loc["frame", "none", "all"]
    assert frame.high - frame.low < 0.5 * (single.clips_high - single.clips_low)
    assert frame.low > 0.25
    assert frame.same_sign
    pooled = [index[:2] for index in paired.index if index[2] == "all"]
    assert pooled == [("global", "none"), ("frame", "none"), ("frame", "global"), ("true", "false")]


def test_seeds_that_disagree_in_sign_are_reported(store: SweepStore) -> None:
    trials, clips = read_trials(store)
    trials = trials[trials["music.spectral"] == "false"].reset_index(drop=True)
    for bad in (False, True):
        if bad:
            trials.loc[len(trials) - 2, METRIC] = -9.0
        found = contrasts(trials, clips, KEYS[:1], METRIC).set_index(["first", "second"])
        assert found.loc[("frame", "none"), "same_sign"] == (not bad)


def test_report_files(store: SweepStore, tmp_path: Path) -> None:
    report = write_sweep_report(store, tmp_path / "report").read_text()
    assert "Trials: 18 complete. Each was scored on 24 held-out clips of 12 songs" in report
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


def test_all_rows_behind_the_report_are_written(store: SweepStore, tmp_path: Path) -> None:
    write_sweep_report(store, tmp_path / "report")
    written = pd.read_csv(tmp_path / "report" / "clips.csv", keep_default_na=False)
    expected = rows_of(store)[["music.beats", "seed", "clip", "music_id", "corrected"]]
    pd.testing.assert_frame_equal(written[expected.columns], expected)


def test_trials_of_different_protocols_are_not_compared(store: SweepStore, tmp_path: Path) -> None:
    shutil.copytree(store.root, tmp_path / "copy")
    mixed = SweepStore(tmp_path / "copy", store.sweep, [])
    for number in (15, 16, 17):
        (folder,) = (mixed.root / "trials").glob(f"trial-{number:03d}-*")
        rows = pd.read_csv(folder / "evaluation" / "clips.csv")
        add_evaluation(folder, "another", {n: list(rows[n]) for n in rows.columns[2:]})
    report = write_sweep_report(mixed, tmp_path / "report").read_text()
    assert "scored by 2 protocols" in report
    with (tmp_path / "report" / "differences.csv").open() as file:
        rows = {(r["first"], r["second"], r["where"]): r for r in csv.DictReader(file)}
    assert ("frame", "none", "spectral=true") not in rows
    assert rows["frame", "none", "all"]["pairs"] == str(CLIPS * 3)


def test_long_names_stay_inside_the_figure(tmp_path: Path) -> None:
    words = " ".join(f"stage2.network.setting{number}=value" for number in range(6))
    ends = {"low": 0.0, "high": 0.2}
    both = {f"{over}_{end}": value for over in ("seeds", "clips") for end, value in ends.items()}
    controls = dict.fromkeys(["half_beat_off", "shifted", "other_music"], np.nan)
    row = {"change": words, METRIC: 0.1, **both, **controls, "each": [0.1]}
    pair = {"parameter": "change", "first": words, "second": words, "where": "all", **ends}
    draw_sweep(
        pd.DataFrame([row, row]),
        pd.DataFrame([{**pair, "difference": 0.1, "each_seed": {"0": 0.1}}]),
        ["change"],
        METRIC,
        tmp_path / "figure.png",
    )
    image = read_image(tmp_path / "figure.png")
    assert image[:, :, 0].min() == 255  # what is cut off ends at the edge


def test_a_random_search_lists_the_best_trial_first_and_escapes_names(tmp_path: Path) -> None:
    body = {
        "name": "a_search",
        "method": "random",
        "run_cap": 3,
        "metric": {"name": "val/score", "goal": "maximize"},
        "parameters": {"learning_rate": {"min": 0.0, "max": 1.0}},
        "command": ["true"],
    }
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(body))
    store = SweepStore(tmp_path / "out", load_sweep(str(tmp_path / "s.yaml")), [])
    report = write_sweep_report(store, tmp_path / "empty")
    assert "Trials: 3 waiting." in report.read_text()
    while (claim := store.claim()) is not None:
        store.study.tell(claim.trial, claim.values["learning_rate"])
        claim.lock.close()
    report = write_sweep_report(store, tmp_path / "report").read_text()
    table = pd.read_csv(tmp_path / "report" / "table.csv")
    assert list(table["val/score"]) == sorted(table["val/score"], reverse=True)
    assert len(table) == 3
    assert "## Differences" not in report
    latex = (tmp_path / "report" / "tables.tex").read_text()
    assert r"learning\_rate" in latex
    assert r"a\_search" in latex
