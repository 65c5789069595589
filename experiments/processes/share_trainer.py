"""Shared work with Lightning's Trainer: devices, process group, results of all ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import nn

from experiments.config.run import RunSettings
from experiments.errors import Interrupted
from experiments.processes.ranks import KEPT, Ranks, rank_lost
from experiments.processes.trainer import bare_trainer
from experiments.runs.logs import log_to

Item = TypeVar("Item")
Result = TypeVar("Result")


def predict_items(
    items: Sequence[Item],
    work: Callable[[Item], Result],
    networks: Sequence[nn.Module],
    run: RunSettings,
    ranks: Ranks,
    progress: Callable[[int, int], None] | None,
) -> list[Result]:
    """Do `share.share_work` with `Trainer.predict`."""
    share = _Share(items, work, networks, progress)
    with log_to(None), _devices_restored(networks):
        trainer = bare_trainer(run, ranks, unused_parameters=False)(logger=False)
        try:
            trainer.predict(share, return_predictions=False)
            return _gather(share.done, ranks.world_size)
        except RuntimeError as error:
            lost = rank_lost(error, trainer.global_rank, ranks.world_size, "in shared work", KEPT)
            if lost is None:
                raise
            raise lost from error
        except (SIGTERMException, SystemExit) as stop:
            # Lightning turns Ctrl-C into SystemExit.
            raise Interrupted(f"Stopped; {KEPT}.") from stop


class _Share(LightningModule):
    """One rank's share of the items.

    Its data loader returns places, not items, which Lightning would search for tensors.
    """

    def __init__(
        self,
        items: Sequence[Any],
        work: Callable[[Any], Any],
        networks: Sequence[nn.Module],
        progress: Callable[[int, int], None] | None,
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.items, self.work, self.progress = items, work, progress
        self.done: list[Any] = []

    def predict_dataloader(self) -> range:
        return range(self.trainer.global_rank, len(self.items), self.trainer.world_size)

    def predict_step(self, batch: int, batch_idx: int) -> int:
        if self.trainer.received_sigterm:
            raise SIGTERMException
        self.done.append(self.work(self.items[batch]))
        if self.progress is not None and self.trainer.is_global_zero:
            together = len(self.done) * self.trainer.world_size
            self.progress(min(together, len(self.items)), len(self.items))
        return batch


@contextmanager
def _devices_restored(networks: Sequence[nn.Module]) -> Iterator[None]:
    """Move networks back to their devices afterwards; the Trainer leaves them on the CPU."""
    before = [next(network.parameters()).device for network in networks]
    yield
    for network, device in zip(networks, before, strict=True):
        network.to(device)


def _gather(mine: list[Any], world_size: int) -> list[Any]:
    """Return every rank's results in the order of the items, in every process."""
    if world_size == 1:
        return mine
    shares: list[list[Any]] = [[] for _ in range(world_size)]
    torch.distributed.all_gather_object(shares, mine)
    longest = max(map(len, shares))
    return [share[turn] for turn in range(longest) for share in shares if turn < len(share)]
