"""The network of rendered dancers: its training, its files, and the damage it is measured by."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from datamodules.synthetic.dataset import render_clip
from experiments.evaluation.reference import extractor_of
from experiments.studies.features.corruptions import DAMAGES, Noticed, notice
from experiments.studies.features.training import (
    draw_windows,
    held_out_skill,
    pose_values,
    render_dancers,
    train_network,
)
from experiments.studies.metric.members import dance_specs
from metrics import FrechetVideoDistance
from metrics import functional as F
from metrics.dancer_features import DancerNetwork, DancerVideoFeatures, windows_of
from metrics.extractors import FeatureExtractor
from metrics.fixed_features import FixedVideoFeatures
from metrics.video_distance import check_comparable


@pytest.fixture(scope="module")
def videos() -> Tensor:
    """Twelve dances of 2 s that the network has not learned from."""
    specs = dance_specs(12, 70_000, size=64, seconds=2.0)
    return torch.stack([render_clip(spec).frames for spec in specs])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of untrained weights."""
    path = tmp_path_factory.mktemp("weights") / "dancers.safetensors"
    torch.manual_seed(0)
    save_file(DancerNetwork().state_dict(), path)
    return path


def test_its_weights_are_small_and_frozen(weights: Path) -> None:
    network = DancerVideoFeatures(weights)
    assert isinstance(network, FeatureExtractor)
    assert weights.stat().st_size <= 1_000_000
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_the_weights_that_ship_notice_shuffled_frames(
    videos: Tensor,
) -> None:
    network = DancerVideoFeatures()
    assert network.digest == "rendered-dancers:708ac33c5dec18c5"
    random = torch.Generator().manual_seed(0)
    shuffle, _ = DAMAGES["shuffled frames"]
    damaged = torch.stack([shuffle(video, 4, random) for video in videos[6:]])
    clean = network(videos).double()
    apart = F.kernel_distance(clean[:6], network(damaged).double())
    assert apart > 3 * F.kernel_distance(clean[:6], clean[6:]).abs()


def test_other_weights_have_another_digest_and_are_not_compared(
    weights: Path, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    save_file(DancerNetwork().state_dict(), tmp_path / "other.safetensors")
    one, other = DancerVideoFeatures(weights), DancerVideoFeatures(tmp_path / "other.safetensors")
    assert one.digest.startswith("rendered-dancers:")
    protocols = [FrechetVideoDistance(network).protocol() for network in (one, other)]
    with pytest.raises(ValueError, match="extractor rendered-dancers"):
        check_comparable(*protocols)
    check_comparable(protocols[0], FrechetVideoDistance(DancerVideoFeatures(weights)).protocol())


def test_files_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    save_file({"other": torch.zeros(2)}, tmp_path / "other.safetensors")
    for name in ("bad", "other"):
        with pytest.raises(ValueError, match="holds no weights"):
            extractor_of(tmp_path / f"{name}.safetensors")
    save_file(DancerNetwork().state_dict(), tmp_path / "mine.safetensors")
    assert extractor_of(tmp_path / "mine.safetensors").digest.startswith("rendered-dancers:")


def test_a_batch_equals_its_singles_and_any_size_will_do(videos: Tensor, weights: Path) -> None:
    network = DancerVideoFeatures(weights)
    together = network(videos[:3])
    assert together.shape == (3, 64)
    torch.testing.assert_close(together[1:2], network(videos[1:2]))
    assert network(videos[:1, :1]).isfinite().all()
    assert network(videos[:1, :, :, :30, :50]).isfinite().all()


def test_windows_overlap_and_short_videos_hold_their_last_frame() -> None:
    clip = torch.arange(33, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 64, 64)
    first = ((windows_of(clip)[:, :, 0, 0, 0] + 1) * 127.5).round().int()
    assert first[:, 0].tolist() == [0, 8, 16]
    assert first[2].tolist() == list(range(16, 32))
    short = ((windows_of(clip[:5])[0, :, 0, 0, 0] + 1) * 127.5).round().int()
    assert short.tolist() == [0, 1, 2, 3] + [4] * 12


def test_damage_is_what_it_says() -> None:
    frames = torch.arange(8, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 16, 16).clone()
    frames[:, :, 8:] += 100
    random = torch.Generator().manual_seed(0)
    damaged = {name: damage(frames, 4, random) for name, (damage, _) in DAMAGES.items()}
    assert all(one.shape == frames.shape and one.dtype == torch.uint8 for one in damaged.values())
    assert damaged["frozen frames"][:, 0, 0, 0].tolist() == [0, 0, 0, 0, 4, 4, 4, 4]
    order = damaged["shuffled frames"][:, 0, 0, 0].tolist()
    assert sorted(order[:4]) == [0, 1, 2, 3]
    assert order != sorted(order)
    assert 40 < damaged["blur"][0, 0, 7, 8] < 60
    assert 2 < (damaged["noise"].float() - frames)[:, :, 8:].std() < 6


def test_standard_scores_and_their_order() -> None:
    noticed = Noticed({"up": [2.0, 3.0], "down": [3.0, 2.0], "none": [0.5, 4.0]}, 1.0, 0.5)
    assert noticed.scores["up"] == [2, 4]
    assert noticed.rising == ["up"]


def test_halves_are_measured_against_each_other(videos: Tensor) -> None:
    networks = {"random": FixedVideoFeatures()}
    found = notice(networks, videos[:8, :8], 0, splits=3)["random"]["kernel"]
    assert set(found.distances) == set(DAMAGES)
    random = torch.Generator().manual_seed(0)
    halves = [torch.randperm(8, generator=random).chunk(2) for _ in range(3)]
    clean = networks["random"](videos[:8, :8]).double()
    expected = torch.stack([F.kernel_distance(clean[a], clean[b]) for a, b in halves])
    assert found.clean == pytest.approx(expected.mean().item())
    assert found.spread == pytest.approx(expected.std().item())


def test_training_learns_and_repeats() -> None:
    dancers = render_dancers(3, 5)
    network, heads = train_network(dancers, 15, 1, batch=2)
    again, _ = train_network(dancers, 15, 1, batch=2)
    for one, two in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)
    untrained, _ = train_network(dancers, 1, 1, batch=2)
    before = held_out_skill(untrained, heads, dancers, 0, count=16)["pose"]
    assert held_out_skill(network, heads, dancers, 0, count=16)["pose"] > before


def test_what_is_asked_of_a_window() -> None:
    points = torch.zeros(16, 17, 2)
    points[:, 3, 0] = torch.linspace(0, 1.5, 16)
    values = pose_values(points)
    assert values.shape == (85,)
    assert values[2 * 3].item() == pytest.approx(0.75)
    assert values[68 + 3].item() == pytest.approx(1.0)  # 0.1 a frame, times ten
    windows = draw_windows(render_dancers(2, 1), 12, torch.Generator().manual_seed(0))
    assert windows.frames.shape == (12, 16, 3, 64, 64)
    assert set(windows.rates.tolist()) == {0, 1}
    slow, fast = (windows.poses[windows.rates == rate, 68:].mean() for rate in (0, 1))
    assert fast > 1.2 * slow
