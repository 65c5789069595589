"""How far a training is: a bar with the remaining time, or lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class StepProgress(Callback):
    """Shows steps done of all steps, and the loss as it was last logged.

    Args:
        title: What is being trained.
        every: Steps between two looks at the loss, which wait for the device.
        report: Called with (steps done, all steps) instead of drawing anything.
    """

    def __init__(
        self, title: str, every: int, report: Callable[[int, int], None] | None = None
    ) -> None:
        super().__init__()
        self.title = title
        self.every = every
        self.report = report
        self._bar: Progress | None = None
        self._task: Any = None
        self._drawn = 0.0
        self._tenth = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the empty bar, at the step where the run begins or goes on."""
        if self.report is None and trainer.is_global_zero and sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[loss]}"),
                console=Console(stderr=True),
                refresh_per_second=4,
            )
            self._bar.start()
            self._task = self._bar.add_task(
                self.title, total=trainer.max_steps, completed=trainer.global_step, loss=""
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move on, at most some times a second."""
        step, steps = trainer.global_step, trainer.max_steps
        now = time.monotonic()
        if now - self._drawn < 0.2 and step != steps:
            return
        self._drawn = now
        if self.report is not None:
            self.report(step, steps)
        elif self._bar is not None:
            self._bar.update(self._task, completed=step)
        elif trainer.is_global_zero:
            self._line(step, steps)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show what the validation found beside the bar."""
        if self._bar is not None:
            shown = [
                f"{key.removeprefix('val/')} {float(value):.3g}"
                for key, value in sorted(trainer.callback_metrics.items())
                if key.startswith("val/")
            ]
            self._bar.update(self._task, loss=", ".join(shown[:3]))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the full bar on the screen."""
        self._stop()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Give the terminal back."""
        self._stop()

    def _line(self, step: int, steps: int) -> None:
        tenth = 10 * step // max(steps, 1)
        if tenth != self._tenth:
            self._tenth = tenth
            print(f"{self.title}: step {step} of {steps}", file=sys.stderr, flush=True)

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
