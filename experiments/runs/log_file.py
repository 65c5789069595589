"""Messages of this program and of Lightning go to a run's log, not to the terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def log_to(path: Path | None) -> Iterator[None]:
    """Messages and warnings of this program and of Lightning go to a file, not to the terminal.

    Args:
        path: `log.txt` of the run; None, on other ranks, drops them.
    """
    handler = logging.FileHandler(path, delay=True) if path else logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    names = ("dabfusion", "lightning.pytorch", "lightning.fabric", "py.warnings")
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger, logger.handlers[:], logger.propagate) for logger in loggers]
    logging.captureWarnings(True)
    for logger in loggers:
        logger.handlers = [handler]
        logger.propagate = False
    loggers[0].setLevel(logging.INFO)
    for logger in loggers[1:]:
        logger.setLevel(logging.WARNING)
    try:
        yield
        # After an error it stays open: the command line writes a fault's traceback to it.
        loggers[0].handlers = []
        handler.close()
    finally:
        logging.captureWarnings(False)
        for logger, handlers, propagate in before[1:]:
            logger.handlers, logger.propagate = handlers, propagate
