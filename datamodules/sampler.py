"""The order of clips: a function of seed, epoch and world size, and resumable in mid-epoch.

Training cuts a seeded permutation into global batches, of which each rank takes every
`world_size`-th clip: the clips of a step are the same at any number of ranks, if the global batch
is. Validation and test give each rank every `world_size`-th clip, none twice and none left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from datamodules.batch import ClipBatch
from datamodules.errors import DataError

Draw = tuple[int, int]
"""Epoch and place in the data set: what an item is drawn from."""


def epoch_order(clips: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of clips in an epoch, (clips,) a permutation."""
    return np.random.default_rng([seed, epoch, 0x636C6970]).permutation(clips)


class TrainBatches(Sampler[list[Draw]]):
    """Batches of one rank over one epoch after the other, starting anywhere.

    The clips that do not fill a global batch at an epoch's end are left out of that epoch; fewer
    clips than a global batch are repeated to fill one.
    """

    def __init__(
        self, clips: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        if clips < 1:
            raise DataError("There are no clips to train on; run `dabfusion doctor` to see why.")
        self.clips, self.batch_size, self.seed = clips, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.epoch, self.done = 0, 0

    @property
    def together(self) -> int:
        """Clips of one step, over all ranks."""
        return self.batch_size * self.world_size

    def __len__(self) -> int:
        return max(1, self.clips // self.together)

    def __iter__(self) -> Iterator[list[Draw]]:
        epoch, done = self.epoch, self.done
        together = self.together
        order = epoch_order(self.clips, self.seed, epoch)
        if len(order) < together:
            order = np.resize(order, together)
        for number in range(done, len(self)):
            whole = order[number * together : (number + 1) * together]
            yield [(epoch, int(clip)) for clip in whole[self.rank :: self.world_size]]


class EvaluationBatches(Sampler[list[Draw]]):
    """Batches of one rank: every clip of the data set on exactly one rank, once."""

    def __init__(self, clips: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        if 0 < clips < world_size:
            raise DataError(
                f"{clips} clips cannot be shared among {world_size} processes; "
                "use fewer processes, or more clips."
            )
        self.mine = list(range(rank, clips, world_size))
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.mine) // self.batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        for first in range(0, len(self.mine), self.batch_size):
            yield [(0, clip) for clip in self.mine[first : first + self.batch_size]]


def _as_is(batch: Any) -> Any:
    return batch


class ClipLoader(DataLoader[ClipBatch]):
    """A DataLoader whose batches are made whole by the data set, and whose position is its state.

    The state counts the batches that were handed out, not those that workers prepared ahead.
    Lightning stores it with a checkpoint and restores it before the first batch is requested.
    """

    def __init__(
        self,
        dataset: Dataset[ClipBatch],
        batches: TrainBatches | EvaluationBatches,
        workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        super().__init__(
            dataset,
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=_as_is,
            pin_memory=pin_memory,
            persistent_workers=workers > 0,
        )
        self.batches = batches

    def __iter__(self) -> Iterator[ClipBatch]:  # type: ignore[override]
        batches = self.batches
        if not isinstance(batches, TrainBatches):
            yield from super().__iter__()
            return
        epoch, done = batches.epoch, batches.done
        for batch in super().__iter__():
            done += 1
            batches.epoch, batches.done = epoch, done
            if done == len(batches):
                batches.epoch, batches.done = epoch + 1, 0
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """The epoch, and the batches of it that were handed out."""
        if isinstance(self.batches, EvaluationBatches):
            return {}
        return {
            "epoch": self.batches.epoch,
            "done": self.batches.done,
            "clips": self.batches.clips,
            "batch": self.batches.together,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after the batches that were handed out.

        Raises:
            DataError: The state is of another number of clips.
        """
        if isinstance(self.batches, EvaluationBatches) or not state:
            return
        if state["clips"] != self.batches.clips:
            raise DataError(
                f"The run was stopped with {state['clips']} training clips, but the data holds "
                f"{self.batches.clips} now; resume with the data it was started with."
            )
        # With another global batch a step takes another share of the epoch's clips.
        self.batches.epoch = state["epoch"]
        self.batches.done = state["done"] * state["batch"] // self.batches.together
