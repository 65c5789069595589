"""The study of the metric: its simulated lists, its report from known numbers, its departures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.studies.metric.conclusions import conclude
from experiments.studies.metric.departures import Departures, departures_text
from experiments.studies.metric.members import (
    MEMBERS,
    Performance,
    doubled,
    every_second,
    others,
    with_random_beats,
)
from experiments.studies.metric.plots import draw_power, draw_sweeps
from experiments.studies.metric.report import write_report
from experiments.studies.metric.sweeps import Sweep, clips_needed, shifted, simulate
from metrics import functional as F
from metrics.functional.bootstrap import Interval

#: Places that the conclusions speak of, by sweep.
PLACES = {
    "offset": ["0", "0.5"],
    "tempo": ["+2", "+5", "+10"],
    "metre": ["half", "true", "double"],
    "jitter_off": ["0", "1"],
    "limbs": ["0", "0.5"],
    "fps": ["10", "20", "30", "60"],
    "fps_off": ["10", "60"],
    "size": ["32", "256"],
    "shake": ["0", "1"],
    "pan": ["0", "0.1"],
    "noise": ["0", "16"],
    "compression": ["18", "44"],
    "rhythms": ["even", "even, tracked", "swing", "swing, tracked"],
    "genres": ["BR", "PO"],
    "wrong": [
        "on the beat", "other clip's music", "half a beat off", "still", "still, with noise"
    ],
}  # fmt: skip


def performance(name: str, period: float) -> Performance:
    """A dance of 4 s whose beats are an even ladder."""
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


def known_sweeps() -> list[Sweep]:
    """All sweeps, the score of every member at place k being 0.9 - 0.1 k for both clips."""
    sweeps = []
    for key, places in PLACES.items():
        sweep = Sweep(key, f"turning {key}", "")
        for k, place in enumerate(places):
            sweep.add(place, float(k), {m: np.full(2, 0.9 - 0.1 * k) for m in MEMBERS})
        sweeps.append(sweep)
    return sweeps


def test_the_report_says_what_was_measured(tmp_path: Path) -> None:
    sweeps = known_sweeps()
    needed = {
        "corrected": {"0.1": 400.0, "0.2": 101.0},
        "phase_cosine": {"0.1": 300.0, "0.2": 77.0},
    }
    names = ("corrected", "control_difference", "other_difference", "f1_corrected", "phase_cosine",
             "raw", "chance", "av_align", "bas_mint", "bas_bailando")  # fmt: skip
    folders = {"outputs": {name: Interval(0.1, 0.05, 0.2, 7, 3) for name in names}}
    conclusions = conclude(sweeps, needed, folders)
    departures = Departures([("1 px of shake", 0.949, 0.636)], [(0.5, 0.0, 1.0)])
    settings = {"clips": 2, "seed": 0, "metric_version": 2}
    report = write_report(sweeps, needed, folders, conclusions, settings, departures)
    assert "0.900 on the beat" in report
    assert "0.700 half a beat off" in report
    assert "101 clips by 2D-MM Align, corrected" in report
    assert "**Outputs.** 7 clips: corrected 0.100 [0.050, 0.200]" in report
    assert "above chance" in report
    assert "| 1 px of shake | 0.949 | 0.636 |" in report
    assert "| 0.5 | 0% | 100% |" in report
    assert "0.900 [0.900, 0.900] at 10" in report
    draw_sweeps(sweeps[-2:], tmp_path / "sweeps.png")
    draw_power(needed, tmp_path / "power.png")
    assert (tmp_path / "sweeps.png").stat().st_size > 10_000


def test_departures_are_two_tables() -> None:
    text = departures_text(Departures([("a", 0.5, 0.25)], [(1.0, 0.1, 0.9)]))
    assert text.count("| --- |") == 2
    assert "| a | 0.500 | 0.250 |" in text


def test_more_beats_hit_score_more_and_take_fewer_clips() -> None:
    base = [performance("a", 0.5), performance("b", 0.61)]
    random = np.random.default_rng(0)
    means = [simulate(base, share, 60, random)["corrected"].mean() for share in (0, 0.5, 1)]
    assert abs(means[0]) < 0.1
    assert means[0] < means[1] < means[2]
    assert means[2] > 0.9
    needed = clips_needed(base, (0.2, 0.8), seed=0)
    assert all(counts["0.8"] < counts["0.2"] for counts in needed.values())
    hits = with_random_beats(base[0], 1.0, 5, random)
    inside = F.keep_inside(base[0].beats, base[0].window)
    assert hits.shape == (5, int((~inside.isnan()).sum()))


def test_music_at_other_tempi_and_places() -> None:
    one, other = performance("a", 0.5), performance("b", 0.61)
    assert every_second(one)[0, :2].tolist() == pytest.approx([0.13, 1.13])
    assert np.diff(doubled(one)[0].tolist()).max() == pytest.approx(0.25)
    assert shifted(one, 0.5)[0, 1].item() == pytest.approx(0.38)
    assert others([one, other])(one) is other.beats
