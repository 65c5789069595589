"""Lightning's Trainer as training and shared work use it, and all uses of its private API.

Each private attribute below is tested with the versions in setup.cfg (`lightning>=2.6,<2.7`);
check this file before raising the ceiling.
"""

from __future__ import annotations

import atexit
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import nn

from experiments.config.run import RunSettings
from experiments.errors import Interrupted, RankLost
from experiments.processes.ranks import KEPT, Ranks
from experiments.runs.logs import log_to

#: What gloo and NCCL report about a process that does not answer.
_LOST = re.compile(r"gloo|NCCL|Connection (closed|reset|refused)|[Tt]imed out|Broken pipe")


def bare_trainer(run: RunSettings, ranks: Ranks, unused_parameters: bool) -> partial[Trainer]:
    """Return a Trainer constructor without checkpoints, bars and samplers of its own.

    `unused_parameters` says whether a backward pass may leave out parameters.
    """
    strategy: str | DDPStrategy = "auto"
    if ranks.world_size > 1:
        atexit.register(_leave_ranks)
        timeout = timedelta(seconds=run.rank_timeout_s)
        strategy = DDPStrategy(timeout=timeout, find_unused_parameters=unused_parameters)
    return partial(
        Trainer,
        accelerator=run.accelerator,
        devices=ranks.devices,
        num_nodes=ranks.nodes,
        strategy=strategy,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _leave_ranks() -> None:
    """Leave the process group before the interpreter shuts down, as PyTorch requires.

    Lightning does it for NCCL only: gloo's threads must not outlive the tensors they work on.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextmanager
def readable_stops(trainer: Trainer, again: str) -> Iterator[None]:
    """Turn what another rank's death, Ctrl-C or SIGTERM raises into RankLost and Interrupted."""

    def place() -> str:
        step, steps = trainer.global_step, trainer.max_steps
        return f" at step {step} of {steps}" if steps > 0 else ""

    try:
        yield
    except RuntimeError as error:
        if trainer.world_size == 1 or not _LOST.search(str(error)):
            raise
        logging.getLogger("dabfusion").error("Another rank is lost.", exc_info=error)
        raise RankLost(
            f"Rank {trainer.global_rank} stopped{place()}, because another rank died or does not "
            f"answer; {again}."
        ) from error
    except (SIGTERMException, SystemExit) as stop:
        # Lightning turns Ctrl-C into SystemExit.
        raise Interrupted(f"Stopped{place()}; {again}.") from stop


def predict_items(
    items: Sequence[Any],
    work: Callable[[Any], Any],
    networks: Sequence[nn.Module],
    run: RunSettings,
    ranks: Ranks,
    progress: Callable[[int, int], None] | None,
) -> list[Any]:
    """Do `share.share_work` with `Trainer.predict`: devices, process group, results of all."""
    share = _Share(items, work, networks, progress)
    devices = [next(network.parameters()).device for network in networks]
    with log_to(None):
        trainer = bare_trainer(run, ranks, unused_parameters=False)(logger=False)
        with readable_stops(trainer, KEPT):
            trainer.predict(share, return_predictions=False)
            shares = [share.done] * ranks.world_size
            if ranks.world_size > 1:
                torch.distributed.all_gather_object(shares, share.done)
    # The Trainer leaves networks on the CPU.
    for network, device in zip(networks, devices, strict=True):
        network.to(device)
    # Rank r of w has the results of the items r, r + w, ...
    results: list[Any] = [None] * len(items)
    for rank, done in enumerate(shares):
        results[rank :: ranks.world_size] = done
    return results


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


def request_stop(trainer: Trainer) -> None:
    """Make a running `fit` raise SIGTERMException between two steps, or in a validation."""
    trainer._signal_connector.received_sigterm = True


def validation_follows(trainer: Trainer) -> bool:
    """Return whether a validation runs after the step that has just ended."""
    fetcher = trainer.fit_loop._data_fetcher
    return (
        fetcher is not None
        and trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher)
        and sum(trainer.num_val_batches) > 0  # without clips, Lightning skips the validation
    )


def restore_logged_step(trainer: Trainer) -> None:
    """Make loggers continue at `global_step` after a resume."""
    # The count in a checkpoint depends on the hook in which the checkpoint was written.
    trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
