"""What the Trainers of training and of shared work have in common: devices, ranks, no extras."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy

from experiments.config.run import RunSettings
from experiments.processes.ranks import Ranks, leave_ranks_at_exit


def bare_trainer(run: RunSettings, ranks: Ranks, unused_parameters: bool) -> partial[Trainer]:
    """A Trainer to be called with the rest, without files, bars and samplers of its own.

    Args:
        run: Accelerator, and how long ranks wait for each other.
        ranks: More than one of them form a group, which each leaves at its end.
        unused_parameters: Whether a backward pass may leave parameters out.
    """
    if ranks.world > 1:
        leave_ranks_at_exit()
    return partial(
        Trainer,
        accelerator=run.accelerator,
        devices=ranks.devices,
        num_nodes=ranks.nodes,
        strategy=_ddp(run, unused_parameters) if ranks.world > 1 else "auto",
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _ddp(run: RunSettings, unused_parameters: bool) -> DDPStrategy:
    timeout = timedelta(seconds=run.rank_timeout_s)
    return DDPStrategy(timeout=timeout, find_unused_parameters=unused_parameters)
