"""The training module: the same step whatever the order, learning, validation, resumption."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from tiny_diffusion import clips, module, rows
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datamodules.batch import ClipBatch
from lightning_modules.diffusion import (
    ConditionDropout,
    FlowDiffusionModule,
    ValidationSampling,
)
from lightning_modules.normalization import identity_grid
from lightning_modules.options.optimizer import OptimizerOptions


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
    rate = OptimizerOptions(warmup_steps=10, steps=110, final_rate_factor=0.2)
    assert rate.factor(0) == pytest.approx(0.1)
    assert rate.factor(9) == pytest.approx(1.0)
    assert rate.factor(60) == pytest.approx(0.6)
    assert rate.factor(110) == pytest.approx(0.2)
    assert OptimizerOptions(steps=10).factor(7) == 1.0


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


class Generated(Callback):
    """Counts the clips that validation generates."""

    count = 0

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *others: Any
    ) -> None:
        self.count += 0 if outputs is None else len(outputs["latent_flow"])


@pytest.mark.parametrize(
    "shares",
    [
        [[[0, 1, 2], [3, 4, 5], [6, 7]]],
        [[[0, 1, 2, 3], [4, 5, 6], [7]]],
        [[[0, 2, 4], [6]], [[1, 3, 5], [7]]],
    ],
    ids=["threes", "fours", "two ranks"],
)
def test_validation_scores_the_same_clips_however_they_are_shared(
    shares: list[list[list[int]]], tmp_path: Path
) -> None:
    network = module()
    network.validation = ValidationSampling(clips=5, steps=1)
    seen = Generated()
    for batches in shares:
        trainer = Trainer(
            accelerator="cpu",
            logger=False,
            callbacks=[seen],
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        data = [rows(clips(), places) for places in batches]
        trainer.validate(network, DataLoader(data, batch_size=None), verbose=False)
    assert seen.count == 5


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
