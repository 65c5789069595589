"""Progress bars with the remaining time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from experiments.processes.ranks import is_main_rank

Progress = Callable[[int, int], None]
"""Called with (finished, total)."""


def build_bar(*extra: ProgressColumn, stderr: bool = False) -> Bar:
    """Return a bar with counts, elapsed and remaining time, followed by the `extra` columns."""
    columns = (
        TextColumn("{task.description:36}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    return Bar(*columns, *extra, console=Console(stderr=stderr), refresh_per_second=4)


@contextmanager
def shown_progress(title: str) -> Iterator[Progress]:
    """Show a bar while the body runs; of several processes only rank 0 shows it.

    Yields:
        A function to call with (finished, total).
    """
    if not is_main_rank():
        yield lambda done, total: None
        return
    with build_bar() as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
