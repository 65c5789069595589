"""Work that is shared out among the processes of a command: caching, generating, scoring.

Rank r of w processes does pieces r, r + w, ...: every piece on one rank, once, with none repeated
to fill up. What comes of them is gathered in the order of the pieces, so that it does not depend on
how many processes there were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import nn

from experiments.config.run import RunSettings
from experiments.processes.ranks import ALONE, Ranks

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def share_work(
    pieces: Sequence[Piece],
    work: Callable[[Piece], Result],
    *,
    networks: Sequence[nn.Module] = (),
    run: RunSettings | None = None,
    ranks: Ranks = ALONE,
    progress: Callable[[int, int], None] | None = None,
) -> list[Result]:
    """Do all pieces of work, each on one of the processes, by the Trainer that also trains.

    Args:
        pieces: The same in every process.
        work: Does one piece; what it returns travels between processes, so it is on the CPU.
        networks: Moved to this process's device for as long as the work takes.
        run: Where to compute.
        ranks: Processes that take part.
        progress: Called on rank 0 with (pieces done, all pieces), as if all were equally fast.

    Returns:
        What `work` returned for each piece, in order, in every process.

    Raises:
        RankLost: If another process is gone or silent.
        Interrupted: At Ctrl-C or SIGTERM.
    """
    if progress is not None:
        progress(0, len(pieces))
    if ranks.world == 1 and not networks:  # nothing to share or to move: Lightning stays unloaded
        done: list[Result] = []
        for piece in pieces:
            done.append(work(piece))
            if progress is not None:
                progress(len(done), len(pieces))
        return done
    from experiments.processes.share_trainer import predict_pieces

    return predict_pieces(pieces, work, networks, run or RunSettings(), ranks, progress)


def in_batches(count: int, size: int) -> list[range]:
    """Places 0 to count - 1 cut into batches; the same cut for any number of processes.

    What a network computes of a clip may differ in the last bit with the other clips of its batch.
    """
    return [range(first, min(first + size, count)) for first in range(0, count, size)]
