"""Long songs: a trained denoiser follows the beats to the end, without seams, in constant memory.

Dances sway from side to side and turn on the beat. Which side comes first is left open, so that
neighboring windows have to agree on it while they are denoised.
"""

import math

import pytest
import torch
from tiny_models import tiny_conditioner, tiny_denoiser
from torch import Tensor

from lightning_modules.diffusion_loss import cosine_scheduler
from lightning_modules.networks.denoiser import FlowUNet3D
from lightning_modules.networks.music import MusicConditioner
from lightning_modules.normalization import identity_grid
from lightning_modules.sampling import Guidance, Windows, sample_latent_flow, solver_scheduler

FPS = 10.0
LENGTH = 20
"""Frames of a training window."""
GRID = identity_grid(8, 8)
PATTERN = torch.cos(torch.arange(8) * math.pi / 7).expand(2, 8, 8)
"""(2, h, w): where the dancer sways, and which way."""
Networks = tuple[FlowUNet3D, MusicConditioner]


def music(beat_s: Tensor, frames: int, start_s: Tensor) -> Tensor:
    """Beat features (B, N, 7) of songs with a beat every `beat_s` (B,) seconds from `start_s`."""
    phase = (torch.arange(frames) / FPS + start_s[:, None]) / beat_s[:, None]
    turn = 2 * math.pi * phase
    near = (phase - phase.round()).abs() * beat_s[:, None] * FPS
    columns = [(1 - near).clamp_min(0), turn.sin(), turn.cos(), (2 * turn).sin(), (2 * turn).cos()]
    columns += [torch.ones_like(turn), beat_s[:, None].expand_as(turn)]
    return torch.stack(columns, dim=-1)


def dance(beat_s: Tensor, frames: int, start_s: Tensor, side: Tensor) -> Tensor:
    """Latent flow (B, N, 3, h, w) that turns on every beat; `side` (B,): 1 or -1."""
    phase = (torch.arange(frames) / FPS + start_s[:, None]) / beat_s[:, None]
    sway = 0.1 * side[:, None] * torch.cos(math.pi * phase)
    grid = GRID + sway[:, :, None, None, None] * PATTERN
    return torch.cat((grid, torch.full_like(grid[:, :, :1], 0.8)), dim=2)


def trained(steps: int) -> Networks:
    """A small denoiser taught windows of such dances, the reference near or long past."""
    torch.manual_seed(0)
    denoiser = tiny_denoiser(music_dim=32, width=32, embedding=64, patch=2, head_dim=16, groups=8)
    conditioner = tiny_conditioner(dim=32, spectral=False, frames=LENGTH)
    generator = torch.Generator().manual_seed(0)
    scheduler = cosine_scheduler(1000, "sample")
    parameters = [*denoiser.parameters(), *conditioner.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3)

    def clips(count: int) -> tuple[Tensor, Tensor]:
        beat_s = 0.4 + 0.3 * torch.rand(count, generator=generator)
        start_s = torch.rand(count, generator=generator)
        side = torch.randint(2, (count,), generator=generator) * 2.0 - 1.0
        return music(beat_s, LENGTH, start_s), dance(beat_s, LENGTH, start_s, side)

    denoiser.normalizer.fit([clips(64)[1]])
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (0.02 + 0.98 * math.cos(math.pi / 2 * step / steps))
        beats, flow = clips(8)
        clean = denoiser.normalizer.normalize(flow)
        timestep = torch.randint(1000, (8,), generator=generator)
        noise = torch.randn(clean.shape, generator=generator)
        noisy = scheduler.add_noise(clean, noise, timestep)
        place = 200 * torch.randint(2, (8,), generator=generator)
        said = denoiser(noisy, timestep, torch.zeros(8, 4, 8, 8), conditioner(beats, {}), place)
        error = (said - clean).square().mean()
        (error + (said - clean).diff(dim=1).square().mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return denoiser.eval(), conditioner.eval()


def song(
    networks: Networks,
    frames: int,
    windows: Windows,
    beat_s: float = 0.5,
    seed: int = 0,
) -> Tensor:
    """Sway (N,) of a dance to a song of one tempo: what its flow has of `PATTERN`, at most 0.1."""
    denoiser, conditioner = networks
    flow = sample_latent_flow(
        denoiser,
        conditioner,
        solver_scheduler("dpm++", cosine_scheduler(1000, "sample")),
        torch.zeros(1, 4, 8, 8),
        music(torch.tensor([beat_s]), frames, torch.zeros(1)),
        {},
        steps=15,
        guidance=Guidance(),
        windows=windows,
        generators=[torch.Generator().manual_seed(seed)],
    )
    moved = flow[0, :, :2] - GRID
    return (moved * PATTERN).sum((1, 2, 3)) / PATTERN.square().sum()


def turned_on_beat(sway: Tensor, beat_s: float) -> Tensor:
    """For each beat (but those at the ends): whether the sway turns within a frame of it."""
    speed = sway.diff()
    turns = (speed[1:] * speed[:-1] <= 0).nonzero().flatten() + 1
    beats = torch.arange(beat_s, (len(sway) - 2) / FPS, beat_s) * FPS
    return ((beats[:, None] - turns).abs().amin(1) <= 1.0).float()


def borders(windows: Windows, frames: int) -> Tensor:
    """(N - 1,): the steps into a window's first frame, or out of another's last."""
    mask = torch.zeros(frames - 1, dtype=torch.bool)
    for start in windows.starts(frames)[1:]:
        mask[start - 1] = True
    for start in windows.starts(frames)[:-1]:
        mask[start + windows.length - 1] = True
    return mask


@pytest.fixture(scope="module")
def networks() -> Networks:
    return trained(150)


def check_songs(networks: Networks, seconds: int, tempos: tuple[float, ...]) -> None:
    """Beats as well met in the last quarter as in the first, and no step at a border stands out."""
    frames = round(seconds * FPS)
    windows = Windows(LENGTH, 10, 8)
    speeds, on_border = [], borders(windows, frames)
    for number, beat_s in enumerate(tempos):
        sway = song(networks, frames, windows, beat_s, seed=number)
        met = turned_on_beat(sway, beat_s)
        quarter = len(met) // 4
        assert met[:quarter].mean() > 0.85
        assert met[-quarter:].mean() > 0.85
        assert sway[-frames // 4 :].std() > 0.6 * 0.1 / math.sqrt(2)  # it still dances
        speeds.append(sway.diff().abs())
    speed = torch.stack(speeds)
    border, inside = speed[:, on_border].flatten(), speed[:, ~on_border].flatten()
    assert border.quantile(0.95) <= 1.1 * inside.quantile(0.95)
    assert border.max() <= 1.1 * inside.max()
    assert border.median() <= 1.4 * inside.median()


@pytest.mark.long
def test_songs_of_several_tempos_are_danced_without_seams_and_on_the_beat(networks) -> None:
    check_songs(networks, 10, (0.45, 0.5, 0.6))
    # Where windows do not overlap they choose their sides alone, and the borders show it.
    apart = Windows(LENGTH, 0, 8)
    speed = song(networks, 100, apart, 0.5).diff().abs()
    seams = borders(apart, 100)
    assert speed[seams].max() > 1.3 * speed[~seams].max()


@pytest.mark.long
def test_a_minute_is_danced_without_seams_and_on_the_beat_to_the_end(networks) -> None:
    check_songs(networks, 60, (0.53,))


def test_the_network_sees_as_much_of_a_long_song_as_of_a_short_one() -> None:
    """Its memory, which outweighs all else, does not grow with the song."""
    denoiser, conditioner = trained(0)
    seen: list[tuple[int, ...]] = []
    hook = denoiser.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[:2]))
    sizes = []
    for frames in (60, 240):
        seen.clear()
        sway = song((denoiser, conditioner), frames, Windows(LENGTH, 10, 4))
        assert len(sway) == frames
        sizes.append(max(seen))
    hook.remove()
    assert sizes == [(4, LENGTH), (4, LENGTH)]
