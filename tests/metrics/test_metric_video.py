"""Warp error, jerk, diversity, copies, extractors, and the refusal to mix distances."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from metrics import (
    FrechetVideoDistance,
    KernelVideoDistance,
    MotionDiversity,
    MotionJerk,
    NearestTrainingClip,
    WarpError,
)
from metrics import functional as F
from metrics.extractors import (
    FeatureExtractor,
    TorchScriptExtractor,
    fetch_weights,
    file_sha256,
)
from metrics.fixed_features import FixedVideoFeatures
from metrics.video_distance import check_comparable


def smooth_image(seed: int, size: int = 48) -> Tensor:
    coarse = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)[0]


def warped_video(steps: int = 5) -> tuple[Tensor, Tensor]:
    """A video in which every frame is the last one, looked up at a known smooth flow."""
    down, across = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    frames, flows = [smooth_image(0).double()], []
    for k in range(steps):
        wave = torch.stack([1.5 * torch.sin(down / 9 + k), 0.8 * torch.cos(across / 7)]).double()
        frames.append(F.warp(frames[-1][None], wave[None])[0])
        flows.append(wave)
    return torch.stack(frames)[None], torch.stack(flows)[None]


def test_warp_looks_up_where_the_flow_points() -> None:
    image = smooth_image(1)[None]
    flow = torch.zeros(1, 2, 48, 48)
    flow[:, 0] = 3
    flow[:, 1] = -2
    moved = F.warp(image, flow)
    torch.testing.assert_close(moved[..., 2:, :-3], image[..., :-2, 3:], atol=1e-5, rtol=0)


def test_warp_error_is_zero_for_known_flow() -> None:
    video, flow = warped_video()
    metric = WarpError()
    metric.update(video, flow=flow)
    assert metric.compute().item() < 1e-12
    rolled = torch.stack([torch.roll(smooth_image(2), k, -1) for k in range(4)])[None]
    back = torch.zeros(1, 3, 2, 48, 48)
    back[:, :, 0] = -1
    metric.reset()
    metric.update(rolled, flow=back)  # the column that rolled in came from outside
    assert metric.compute().item() < 1e-10
    metric.reset()
    metric.update(rolled, flow=0 * back)
    assert metric.compute().item() > 1e-4


def test_warp_error_tells_flicker_from_motion() -> None:
    video, _ = warped_video()
    flicker = video + 0.2 * torch.rand(1, 6, 1, 1, 1, generator=torch.Generator().manual_seed(3))
    found = []
    for clip in (video, flicker.clamp(0, 1)):
        metric = WarpError()
        metric.update((clip * 255).to(torch.uint8))
        found.append(metric.compute().item())
    assert found[0] < 2e-3
    assert found[1] > 3 * found[0]


def test_hidden_pixels_are_left_out() -> None:
    forward, backward = torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 8, 8)
    backward[:, 0, :, 4:] = 3.0  # leads somewhere that does not lead back
    seen = F.visible_before(backward, forward)[0]
    assert seen[:, :4].all()
    assert not seen[:, 4:].any()


def test_jerk_is_the_second_derivative() -> None:
    time = torch.arange(20) / 10
    metric = MotionJerk()
    metric.update(motion=(30 + 5 * time + 4 * time**2)[None], fps=10)
    assert metric.compute().item() == pytest.approx(8, rel=1e-3)
    metric.reset()
    metric.update(motion=(30 + 5 * time)[None], fps=10)
    assert metric.compute().item() == pytest.approx(0, abs=0.01)
    assert F.signal_jerk(torch.zeros(2, 2), 10).tolist() == [0, 0]


def test_diversity_is_the_mean_pairwise_distance() -> None:
    points = torch.tensor([[0.0, 0], [3, 4], [0, 8]])
    metric = MotionDiversity(2)
    metric.update(points[:1])
    assert metric.compute().item() == 0
    metric.update(points[1:])
    assert metric.compute().item() == pytest.approx((5 + 8 + 5) / 3)


def test_copies_are_found() -> None:
    random = torch.Generator().manual_seed(0)
    training = torch.randn(300, 6, generator=random)
    results = {}
    for name, clips in (
        ("new", torch.randn(100, 6, generator=random)),
        ("copies", training[:100] + 0.01 * torch.randn(100, 6, generator=random)),
    ):
        metric = NearestTrainingClip(6, capacity=400)
        metric.update(training, training=True)
        metric.update(clips, training=False)
        results[name] = metric.compute()
    assert results["new"]["copies"] < 0.15
    assert results["copies"]["copies"] > 0.95
    assert results["copies"]["distance"] < 0.1 * results["new"]["distance"]


def test_motion_profile_reads_the_speed_evenly() -> None:
    speed = torch.tensor([[0.0, 10, 20, torch.nan], [4, 4, 4, 4]])
    signal = F.MotionSignal(speed, torch.ones(2), 64)
    profile = F.motion_profile(signal, 5)
    torch.testing.assert_close(profile[0], torch.tensor([0.0, 10, 20, 30, 40]))
    torch.testing.assert_close(profile[1], torch.full((5,), 8.0))


class MeanColor(nn.Module):
    """(B, 3, T, H, W) in [0, 1] to the mean color: three features."""

    def forward(self, video: Tensor) -> Tensor:
        return video.mean((2, 3, 4))


class LikeI3D(nn.Module):
    """The call of the I3D that is usual for FVD: [0, 255] and three switches."""

    def forward(
        self, video: Tensor, rescale: bool = False, resize: bool = False,
        return_features: bool = False,
    ) -> Tensor:  # fmt: skip
        scaled = video / 127.5 - 1 if rescale else video
        return scaled.mean((3, 4)).flatten(1)[:, :6] if return_features else scaled


def scripted(module: nn.Module, path: Path) -> Path:
    torch.jit.script(module).save(str(path))
    return path


def test_torchscript_extractors(tmp_path: Path) -> None:
    video = torch.randint(0, 256, (2, 16, 3, 8, 8), dtype=torch.uint8)
    plain = TorchScriptExtractor(scripted(MeanColor(), tmp_path / "plain.pt"))
    assert isinstance(plain, FeatureExtractor)
    assert plain.dimension == 3
    torch.testing.assert_close(plain(video), video.float().mean((1, 3, 4)) / 255)
    i3d = TorchScriptExtractor(scripted(LikeI3D(), tmp_path / "i3d.pt"), call="i3d")
    assert i3d.dimension == 6
    expected = video.transpose(1, 2).float().mean((3, 4)).flatten(1)[:, :6] / 127.5 - 1
    torch.testing.assert_close(i3d(video), expected)
    assert plain.digest != i3d.digest
    digest = file_sha256(tmp_path / "plain.pt")
    assert TorchScriptExtractor(tmp_path / "plain.pt", sha256=digest).digest == plain.digest
    with pytest.raises(ValueError, match="damaged or another"):
        TorchScriptExtractor(tmp_path / "plain.pt", sha256="0" * 64)
    with pytest.raises(FileNotFoundError):
        TorchScriptExtractor(tmp_path / "none.pt")


def test_fetching_keeps_only_what_was_expected(tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(b"weights")
    target = tmp_path / "below" / "copy.bin"
    fetch_weights(source.as_uri(), target, file_sha256(source))
    assert target.read_bytes() == b"weights"
    with pytest.raises(ValueError, match="nothing was kept"):
        fetch_weights(source.as_uri(), tmp_path / "bad.bin", "0" * 64)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["below", "source.bin"]


def test_distances_of_videos(tmp_path: Path) -> None:
    extractor = TorchScriptExtractor(scripted(MeanColor(), tmp_path / "net.pt"))
    random = torch.Generator().manual_seed(0)
    dark = torch.randint(0, 128, (6, 4, 3, 8, 8), generator=random, dtype=torch.uint8)
    light = torch.randint(120, 256, (6, 4, 3, 8, 8), generator=random, dtype=torch.uint8)
    for kind in (FrechetVideoDistance, KernelVideoDistance):
        metric = kind(extractor)
        metric.update(dark, real=True)
        metric.update(light, real=False)
        assert metric.compute() > 0.05
        features = kind(dimension=3)
        features.update(extractor(dark), real=True)
        features.update(extractor(light), real=False)
        torch.testing.assert_close(metric.compute(), features.compute())
        metric.update(light[:, :3], real=False)
        with pytest.raises(ValueError, match="were mixed"):
            metric.compute()


def test_distances_measured_differently_are_not_compared(tmp_path: Path) -> None:
    extractor = TorchScriptExtractor(scripted(MeanColor(), tmp_path / "net.pt"))

    def protocol(count: int, frames: int) -> dict[str, object]:
        metric = FrechetVideoDistance(extractor)
        for real in (True, False):
            metric.update(torch.zeros(count, frames, 3, 8, 8, dtype=torch.uint8), real=real)
        return metric.protocol()

    check_comparable(protocol(3, 4), protocol(3, 4))
    with pytest.raises(ValueError, match="frames 4 against 5"):
        check_comparable(protocol(3, 4), protocol(3, 5))
    with pytest.raises(ValueError, match="true_videos 3 against 2"):
        check_comparable(protocol(3, 4), protocol(2, 4))


def test_the_network_that_needs_nothing_sees_what_gets_worse() -> None:
    network = FixedVideoFeatures()
    again = FixedVideoFeatures()
    assert isinstance(network, FeatureExtractor)
    random = torch.Generator().manual_seed(0)
    images = torch.stack([smooth_image(seed, 32) for seed in range(12)])
    clips = torch.stack([torch.roll(images, k, -1) for k in range(8)], 1)
    video = (clips * 255).to(torch.uint8)
    with torch.no_grad():
        reference = network(video)
        assert reference.shape == (12, network.dimension)
        assert torch.equal(reference, again(video))
        distances = []
        for level in (4, 16, 48):
            noise = level * torch.randn(video.shape, generator=random)
            noisy = (video + noise).clamp(0, 255).to(torch.uint8)
            distances.append(F.frechet_distance(reference, network(noisy)).item())
    assert distances[0] < distances[1] < distances[2]


def test_a_copier_is_found_where_training_clips_come_twice() -> None:
    kept = torch.randn(20, 4)
    metric = NearestTrainingClip(4, capacity=60)
    metric.update(torch.cat((kept, kept)), training=True)
    metric.update(kept, training=False)
    assert metric.compute()["copies"] == 1.0
    metric.reset()
    metric.update(torch.cat((kept, kept)), training=True)
    metric.update(kept + 10.0, training=False)
    assert metric.compute()["copies"] == 0.0
