"""Progress of long work: a bar with the remaining time, or lines without a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from experiments.processes.ranks import is_main_rank

Progress = Callable[[int, int], None]
"""Called with (finished, total)."""


@contextmanager
def shown_progress(title: str) -> Iterator[Progress]:
    """Show progress on stderr while the body runs; of several processes only rank 0 shows it.

    The bar appears with the first call, so that no empty bar precedes an error in the body.

    Yields:
        A function to call with (finished, total).
    """
    if not is_main_rank():
        yield lambda done, total: None
        return
    if not sys.stderr.isatty():
        yield _print_tenths(title)
        return
    columns = (
        TextColumn("{task.description:36}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    bar = Bar(
        *columns,
        console=Console(stderr=True),
        refresh_per_second=4,
        speed_estimate_period=600.0,  # one video may take minutes
    )
    task = bar.add_task(title, total=None)

    def show(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        bar.stop()


def _print_tenths(title: str) -> Progress:
    """Return a function that prints a line for each tenth, for log files."""
    printed = -1

    def show(done: int, total: int) -> None:
        nonlocal printed
        tenth = 10 * done // max(total, 1)
        if done and tenth != printed:
            printed = tenth
            print(f"{title}: {done} of {total}", file=sys.stderr, flush=True)

    return show
