"""The denoiser: the published function, frames joined by time, lengths it was not trained on."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from datamodules.media.beats import beat_features
from experiments.config.load import load_settings
from experiments.factories.networks import build_denoiser
from lightning_modules.networks.attention import TemporalAttention, rotary_angles, rotate
from lightning_modules.networks.denoiser import FlowUNet3D
from lightning_modules.networks.music import MusicConditioner, MusicEmbedding, nearest_frames

PUBLISHED_GFLOP = 235.0
"""One forward pass of LFDM's U-Net over 3 x 40 x 32 x 32 with 256 channels of z_0."""


def awake(network: nn.Module) -> nn.Module:
    """Residual branches start at zero; give every parameter a value so that tests see them."""
    torch.manual_seed(1)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network.eval()


def small(**changes: object) -> FlowUNet3D:
    sizes: dict[str, object] = {
        "image_channels": 8,
        "music_dim": 16,
        "width": 16,
        "multipliers": (1, 2),
        "blocks": 1,
        "stem_kernel": 3,
        "temporal_conv": (True, False),
        "temporal_attention": (False, True),
        "spatial_attention": ("none", "linear"),
        "heads": 2,
        "head_dim": 8,
    }
    network = awake(FlowUNet3D(**{**sizes, **changes}))
    assert isinstance(network, FlowUNet3D)
    return network


def inputs(frames: int = 6, batch: int = 2) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    return (
        torch.randn(batch, frames, 3, 8, 8),
        torch.tensor([10, 700, 300][:batch]),
        torch.randn(batch, 8, 8, 8),
    )


def music_of(frames: int = 6, batch: int = 2, local: bool = True) -> MusicEmbedding:
    torch.manual_seed(2)
    return MusicEmbedding(torch.randn(batch, 16), torch.randn(batch, frames, 16) if local else None)


def test_convolving_z0_once_equals_concatenating_it_to_every_frame() -> None:
    network = small()
    noisy, _, z0 = inputs()
    joint = nn.Conv2d(3 + 8, 16, 3, padding=1)
    joint.weight.data = torch.cat((network.stem.weight, network.image_stem.weight), dim=1)
    joint.bias.data = network.stem.bias + network.image_stem.bias
    everywhere = torch.cat((noisy, z0[:, None].expand(-1, 6, -1, -1, -1)), dim=2).flatten(0, 1)
    once = network.stem(noisy.flatten(0, 1)) + network.image_stem(z0).repeat_interleave(6, 0)
    torch.testing.assert_close(joint(everywhere), once, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("patch", [1, 2])
def test_a_batch_equals_its_singles(patch: int) -> None:
    network = small(patch=patch)
    noisy, timestep, z0 = inputs()
    music = music_of()
    together = network(noisy, timestep, z0, music, torch.tensor([0, 9]))
    assert music.frames is not None
    for i in range(2):
        one = slice(i, i + 1)
        alone = network(
            noisy[one],
            timestep[one],
            z0[one],
            MusicEmbedding(music.clip[one], music.frames[one]),
            9 * i,
        )
        torch.testing.assert_close(together[one], alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("what", ["time step", "z0", "clip", "frames", "place", "other frame"])
def test_every_condition_changes_the_output(what: str) -> None:
    network = small()
    noisy, timestep, z0 = inputs()
    music = music_of()
    before = network(noisy, timestep, z0, music)
    first = 0
    if what == "time step":
        timestep = timestep + 50
    elif what == "z0":
        z0 = z0 + 0.5
    elif what == "clip":
        music.clip = music.clip + 0.5
    elif what == "frames":
        assert music.frames is not None
        music.frames[:, 3] += 0.5
    elif what == "place":
        first = 5
    else:
        noisy[:, 5] += 1.0
    after = network(noisy, timestep, z0, music, first)
    assert (after - before)[:, 0].abs().max() > 1e-6


def test_it_runs_on_lengths_and_sizes_it_was_not_built_for() -> None:
    network = small()
    for frames in (1, 2, 23):
        noisy, timestep, z0 = inputs(frames)
        assert network(noisy, timestep, z0, music_of(frames)).shape == noisy.shape


def test_rotary_positions_know_distances_and_not_places() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 8)
    angles = rotary_angles(12, 8, torch.device("cpu"))
    scores = rotate(q.expand(12, 8), *angles) @ rotate(k.expand(12, 8), *angles).T
    for distance in range(-11, 12):
        diagonal = scores.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    assert scores[0].std() > 0.1


def test_temporal_attention_tells_the_order_of_frames() -> None:
    attention = awake(TemporalAttention(8, heads=2, head_dim=4))
    frames = torch.randn(5, 8, 2, 2)
    backwards = attention(frames.flip(0), 5).flip(0)
    assert (backwards - attention(frames, 5)).abs().max() > 1e-3


def test_gradient_checkpointing_changes_no_gradient() -> None:
    noisy, timestep, z0 = inputs()
    gradients = []
    for checkpointed in (False, True):
        network = small()
        if checkpointed:
            network.enable_gradient_checkpointing()
        network(noisy, timestep, z0, music_of()).square().mean().backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


@pytest.mark.parametrize("patch", [1, 2])
def test_the_denoiser_is_one_graph_forward_and_backward(patch: int) -> None:
    noisy, timestep, z0 = inputs()
    places = torch.tensor([0, 3])
    results = []
    for traced in (False, True):
        network = small(patch=patch).to(memory_format=torch.channels_last)
        if traced:
            # Tracing alone, without a C++ compiler: fullgraph raises where Python interrupts.
            network.compile(fullgraph=True, backend="eager")
        said = network(noisy, timestep, z0, music_of(), places)
        said.square().mean().backward()
        results.append([said, *(p.grad for p in network.parameters() if p.grad is not None)])
    for plain, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, plain)


def test_statistics_are_saved_with_the_weights(tmp_path) -> None:
    network = small(flow="absolute", prediction="v_prediction")
    network.normalizer.fit([torch.randn(4, 3, 8, 8) * 3])
    network.save_pretrained(tmp_path)
    loaded = FlowUNet3D.from_pretrained(tmp_path, low_cpu_mem_usage=False)
    assert loaded.config["prediction"] == "v_prediction"
    assert loaded.normalizer.kind == "absolute"
    for (name, saved), found in zip(
        network.state_dict().items(), loaded.state_dict().values(), strict=True
    ):
        assert torch.equal(saved, found), name


def test_a_list_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="one entry per level"):
        FlowUNet3D(multipliers=(1, 2, 4))


def flops(preset: str) -> float:
    settings = load_settings(preset, [])
    with torch.device("meta"):
        network = build_denoiser(settings, image_channels=256)
        noisy = torch.empty(1, 40, 3, 32, 32)
        music = MusicEmbedding(
            torch.empty(1, settings.music.dim), torch.empty(1, 40, settings.music.dim)
        )
        args = (noisy, torch.zeros(1), torch.empty(1, 256, 32, 32), music)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(*args)
    return counter.get_total_flops() / 1e9


def test_the_published_size_costs_73_percent_of_the_published_flops() -> None:
    assert flops("aist128") <= 0.73 * PUBLISHED_GFLOP


def test_the_published_size_has_about_the_published_parameters() -> None:
    with torch.device("meta"):
        network = build_denoiser(load_settings("aist128", []), image_channels=256)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(42.7e6, rel=0.05)


@pytest.mark.parametrize(
    ("beats", "frames"),
    [
        ([3.0], [3]),
        ([3.4], [3]),
        ([3.6], [4]),
        ([3.5], [3]),
        ([3.5 + 1e-5], [3]),
        ([3.5 - 1e-5], [3]),
        ([0.5], [0]),
        ([-0.5], []),  # nearest to the frame before the window
        ([-0.4], [0]),
        ([10.5], [10]),
        ([11.5], [11]),
        ([0.5, 4.5, 8.5], [0, 4, 8]),
        ([1.5, 3.5, 5.5], [1, 3, 5]),
        ([1.5, 3.0, 4.0, 6.5], [1, 3, 4, 6]),
        ([], []),
    ],
)
def test_the_global_beat_vector_has_one_one_for_each_beat(
    beats: list[float], frames: list[int]
) -> None:
    fps = 10.0
    track = np.asarray(beats) / fps
    features = beat_features(track, np.zeros(0), 1.0, 12, fps)
    conditioner = MusicConditioner(dim=4, clap=False, wav2clip=False, frames=16)
    vector = conditioner._beat_vector(torch.from_numpy(features)[None])
    assert vector.shape == (1, 16)
    assert vector[0].nonzero().flatten().tolist() == frames
    assert vector.sum() == len(frames)


def test_beats_half_way_are_the_same_in_every_window() -> None:
    fps, frames = 10.0, 60
    track = np.arange(0.25, 6.0, 0.45)
    ones = set()
    for start in range(0, frames - 12, 6):
        features = beat_features(track, np.zeros(0), 1.0, 12, fps, start / fps)
        found = nearest_frames(torch.from_numpy(features[None, :, 0]))
        ones |= {start + int(place) for place in found[0].nonzero()}
    expected = np.ceil(track * fps - 0.5 - 1e-6).astype(int)
    assert ones == {int(place) for place in expected if place < 54}
