"""AISTDataModule: the clips of a prepared folder for both stages."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from lightning.pytorch import LightningDataModule

from datamodules.clips import ClipContent, ClipDataset, FramePairDataset
from datamodules.errors import DataError
from datamodules.index import Index, read_index
from datamodules.loading import VideoLoader
from datamodules.options.clips import SEED, ClipOptions
from datamodules.sampler import ClipLoader, EvaluationBatches, TrainBatches
from datamodules.splits import Split, SplitRule, assign
from datamodules.windows import Window, WindowRule, cut, spread

__all__ = [
    "AISTDataModule",
    "ClipContent",
    "ClipDataset",
    "FramePairDataset",
    "LoaderOptions",
    "SplitRule",
    "WindowRule",
]


@dataclass(frozen=True)
class LoaderOptions:
    """How clips are loaded; none of it changes what a clip holds."""

    batch_size: int = 8
    """Clips (or pairs) of a step on each process."""
    evaluation_batch_size: int = 0
    """Clips of a validation step on each process; 0 takes `batch_size`."""
    workers: int = ClipOptions.workers
    """Processes that load; 0 loads in the training process."""
    memory_mb: float = ClipOptions.memory_mb
    """Budget for decoded videos, in all workers of one training process together."""
    pin_memory: bool = False
    rank: int | None = None
    """Of this process; None asks the trainer."""
    world_size: int | None = None


@dataclass(frozen=True)
class _Video:
    name: str
    music: str
    dancer: str


@dataclass(eq=False)
class AISTDataModule(LightningDataModule):
    """Clips, or frame pairs of the same clips, of a folder that `prepare` wrote.

    Order, pairs and splits depend on `seed`, epoch and index alone. Training batches resume in
    mid-epoch through the loader's state; validation and test neither repeat nor drop a clip at
    any number of processes.

    Args:
        root: The prepared folder.
        rule: How training clips are cut.
        view: `clips` of T frames, or `pairs` of frames of them (T = 2).
        split: Which video belongs where.
        content: What batches carry.
        loading: Batch sizes, processes, memory.
        beats: `tracked`, or `truth` for the renderer's own.
        seed: Of order and pairs.
        evaluation_stride: Prepared frames between validation (test) clips; 0 for no overlap.
        pairs_per_clip: Pairs drawn of each clip an epoch.

    Raises:
        DataError: The folder is not prepared, or its rate is lower than the clips'.
    """

    root: Path
    rule: WindowRule
    view: Literal["clips", "pairs"] = "clips"
    split: SplitRule = field(default_factory=SplitRule)
    content: ClipContent = field(default_factory=ClipContent)
    loading: LoaderOptions = field(default_factory=LoaderOptions)
    beats: str = ClipOptions.beats
    seed: int = SEED
    evaluation_stride: int = ClipOptions.evaluation_stride
    pairs_per_clip: int = ClipOptions.pairs_per_clip

    def __post_init__(self) -> None:
        super().__init__()
        self.index: Index = read_index(self.root)
        prepared = self.index.settings.fps
        if self.rule.fps > prepared:
            raise DataError(
                f"{self.root} was prepared at {prepared:g} fps, so clips of {self.rule.fps:g} fps "
                "cannot be cut from it; prepare it again at that rate, or lower clips.fps."
            )
        self.splits, self.split_rule = assign(self._videos(), self.split)
        self._loader: VideoLoader | None = None

    def with_content(self, content: ClipContent) -> AISTDataModule:
        """Return a data module of the same clips whose batches carry something else.

        Index, splits and decoded videos are shared, so nothing is read again.
        """
        other = copy.copy(self)
        other.content, other._loader = content, self.loader
        return other

    def _videos(self) -> list[_Video]:
        index = self.index
        columns = zip(index.names, index.music, index.dancers, strict=True)
        return [_Video(*columns_of) for columns_of in columns]

    @property
    def loader(self) -> VideoLoader:
        """Shared by the data sets of this process, so that a video is decoded once."""
        if self._loader is None:
            share = max(1, self.loading.workers)
            self._loader = VideoLoader(self.index, self.beats, self.loading.memory_mb / share)
        return self._loader

    def windows(self, split: Split) -> list[Window]:
        """The clips of a split: in the order of names for training, spread over videos else."""
        rule = self.rule
        if split != "train":
            stride = self.evaluation_stride or round(
                rule.frames * self.index.settings.fps / rule.fps
            )
            rule = replace(rule, stride=stride, mirror=False, speeds=(1.0,))
        found: list[Window] = []
        for row, name in enumerate(self.index.names):
            if self.splits.get(name) == split:
                frames = int(self.index.frames[row])
                beats = self.loader.beats(row)
                found += cut(row, frames, beats, self.index.settings.fps, rule)
        return found if split == "train" else spread(found)

    def dataset(self, split: Split, view: Literal["clips", "pairs"] | None = None) -> ClipDataset:
        """The clips, or the pairs, of a split."""
        windows = self.windows(split)
        if (view or self.view) == "clips":
            return ClipDataset(self.loader, windows, self.rule, self.content)
        return FramePairDataset(
            self.loader,
            windows,
            self.rule,
            self.content,
            self.seed,
            self.pairs_per_clip if split == "train" else 1,
        )

    def train_dataloader(self) -> ClipLoader:
        """Seeded batches without end of epochs; its state is where it is."""
        dataset = self.dataset("train")
        rank, world_size = self._place()
        batches = TrainBatches(len(dataset), self.loading.batch_size, self.seed, rank, world_size)
        return ClipLoader(dataset, batches, self.loading.workers, self.loading.pin_memory)

    def val_dataloader(self) -> ClipLoader:
        """Every validation clip on one rank, once."""
        return self._evaluation("val")

    def test_dataloader(self) -> ClipLoader:
        """Every test clip on one rank, once."""
        return self._evaluation("test")

    def _evaluation(self, split: Split) -> ClipLoader:
        dataset = self.dataset(split)
        size = self.loading.evaluation_batch_size or self.loading.batch_size
        batches = EvaluationBatches(len(dataset), size, *self._place())
        return ClipLoader(dataset, batches, self.loading.workers, self.loading.pin_memory)

    def _place(self) -> tuple[int, int]:
        rank, world_size = self.loading.rank, self.loading.world_size
        if rank is None or world_size is None:
            trainer = self.trainer
            return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        return rank, world_size
