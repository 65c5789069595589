"""What every metric that averages over clips has in common: sums, and nothing else.

States are sums of fixed shape in float64, so several processes add up whatever the number of
clips each of them saw, none included. Clips that share a piece of music are not independent;
their sums are kept in a table of buckets by music id, from which the standard error of the mean
is taken (two pieces in one bucket only make it more careful).
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


class ClipMean(Metric):
    """Means of per-clip values with a standard error clustered by music.

    Subclasses name their values, compute them for a batch of clips and hand them to `add`.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    clips: Tensor
    sums: Tensor
    squares: Tensor
    clusters: Tensor
    settings_digest: Tensor

    def __init__(self, names: Sequence[str], settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.names = tuple(names)
        zero = torch.zeros((), dtype=torch.float64)
        self.add_state("clips", zero, dist_reduce_fx="sum")
        self.add_state("sums", zero.repeat(len(self.names)), dist_reduce_fx="sum")
        self.add_state("squares", zero.repeat(len(self.names)), dist_reduce_fx="sum")
        table = torch.zeros(BUCKETS, 1 + len(self.names), dtype=torch.float64)
        self.add_state("clusters", table, dist_reduce_fx="sum")
        # MetricCollection takes metrics with equal states for one and the same; metrics with
        # other settings have equal sums after a batch of still videos, so the settings are state.
        text = json.dumps([type(self).__name__, dict(settings)], sort_keys=True)
        digest = torch.tensor(zlib.crc32(text.encode()), dtype=torch.int64)
        self.add_state("settings_digest", digest, dist_reduce_fx="max")

    def add(self, values: Mapping[str, Tensor], music_ids: Sequence[str] | None = None) -> None:
        """Add one number a clip and name.

        Args:
            values: a tensor (B,) for every name.
            music_ids: the piece of music of each clip; None makes each clip its own cluster.

        Raises:
            ValueError: `music_ids` has another length than the values.
        """
        rows = torch.stack([values[name].to(self.sums) for name in self.names], -1).detach()
        if music_ids is not None and len(music_ids) != len(rows):
            raise ValueError(
                f"{len(rows)} clips came with {len(music_ids)} music ids; expected one a clip."
            )
        self.clips += len(rows)
        self.sums += rows.sum(0)
        self.squares += rows.square().sum(0)
        if music_ids is not None:
            buckets = [zlib.crc32(str(name).encode()) % BUCKETS for name in music_ids]
            counted = torch.cat([torch.ones_like(rows[:, :1]), rows], -1)
            self.clusters.index_add_(0, torch.tensor(buckets, device=rows.device), counted)

    def means(self) -> dict[str, Tensor]:
        """Mean of every value over all clips; 0 before the first one."""
        mean = self.sums / self.clips.clamp(min=1)
        return {name: mean[place].float() for place, name in enumerate(self.names)}

    def standard_error(self, name: str) -> Tensor:
        """Standard error of a mean: clustered by music if ids were given, else over clips.

        NaN with fewer than two clips, or fewer than two clusters.
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

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Plot one result of `compute()` or a list of them; returns figure and axes."""
        return self._plot(val, ax)
