"""The Trainer that training and shared work build on, and all uses of Lightning's private API.

Each private attribute below is tested with the versions in setup.cfg (`lightning>=2.6,<2.7`);
check this file before raising the ceiling.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy

from experiments.config.run import RunSettings
from experiments.processes.ranks import Ranks, leave_ranks_at_exit


def bare_trainer(run: RunSettings, ranks: Ranks, unused_parameters: bool) -> partial[Trainer]:
    """Return a Trainer constructor without checkpoints, bars and samplers of its own.

    Args:
        run: Accelerator, and how long ranks wait for each other.
        ranks: With more than one, each leaves the process group when it exits.
        unused_parameters: Whether a backward pass may leave out parameters.
    """
    if ranks.world_size > 1:
        leave_ranks_at_exit()
    return partial(
        Trainer,
        accelerator=run.accelerator,
        devices=ranks.devices,
        num_nodes=ranks.nodes,
        strategy=_ddp(run, unused_parameters) if ranks.world_size > 1 else "auto",
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


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
    """Make loggers continue at `global_step` after a resume.

    Lightning counts the loggers' steps apart from the optimizer's, and the count in a checkpoint
    depends on the hook in which the checkpoint was written.
    """
    trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step


def _ddp(run: RunSettings, unused_parameters: bool) -> DDPStrategy:
    timeout = timedelta(seconds=run.rank_timeout_s)
    return DDPStrategy(timeout=timeout, find_unused_parameters=unused_parameters)
