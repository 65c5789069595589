"""The study of the metric: its simulated beats, its controls and its ways to read frames."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.studies.metric import study, sweeps
from experiments.studies.metric.members import (
    Dances,
    Performance,
    beats_of_others,
    clips_needed,
    doubled_beats,
    random_beats,
    simulate,
)
from experiments.studies.metric.report import page
from metrics import functional as F
from metrics.functional.bootstrap import Interval


def performance(name: str, period: float) -> Performance:
    """A dance of 4 s whose music beats are evenly spaced."""
    return Performance(
        music_id=name,
        genre="BR",
        fps=10.0,
        window=F.observable_window(40, 10.0),
        beats=(0.13 + period * torch.arange(9, dtype=torch.float64))[None],
        motion={},
        audio=np.zeros(0, np.float32),
        sample_rate=0,
    )


def test_the_page_shows_the_numbers() -> None:
    committed = Path(study.__file__).parents[1] / "results" / "metric" / "results.json"
    results = json.loads(committed.read_text())
    (folder,) = results["folders"].values()
    score = vars(Interval(0.1, 0.05, 0.2, 7, 3))
    results |= {
        "settings": {"clips": 2, "seed": 0, "metric_version": 2},
        "clips_needed": {"corrected": {"0.1": 400.0, "0.2": 101.0}},
        "departures": {"cameras": [("1 px", 0.949, 0.636)], "noises": [(0.5, 0.0, 1.0)]},
        "folders": {
            "outputs": dict.fromkeys([*folder, "av_align"], score),
            "others": {**folder, "av_align": score},
        },
    }
    results["sweeps"]["wrong"]["means"]["corrected"][2] = 0.8
    text = page(results, "dabfusion study metric --clips 2")
    assert "    dabfusion study metric --clips 2\n" in text
    assert "| shifted by half a beat | 0.800 |" in text
    assert "| 2D-MM Align, corrected | 400 | 101 |" in text
    assert "| 1 px | 0.949 | 0.636 |" in text
    assert "| 0.5 | 0% | 100% |" in text
    assert "| --- | ---: | ---: |\n| clips | 7 of 3 songs | 38 of 20 songs |\n" in text
    assert "| corrected | 0.100 [0.050, 0.200] | 0.002 [" in text
    assert "Videos of other methods" not in page({**results, "folders": {}}, "")


def test_more_beats_hit_score_more_and_need_fewer_clips() -> None:
    base = [performance("a", 0.5), performance("b", 0.61)]
    random = np.random.default_rng(0)
    means = [simulate(base, share, 60, random)["corrected"].mean() for share in (0, 0.5, 1)]
    assert abs(means[0]) < 0.1
    assert means[0] < means[1] < means[2]
    assert means[2] > 0.9
    needed = clips_needed(base, (0.2, 0.8), seed=0)
    assert all(counts["0.8"] < counts["0.2"] for counts in needed.values())
    hits = random_beats(base[0], 1.0, 5, random)
    inside = F.keep_inside(base[0].beats, base[0].window)
    assert hits.shape == (5, int((~inside.isnan()).sum()))


def test_music_at_other_tempos_and_from_other_clips() -> None:
    one, other = performance("a", 0.5), performance("b", 0.61)
    assert np.diff(doubled_beats(one)[0].tolist()).max() == pytest.approx(0.25)
    assert beats_of_others([one, other])(one) is other.beats


def test_conditions_of_every_kind_are_scored() -> None:
    dances = Dances(2, 0)
    conditions = sweeps.SWEEPS["wrong"].conditions
    corrected = {k: float(score(dances)["corrected"].mean()) for k, score in conditions.items()}
    assert corrected["on the beat"] > 0.8
    assert corrected["shifted by half a beat"] < 0
    assert corrected["still"] == 0
    assert conditions["still"](dances)["mint"].shape == (2,)
    for key in ("offset", "tempo", "metre", "genres", "hits"):
        found = sweeps.measure_sweep(sweeps.SWEEPS[key], dances)
        assert np.isfinite(found["means"]["corrected"]).all(), key
        assert (len(found["places"]) == 2) == (key == "genres")  # no dance has the other genres
    small = sweeps.rendered("size", (32,))["32"](dances)
    assert small["corrected"].mean() > 0.8
    tracked = sweeps.SWEEPS["rhythms"].conditions["even, tracked"](dances)
    assert tracked["corrected"].mean() > 0.5


def test_a_shaking_camera_needs_stabilized_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "CAMERAS", {"2 px": {"camera_shake_px": 2.0}})
    monkeypatch.setattr(sweeps, "NOISES", (4.0,))
    found = sweeps.measure_departures(2, 0)
    ((name, stabilized, plain),) = found["cameras"]
    assert name == "2 px"
    assert stabilized > plain + 0.3
    assert found["noises"] == [(4.0, 0.0, 0.0)]
