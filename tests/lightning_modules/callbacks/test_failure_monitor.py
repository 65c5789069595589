"""The monitor: limits from training clips, and dances that fail in one way each."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from tiny_diffusion import clips, module, rows
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datamodules.batch import ClipBatch
from lightning_modules.callbacks.monitor import SIGNS, FailureMonitor, Limits, limits_of
from lightning_modules.diffusion import FlowDiffusionModule

INSIDE = dict.fromkeys(SIGNS, 0.95)


def test_limits_hold_the_share_of_training_clips_that_was_asked_for() -> None:
    values = torch.rand(2000, generator=torch.Generator().manual_seed(0))
    for ends in SIGNS.values():
        limits = limits_of(values, 0.9, ends)
        assert limits.outside(values).float().mean() == pytest.approx(0.1, abs=0.002)
    assert limits_of(values, 0.9, (True, False)).high == torch.inf
    low, high = limits_of(values, 0.9, (True, True)).low, limits_of(values, 0.9, (True, True)).high
    assert (low, high) == (pytest.approx(0.05, abs=0.02), pytest.approx(0.95, abs=0.02))


def test_what_is_no_number_lies_outside() -> None:
    assert Limits(-torch.inf, torch.inf).outside(torch.tensor([torch.nan, 0.0])).tolist() == [
        True,
        False,
    ]


class OneBatch(Dataset[ClipBatch]):
    """All clips at once."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, place: int) -> ClipBatch:
        return clips()


def training_clips() -> Iterator[ClipBatch]:
    for first in (0, 4):
        yield rows(clips(), list(range(first, first + 4)))


def watch(network: FlowDiffusionModule, folder: Path) -> tuple[FailureMonitor, dict[str, float]]:
    """Validate once; what the monitor has logged, without `monitor/`."""
    monitor = FailureMonitor(INSIDE, 0.5, training_clips)
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        default_root_dir=folder,
        callbacks=[monitor],
    )
    trainer.validate(network, DataLoader(OneBatch(), batch_size=None), verbose=False)
    logged = {
        name.removeprefix("monitor/"): float(value)
        for name, value in trainer.callback_metrics.items()
        if name.startswith("monitor/")
    }
    return monitor, logged


def dancing(change: Callable[[Tensor], Tensor]) -> FlowDiffusionModule:
    """A model that dances the truth, changed."""

    class Changed(FlowDiffusionModule):
        def sample(self, batch: ClipBatch) -> Tensor:
            assert batch.latent_flow is not None
            return change(batch.latent_flow)

    network = module()
    network.__class__ = Changed
    return network


def shaken(flow: Tensor) -> Tensor:
    """A fixed push of every cell, of another strength in each frame."""
    generator = torch.Generator().manual_seed(0)
    push = torch.randn(flow.shape[2:], generator=generator)
    strength = torch.randn(flow.shape[:2], generator=generator)
    return flow + strength[:, :, None, None, None] * push


def frozen(flow: Tensor) -> Tensor:
    return flow[:, :1].expand_as(flow)


def half_a_beat_late(flow: Tensor) -> Tensor:
    """Clip i turns every 0.4 + 0.05 i seconds, at 10 frames per second."""
    return torch.stack([clip.roll(2 + i // 4, dims=0) for i, clip in enumerate(flow)])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda flow: flow, set()),
        (shaken, {"temporal_inconsistency", "implausible_motion"}),
        (frozen, {"misalignment", "implausible_motion"}),
        (half_a_beat_late, {"misalignment"}),
    ],
)
def test_each_failure_is_flagged_and_the_true_dances_are_not(
    change: Callable[[Tensor], Tensor], expected: set[str], tmp_path: Path
) -> None:
    monitor, logged = watch(dancing(change), tmp_path)
    assert expected <= monitor.flagged
    if not expected:
        assert not monitor.flagged
    for name in SIGNS:
        assert logged[f"{name}_flag"] == float(name in monitor.flagged)
        assert (logged[f"{name}_outside"] > 0.5) == (name in monitor.flagged)
    assert logged["misalignment_low"] == pytest.approx(monitor.limits["misalignment"].low)
    assert "misalignment_high" not in logged


def test_a_flag_is_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="dabfusion"):
        monitor, _ = watch(dancing(frozen), tmp_path)
    assert "misalignment in 100% of the generated clips" in caplog.text
    again = FailureMonitor(INSIDE, 0.5, training_clips)
    again.load_state_dict(monitor.state_dict())
    assert again.flagged == monitor.flagged
