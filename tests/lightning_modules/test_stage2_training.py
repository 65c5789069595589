"""The training module: the same step whatever the order, learning, validation, resumption."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datamodules.batch import ClipBatch
from lightning_modules.diffusion import (
    ConditionDropout,
    DenoiserOptimizer,
    DenoisingLoss,
    FlowDiffusionModule,
    ValidationSampling,
)
from lightning_modules.diffusion_loss import cosine_scheduler
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.networks.denoiser import FlowUNet3D
from lightning_modules.networks.music import MusicConditioner
from lightning_modules.normalization import identity_grid

FRAMES = 12


def clips(count: int = 8) -> ClipBatch:
    """Dances that sway with their own tempo and amplitude; beats where they turn."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(FRAMES) / 10
    interval = 0.4 + 0.05 * torch.arange(count)
    phase = torch.pi * time / interval[:, None]
    sway = torch.sin(phase)[:, :, None, None] * torch.randn(count, 1, 8, 8, generator=generator)
    grid = identity_grid(8, 8).expand(count, FRAMES, 2, 8, 8).clone()
    grid[:, :, 0] += 0.1 * sway
    grid[:, :, 1] += 0.05 * sway
    occlusion = 0.9 - 0.2 * sway.abs()
    beats = torch.stack((phase.cos(), phase.sin(), phase, phase, phase, phase, phase), dim=-1)
    return ClipBatch(
        clip_ids=[f"clip{i}@0" for i in range(count)],
        music_ids=[f"song{i}" for i in range(count)],
        fps=10.0,
        index=torch.arange(count),
        beats=interval[:, None] * torch.arange(1, 5),
        beat_features=beats,
        frames=torch.randint(0, 255, (count, 1, 3, 32, 32), dtype=torch.uint8, generator=generator),
        latent_flow=torch.cat((grid, occlusion[:, :, None]), dim=2),
    )


def rows(batch: ClipBatch, places: list[int]) -> ClipBatch:
    assert batch.frames is not None
    assert batch.latent_flow is not None
    return ClipBatch(
        clip_ids=[batch.clip_ids[i] for i in places],
        music_ids=[batch.music_ids[i] for i in places],
        fps=batch.fps,
        index=batch.index[places],
        beats=batch.beats[places],
        beat_features=batch.beat_features[places],
        frames=batch.frames[places],
        latent_flow=batch.latent_flow[places],
    )


def module(
    prediction: str = "sample", dropout: ConditionDropout | None = None, steps: int = 1000
) -> FlowDiffusionModule:
    torch.manual_seed(0)
    autoencoder = LatentFlowAutoencoder(
        regions=2,
        region_width=4,
        region_blocks=1,
        background_width=4,
        background_blocks=1,
        flow_width=4,
        flow_blocks=1,
        generator_width=4,
        residual_blocks=1,
    )
    denoiser = FlowUNet3D(
        image_channels=autoencoder.channels_latent,
        music_dim=32,
        width=32,
        multipliers=(1, 2),
        embedding=64,
        blocks=1,
        stem_kernel=3,
        temporal_conv=(True, False),
        temporal_attention=(False, True),
        spatial_attention=("none", "none"),
        middle_attention=False,
        heads=2,
        head_dim=8,
        prediction=prediction,
    )
    flow = clips().latent_flow
    assert flow is not None
    denoiser.normalizer.fit([flow])
    return FlowDiffusionModule(
        denoiser,
        MusicConditioner(dim=32, beats="frame", clap=False, wav2clip=False, frames=FRAMES),
        autoencoder,
        cosine_scheduler(1000, prediction),
        frame_size=32,
        seed=0,
        loss=DenoisingLoss(velocity=1.0),
        optimizer=DenoiserOptimizer(rate=2e-3, steps=steps, final_rate_factor=0.1),
        dropout=dropout or ConditionDropout(),
        validation=ValidationSampling(clips=8, steps=5),
    )


def loss_of(network: FlowDiffusionModule, batch: ClipBatch) -> Tensor:
    """The mean of the denoising loss of one step, without a trainer to log to."""
    from lightning_modules.randomness import Purpose

    return network._losses(batch, Purpose.TRAINING, 3, 0)["denoising"]


def test_a_step_does_not_depend_on_how_clips_are_batched() -> None:
    network = module("epsilon")
    batch = clips(4)
    together = loss_of(network, rows(batch, [3, 0, 1, 2]))
    parts = [loss_of(network, rows(batch, places)) for places in ([0, 1], [2, 3])]
    torch.testing.assert_close(together, torch.stack(parts).mean(), rtol=1e-4, atol=1e-6)


def test_stage_one_is_no_part_of_the_checkpoint() -> None:
    network = module()
    names = {name.split(".")[0] for name in network.state_dict()}
    assert names == {"denoiser", "conditioner"}
    assert not any(p.requires_grad for p in network.autoencoder.parameters())


def test_the_rate_rises_and_falls() -> None:
    rate = DenoiserOptimizer(warmup_steps=10, steps=110, final_rate_factor=0.2)
    assert rate.factor(0) == pytest.approx(0.1)
    assert rate.factor(9) == pytest.approx(1.0)
    assert rate.factor(60) == pytest.approx(0.6)
    assert rate.factor(110) == pytest.approx(0.2)
    assert DenoiserOptimizer(steps=10).factor(7) == 1.0


class Batches(Dataset[ClipBatch]):
    """Whole batches of two clips."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, place: int) -> ClipBatch:
        return rows(clips(), [2 * place, 2 * place + 1])


def fit(network: FlowDiffusionModule, steps: int, folder: Path, checkpoint: str | None) -> Trainer:
    trainer = Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
        num_sanity_val_steps=0,
        val_check_interval=4,
    )
    loader = DataLoader(Batches(), batch_size=None)
    trainer.fit(network, loader, loader, ckpt_path=checkpoint, weights_only=True)
    return trainer


def test_a_resumed_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    dropout = ConditionDropout(music=0.3, image=0.2, window_start=0.5)
    whole = module(dropout=dropout)
    trainer = fit(whole, 8, tmp_path, None)
    assert {"val/loss", "val/align_corrected", "val/align_raw", "val/align_chance"} <= set(
        trainer.callback_metrics
    )
    first = module(dropout=dropout)
    fit(first, 4, tmp_path, None).save_checkpoint(tmp_path / "half.ckpt")
    second = module(dropout=dropout)
    fit(second, 8, tmp_path, str(tmp_path / "half.ckpt"))
    for name, weights in whole.state_dict().items():
        assert torch.equal(weights, second.state_dict()[name]), name


@pytest.mark.long
def test_a_tiny_model_learns_eight_clips_by_heart() -> None:
    network = module(dropout=ConditionDropout(music=0.1), steps=1500)
    batch = clips()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    from lightning_modules.randomness import Purpose

    for step in range(1500):
        terms = network._losses(batch, Purpose.TRAINING, step, 0)
        (terms["denoising"] + terms["velocity"]).backward()
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * network.optimizer_settings.factor(step)
        optimizer.step()
        optimizer.zero_grad()
    flow = batch.latent_flow
    assert flow is not None
    still = torch.cat((identity_grid(8, 8), torch.ones(1, 8, 8)))
    made = network.sample(batch)
    for channels in (slice(0, 2), slice(2, 3)):
        pair = torch.stack(((made - still)[:, :, channels], (flow - still)[:, :, channels]))
        assert torch.corrcoef(pair.flatten(1))[0, 1] > 0.95
