"""The empty view and the dancer's place, against the renderer that knows both."""

from __future__ import annotations

import numpy as np
import pytest

from datamodules.scene import View, dancer_mask, empty_view, measure_view
from datamodules.synthetic.dataset import DanceSpec, RenderedClip, render_clip


@pytest.fixture(scope="module")
def dance() -> RenderedClip:
    return render_clip(DanceSpec(name="gBR_sBM_c01_d04_mBR1_ch03", size=96, seconds=4.0))


def measured(dance: RenderedClip, points: bool) -> View:
    frames = dance.frames.permute(0, 2, 3, 1).numpy()
    return measure_view(frames, np.asarray(dance.keypoints) if points else None)


def figure(dance: RenderedClip) -> np.ndarray:
    """(T, S, S): pixels that are not the wall or the floor of their row."""
    frames = dance.frames.permute(0, 2, 3, 1).numpy().astype(int)
    return np.abs(frames - frames[:, :, :1]).max(axis=-1) > 60


@pytest.mark.parametrize("points", [True, False])
def test_the_dancer_is_gone_and_the_room_stays(dance: RenderedClip, points: bool) -> None:
    view = measured(dance, points)
    frames = dance.frames.permute(0, 2, 3, 1).numpy().astype(int)
    empty = view.background.astype(int)
    assert np.abs(empty - frames[0])[:, :10].mean() < 6  # the edge, where nobody dances
    left = np.abs(empty - empty[:, :1]).max(axis=-1)
    assert (left > 60).mean() < 0.1 * figure(dance).mean()


def test_key_points_say_how_tall_she_is(dance: RenderedClip) -> None:
    view = measured(dance, True)
    rows = [np.flatnonzero(mask.any(axis=1)) for mask in figure(dance)]
    soles = np.median([r[-1] + 1 for r in rows]) / 96
    assert view.feet == pytest.approx(soles, abs=0.03)
    wrists = np.asarray(dance.keypoints)[:, (9, 10), 1].min(axis=1)
    lowered = wrists > np.asarray(dance.keypoints)[:, 0, 1] + 4
    tallest = np.quantile([np.ptp(r) + 1 for r, low in zip(rows, lowered, strict=True) if low], 0.9)
    assert view.height == pytest.approx(tallest / 96, rel=0.08)
    rough = measured(dance, False)
    assert rough.height == pytest.approx(view.height, rel=0.3)
    assert rough.feet == pytest.approx(view.feet, abs=0.06)
    assert rough.center == pytest.approx(view.center, abs=0.1)


def test_what_is_never_seen_is_filled_from_both_sides_of_its_row() -> None:
    ramp = np.broadcast_to(np.arange(20, dtype=np.uint8)[None, :, None] * 10, (20, 20, 3))
    frames = np.stack([ramp] * 3).copy()
    hidden = np.zeros((3, 20, 20), bool)
    hidden[:, 5:9, 6:14] = True
    frames[hidden] = 255
    frames[0, 15, 3] = 250  # hidden once
    hidden[0, 15, 3] = True
    assert np.array_equal(empty_view(frames, hidden), ramp)


def test_a_still_picture_has_no_dancer() -> None:
    frames = np.full((5, 16, 16, 3), 90, np.uint8)
    assert measure_view(frames, None).height == 0.0
    unknown = np.zeros((5, 17, 3), np.float32)
    assert measure_view(frames, unknown).height == 0.0
    assert dancer_mask(unknown[0], 16).all()
