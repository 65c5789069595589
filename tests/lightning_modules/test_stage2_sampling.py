"""Randomness by index, losses by formula, windows without seams, guidance that can ignore music."""

from itertools import pairwise

import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from tiny_models import tiny_conditioner, tiny_denoiser

from lightning_modules.diffusion_loss import (
    cosine_scheduler,
    denoising_loss,
    loss_weights,
    training_target,
    velocity_loss,
)
from lightning_modules.networks.denoiser import FlowUNet3D
from lightning_modules.networks.music import MusicConditioner
from lightning_modules.normalization import STD_FLOOR, FlowNormalizer, identity_grid
from lightning_modules.randomness import Purpose, draw_crop, draw_step, mix
from lightning_modules.sampling import (
    SOLVERS,
    Guidance,
    Windows,
    sample_latent_flow,
    solver_scheduler,
)

CPU = torch.device("cpu")


def networks(prediction: str = "sample") -> tuple[FlowUNet3D, MusicConditioner, DDPMScheduler]:
    torch.manual_seed(0)
    denoiser, conditioner = tiny_denoiser(prediction=prediction), tiny_conditioner()
    for parameter in [*denoiser.parameters(), *conditioner.parameters()]:
        torch.nn.init.normal_(parameter, std=0.2)
    return denoiser.eval(), conditioner.eval(), cosine_scheduler(1000, prediction)


def song(
    frames: int, dances: int = 2
) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(3)
    z0 = torch.randn(dances, 4, 8, 8, generator=generator)
    beats = torch.rand(dances, frames, 7, generator=generator)
    return z0, beats, {"spectral": torch.rand(dances, frames, 44, generator=generator)}


def sample(
    z0: torch.Tensor,
    beats: torch.Tensor,
    music: dict[str, torch.Tensor],
    *,
    guidance: Guidance = Guidance(),  # noqa: B008  frozen
    windows: Windows = Windows(8, 4, 3),  # noqa: B008  frozen
    solver: str = "dpm++",
    prediction: str = "sample",
    first: int = 0,
) -> torch.Tensor:
    denoiser, conditioner, scheduler = networks(prediction)
    return sample_latent_flow(
        denoiser,
        conditioner,
        solver_scheduler(solver, scheduler),
        z0,
        beats,
        music,
        steps=4,
        guidance=guidance,
        windows=windows,
        generators=[torch.Generator().manual_seed(first + i) for i in range(len(beats))],
    )


def test_a_samples_draws_do_not_depend_on_its_neighbors_or_place() -> None:
    def draw(index: list[int], step: int = 5):
        return draw_step(
            1, Purpose.TRAINING, step, torch.tensor(index), (2, 3, 4, 4), 1000, 0.5, 0.5, CPU
        )

    together, reversed_, other = draw([4, 9, 2]), draw([2, 9]), draw([4], step=6)
    assert torch.equal(together.noise[1], reversed_.noise[1])
    assert torch.equal(together.timesteps[2], reversed_.timesteps[0])
    assert torch.equal(together.drop_music[1:], reversed_.drop_music.flip(0))
    assert not torch.equal(together.noise[0], other.noise[0])


def test_draws_are_uniform_and_as_often_dropped_as_asked() -> None:
    drawn = draw_step(0, Purpose.TRAINING, 0, torch.arange(4000), (1, 1, 1, 1), 1000, 0.1, 0.3, CPU)
    assert drawn.timesteps.float().mean() == pytest.approx(500, abs=20)
    assert drawn.timesteps.min() >= 0
    assert drawn.timesteps.max() < 1000
    assert drawn.drop_music.float().mean() == pytest.approx(0.1, abs=0.02)
    assert drawn.drop_image.float().mean() == pytest.approx(0.3, abs=0.03)
    assert drawn.noise.mean().abs() < 0.06
    assert drawn.noise.std() == pytest.approx(1, abs=0.05)
    crops = [draw_crop(0, step, 20, 0.25) for step in range(2000)]
    assert sum(c > 0 for c in crops) / 2000 == pytest.approx(0.25, abs=0.03)
    assert max(crops) == 10
    assert len({mix(a, b) for a in range(50) for b in range(50)}) == 2500


@pytest.mark.parametrize("kind", ["residual", "absolute"])
def test_normalized_flow_has_unit_spread_and_comes_back(kind: str) -> None:
    torch.manual_seed(0)
    grid = identity_grid(8, 8)
    flow = torch.cat((grid + 0.05 * torch.randn(50, 2, 8, 8), torch.rand(50, 1, 8, 8)), dim=1)
    normalizer = FlowNormalizer(kind)
    normalizer.fit([flow[:20], flow[20:, None]])
    values = normalizer.normalize(flow)
    torch.testing.assert_close(values.std((0, 2, 3)), torch.ones(3), rtol=0.01, atol=0)
    torch.testing.assert_close(values.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-3)
    torch.testing.assert_close(normalizer.restore(values), flow, rtol=0, atol=1e-5)


def test_a_constant_occlusion_map_is_not_blown_up() -> None:
    normalizer = FlowNormalizer("residual")
    grid = identity_grid(4, 4)
    normalizer.fit([torch.cat((grid, torch.ones(1, 4, 4)))])
    torch.testing.assert_close(normalizer.std, torch.tensor(STD_FLOOR))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_min_snr_weighs_the_error_of_x0_alike_for_every_prediction(prediction: str) -> None:
    scheduler = cosine_scheduler(1000, prediction)
    torch.manual_seed(0)
    clean, noise = torch.randn(2, 64, 1, 3, 2, 2).unbind(0)
    steps = torch.linspace(5, 900, 64).long()
    noisy = scheduler.add_noise(clean, noise, steps)
    wrong = clean + 0.1  # an estimate of x_0, expressed as what is predicted
    a = scheduler.alphas_cumprod[steps].sqrt()[:, None, None, None, None]
    s = (1 - scheduler.alphas_cumprod[steps]).sqrt()[:, None, None, None, None]
    eps = (noisy - a * wrong) / s
    said = {"sample": wrong, "epsilon": eps, "v_prediction": a * eps - s * wrong}[prediction]
    target = training_target(scheduler, clean, noise, steps)
    weights = loss_weights(scheduler, steps, "min_snr", 5.0)
    errors = (said - target).square().mean((1, 2, 3, 4)) * weights
    expected = 0.01 * (a.square() / s.square()).flatten().clamp_max(5)
    torch.testing.assert_close(errors, expected, rtol=2e-3, atol=1e-6)


def test_losses_leave_padded_frames_out() -> None:
    target = torch.zeros(2, 4, 3, 2, 2)
    said = torch.ones_like(target)
    said[0, 2:] = 100.0
    valid = torch.ones(2, 4, dtype=torch.bool)
    valid[0, 2:] = False
    weights = torch.tensor([1.0, 1.0])
    assert denoising_loss(said, target, weights, valid) == 1
    assert velocity_loss(said, target, weights, valid) == 0
    assert velocity_loss(said, target, weights) > 1000


def test_windows_cover_a_song_to_its_last_frame() -> None:
    windows = Windows(20, 8)
    for frames in (3, 20, 21, 45, 600):
        starts = windows.starts(frames)
        length = min(frames, 20)
        covered = torch.zeros(frames)
        for start in starts:
            covered[start : start + length] += windows.weights(length)
        assert (covered > 0).all()
        assert starts[-1] + length == frames
    assert max(b - a for a, b in pairwise(starts)) == 12
    with pytest.raises(ValueError, match="overlap"):
        Windows(20, 20).starts(50)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_ends_in_finite_flow(solver: str) -> None:
    z0, beats, music = song(8)
    flow = sample(z0, beats, music, solver=solver, prediction="v_prediction")
    assert torch.isfinite(flow).all()
    assert flow[:, :, 2].min() >= 0
    assert flow[:, :, 2].max() <= 1


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_a_perfect_denoiser_is_followed_to_the_clean_flow(solver: str, prediction: str) -> None:
    """The schedulers and the training targets mean the same thing."""
    scheduler = cosine_scheduler(1000, prediction)
    sampler = solver_scheduler(solver, scheduler)
    sampler.set_timesteps(50)
    torch.manual_seed(0)
    clean = torch.randn(1, 2, 3, 4, 4)
    x = torch.randn_like(clean) * sampler.init_noise_sigma
    for t in sampler.timesteps:
        signal = scheduler.alphas_cumprod[int(t)]
        noise = (x - signal.sqrt() * clean) / (1 - signal).sqrt()
        said = training_target(scheduler, clean, noise, t[None])
        x = sampler.step(said, t, x).prev_sample
    assert (x - clean).abs().max() < 0.1


def test_guidance_zero_ignores_the_music_and_one_does_not() -> None:
    z0, beats, music = song(8)
    other = {"spectral": music["spectral"].flip(1)}
    silent = [
        sample(z0, b, m, guidance=Guidance(0.0)) for b, m in ((beats, music), (1 - beats, other))
    ]
    assert torch.equal(*silent)
    heard = [sample(z0, b, m) for b, m in ((beats, music), (1 - beats, other))]
    assert (heard[0] - heard[1]).abs().max() > 1e-3
    stressed = sample(z0, beats, music, guidance=Guidance(2.0))
    assert (stressed - heard[0]).abs().max() > 1e-3


def test_guidance_without_the_picture_follows_its_formula() -> None:
    z0, beats, music = song(8)
    plain = sample(z0, beats, music, guidance=Guidance(1.0, 1.0))
    near = sample(z0, beats, music, guidance=Guidance(1.0, 1.0 + 1e-7))
    torch.testing.assert_close(plain, near, rtol=0, atol=1e-4)
    none = sample(z0, beats, music, guidance=Guidance(0.0, 0.0))
    torch.testing.assert_close(none, sample(z0 * 9, beats, music, guidance=Guidance(0.0, 0.0)))


def test_a_batch_of_long_songs_equals_its_singles() -> None:
    z0, beats, music = song(21)
    together = sample(z0, beats, music)
    for i in range(2):
        one = slice(i, i + 1)
        alone = sample(z0[one], beats[one], {"spectral": music["spectral"][one]}, first=i)
        torch.testing.assert_close(together[one], alone, rtol=0, atol=1e-4)


def test_overlapping_windows_leave_no_seam() -> None:
    """Speed at the windows' borders lies within what it is elsewhere; without overlap it does not.

    The denoiser's weights are random, so that its windows disagree as much as windows can.
    """
    z0, beats, music = song(80, dances=4)
    music["spectral"] = music["spectral"].cumsum(1) / 10  # a song that drifts from window to window

    def speeds(windows: Windows) -> tuple[torch.Tensor, torch.Tensor]:
        flow = sample(z0, beats, music, windows=windows)
        speed = flow[:, :, :2].diff(dim=1).abs().mean((0, 2, 3, 4))
        border = torch.zeros(79, dtype=torch.bool)
        for start in windows.starts(80)[1:]:
            border[[start - 1, start]] = True
        return speed[border], speed[~border]

    border, inside = speeds(Windows(8, 6, 64))
    assert border.mean() < inside.quantile(0.75)
    assert border.max() <= inside.max() * 1.1
    seam, rest = speeds(Windows(8, 0, 64))
    assert seam[::2].mean() > 1.03 * rest.mean()


def test_windows_at_a_time_change_nothing() -> None:
    z0, beats, music = song(33, dances=1)
    few = sample(z0, beats, music, windows=Windows(8, 4, 1))
    many = sample(z0, beats, music, windows=Windows(8, 4, 16))
    torch.testing.assert_close(few, many, rtol=0, atol=1e-4)


def test_global_beats_fit_the_window_they_were_built_for() -> None:
    conditioner = MusicConditioner(dim=8, beats="global", clap=False, wav2clip=False, frames=8)
    beats = torch.zeros(1, 8, 7)
    beats[0, 3, 0] = 1.0
    moved = beats.roll(1, dims=1)
    assert conditioner(beats, {}).frames is None
    assert (conditioner(beats, {}).clip - conditioner(moved, {}).clip).abs().max() > 1e-4
    assert torch.equal(
        conditioner(beats[:, :5], {}).clip, conditioner(beats * (beats == 1), {}).clip
    )
    with pytest.raises(ValueError, match="8 frames"):
        conditioner(torch.zeros(1, 9, 7), {})


def test_parts_that_are_on_must_be_given_and_off_parts_change_nothing() -> None:
    torch.manual_seed(0)
    given = {
        "clap": torch.randn(2, 512),
        "wav2clip": torch.randn(2, 6, 512),
        "clap_tokens": torch.randn(2, 6, 768),
        "spectral": torch.rand(2, 6, 44),
    }
    beats = torch.rand(2, 6, 7)
    for part in given:
        switches = {name: name == part for name in given}
        conditioner = MusicConditioner(dim=8, beats="none", frames=6, **switches)
        assert conditioner.needs == (part,)
        alone = conditioner(beats, {part: given[part]})
        assert torch.equal(alone.clip, conditioner(1 - beats, given).clip)
        with pytest.raises(ValueError, match=part):
            conditioner(beats, {})


def test_a_frame_hears_the_music_around_it_and_no_other() -> None:
    torch.manual_seed(0)
    conditioner = MusicConditioner(
        dim=8, beats="none", clap=False, wav2clip=False, clap_tokens=True, frames=30, reach=3
    )
    for parameter in conditioner.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    tokens = torch.randn(1, 30, 768)
    beats = torch.zeros(1, 30, 7)
    before = conditioner(beats, {"clap_tokens": tokens}).frames
    tokens[:, 15] += 5.0
    after = conditioner(beats, {"clap_tokens": tokens}).frames
    assert before is not None
    assert after is not None
    changed = (after - before).abs().amax((0, 2)) > 1e-6
    assert changed.nonzero().flatten().tolist() == list(range(12, 19))
    shifted = conditioner(beats, {"clap_tokens": tokens.roll(4, 1)}).frames
    assert shifted is not None
    torch.testing.assert_close(shifted[:, 10:25], after[:, 6:21], rtol=1e-4, atol=1e-5)


def test_dropped_music_is_the_null_embedding() -> None:
    _, conditioner, _ = networks()
    _, beats, music = song(8)
    dropped = conditioner(beats, music, torch.tensor([True, False]))
    null = conditioner.null(1, 8)
    plain = conditioner(beats, music)
    assert dropped.frames is not None
    assert null.frames is not None
    assert plain.frames is not None
    assert torch.equal(dropped.clip[:1], null.clip)
    assert torch.equal(dropped.frames[:1], null.frames)
    assert torch.equal(dropped.frames[1:], plain.frames[1:])
