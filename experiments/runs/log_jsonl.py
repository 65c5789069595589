"""Metrics as lines of JSON in the run folder: no account, no reader but a text editor."""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only


class JsonlLogger(Logger):
    """Appends `{"step": ..., "seconds": ..., metric: value}` to one file, on rank 0 only.

    Args:
        path: `metrics.jsonl` of the run folder.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._started = time.monotonic()
        self._seconds_before = 0.0

    @property
    def name(self) -> str:
        """The logger's name, as Lightning wants one."""
        return "jsonl"

    @property
    def version(self) -> str:
        """The logger's version, as Lightning wants one."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | argparse.Namespace) -> None:
        """Nothing: `config.yaml` holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append one line; numbers that JSON has no word for become null.

        Args:
            metrics: Values by key (`train/loss`).
            step: The step, counted from 0.
        """
        seconds = self._seconds_before + time.monotonic() - self._started
        line: dict[str, Any] = {"step": step, "seconds": round(seconds, 3)}
        for key, value in metrics.items():
            number = float(value)
            line[key] = number if math.isfinite(number) else None
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Drop the lines that a resumed run will write again.

        Args:
            step: Optimiser steps taken by the checkpoint that is resumed: the first to come.
        """
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
        temporary = self._path.with_name(f".{self._path.name}")
        temporary.write_text("".join(f"{text}\n" for text in kept), encoding="utf-8")
        temporary.replace(self._path)
