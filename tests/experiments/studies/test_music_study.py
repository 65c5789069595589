"""Probes find a planted relation and none in noise; the whole study runs."""

import json

import numpy as np
import pandas as pd
import pytest
from tiny_runs import TINY

from experiments import cli
from experiments.studies.music.measure import measure
from experiments.studies.music.probes import (
    canonical_correlation,
    explained,
    folds,
    hits,
    ridge,
    shuffled_groups,
)
from experiments.studies.music.report import page

GROUPS = [f"m{i % 12}" for i in range(240)]


def planted(noise: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(240, 30))
    return x, x[:, :1] * 2 - x[:, 3:4] + noise * rng.normal(size=(240, 1))


def test_a_group_is_held_out_as_a_whole_and_each_once() -> None:
    masks = list(folds(GROUPS))
    assert np.sum(masks, axis=0).tolist() == [1] * 240
    for mask in masks:
        inside = {g for g, m in zip(GROUPS, mask, strict=True) if m}
        assert not inside & {g for g, m in zip(GROUPS, mask, strict=True) if not m}
    with pytest.raises(ValueError, match="folds"):
        list(folds(["a", "b"]))


def test_ridge_is_least_squares_with_a_penalty_on_the_weights() -> None:
    rng = np.random.default_rng(1)
    for columns in (8, 40):
        x, y = rng.normal(size=(20, columns)), rng.normal(size=(20, 2))
        weights, offset = ridge(x, y, 3.0)
        # The penalty as further rows of a plain least-squares problem on centered columns.
        rows = np.concatenate([x - x.mean(0), np.sqrt(3.0) * np.eye(columns)])
        expected = np.linalg.lstsq(rows, np.pad(y - y.mean(0), ((0, columns), (0, 0))))[0]
        np.testing.assert_allclose(weights, expected, atol=1e-9)
        np.testing.assert_allclose((x @ weights + offset).mean(0), y.mean(0), atol=1e-9)


def test_a_planted_relation_is_found_and_noise_is_not() -> None:
    x, y = planted(0.1)
    assert explained(y, x, GROUPS).mean() > 0.95
    rng = np.random.default_rng(5)
    assert explained(y, rng.normal(size=x.shape), GROUPS).mean() < 0.05
    assert canonical_correlation(x[:, :6], np.concatenate([y, x[:, 20:23]], 1), GROUPS) > 0.9
    assert abs(canonical_correlation(rng.normal(size=(240, 6)), y, GROUPS)) < 0.25


def test_what_only_identifies_a_song_is_not_a_finding() -> None:
    """A feature that identifies the song cannot predict a target drawn for each song."""
    rng = np.random.default_rng(2)
    names = sorted(set(GROUPS))
    value = dict(zip(names, rng.normal(size=12), strict=True))
    x = np.eye(12)[[names.index(g) for g in GROUPS]]
    y = np.array([[value[g]] for g in GROUPS])
    assert explained(y, x, GROUPS).mean() < 0.05


def test_classes_are_predicted() -> None:
    x, y = planted(0.0)
    labels = ["high" if v > 0 else "low" for v in y[:, 0]]
    assert hits(labels, x, GROUPS).mean() > 0.85
    assert hits(labels, np.random.default_rng(3).normal(size=x.shape), GROUPS).mean() < 0.65


def test_shuffling_gives_every_song_the_features_of_another() -> None:
    rows = np.array([[float(group[1:])] for group in GROUPS])
    moved = shuffled_groups(rows, GROUPS)
    assert not (moved == rows).any()
    assert sorted(set(moved[:, 0])) == sorted(set(rows[:, 0]))


def test_every_probe_has_the_features_of_other_songs_as_its_control() -> None:
    rng = np.random.default_rng(4)
    x, frames = rng.normal(size=(240, 6)), rng.normal(size=(240, 5, 3))
    arrays = {
        "clips": {"beats": x},
        "frames": {"beats": frames},
        "motion": {"energy": 2 * x[:, :1], "speed": frames[:, :, 0] + 0.1},
    }
    genres = ["a" if group in ("m0", "m1", "m2") else group for group in GROUPS]
    results = measure(arrays, pd.DataFrame({"song": GROUPS, "genre": genres}))
    energy, genre = (results["clips"]["beats"][name] for name in ("energy", "genre"))
    assert energy["low"] > 0.95 > 0.1 > energy["other_music"]
    assert (
        results["frames"]["beats"]["mean"] > 0.95 > 0.1 > results["frames"]["beats"]["other_music"]
    )
    assert (genre["chance"], genre["reachable"]) == (0.25, 0.25)
    assert results["canonical"]["beats"]["own"] > 0.8
    text = page({"settings": {"clips": 240, "songs": 12, "data": "set"}, **results}, "command")
    assert "| genre | 0.25 | 25% |" in text


def test_the_study_runs_or_refuses_too_few_songs(data, tmp_path, capsys) -> None:
    words = [w for w in TINY if not w.startswith("music")]
    command = ["study", "music", *words, f"data={data}", "--clips", "20", "--out", str(tmp_path)]
    assert cli.main(command) in (0, 2)
    if (tmp_path / "results.json").exists():
        results = json.loads((tmp_path / "results.json").read_text())
        assert set(results["frames"]) == {"beats", "log-mel and chroma"}
        assert "genre" in results["clips"]["beats"]
    else:
        assert "at least 5" in capsys.readouterr().err
