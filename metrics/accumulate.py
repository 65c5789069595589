"""State that the metrics accumulate: sums over clips, or buffers of feature vectors.

Sums have a fixed shape and are float64, so that processes can be added up whatever the number of
clips each of them saw, including none. Clips that share a song are not independent: their sums are
kept in a table of buckets by music id, from which the standard error of the mean is computed (two
songs in one bucket only make it larger).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

#: Rows of the table of sums by music id.
BUCKETS = 1024


class DanceMetric(Metric):
    """Base class of our metrics: merging and plotting.

    Log a metric from a LightningModule as any torchmetrics metric. Where `compute()` returns one
    number, `self.log("val/jerk", self.jerk)` is enough. Where it returns a dictionary, log it in
    `on_validation_epoch_end` and reset the metric:

        self.log_dict({f"val/align_{k}": v for k, v in self.alignment.compute().items()})
        self.alignment.reset()

    Args:
        kwargs: Keyword arguments of `torchmetrics.Metric`, such as `sync_on_compute`.
    """

    is_differentiable = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the state of another metric of this class and with these settings.

        Args:
            incoming_state: The other metric, or its `metric_state`. It is not changed.

        Raises:
            ValueError: It has another class or other settings.
        """
        if isinstance(incoming_state, Metric) and type(incoming_state) is not type(self):
            raise ValueError(
                f"A {type(self).__name__} cannot be merged with a {type(incoming_state).__name__}."
            )
        state: dict[str, Any] = (
            incoming_state if isinstance(incoming_state, dict) else incoming_state.metric_state
        )
        missing = sorted(set(self._defaults) - set(state))
        if missing:
            raise ValueError(f"The state to be merged lacks {', '.join(missing)}.")
        self._merge({name: value.to(self.device) for name, value in state.items()})
        # torchmetrics keeps its cached result, and warns if `compute` precedes any `update`.
        self._computed = None
        updates = incoming_state.update_count if isinstance(incoming_state, Metric) else 1
        self._update_count += updates

    def _merge(self, state: dict[str, Tensor]) -> None:
        super().merge_state(state)

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Plot one result of `compute()` or a list of them; return figure and axes."""
        return self._plot(val, ax)


class SampleMetric(DanceMetric):
    """Base class of metrics that need every feature vector, kept in buffers of fixed size.

    `sides` names the buffers. Each has a count () and features (capacity, D); after a
    synchronization over P processes, counts (P,) and features (P, capacity, D).
    """

    full_state_update = True
    sides: tuple[str, ...] = ()

    def add_buffers(self, dimension: int, capacity: int) -> None:
        """Add the states of all sides.

        Args:
            dimension: D, the number of features.
            capacity: Maximum number of samples per side and process.
        """
        for side in self.sides:
            self.add_state(f"{side}_count", torch.zeros((), dtype=torch.int64), None)
            buffer = torch.zeros(capacity, dimension, dtype=torch.float64)
            self.add_state(f"{side}_features", buffer, None)

    def store(self, side: str, features: Tensor) -> None:
        """Append features (B, D) to a side.

        Raises:
            ValueError: The capacity is exceeded; nothing is stored.
        """
        count, buffer = getattr(self, f"{side}_count"), getattr(self, f"{side}_features")
        start, end = int(count), int(count) + len(features)
        if end > len(buffer):
            raise ValueError(
                f"{end} samples do not fit into the {len(buffer)} that were reserved; make the "
                "metric with a larger capacity."
            )
        buffer[start:end] = features.detach().to(buffer)
        count += len(features)

    def stored(self, side: str) -> Tensor:
        """Return the samples (N, D) of a side, of all processes after a synchronization."""
        return _rows(getattr(self, f"{side}_features"), getattr(self, f"{side}_count"))

    def _merge(self, state: dict[str, Tensor]) -> None:
        added = {
            side: _rows(state[f"{side}_features"], state[f"{side}_count"]) for side in self.sides
        }
        for side, rows in added.items():
            self.store(side, rows)


def _rows(buffer: Tensor, count: Tensor) -> Tensor:
    """(N, D): the rows in use, of one buffer (capacity, D) or of one for each process."""
    if buffer.ndim == 2:
        return buffer[: int(count)]
    return torch.cat([part[: int(n)] for part, n in zip(buffer, count, strict=True)])


class ClipMean(DanceMetric):
    """Base class of means of per-clip values, with a standard error clustered by song.

    Subclasses name their values, compute them for a batch of clips and pass them to `add`.

    Args:
        names: Names of the values.
        settings: What a score depends on; metrics with different settings are never merged.
        kwargs: Keyword arguments of `torchmetrics.Metric`.
    """

    higher_is_better = True
    full_state_update = False

    clips: Tensor
    sums: Tensor
    squares: Tensor
    clusters: Tensor
    settings_digest: Tensor

    def __init__(self, names: Sequence[str], settings: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.names = tuple(names)
        zero = torch.zeros((), dtype=torch.float64)
        self.add_state("clips", zero, dist_reduce_fx="sum")
        self.add_state("sums", zero.repeat(len(self.names)), dist_reduce_fx="sum")
        self.add_state("squares", zero.repeat(len(self.names)), dist_reduce_fx="sum")
        table = torch.zeros(BUCKETS, 1 + len(self.names), dtype=torch.float64)
        self.add_state("clusters", table, dist_reduce_fx="sum")
        # MetricCollection groups metrics whose states are equal. Metrics with different settings
        # have equal sums after a batch of still videos, so the settings are part of the state.
        text = json.dumps([type(self).__name__, dict(settings)], sort_keys=True)
        digest = torch.tensor(zlib.crc32(text.encode()), dtype=torch.int64)
        self.add_state("settings_digest", digest, dist_reduce_fx="max")

    def add(self, values: Mapping[str, Tensor], music_ids: Sequence[str] | None = None) -> None:
        """Add one number for each clip and name.

        Args:
            values: A tensor (B,) for every name.
            music_ids: The song of each clip; None makes each clip its own cluster.

        Raises:
            ValueError: `music_ids` has another length than the values.
        """
        rows = torch.stack([values[name].to(self.sums) for name in self.names], -1).detach()
        if music_ids is not None and len(music_ids) != len(rows):
            raise ValueError(
                f"{len(rows)} clips came with {len(music_ids)} music ids; expected one per clip."
            )
        self.clips += len(rows)
        self.sums += rows.sum(0)
        self.squares += rows.square().sum(0)
        if music_ids is not None:
            buckets = [zlib.crc32(str(name).encode()) % BUCKETS for name in music_ids]
            counted = torch.cat([torch.ones_like(rows[:, :1]), rows], -1)
            self.clusters.index_add_(0, torch.tensor(buckets, device=rows.device), counted)

    def means(self) -> dict[str, Tensor]:
        """Return the mean of every value over all clips; 0 if there were none."""
        mean = self.sums / self.clips.clamp(min=1)
        return {name: mean[place].float() for place, name in enumerate(self.names)}

    def standard_error(self, name: str) -> Tensor:
        """Return the standard error of a mean, clustered by song if ids were given.

        It is NaN with fewer than two clips, or fewer than two clusters.
        """
        place = self.names.index(name)
        clips = self.clips
        mean = self.sums[place] / clips.clamp(min=1)
        counts = self.clusters[:, 0]
        known = (counts > 0).sum()
        if bool(counts.sum() == clips) and bool(clips > 0):
            apart = (self.clusters[:, 1 + place] - counts * mean).square().sum()
            spread = apart * known / (known - 1) if bool(known > 1) else apart * torch.nan
            return (spread.sqrt() / clips).float()
        if bool(clips < 2):
            return torch.full_like(mean, torch.nan).float()
        variance = (self.squares[place] - clips * mean.square()).clamp(min=0) / (clips - 1)
        return (variance / clips).sqrt().float()

    def _merge(self, state: dict[str, Tensor]) -> None:
        if not torch.equal(state["settings_digest"], self.settings_digest):
            raise ValueError(
                f"The {type(self).__name__} to be merged has other settings; make both alike."
            )
        super()._merge(state)
