"""Progress of long work: a bar with the remaining time, or lines without a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import progress as rich_progress
from rich.console import Console

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
    bar = rich_progress.Progress(
        "{task.description:36}",
        rich_progress.BarColumn(bar_width=28),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeElapsedColumn(),
        "left",
        rich_progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        refresh_per_second=4,
        speed_estimate_period=600.0,  # one video may take minutes
    )
    task, printed = bar.add_task(title, total=None), -1

    def draw(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    def print_tenths(done: int, total: int) -> None:
        nonlocal printed
        tenth = 10 * done // max(total, 1)
        if done and tenth != printed:
            printed = tenth
            print(f"{title}: {done} of {total}", file=sys.stderr, flush=True)

    try:
        yield draw if sys.stderr.isatty() else print_tenths
    finally:
        if bar.live.is_started:  # stopping prints a line
            bar.stop()
