"""The study of the metric: its simulated beats, its controls and its ways to read frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from experiments.studies.metric import departures, sweeps
from experiments.studies.metric.members import (
    MEMBERS,
    Performance,
    doubled,
    others,
    simulate,
    with_random_beats,
)
from experiments.studies.metric.report import FOLDER_SCORES, SUMMARY, page
from metrics import functional as F
from metrics.functional.bootstrap import Interval


def performance(name: str, period: float) -> Performance:
    """A dance of 4 s whose beats are evenly spaced."""
    return Performance(
        name=name,
        music_id=name,
        genre="BR",
        fps=10.0,
        signal=F.MotionSignal(torch.rand(1, 39), torch.ones(1), 128),
        magnitude=torch.rand(1, 40),
        keypoints=torch.rand(1, 40, 17, 2),
        beats=(0.13 + period * torch.arange(9, dtype=torch.float64))[None],
    )


def test_the_page_shows_the_numbers() -> None:
    places: dict[str, list[str]] = {}
    for _, key, place in SUMMARY:
        places.setdefault(key, []).append(place)
    found = {
        key: {"places": names, "means": dict.fromkeys(MEMBERS, [0.9, 0.8, 0.7, 0.6][: len(names)])}
        for key, names in places.items()
    }
    results = {
        "settings": {"clips": 2, "seed": 0, "metric_version": 2},
        "sweeps": found,
        "clips_needed": {"corrected": {"0.1": 400.0, "0.2": 101.0}},
        "departures": {"cameras": [("1 px", 0.949, 0.636)], "noises": [(0.5, 0.0, 1.0)]},
        "folders": {"outputs": {k: vars(Interval(0.1, 0.05, 0.2, 7, 3)) for k in FOLDER_SCORES}},
    }
    text = page(results, "dabfusion study metric --clips 2")
    assert "    dabfusion study metric --clips 2\n" in text
    assert "| shifted by half a beat | 0.800 |" in text
    assert "| 2D-MM Align, corrected | 400 | 101 |" in text
    assert "| 1 px | 0.949 | 0.636 |" in text
    assert "| 0.5 | 0% | 100% |" in text
    assert "| clips | 7 of 3 songs |" in text
    assert "| corrected | 0.100 [0.050, 0.200] |" in text


def test_more_beats_hit_score_more_and_need_fewer_clips() -> None:
    base = [performance("a", 0.5), performance("b", 0.61)]
    random = np.random.default_rng(0)
    means = [simulate(base, share, 60, random)["corrected"].mean() for share in (0, 0.5, 1)]
    assert abs(means[0]) < 0.1
    assert means[0] < means[1] < means[2]
    assert means[2] > 0.9
    needed = sweeps.clips_needed(base, (0.2, 0.8), seed=0)
    assert all(counts["0.8"] < counts["0.2"] for counts in needed.values())
    hits = with_random_beats(base[0], 1.0, 5, random)
    inside = F.keep_inside(base[0].beats, base[0].window)
    assert hits.shape == (5, int((~inside.isnan()).sum()))


def test_music_at_other_tempos_and_from_other_clips() -> None:
    one, other = performance("a", 0.5), performance("b", 0.61)
    assert np.diff(doubled(one)[0].tolist()).max() == pytest.approx(0.25)
    assert others([one, other])(one) is other.beats


def test_conditions_of_every_kind_are_scored() -> None:
    dances = sweeps.Dances(2, 0)
    scores = dict(sweeps.SWEEPS["wrong"].conditions(dances))
    corrected = {place: float(found["corrected"].mean()) for place, found in scores.items()}
    assert corrected["on the beat"] > 0.8
    assert corrected["shifted by half a beat"] < 0
    assert corrected["still"] == 0
    assert {found["mint"].shape for found in scores.values()} == {(2,)}
    for key in ("offset", "tempo", "metre", "genres", "hits"):
        places = dict(sweeps.SWEEPS[key].conditions(dances))
        assert all(np.isfinite(found["corrected"]).all() for found in places.values()), key
    sizes = dict(sweeps.rendered("size", (32,))(dances))
    assert sizes["32"]["corrected"].mean() > 0.8


def test_a_shaking_camera_needs_stabilized_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departures, "CAMERAS", (("2 px", {"camera_shake_px": 2.0}),))
    monkeypatch.setattr(departures, "NOISES", (4.0,))
    found = departures.measure_departures(2, 0)
    ((name, stabilized, plain),) = found["cameras"]
    assert name == "2 px"
    assert stabilized > plain + 0.3
    assert found["noises"] == [(4.0, 0.0, 0.0)]
