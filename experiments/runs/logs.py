"""The logs in a run folder: `log.txt` with messages and `metrics.jsonl` with numbers."""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger

from datamodules.files import write_text


@contextmanager
def log_to(path: Path | None) -> Iterator[None]:
    """Write our and Lightning's messages to a file and not the terminal; None drops them."""
    handler = logging.FileHandler(path, delay=True) if path else logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    names = ("dabfusion", "lightning.pytorch", "lightning.fabric", "py.warnings")
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger, logger.handlers[:], logger.propagate) for logger in loggers]
    logging.captureWarnings(True)
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO if logger.name == "dabfusion" else logging.WARNING)
    try:
        yield
        # After an error it stays open: the command line writes the traceback to it.
        loggers[0].handlers = []
        handler.close()
    finally:
        logging.captureWarnings(False)
        for logger, handlers, propagate in before[1:]:
            logger.handlers, logger.propagate = handlers, propagate


class JsonlLogger(Logger):
    """Append `{"step": ..., "seconds": ..., metric: value}` lines to the file `path`."""

    name = "jsonl"
    version = ""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._started = time.monotonic()
        self._seconds_before = 0.0  # of the run's earlier processes

    def log_hyperparams(self, params: dict[str, Any] | argparse.Namespace) -> None:
        """Do nothing; `config.yaml` holds the hyperparameters."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append one line; steps count from 0, and numbers that are not finite become null."""
        seconds = self._seconds_before + time.monotonic() - self._started
        line: dict[str, Any] = {"step": step, "seconds": round(seconds, 3)}
        for key, value in metrics.items():
            line[key] = float(value) if math.isfinite(value) else None
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def rewind(self, step: int) -> None:
        """Drop the lines that a run resumed after `step` optimizer steps will write again."""
        if not self._path.exists():
            return
        kept = []
        for text in self._path.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                break
            if (line.get("step") or 0) >= step:
                break
            kept.append(text)
            self._seconds_before = float(line.get("seconds", 0.0))
        write_text(self._path, "".join(f"{text}\n" for text in kept))
