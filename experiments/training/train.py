"""From settings to a trained, exported stage; read `train_stage` from top to bottom."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TypeVar

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.plugins.environments import SLURMEnvironment

from experiments.config.load import Settings
from experiments.errors import Interrupted, SettingsError
from experiments.processes.cpu import set_up_processor
from experiments.processes.progress import Progress, shown_progress
from experiments.processes.ranks import RESUME, is_main_rank
from experiments.processes.trainer import bare_trainer, readable_stops
from experiments.runs.folder import RunFolder, read_checkpoint
from experiments.runs.log_wandb import build_wandb_logger, wandb_mode
from experiments.runs.logs import JsonlLogger, log_to
from experiments.training.callbacks import RunCheckpoints, StopSignals, requeue_job
from experiments.training.resolve import ResolvedRun, ensure_caches, resolve_run
from experiments.training.stages import StageParts, build_parts
from experiments.training.start import open_folder
from lightning_modules.callbacks.ema import ExponentialMovingAverage
from lightning_modules.callbacks.guard import FiniteGuard, NonFiniteError, StepSeed

CallbackType = TypeVar("CallbackType", bound=Callback)


def train_stage(settings: Settings, stage: str, progress: Progress | None = None) -> RunFolder:
    """Train one stage into its run folder, or resume what is there.

    Every process of a run calls this function. Only rank 0 writes to the run folder.

    Args:
        settings: Resolved; `data`, `out` and, for the diffusion, `autoencoder` are folders.
        stage: `autoencoder`, `diffusion` or `music-adapter`.
        progress: Called with (steps done, all steps) instead of drawing a bar.

    Returns:
        The run folder, with `export/` filled.

    Raises:
        SettingsError: The settings cannot be trained, or the loss was not finite.
        Interrupted: On Ctrl-C or SIGTERM.
    """
    # What is trained: run folder, where it starts, processes, data, and stage 1.
    run = resolve_run(settings, stage)
    if run.start.finished:
        return run.folder
    main = is_main_rank()
    wandb = wandb_mode(settings.run.wandb) if main else "off"
    set_up_processor(settings.run.threads)

    # What is computed once: latent flow and music embeddings of all clips.
    caches = ensure_caches(run)

    # What is built: the networks with their loss, the data loaders, the export.
    parts = build_parts(run, caches)

    # From here on the run folder is written, and messages go to its log.
    manifest = open_folder(run.start, settings, stage) if main else {}
    for sentence in settings.notices(stage) if main else []:
        print(sentence, file=sys.stderr)
    began = time.monotonic()
    bar = nullcontext(progress) if progress else shown_progress(f"train {stage}")
    with log_to(run.folder.log if main else None), bar as show:
        loggers: list[Logger] = [JsonlLogger(run.folder.metrics)] if main else []
        if wandb != "off":
            path, run_id = run.folder.path, manifest["wandb_id"]
            loggers.append(build_wandb_logger(path, wandb, run_id, settings))
        callbacks = build_callbacks(run, parts, show)
        trainer = build_trainer(run, parts, loggers, callbacks)
        fit(trainer, run, parts)
        if main:
            export_run(trainer, run, parts, began)
    return run.folder


def build_callbacks(run: ResolvedRun, parts: StageParts, progress: Progress) -> list[Callback]:
    """Build the callbacks in the order in which Lightning calls them."""
    settings = run.settings.run
    # Before all that read the weights in a validation: it swaps the average in.
    average = ExponentialMovingAverage(parts.ema_decay) if parts.ema_decay > 0 else None
    # It also clips the gradient, because it has computed its norm.
    guard = FiniteGuard(
        settings.on_nan == "skip",
        settings.explode_factor,
        run.folder.path / "nonfinite.json",
        clip=run.section.gradient_clip,
    )
    # After all callbacks with a state, which a checkpoint of this step must contain.
    checkpoints = RunCheckpoints(
        run.folder, run.stage, run.checkpoint_every, settings.keep_every, parts.monitor
    )
    shown = LambdaCallback(
        on_train_batch_end=lambda trainer, *_: progress(trainer.global_step, trainer.max_steps)
    )
    optional = (average, guard, parts.failures, parts.samples)
    first: list[Callback] = [StepSeed(run.settings.seed), StopSignals()]
    return [*first, *(extra for extra in optional if extra is not None), checkpoints, shown]


def build_trainer(
    run: ResolvedRun, parts: StageParts, loggers: list[Logger], callbacks: list[Callback]
) -> Trainer:
    """Build a Trainer bounded by steps.

    Checkpoints, progress and the order of clips are handled by our callbacks and data module.
    """
    settings = run.settings.run
    # DDP must expect unused parameters: without per-frame beats nothing reads the denoiser's frame
    # input, nor the embedding that replaces a frame without music.
    return bare_trainer(settings, run.ranks, unused_parameters=True)(
        precision=settings.precision,
        # `StopSignals` puts a job back into SLURM's queue; Lightning would save in mid-step.
        plugins=[SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else [],
        max_steps=run.steps,
        max_epochs=-1,
        logger=loggers,
        callbacks=callbacks,
        log_every_n_steps=settings.log_every,
        val_check_interval=run.validate_every,
        check_val_every_n_epoch=None,  # validate by steps, across epochs
        limit_val_batches=settings.validation_batches or None,
        sync_batchnorm=parts.sync_batch_norm and run.ranks.world_size > 1,
        num_sanity_val_steps=0,
        default_root_dir=run.folder.last.parent,
    )


def fit(trainer: Trainer, run: ResolvedRun, parts: StageParts) -> None:
    """Call `Trainer.fit`, and turn the ways in which it stops early into our errors."""
    try:
        with readable_stops(trainer, RESUME):
            trainer.fit(
                parts.module,
                datamodule=parts.data,
                ckpt_path=run.start.checkpoint,
                weights_only=True,
            )
    except NonFiniteError as error:
        raise SettingsError(str(error)) from error
    except Interrupted:
        signals = _callback(trainer, StopSignals)
        if trainer.is_global_zero and signals is not None and signals.requeue:
            requeue_job()
        raise
    finally:
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.finish()  # this process may start another run


def export_run(trainer: Trainer, run: ResolvedRun, parts: StageParts, began: float) -> None:
    """Export the best or the last weights, and mark the run, begun at `began`, as finished."""
    checkpoints = _callback(trainer, RunCheckpoints)
    average = _callback(trainer, ExponentialMovingAverage)
    assert checkpoints is not None
    best = run.settings.run.export == "best" and checkpoints.best_value is not None
    if best:
        state = read_checkpoint(run.folder.best)
        parts.module.load_state_dict(state["state_dict"])
        if average is not None:
            average.load_state_dict(state["callbacks"][average.state_key])
    if average is not None:
        # Exported are averaged weights, as they were validated.
        average.write_to(parts.module)
    outcome = {
        "step": trainer.global_step,
        "best_step": checkpoints.best_step,
        "best_value": checkpoints.best_value,
        "monitor": parts.monitor,
        "exported": "best" if best else "last",
        "seconds": round(time.monotonic() - began, 1),
    }
    parts.export(run.folder.export, outcome)
    finished = {"at": datetime.now(UTC).isoformat(timespec="seconds"), **outcome}
    run.folder.write_manifest(run.folder.read_manifest() | {"finished": finished})


def _callback(trainer: Trainer, kind: type[CallbackType]) -> CallbackType | None:
    """Return the Trainer's callback of a class, if it has one."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, kind)), None)
