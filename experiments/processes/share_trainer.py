"""The Trainer's part in shared work: devices, process group, and results from all ranks."""

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
from experiments.runs.log_file import log_to

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def predict_pieces(
    pieces: Sequence[Piece],
    work: Callable[[Piece], Result],
    networks: Sequence[nn.Module],
    run: RunSettings,
    ranks: Ranks,
    progress: Callable[[int, int], None] | None,
) -> list[Result]:
    """`sharing.share_work` by `Trainer.predict`."""
    share = _Share(pieces, work, networks, progress)
    with log_to(None), _devices_kept(networks):
        trainer = bare_trainer(run, ranks, unused_parameters=False)(logger=False)
        try:
            trainer.predict(share, return_predictions=False)
            return _gather(share.done, ranks.world)
        except RuntimeError as error:
            lost = rank_lost(error, trainer.global_rank, ranks.world, "in shared work", KEPT)
            if lost is None:
                raise
            raise lost from error
        except (SIGTERMException, SystemExit) as stop:
            # Lightning answers Ctrl-C, too, by leaving with a status.
            raise Interrupted(f"Stopped; {KEPT}.") from stop


class _Share(LightningModule):
    """One rank's share of the pieces.

    Its loader gives places among them, not the pieces themselves, which Lightning would take apart
    in search of tensors.
    """

    def __init__(
        self,
        pieces: Sequence[Any],
        work: Callable[[Any], Any],
        networks: Sequence[nn.Module],
        progress: Callable[[int, int], None] | None,
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.pieces, self.work, self.progress = pieces, work, progress
        self.done: list[Any] = []

    def predict_dataloader(self) -> range:
        return range(self.trainer.global_rank, len(self.pieces), self.trainer.world_size)

    def predict_step(self, batch: int, batch_idx: int) -> int:
        if self.trainer.received_sigterm:
            raise SIGTERMException
        self.done.append(self.work(self.pieces[batch]))
        if self.progress is not None and self.trainer.is_global_zero:
            together = len(self.done) * self.trainer.world_size
            self.progress(min(together, len(self.pieces)), len(self.pieces))
        return batch


@contextmanager
def _devices_kept(networks: Sequence[nn.Module]) -> Iterator[None]:
    """Networks are back on their devices afterwards; the Trainer leaves them on the CPU."""
    before = [next(network.parameters()).device for network in networks]
    yield
    for network, device in zip(networks, before, strict=True):
        network.to(device)


def _gather(mine: list[Any], world: int) -> list[Any]:
    """Every rank's results in the order of the pieces, in every process."""
    if world == 1:
        return mine
    shares: list[list[Any]] = [[] for _ in range(world)]
    torch.distributed.all_gather_object(shares, mine)
    longest = max(map(len, shares))
    return [share[turn] for turn in range(longest) for share in shares if turn < len(share)]
