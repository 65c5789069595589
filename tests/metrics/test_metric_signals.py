"""Motion signals: flow, latent flow and keypoints; the gate, padding, gaps, camera, noise."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from metrics import functional as F
from metrics.functional.motion import camera_motion
from metrics.functional.optical_flow import flow_between, steady, to_gray
from metrics.motion_source import beats_of


def texture(height: int, width: int, seed: int, grain: float = 2.0) -> np.ndarray:
    """A smooth random image with plenty to hold on to, 0 ... 255."""
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), grain)
    return np.clip(128 + 60 * smooth / smooth.std(), 0, 255)


def dancing_square(
    fps: float, seconds: float = 4.0, shake: float = 0.0, half_period: float = 0.5
) -> tuple[Tensor, Tensor]:
    """A textured square that turns every half period over a textured wall: (1, T, 3, 96, 96)."""
    random = np.random.default_rng(0)
    wall, square = texture(140, 140, 1), texture(60, 60, 2)
    frames = []
    for k in range(round(fps * seconds)):
        time = k / fps
        x = 30 + 5 * np.cos(np.pi * (time - 0.23) / half_period)
        image = wall.copy()
        patch = cv2.warpAffine(
            square, np.float32([[1, 0, x], [0, 1, 42]]), (140, 140), borderValue=-1
        )
        image[patch >= 0] = patch[patch >= 0]
        camera = np.float32([[1, 0, -20], [0, 1, -20]])
        camera[:, 2] += shake * random.choice([-1.0, 1.0], 2)
        frames.append(cv2.warpAffine(image, camera, (96, 96)))
    video = torch.from_numpy(np.stack(frames)).round().clamp(0, 255).to(torch.uint8)
    turns = 0.23 + half_period * torch.arange(round(seconds / half_period))
    return video[None, :, None].expand(-1, -1, 3, -1, -1), turns[None]


def test_gray_is_opencv_gray() -> None:
    video = torch.randint(0, 256, (3, 3, 17, 23), dtype=torch.uint8)
    for frame, gray in zip(video, to_gray(video), strict=True):
        expected = cv2.cvtColor(frame.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY)
        np.testing.assert_array_equal(gray.numpy(), expected)
    floating = to_gray(video.float() / 255)
    np.testing.assert_array_equal(floating.numpy(), to_gray(video).numpy())


@pytest.mark.parametrize("method", ["farneback", "dis"])
def test_flow_finds_a_known_shift(method: str) -> None:
    image = texture(72, 90, 3)
    moved = cv2.warpAffine(image, np.float32([[1, 0, 1.6], [0, 1, -0.8]]), (90, 72))
    pair = torch.from_numpy(np.stack([image, moved])).to(torch.uint8)[None, :, None]
    flow = F.optical_flow(pair, method)  # type: ignore[arg-type]
    assert flow.shape == (1, 1, 2, 72, 90)
    inner = flow[0, 0, :, 12:-12, 12:-12].mean((1, 2))
    torch.testing.assert_close(inner, torch.tensor([1.6, -0.8]), atol=0.1, rtol=0)


def test_the_camera_is_the_median() -> None:
    flow = torch.zeros(2, 5, 5)
    flow[:, 1:3, 1:3] = 7.0
    flow[0] += 1.5
    assert camera_motion(flow).tolist() == [1.5, 0.0]
    assert camera_motion(torch.full((2, 90, 90), -2.0)).tolist() == [-2.0, -2.0]


def test_video_signal_equals_the_signal_of_its_flow() -> None:
    video, _ = dancing_square(10, 2.0)
    signal = F.motion_from_video(video, 10, edge=0, workers=1)
    expected = F.motion_from_flow(F.optical_flow(video), 10)
    torch.testing.assert_close(signal.speed, expected.speed, atol=1e-3, rtol=1e-3)
    assert signal.activity > 2
    torch.testing.assert_close(signal.activity, expected.activity, atol=1e-2, rtol=1e-3)
    two = F.motion_from_video(torch.cat([video, video.flip(1)]), 10, workers=2)
    torch.testing.assert_close(two.speed[:1], signal.speed)
    assert two.activity[0] != signal.activity  # whose edge does not count


def test_video_beats_are_where_the_square_turns() -> None:
    for fps in (10, 25):
        video, turns = dancing_square(fps)
        beats, window = beats_of(F.motion_from_video(video, fps), fps)
        scores = F.align(beats, turns, window)
        assert scores.motion_beats.item() == scores.music_beats.item() == 8
        assert scores.corrected.item() > 0.95


def test_one_pixel_of_shake_changes_nothing() -> None:
    scores = []
    for shake in (0.0, 1.0):
        video, turns = dancing_square(10, shake=shake)
        beats, window = beats_of(F.motion_from_video(video, 10), 10)
        scores.append(F.align(beats, turns, window).corrected.item())
    assert abs(scores[0] - scores[1]) <= 0.01


def test_steady_undoes_the_camera_and_leaves_the_dancer() -> None:
    window = cv2.createHanningWindow((90, 72), cv2.CV_32F)
    wall = texture(72, 90, 4)
    moved = cv2.warpAffine(wall, np.float32([[1, 0, 1.0], [0, 1, 2.0]]), (90, 72))
    one, two = wall.astype(np.uint8), moved.astype(np.uint8)
    apart = np.abs(steady(one, two, window).astype(float) - one)[8:-8, 8:-8].mean()
    assert apart < 0.2 * np.abs(two.astype(float) - one)[8:-8, 8:-8].mean()
    # On a plain wall phase correlation finds the dancer; he must not be taken for the camera.
    plain_one, plain_two = np.full((72, 90), 200, np.uint8), np.full((72, 90), 200, np.uint8)
    plain_one[20:50, 30:50] = one[20:50, 30:50]
    plain_two[20:50, 33:53] = one[20:50, 30:50]
    assert steady(plain_one, plain_two, window) is plain_two


@pytest.mark.parametrize("noise", [0.0, 1.0, 3.0])
def test_still_videos_have_no_beats(noise: float) -> None:
    random = torch.Generator().manual_seed(0)
    still = torch.from_numpy(texture(64, 64, 5)).expand(1, 30, 3, 64, 64)
    video = (still + noise * torch.randn(still.shape, generator=random)).clamp(0, 255)
    signal = F.motion_from_video(video.to(torch.uint8), 10)
    assert not signal.moving.item()
    assert beats_of(signal, 10)[0].shape[-1] == 0


def test_the_gate_scales_with_the_size() -> None:
    for size in (64, 128, 512):
        slow = torch.zeros(1, 9, 8 * 8)
        slow[..., :20] = 0.19 * size / 128
        assert not F.motion.motion_from_lengths(slow, 10, size).moving.item()
        assert not F.motion.motion_from_lengths(1.2 * slow, 10, size).moving.item()
        assert F.motion.motion_from_lengths(1.5 * slow, 10, size).moving.item()


def test_latent_flow_in_pixels() -> None:
    """A part of the grid that moves by a known way: the same speed as flow of pixels."""
    grid = torch.zeros(1, 4, 3, 16, 16)
    grid[:, :, 0] += 0.5  # where the grid lies does not matter, only how it changes
    for k in range(4):
        grid[0, k, 0, 4:8, 4:8] += 0.1 * k
    signal = F.motion_from_latent_flow(grid, 10, 128)
    moved = 0.1 * 127 / 2 * 10
    torch.testing.assert_close(signal.speed, torch.full((1, 3), moved * 16 / 256))
    torch.testing.assert_close(signal.activity, torch.tensor([moved]))
    tall = F.motion_from_latent_flow(grid, 10, (256, 64))
    torch.testing.assert_close(tall.activity, torch.tensor([0.1 * 63 / 2 * 10]))
    half = F.motion_from_latent_flow(grid.half(), 10, 128)
    torch.testing.assert_close(half.speed, signal.speed, atol=0.05, rtol=0)
    with pytest.raises(ValueError, match="Latent flow"):
        F.motion_from_latent_flow(grid[0], 10)


def test_keypoints_that_are_hidden_are_bridged() -> None:
    points = torch.zeros(1, 6, 2, 3)
    points[..., 2] = 1
    points[0, :, 0, 0] = torch.tensor([0.0, 1, 3, 6, 10, 15])
    points[0, :, 1, 0] = torch.tensor([0.0, 1, 3, 6, 10, 15])
    whole = F.motion_from_keypoints(points, 10)
    torch.testing.assert_close(whole.speed, torch.tensor([[10.0, 20, 30, 40, 50]]))
    points[0, 2, 0, 2] = 0  # one joint hidden: the other tells
    torch.testing.assert_close(F.motion_from_keypoints(points, 10).speed, whole.speed)
    points[0, 2, :, 2] = 0  # both hidden: a straight line over the gap
    torch.testing.assert_close(F.motion_from_keypoints(points, 10).speed, whole.speed + 0 * 1)
    points[..., 2] = 0
    assert F.motion_from_keypoints(points, 10).speed.tolist() == [[0.0] * 5]
    with pytest.raises(ValueError, match="Keypoints"):
        F.motion_from_keypoints(points[0], 10)


def test_valid_frames_cut_every_source() -> None:
    video, _ = dancing_square(10, 1.5)
    frames = torch.tensor([9])
    cut = F.motion_from_video(video, 10, frames=frames)
    alone = F.motion_from_video(video[:, :9], 10)
    torch.testing.assert_close(cut.speed[:, :8], alone.speed)
    assert cut.speed[:, 8:].isnan().all()
    assert cut.frames.item() == 9
    torch.testing.assert_close(cut.activity, alone.activity)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_videos_of_a_few_frames(frames: int) -> None:
    video, _ = dancing_square(10, 1.0)
    signal = F.motion_from_video(video[:, :frames], 10)
    assert signal.speed.shape == (1, frames - 1)
    assert F.flow_magnitude(video[:, :frames]).shape == (1, frames)
    assert beats_of(signal, 10)[0].shape == (1, 0)


def test_av_align_doubles_the_first_value() -> None:
    video, _ = dancing_square(10, 1.0)
    magnitude = F.flow_magnitude(video)
    assert magnitude.shape == (1, 10)
    assert magnitude[0, 0] == magnitude[0, 1]
    peaks = F.local_peaks(torch.tensor([[0.5, 0.5, 0.9, 0.2, 0.05, 0.09, 0.05, 0.3, 0.1]]), 10)
    torch.testing.assert_close(peaks, torch.tensor([[0.2, 0.7]]))


def test_messages_name_what_was_found() -> None:
    with pytest.raises(ValueError, match="expected 'farneback' or 'dis'"):
        flow_between("optical")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(2, 3, 8, 8\)"):
        F.motion_from_video(torch.zeros(2, 3, 8, 8), 10)
    with pytest.raises(ValueError, match="frame sizes"):
        F.MotionSignal.join(
            [F.MotionSignal(torch.zeros(1, 2), torch.zeros(1), size) for size in (64, 128)]
        )
