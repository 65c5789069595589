"""All metric classes behave as torchmetrics classes do: keyword arguments, merging, caching."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torchmetrics import Metric

import metrics

BEATS = torch.arange(0.5, 4.0, 0.5)[None]


def motion(seed: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    speed = 20 * torch.rand(2, 39, generator=generator)
    return {"motion": speed, "fps": 10.0, "music_beats": BEATS.expand(2, -1)}


def features(seed: int) -> torch.Tensor:
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))


def both_sides(name: str) -> Callable[[Metric, int], None]:
    def update(metric: Metric, seed: int) -> None:
        metric.update(features(seed), **{name: True})
        metric.update(features(seed + 10) + 1, **{name: False})

    return update


def dance(metric: Metric, seed: int) -> None:
    metric.update(**motion(seed))


def jerk(metric: Metric, seed: int) -> None:
    given = motion(seed)
    metric.update(motion=given["motion"], fps=10.0)


def preset(metric: Metric, seed: int) -> None:
    given = motion(seed)
    metric.update(speed=given["motion"], fps=10.0, music_beats=given["music_beats"])


def onsets(metric: Metric, seed: int) -> None:
    magnitude = torch.rand(2, 40, generator=torch.Generator().manual_seed(seed))
    metric.update(magnitude=magnitude, fps=10.0, onsets=BEATS.expand(2, -1))


def video(metric: Metric, seed: int) -> None:
    frames = torch.rand(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    metric.update(frames)


KINDS: dict[str, tuple[dict[str, Any], Callable[[Metric, int], None]]] = {
    "AVAlign": ({}, onsets),
    "BeatAlignmentScore": ({}, preset),
    "BeatF1": ({}, dance),
    "PhaseCosine": ({}, dance),
    "MotionMusicAlignment2D": ({}, dance),
    "FrechetVideoDistance": ({"dimension": 3}, both_sides("real")),
    "KernelVideoDistance": ({"dimension": 3, "capacity": 16}, both_sides("real")),
    "MotionDiversity": (
        {"dimension": 3, "capacity": 16},
        lambda metric, seed: metric.update(features(seed)),
    ),
    "MotionJerk": ({}, jerk),
    "NearestTrainingClip": ({"dimension": 3, "capacity": 16}, both_sides("training")),
    "WarpError": ({}, video),
}


def make(name: str, **changes: Any) -> Metric:
    metric = getattr(metrics, name)(**{**KINDS[name][0], **changes})
    assert isinstance(metric, Metric)
    return metric


def same(first: Any, second: Any) -> None:
    torch.testing.assert_close(first, second, equal_nan=True)


def test_the_table_above_is_complete() -> None:
    ours = {name for name, home in metrics._HOMES.items() if home.startswith("metrics.")}
    assert ours == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_keyword_arguments_of_torchmetrics_are_passed_on(name: str) -> None:
    metric = make(name, sync_on_compute=False, compute_with_cache=False, dist_sync_on_step=False)
    assert metric.sync_on_compute is False
    assert metric.compute_with_cache is False
    with pytest.raises(ValueError, match="Unexpected keyword arguments"):
        make(name, misspelt=1)


@pytest.mark.filterwarnings("error:The ``compute`` method")
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("as_state", [False, True])
def test_merging_equals_updating_one_metric(name: str, as_state: bool) -> None:
    update = KINDS[name][1]
    whole, first, second = make(name), make(name), make(name)
    for metric, seeds in ((whole, (0, 1)), (first, (0,)), (second, (1,))):
        for seed in seeds:
            update(metric, seed)
    alone = second.compute()
    first.compute()  # its cached result must not survive the merge
    first.merge_state(second.metric_state if as_state else second)
    same(first.compute(), whole.compute())
    same(second.compute(), alone)
    fresh = make(name)
    fresh.merge_state(second)
    same(fresh.compute(), alone)


@pytest.mark.parametrize("name", KINDS)
def test_what_cannot_be_merged_is_refused(name: str) -> None:
    other = make("MotionJerk" if name != "MotionJerk" else "WarpError")
    with pytest.raises(ValueError, match="cannot be merged"):
        make(name).merge_state(other)
    with pytest.raises(ValueError, match="lacks"):
        make(name).merge_state({})


def test_other_settings_and_full_buffers_are_refused() -> None:
    with pytest.raises(ValueError, match="other settings"):
        metrics.BeatF1(tolerance=0.1).merge_state(metrics.BeatF1())
    first, second = make("KernelVideoDistance", capacity=6), make("KernelVideoDistance")
    both_sides("real")(first, 0)
    both_sides("real")(second, 1)
    before = first.compute()
    with pytest.raises(ValueError, match="larger capacity"):
        first.merge_state(second)
    same(first.compute(), before)


def test_features_of_other_extractors_are_refused() -> None:
    from metrics.fixed_features import FixedVideoFeatures

    ours = metrics.FrechetVideoDistance(FixedVideoFeatures())
    with pytest.raises(ValueError, match="one extractor"):
        ours.merge_state(metrics.FrechetVideoDistance(dimension=64))
