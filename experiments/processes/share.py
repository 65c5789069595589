"""Work shared among the processes of a command: caching, generating, scoring.

Rank r of w processes does items r, r + w, ...: every item once, on one rank. Results are gathered
in the order of the items, so they do not depend on the number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import nn

from experiments.config.run import RunSettings
from experiments.processes.ranks import SINGLE_PROCESS, Ranks

Item = TypeVar("Item")
Result = TypeVar("Result")


def share_work(
    items: Sequence[Item],
    work: Callable[[Item], Result],
    networks: Sequence[nn.Module] = (),
    run: RunSettings | None = None,
    ranks: Ranks = SINGLE_PROCESS,
    progress: Callable[[int, int], None] | None = None,
) -> list[Result]:
    """Do all items of work, each on one of the processes, with Lightning's Trainer.

    Args:
        items: The same in every process.
        work: Does one item; its result is sent between processes, so it should be on the CPU.
        networks: Moved to this process's device while the work is done.
        run: Accelerator and timeouts.
        ranks: Processes that take part.
        progress: Called on rank 0 with (items done, all items), as if all ranks were equally fast.

    Returns:
        The result of each item, in order, in every process.
    """
    if progress is not None:
        progress(0, len(items))
    if ranks.world_size > 1 or networks:
        from experiments.processes.trainer import predict_items

        return predict_items(items, work, networks, run or RunSettings(), ranks, progress)
    # Nothing is to share or to move, so Lightning need not be loaded.
    done: list[Result] = []
    for item in items:
        done.append(work(item))
        if progress is not None:
            progress(len(done), len(items))
    return done


def in_batches(count: int, size: int) -> list[range]:
    """Return places 0 to count - 1 in batches, the same for any number of processes.

    What a network computes for a clip may differ in the last bit with the other clips of its batch.
    """
    return [range(first, min(first + size, count)) for first in range(0, count, size)]
