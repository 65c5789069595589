"""What happens to steps with numbers that are not finite, and what is averaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from datamodules.batch import ClipBatch
from lightning_modules.callbacks.ema import ExponentialMovingAverage, averaged_tensors
from lightning_modules.callbacks.guard import FiniteGuard, NonFiniteError, StepSeed

BAD_STEP = 3


class Numbers(Dataset[ClipBatch]):
    """Batches of one clip whose only feature is its number."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, place: int) -> ClipBatch:
        return ClipBatch(
            clip_ids=[f"clip@{place}"],
            music_ids=["mBR0"],
            fps=10.0,
            index=torch.tensor([place]),
            beats=torch.zeros(1, 1),
            beat_features=torch.full((1, 2, 7), float(place)),
        )


class Learner(LightningModule):
    """One weight, whose loss is bad at one step: by itself, or in its gradient alone."""

    def __init__(self, bad: str) -> None:
        super().__init__()
        self.bad = bad
        self.weight = nn.Parameter(torch.ones(1))
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)
        self.seen: list[float] = []

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        self.seen.append(float(self.weight.detach()))
        loss = (self.weight * (1 + batch.beat_features.mean())).square().mean()
        if self.global_step == BAD_STEP and not getattr(self, "passed", False):
            self.passed = True
            if self.bad == "loss":
                return loss * torch.nan
            if self.bad == "gradient":
                return loss + (self.weight - self.weight.detach()).abs().pow(0.5).sum()
            if self.bad == "explosion":
                return loss + 1e6
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.weight], lr=1e-3)


def fit(module: Learner, callbacks: list[Any], steps: int = 6) -> Trainer:
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(Numbers(), batch_size=None))
    return trainer


@pytest.mark.parametrize("bad", ["loss", "gradient", "explosion"])
def test_a_bad_step_stops_before_the_weights_are_touched(bad: str, tmp_path: Path) -> None:
    module, report = Learner(bad), tmp_path / "nonfinite.json"
    with pytest.raises(NonFiniteError, match=f"step {BAD_STEP}.*nonfinite.json"):
        fit(module, [FiniteGuard(False, 1000.0, report, warmup=2)])
    found = json.loads(report.read_text(encoding="utf-8"))
    assert found["step"] == BAD_STEP
    assert found["clip_ids"] == [f"clip@{BAD_STEP}"]
    assert float(module.weight.detach()) == module.seen[-1]


@pytest.mark.parametrize("bad", ["loss", "gradient", "explosion"])
def test_a_bad_step_can_be_left_out_and_counted(bad: str, tmp_path: Path) -> None:
    module, report = Learner(bad), tmp_path / "nonfinite.json"
    guard = FiniteGuard(True, 1000.0, report, warmup=2)
    fit(module, [guard])
    assert guard.skipped == 1
    assert not report.exists()
    assert module.seen[BAD_STEP + 1] == module.seen[BAD_STEP]  # left out
    assert module.seen[BAD_STEP + 2] != module.seen[BAD_STEP + 1]  # and continued
    assert all(torch.tensor(module.seen).isfinite())


def test_a_large_gradient_is_scaled_down_and_a_small_one_is_left(tmp_path: Path) -> None:
    for clip, expected in ((0.5, 0.5), (1e6, None), (0.0, None)):
        module = Learner("")
        fit(module, [FiniteGuard(False, 0.0, tmp_path / "none.json", clip=clip)], steps=2)
        moved = (module.seen[0] - module.seen[1]) / 1e-3  # the gradient that the optimizer got
        # d/dw of (w (1 + 0))^2 at w = 1 is 2: batch 0 is all zeros
        assert moved == pytest.approx(2.0 if expected is None else expected, rel=1e-3)


def test_the_average_follows_its_formula_and_skips_frozen_parameters() -> None:
    module, average = Learner(""), ExponentialMovingAverage(0.7)
    fit(module, [average], steps=6)
    weights = [*module.seen[1:], float(module.weight)]
    expected = 1.0
    for n, weight in enumerate(weights, start=1):
        decay = min(0.7, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * weight
    state = average.state_dict()
    assert list(state["average"]) == ["weight"]
    assert float(state["average"]["weight"]) == pytest.approx(expected, rel=1e-5)
    average.write_to(module)
    assert float(module.weight) == pytest.approx(expected, rel=1e-5)


def test_moments_of_frozen_layers_are_not_averaged() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2), nn.BatchNorm1d(2))
    network[0].requires_grad_(False)
    names = set(averaged_tensors(network))
    assert names == {
        "1.weight",
        "1.bias",
        "2.weight",
        "2.bias",
        "2.running_mean",
        "2.running_var",
    }


def test_dropout_of_a_step_depends_only_on_seed_and_step() -> None:
    drawn: dict[int, list[float]] = {}
    for seed in (0, 0, 1):

        class Drawer(Learner):
            def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
                self.seen.append(float(torch.rand(1)))
                return self.weight.sum()

        module = Drawer("")
        fit(module, [StepSeed(seed)], steps=4)
        assert len(set(module.seen)) == 4
        if seed in drawn:
            assert drawn[seed] == module.seen
        drawn[seed] = module.seen
    assert set(drawn[0]).isdisjoint(drawn[1])
