"""From settings to a trained, exported stage: the road of `dabfusion train`, for Python."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities.exceptions import SIGTERMException

from experiments.config.load import Settings, to_dict
from experiments.errors import Interrupted, SettingsError
from experiments.processes.cpu import set_up_processor
from experiments.processes.ranks import (
    RESUME,
    Ranks,
    find_ranks,
    is_main_rank,
    rank_lost,
)
from experiments.processes.trainer import bare_trainer
from experiments.runs.folder import RunFolder
from experiments.runs.log_file import log_to
from experiments.runs.log_jsonl import JsonlLogger
from experiments.runs.log_wandb import build_wandb_logger, wandb_mode
from experiments.training.cadence import stage_steps
from experiments.training.checkpoints import RunCheckpoints, read_checkpoint
from experiments.training.progress import StepProgress
from experiments.training.resume import (
    Start,
    close_folder,
    decide_start,
    open_folder,
    run_folder,
    where_it_stopped,
)
from experiments.training.signals import StopSignals, requeue_job
from experiments.training.stage_parts import StageParts
from experiments.training.stages import build_parts
from lightning_modules.callbacks.ema import ExponentialMovingAverage
from lightning_modules.callbacks.guard import FiniteGuard, NonFiniteError, StepSeed


def train_stage(
    settings: Settings,
    stage: str,
    progress: Callable[[int, int], None] | None = None,
) -> RunFolder:
    """Train one stage into its run folder, going on with what is there if `resume` says so.

    Args:
        settings: Resolved; `data`, `out` and, for the diffusion, `autoencoder` are folders.
        stage: `autoencoder` or `diffusion`.
        progress: Called with (steps done, all steps) instead of drawing a bar.

    Returns:
        The run folder, with `export/` filled.

    Raises:
        SettingsError: What cannot be trained, or stopped at a loss that is not finite.
        Interrupted: At Ctrl-C or SIGTERM, with what was kept.
    """
    ranks = find_ranks(settings.run)
    main = is_main_rank()
    steps = stage_steps(settings, stage)
    start = decide_start(settings, stage, steps) if main else follow(settings, stage, steps)
    if start.finished:
        return start.folder
    set_up_processor(settings.run.threads)
    mode = wandb_mode(settings.run.wandb) if main else "off"
    parts = build_parts(settings, stage, ranks)
    manifest = open_folder(start, settings, stage) if main else {}
    began = time.monotonic()
    with log_to(start.folder.log if main else None):
        loggers = build_loggers(settings, start.folder, manifest, mode) if main else []
        callbacks = build_callbacks(settings, stage, start.folder, parts, progress)
        trainer = build_trainer(settings, parts, ranks, start.folder, loggers, callbacks)
        _fit(trainer, parts, start)
        if main:
            _finish(trainer, parts, start.folder, callbacks, settings, began)
    return start.folder


def build_loggers(
    settings: Settings, folder: RunFolder, manifest: dict[str, Any], mode: str
) -> list[Logger]:
    """JSON lines always, Weights & Biases unless it is off.

    Args:
        settings: Resolved.
        folder: The run.
        manifest: Its `wandb_id` names the run at Weights & Biases.
        mode: `online`, `offline` or `off`.
    """
    loggers: list[Logger] = [JsonlLogger(folder.metrics)]
    if mode != "off":
        run = settings.run
        name = run.name or folder.path.name
        loggers.append(
            build_wandb_logger(
                folder=folder.path,
                mode=mode,
                run_id=manifest["wandb_id"],
                project=run.project,
                name=name,
                group=run.group,
                config=to_dict(settings),
            )
        )
    return loggers


def build_callbacks(
    settings: Settings,
    stage: str,
    folder: RunFolder,
    parts: StageParts,
    progress: Callable[[int, int], None] | None,
) -> list[Callback]:
    """What goes on beside the steps; the average comes first, so that others see it up to date."""
    run = settings.run
    callbacks: list[Callback] = [StepSeed(settings.seed), StopSignals()]
    if parts.ema_decay > 0:
        callbacks.append(ExponentialMovingAverage(parts.ema_decay))
    report = folder.path / "nonfinite.json"
    skip, clip = run.on_nan == "skip", parts.gradient_clip
    callbacks.append(FiniteGuard(skip, run.explode_factor, report, clip=clip))
    if parts.failures is not None:
        callbacks.append(parts.failures)
    if parts.samples is not None and run.samples:
        callbacks.append(parts.samples(folder.samples))
    callbacks.append(
        RunCheckpoints(
            folder,
            stage,
            every=run.checkpoint_every or max(1, parts.steps // 20),
            keep_every=run.keep_every,
            monitor=parts.monitor,
            maximise=parts.maximise,
        )
    )
    callbacks.append(StepProgress(f"train {stage}", run.log_every, progress))
    return callbacks


def build_trainer(
    settings: Settings,
    parts: StageParts,
    ranks: Ranks,
    folder: RunFolder,
    loggers: list[Logger],
    callbacks: list[Callback],
) -> Trainer:
    """A Trainer that counts steps, and leaves files, bars and sampling of clips to us."""
    run = settings.run
    # Without per-frame beats nothing reads the denoiser's frame input, nor "no music" of a frame.
    return bare_trainer(run, ranks, unused_parameters=True)(
        precision=run.precision,
        # Requeueing is ours (`StopSignals`): Lightning's saves in the middle of a step.
        plugins=[SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else [],
        max_steps=parts.steps,
        max_epochs=-1,
        logger=loggers,
        callbacks=callbacks,
        log_every_n_steps=run.log_every,
        val_check_interval=parts.validate_every,
        check_val_every_n_epoch=None,
        limit_val_batches=run.validation_batches or None,
        sync_batchnorm=parts.sync_batch_norm and ranks.world > 1,
        num_sanity_val_steps=0,
        default_root_dir=folder.last.parent,
    )


def follow(settings: Settings, stage: str, steps: int) -> Start:
    """Where another rank than the first begins: wherever the first one does."""
    folder = run_folder(settings, stage)
    if settings.resume == "never" or not folder.last.exists():
        return Start(folder, None, 0, finished=False)
    return where_it_stopped(folder, stage, steps)


def _fit(trainer: Trainer, parts: StageParts, start: Start) -> None:
    try:
        trainer.fit(
            parts.module, datamodule=parts.data, ckpt_path=start.checkpoint, weights_only=True
        )
    except NonFiniteError as error:
        raise SettingsError(str(error)) from error
    except RuntimeError as error:
        place = f"at step {trainer.global_step}"
        lost = rank_lost(error, trainer.global_rank, trainer.world_size, place, RESUME)
        if lost is None:
            raise
        logging.getLogger("dabfusion").error("Another rank is lost.", exc_info=error)
        raise lost from error
    except (SIGTERMException, SystemExit) as stop:
        # Lightning answers Ctrl-C, too, by leaving with a status.
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if trainer.is_global_zero and any(
            isinstance(callback, StopSignals) and callback.requeue for callback in callbacks
        ):
            requeue_job()
        raise Interrupted(
            f"Stopped at step {trainer.global_step} of {parts.steps}; give the same command with "
            "resume=auto to go on."
        ) from stop
    finally:
        for logger in trainer.loggers:
            _close(logger)


def _close(logger: Logger) -> None:
    """End a run at Weights & Biases, so that the next stage of this process has its own."""
    from lightning.pytorch.loggers import WandbLogger

    if isinstance(logger, WandbLogger) and logger._experiment is not None:
        logger.experiment.finish()


def _finish(
    trainer: Trainer,
    parts: StageParts,
    folder: RunFolder,
    callbacks: list[Callback],
    settings: Settings,
    began: float,
) -> None:
    checkpoints = next(c for c in callbacks if isinstance(c, RunCheckpoints))
    average = next((c for c in callbacks if isinstance(c, ExponentialMovingAverage)), None)
    best = settings.run.export == "best" and checkpoints.best_value is not None
    outcome = {
        "step": trainer.global_step,
        "best_step": checkpoints.best_step,
        "best_value": checkpoints.best_value,
        "monitor": parts.monitor,
        "exported": "best" if best else "last",
        "seconds": round(time.monotonic() - began, 1),
    }
    load_exported(parts.module, average, folder.best if best else None)
    parts.export(folder.export, outcome)
    close_folder(folder, outcome)


def load_exported(
    module: torch.nn.Module, average: ExponentialMovingAverage | None, checkpoint: Path | None
) -> None:
    """Put the weights that are exported into the module.

    Args:
        module: Trained.
        average: Its average, if one is kept.
        checkpoint: To take both from; None takes them as they are now.
    """
    if checkpoint is not None:
        state = read_checkpoint(checkpoint)
        module.load_state_dict(state["state_dict"])
        if average is not None:
            average.load_state_dict(state["callbacks"][average.state_key])
    if average is not None:
        average.write_to(module)
