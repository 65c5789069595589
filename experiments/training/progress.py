"""Progress of a training: a bar with the remaining time, or lines without a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.progress import Progress, TaskID, TextColumn

from experiments.processes.progress import build_bar

#: Minimum seconds between two updates.
_INTERVAL_S = 0.2


class StepProgress(Callback):
    """Show the steps done and the metrics of the last validation.

    Args:
        title: What is being trained.
        report: Called with (steps done, all steps) instead of drawing anything.
    """

    def __init__(self, title: str, report: Callable[[int, int], None] | None = None) -> None:
        super().__init__()
        self.title = title
        self.report = report
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._updated = 0.0
        self._tenth = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the bar, at the step where the run starts or resumes."""
        if self.report is None and trainer.is_global_zero and sys.stderr.isatty():
            self._bar = build_bar(TextColumn("{task.fields[metrics]}"), stderr=True)
            self._bar.start()
            self._task = self._bar.add_task(
                self.title, total=trainer.max_steps, completed=trainer.global_step, metrics=""
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update, at most a few times per second."""
        step, steps = trainer.global_step, trainer.max_steps
        now = time.monotonic()
        if now - self._updated < _INTERVAL_S and step != steps:
            return
        self._updated = now
        if self.report is not None:
            self.report(step, steps)
        elif self._bar is not None:
            self._bar.update(self._task, completed=step)
        elif trainer.is_global_zero and 10 * step // max(steps, 1) != self._tenth:
            # Without a terminal (a log file, SLURM), one line for each tenth of the run.
            self._tenth = 10 * step // max(steps, 1)
            print(f"{self.title}: step {step} of {steps}", file=sys.stderr, flush=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the first metrics of the validation next to the bar."""
        if self._bar is not None:
            shown = [
                f"{key.removeprefix('val/')} {float(value):.3g}"
                for key, value in sorted(trainer.callback_metrics.items())
                if key.startswith("val/")
            ]
            self._bar.update(self._task, metrics=", ".join(shown[:3]))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the full bar on the screen."""
        self._stop()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Restore the terminal."""
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
