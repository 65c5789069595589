"""Rendered dancers, whose beats are known: the bars of the project's own score."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from datamodules.synthetic.dataset import DanceSpec, Scene, render_clip
from metrics import functional as F
from metrics.motion_source import beats_of

GENRES = ("BR", "PO", "LO", "MH", "LH", "HO", "WA", "KR", "JS", "JB")
SPECS = [
    DanceSpec(
        name=f"g{GENRES[k % 10]}_sBM_c01_d{k + 1:02d}_m{GENRES[k % 10]}{k % 6}_ch{1 + k % 10:02d}",
        seed=k,
        size=128,
    )
    for k in range(12)
]


def score_of_joints(spec: DanceSpec) -> float:
    """The corrected score from true keypoints: nothing is painted."""
    from datamodules.synthetic.music import beat_times

    scene = Scene(spec)
    points = torch.from_numpy(scene.keypoints())[None]
    beats = torch.from_numpy(beat_times(spec.seed, scene.music_id, spec.seconds, spec.pattern))
    motion, window = beats_of(F.motion_from_keypoints(points, spec.fps, spec.size), spec.fps)
    return F.align(motion, beats[None], window).corrected.item()


def score_of_frames(spec: DanceSpec) -> float:
    clip = render_clip(spec)
    motion, window = beats_of(F.motion_from_video(clip.frames[None], spec.fps), spec.fps)
    return F.align(motion, torch.from_numpy(clip.beats_s)[None], window).corrected.item()


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_joints_on_and_off_the_beat_at_every_frame_rate() -> None:
    on, off = {}, {}
    for fps in (10, 20, 30, 60):
        on[fps] = mean([score_of_joints(replace(s, fps=fps)) for s in SPECS])
        off[fps] = mean([score_of_joints(replace(s, fps=fps, beat_offset=0.5)) for s in SPECS])
    assert min(on.values()) >= 0.95
    assert max(off.values()) < 0
    assert max(on.values()) - min(on.values()) <= 0.03


def test_frames_on_and_off_the_beat() -> None:
    assert mean([score_of_frames(s) for s in SPECS[:4]]) >= 0.95
    assert score_of_frames(replace(SPECS[0], beat_offset=0.5)) < 0


def test_frames_with_a_shaking_camera() -> None:
    still = mean([score_of_frames(s) for s in SPECS[:3]])
    shaken = mean([score_of_frames(replace(s, camera_shake_px=1.0)) for s in SPECS[:3]])
    assert abs(still - shaken) <= 0.01


@pytest.mark.long
def test_frames_at_every_frame_rate() -> None:
    """The bar in full: 12 clips a frame rate, from pixels."""
    on = {}
    for fps in (10, 20, 30, 60):
        on[fps] = mean([score_of_frames(replace(s, fps=fps)) for s in SPECS])
        assert mean([score_of_frames(replace(s, fps=fps, beat_offset=0.5)) for s in SPECS]) < 0
    assert min(on.values()) >= 0.95
    assert max(on.values()) - min(on.values()) <= 0.03
    shaken = mean([score_of_frames(replace(s, camera_shake_px=1.0)) for s in SPECS])
    assert abs(shaken - on[10]) <= 0.01
