"""The published beat ablation, recomputed from the rows that are published with it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

RESULTS = Path(__file__).parents[3] / "experiments" / "studies" / "results" / "beat_ablation"
PAIR = ["clip", "music_id", "seed", "music.spectral"]


@pytest.fixture(scope="module")
def clips() -> pd.DataFrame:
    return pd.read_csv(RESULTS / "clips.csv", keep_default_na=False)


def interval(values: pd.Series, music: pd.Series) -> tuple[float, float]:
    """95% bootstrap interval of the mean, resampled by song."""
    groups = values.groupby(music.to_numpy())
    sums, counts = groups.sum().to_numpy(), groups.count().to_numpy()
    drawn = np.random.default_rng(3).integers(0, len(sums), (20_000, len(sums)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def test_every_condition_has_its_seeds_and_clips(clips: pd.DataFrame) -> None:
    counts = clips.groupby(["music.beats", "music.spectral"]).seed.agg(["nunique", "size"])
    assert len(counts) == 6
    assert (counts["nunique"] >= 3).all()
    assert counts["size"].nunique() == 1


def test_conditions(clips: pd.DataFrame) -> None:
    table = pd.read_csv(RESULTS / "table.csv", keep_default_na=False)
    names = ["music.beats", "music.spectral"]
    for _, row in table.iterrows():
        rows = clips[(clips[names[0]] == row[names[0]]) & (clips[names[1]] == row[names[1]])]
        # Rows are published with six decimals.
        assert row["heldout/corrected"] == pytest.approx(rows.corrected.mean(), abs=1e-5)
        ends = interval(rows.corrected, rows.music_id)
        assert (row.clips_low, row.clips_high) == pytest.approx(ends, abs=0.01)
        for control in ("half_beat_off", "shifted", "other_music"):
            assert row[control] == pytest.approx(rows[control].mean(), abs=1e-5)


def test_differences_and_their_intervals(clips: pd.DataFrame) -> None:
    table = pd.read_csv(RESULTS / "differences.csv", keep_default_na=False)
    table = table.set_index(["first", "second", "where"])
    wide = clips.pivot_table(index=PAIR, columns="music.beats", values="corrected").reset_index()
    for second in ("global", "none"):
        for where in ("all", "spectral=false", "spectral=true"):
            rows = wide[wide["music.spectral"].astype(str).str.lower() == where[9:]]
            rows = wide if where == "all" else rows
            value = rows["frame"] - rows[second]
            row = table.loc["frame", second, where]
            assert row.difference == pytest.approx(value.mean(), abs=1e-5)
            low, high = interval(value, rows.music_id)
            assert (row.low, row.high) == pytest.approx((low, high), abs=0.01)
            seeds = value.groupby(rows.seed).mean()
            assert list(json.loads(row.each_seed).values()) == pytest.approx(list(seeds), abs=1e-5)
            assert low > 0
            assert (seeds > 0).all()


def test_frame_scores_fall_with_shifted_music(clips: pd.DataFrame) -> None:
    frame = clips[clips["music.beats"] == "frame"]
    assert interval(frame.half_beat_off, frame.music_id)[1] < 0
    assert abs(frame["shifted"].mean()) < 0.02
    assert interval(frame.other_music, frame.music_id)[1] < 0.02
