"""Rendered clips: what is called true of them is true of their pixels and their sound."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import grid_sample

from datamodules.aist_names import GENRES, tempo_of
from datamodules.batch import KEYPOINTS
from datamodules.synthetic.clip import Scene
from datamodules.synthetic.dataset import DanceSpec, render_clip
from datamodules.synthetic.draw import part_map
from datamodules.synthetic.look import look_of
from datamodules.synthetic.music import PATTERNS, SAMPLE_RATE, beat_times, synthesise
from datamodules.synthetic.shapes import PARTS

CAMERAS = ["c01", "c02", "c05", "c08"]


def _spec(
    genre: str = "BR", camera: str = "c01", dancer: str = "d05", **options: object
) -> DanceSpec:
    return DanceSpec(name=f"g{genre}_sBM_{camera}_{dancer}_m{genre}3_ch04", **options)  # type: ignore


def test_a_clip_is_a_function_of_its_spec() -> None:
    first, second = render_clip(_spec()), render_clip(_spec())
    assert torch.equal(first.frames, second.frames)
    assert np.array_equal(first.audio, second.audio)
    assert first.frames.shape == (40, 3, 64, 64)
    assert first.frames.dtype == torch.uint8
    assert not torch.equal(first.frames, render_clip(_spec(seed=1)).frames)
    assert DanceSpec.from_dict(_spec().to_dict()) == _spec()


def test_a_person_looks_the_same_in_every_dance() -> None:
    assert look_of(3, "d05") == look_of(3, "d05")
    assert len({look_of(3, f"d{n:02d}") for n in range(1, 60)}) == 59


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("size", [64, 128])
def test_true_flow_carries_the_reference_frame_to_the_others(camera: str, size: int) -> None:
    clip = render_clip(_spec(camera=camera, size=size))
    driving = [2, 5, 9, 14, 23]
    grid, visible = clip.true_flow(0, driving, size)
    reference = clip.frames[:1].float().expand(len(driving), -1, -1, -1)
    warped = grid_sample(reference, grid, align_corners=True, padding_mode="border")
    truth = clip.frames[driving].float()
    maps = [part_map(clip.scene.figure, t, size, size, 1) for t in driving]
    body = torch.from_numpy(np.stack(maps))[:, None] > 0
    there = (visible > 0) & body
    error = (warped - truth).abs().mean(1, keepdim=True)
    copied = (reference - truth).abs().mean(1, keepdim=True)
    assert error[there].mean() < 0.3 * copied[body].mean()
    assert error[(visible > 0) & ~body].mean() < 2.0
    assert 0.5 < float(visible[body].float().mean()) < 1.0


def test_flow_to_itself_is_the_identity_and_all_is_visible() -> None:
    clip = render_clip(_spec(size=64, seconds=1))
    grid, visible = clip.true_flow(4, [4], 64)
    axis = torch.linspace(-1, 1, 64)
    assert torch.allclose(grid[0, :, :, 0], axis.expand(64, 64), atol=1e-5)
    assert torch.allclose(grid[0, :, :, 1], axis[:, None].expand(64, 64), atol=1e-5)
    assert visible.mean() == 1.0


def test_flow_on_a_coarse_grid_samples_the_fine_one() -> None:
    clip = render_clip(_spec(size=65, seconds=1))
    fine, _ = clip.true_flow(0, [6], 65)
    coarse, occlusion = clip.true_flow(0, torch.tensor([6]), 17)
    assert torch.allclose(coarse, fine[:, ::4, ::4], atol=1e-5)
    assert occlusion.shape == (1, 1, 17, 17)


def test_flow_of_wide_pictures_and_moving_cameras() -> None:
    clip = render_clip(_spec(size=90, width=160, seconds=2, camera_motion=0.03))
    grid, visible = clip.true_flow(0, [12], 90)
    assert grid.shape == (1, 90, 160, 2)
    assert visible.shape == (1, 1, 90, 160)
    warped = grid_sample(clip.frames[:1].float(), grid, align_corners=True)
    error = (warped - clip.frames[12:13].float()).abs().mean(1, keepdim=True)
    assert error[visible > 0].mean() < 3.0


@pytest.mark.parametrize("camera", CAMERAS)
def test_joints_lie_on_their_limbs(camera: str) -> None:
    clip = render_clip(_spec(camera=camera, size=128))
    limbs = {
        "elbow": ("upper_arm", "forearm"), "wrist": ("forearm",), "knee": ("thigh", "shin"),
        "ankle": ("shin", "foot"), "hip": ("thigh", "hips", "torso"),
        "shoulder": ("upper_arm", "torso"),
    }  # fmt: skip
    hits = []
    for t in range(0, 40, 7):
        seen = part_map(clip.scene.figure, t, 128, 128, 1)
        for place, name in enumerate(KEYPOINTS[5:], start=5):
            x, y, visibility = clip.keypoints[t, place]
            assert visibility in (0.0, 1.0)
            part = PARTS[seen[int(np.clip(round(y), 0, 127)), int(np.clip(round(x), 0, 127))]]
            assert part != "background"
            hits.append(any(part.endswith(limb) for limb in limbs[name.split("_")[1]]))
    assert np.mean(hits) > 0.6  # the rest is behind another limb


def test_faces_turned_away_hide_their_key_points() -> None:
    front, back = (render_clip(_spec(camera=c, seconds=1)).keypoints for c in ("c01", "c08"))
    assert front[:, 0, 2].all()
    assert not back[:, 0, 2].any()
    left = KEYPOINTS.index("left_shoulder")
    right = KEYPOINTS.index("right_shoulder")
    assert (front[:, left, 0] > front[:, right, 0]).all()
    assert (back[:, left, 0] < back[:, right, 0]).all()


@pytest.mark.parametrize("fps", [10.0, 30.0, 60.0])
@pytest.mark.parametrize("routines", [6, 0])
def test_speed_is_least_on_the_beat(fps: float, routines: int) -> None:
    for genre in ("HO", "PO", "JB"):
        scene = Scene(_spec(genre, fps=fps, seconds=6, routines=routines))
        speed = np.linalg.norm(np.diff(scene.view.points, axis=0), axis=-1).mean(1)
        times = (np.arange(len(speed)) + 0.5) / fps
        beats = beat_times(0, scene.music_id, 6.0)
        phase = (times[:, None] - beats[None]) / (60 / tempo_of(scene.music_id))
        on = np.abs(phase).min(1) < 0.12
        off = np.abs(np.abs(phase).min(1) - 0.5) < 0.12
        assert speed[on].mean() < 0.25 * speed[off].mean()


def test_limbs_off_the_beat_and_a_late_dancer() -> None:
    def speed_on_beats(**options: object) -> float:
        scene = Scene(_spec("HO", fps=60, seconds=6, **options))
        speed = np.linalg.norm(np.diff(scene.view.points, axis=0), axis=-1).mean(1)
        beats = beat_times(0, scene.music_id, 5.5)
        return float(speed[(beats * 60).astype(int)].mean() / speed.mean())

    shares = [speed_on_beats(limbs_on_beat=share) for share in (1.0, 0.75, 0.5, 0.25, 0.0)]
    assert shares == sorted(set(shares))
    assert speed_on_beats(beat_offset=0.5) > 1.2


def test_jitter_and_shake_move_what_they_say() -> None:
    still, jittered, shaken = (
        render_clip(_spec(seconds=1, **{option: 1.0}) if option else _spec(seconds=1))
        for option in ("", "jitter_px", "camera_shake_px")
    )
    corner = (slice(None), slice(None), slice(0, 8), slice(0, 8))
    assert torch.equal(jittered.frames[corner], still.frames[corner])
    assert not torch.equal(shaken.frames[corner], still.frames[corner])
    moved = np.abs(shaken.keypoints[:, :, :2] - still.keypoints[:, :, :2])
    assert np.ptp(moved, axis=1).max() < 1e-3  # the whole picture as one
    assert 0.3 < moved.mean() < 2.0


@pytest.mark.parametrize("genre", list(GENRES))
def test_the_tempo_can_be_heard(genre: str) -> None:
    """Autocorrelation of the loudness' rise, without any beat tracker."""
    audio = synthesise(5, f"m{genre}1", 12.0).audio
    assert np.abs(audio).max() <= 1.0
    hop = SAMPLE_RATE // 200
    power = np.square(audio[: len(audio) // hop * hop]).reshape(-1, hop).mean(1)
    rise = np.maximum(np.diff(np.log(power + 1e-4)), 0)
    rise -= rise.mean()
    spectrum = np.abs(np.fft.rfft(rise, 8 * len(rise))) ** 2
    likeness = np.fft.irfft(spectrum)[: len(rise)]
    period = 60 / tempo_of(f"m{genre}1") * 200
    near = likeness[round(period) - 2 : round(period) + 3].max()
    wrong = [likeness[round(period * ratio)] for ratio in (0.87, 1.13, 1.35)]
    assert near > 2 * max(wrong)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_beats_sound_when_they_are_said_to(pattern: str) -> None:
    music = synthesise(2, "mMH4", 8.0, pattern)  # type: ignore[arg-type]
    assert 0.05 <= music.beats_s[0] <= 0.45
    gaps = np.diff(music.beats_s)
    expected = 60 / 120
    assert gaps[0] == pytest.approx(expected)
    assert gaps[-1] == pytest.approx(expected / 1.2 if pattern == "tempo_change" else expected)
    for beat in music.beats_s:  # something starts within 5 ms of every beat
        at = round(beat * SAMPLE_RATE)
        before = np.square(music.audio[max(0, at - 400) : at - 10]).mean()
        after = np.square(music.audio[at : at + 220]).mean()
        assert after > 1.15 * before


def test_patterns_sound_different() -> None:
    sounds = [synthesise(0, "mLO2", 4.0, p).audio for p in PATTERNS]  # type: ignore[arg-type]
    for n, one in enumerate(sounds):
        for other in sounds[n + 1 :]:
            assert np.abs(one - other).mean() > 1e-3


@pytest.mark.parametrize(
    ("size", "width", "fps"), [(33, 0, 12.5), (270, 480, 24.0), (1080, 1920, 60.0)]
)
def test_any_size_and_rate(size: int, width: int, fps: float) -> None:
    clip = render_clip(_spec(size=size, width=width, fps=fps, seconds=3 / fps))
    assert clip.frames.shape == (3, 3, size, width or size)
    figure = part_map(clip.scene.figure, 1, size, width or size, 1)
    assert 0.03 < (figure > 0).mean() * (width or size) / size < 0.35


def test_antialiasing_agrees_between_sizes() -> None:
    large, small = (render_clip(_spec(size=s, seconds=0.4)).frames.float() for s in (256, 64))
    shrunk = torch.nn.functional.interpolate(large, (64, 64), mode="area")
    assert (shrunk - small).abs().mean() < 4.0


@pytest.mark.parametrize(
    "options",
    [{"size": 8}, {"fps": 0.0}, {"pattern": "waltz"}, {"routines": 7}, {"name": "sSH_c01_v0"}],
)
def test_impossible_specs_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        DanceSpec(**options)  # type: ignore[arg-type]
