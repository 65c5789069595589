"""Distances between the features of generated and of true videos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from metrics.accumulate import DanceMetric, SampleMetric
from metrics.extractors import FeatureExtractor
from metrics.functional.distances import frechet_from_moments, kernel_distance, moments


class _VideoDistance(DanceMetric):
    """Base class of both distances: the extractor, and the check that videos are of one kind."""

    higher_is_better = False

    kind: Tensor

    def __init__(
        self, extractor: FeatureExtractor | None, dimension: int | None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if extractor is None and dimension is None:
            raise ValueError(
                "Neither an extractor nor a dimension was given; expected an extractor for "
                "videos, or the dimension of features that you compute yourself."
            )
        self.extractor = extractor
        self.dimension = int(extractor.dimension if extractor is not None else dimension or 0)
        # Largest (T, H, W) seen, and the smallest with its sign reversed: a maximum over processes
        # keeps both.
        start = torch.tensor([0, 0, 0, -(1 << 30), -(1 << 30), -(1 << 30)])
        self.add_state("kind", start, dist_reduce_fx="max")

    def features(self, video: Tensor) -> Tensor:
        """Features (B, D) in float64 of videos (B, T, 3, H, W), or of features as they are.

        Raises:
            ValueError: Features of another dimension, or videos without an extractor.
        """
        if video.ndim == 5:
            if self.extractor is None:
                raise ValueError("Videos were given, but no extractor; give features (B, D).")
            seen = torch.tensor([video.shape[1], *video.shape[-2:]], device=self.kind.device)
            self.kind = torch.maximum(self.kind, torch.cat([seen, -seen]))
            with torch.no_grad():
                video = self.extractor(video)
        if video.ndim != 2 or video.shape[1] != self.dimension:
            raise ValueError(
                f"Features have shape {tuple(video.shape)}; expected (B, {self.dimension})."
            )
        return video.detach().to(self.kind.device, torch.float64)

    def check(self, counts: tuple[int, int]) -> None:
        """Check that there are enough videos, of one kind.

        Raises:
            ValueError: Fewer than two videos on a side, or videos of different lengths or sizes.
        """
        if min(counts) < 2:
            raise ValueError(
                f"{type(self).__name__} has seen {counts[0]} true and {counts[1]} generated "
                "videos; expected at least two of each."
            )
        kind = self.kind.reshape(-1, 6).amax(0)
        if bool(kind[0] > 0) and not torch.equal(kind[:3], -kind[3:]):
            raise ValueError(
                f"Videos of (frames, height, width) from {(-kind[3:]).tolist()} to "
                f"{kind[:3].tolist()} were mixed; expected one kind."
            )

    def describe(self, counts: tuple[int, int]) -> dict[str, Any]:
        """Return what a result of this metric depends on; see `check_comparable`."""
        frames, height, width = self.kind.reshape(-1, 6).amax(0)[:3].tolist()
        return {
            "metric": type(self).__name__,
            "extractor": self._extractor_name(),
            "dimension": self.dimension,
            "frames": frames,
            "size": [height, width],
            "true_videos": counts[0],
            "generated_videos": counts[1],
        }

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the state of another metric with the same extractor; see `DanceMetric`."""
        if isinstance(incoming_state, _VideoDistance):
            ours, theirs = self._extractor_name(), incoming_state._extractor_name()
            if ours != theirs:
                raise ValueError(
                    f"Features of {ours} cannot be merged with features of {theirs}; use one "
                    "extractor for both metrics."
                )
        super().merge_state(incoming_state)

    def _extractor_name(self) -> str:
        return "features" if self.extractor is None else self.extractor.digest


class FrechetVideoDistance(_VideoDistance):
    """Frechet distance between the features of true and of generated videos (FVD).

    Unterthiner et al. 2018 with their I3D; any other extractor gives another scale. Sums of the
    features and of their outer products are streamed in float64, so any number of videos fits.
    The distance falls with the number of videos: compare equal counts (`check_comparable`).

    Args:
        extractor: Network for videos; None to update with features.
        dimension: D, if no extractor is given.
        kwargs: Keyword arguments of `torchmetrics.Metric`.
    """

    full_state_update = False

    true_count: Tensor
    true_sum: Tensor
    true_outer: Tensor
    generated_count: Tensor
    generated_sum: Tensor
    generated_outer: Tensor

    def __init__(
        self,
        extractor: FeatureExtractor | None = None,
        dimension: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(extractor, dimension, **kwargs)
        zero = torch.zeros((), dtype=torch.float64)
        for side in ("true", "generated"):
            self.add_state(f"{side}_count", zero.clone(), dist_reduce_fx="sum")
            self.add_state(f"{side}_sum", zero.repeat(self.dimension), dist_reduce_fx="sum")
            outer = zero.repeat(self.dimension, self.dimension)
            self.add_state(f"{side}_outer", outer, dist_reduce_fx="sum")

    def update(self, video: Tensor, real: bool) -> None:
        """Add videos (B, T, 3, H, W) uint8, or features (B, D).

        Args:
            video: Videos or features.
            real: Whether they are true videos or generated ones.

        Raises:
            ValueError: Shapes that do not fit.
        """
        features = self.features(video)
        if real:
            self.true_count += len(features)
            self.true_sum += features.sum(0)
            self.true_outer += features.T @ features
        else:
            self.generated_count += len(features)
            self.generated_sum += features.sum(0)
            self.generated_outer += features.T @ features

    def compute(self) -> Tensor:
        """The distance, () float64.

        Raises:
            ValueError: Fewer than two videos on a side, or mixed kinds of video.
        """
        self.check(self._counts())
        true = moments(self.true_sum, self.true_outer, self.true_count)
        made = moments(self.generated_sum, self.generated_outer, self.generated_count)
        return frechet_from_moments(*true, *made)

    def protocol(self) -> dict[str, Any]:
        """Return what the result depends on; see `check_comparable`."""
        return self.describe(self._counts())

    def _counts(self) -> tuple[int, int]:
        return int(self.true_count), int(self.generated_count)


class KernelVideoDistance(_VideoDistance, SampleMetric):
    """Unbiased kernel distance between features of true and generated videos (KVD).

    The cubic kernel of KID (Binkowski et al. 2018). Unlike the Frechet distance its mean does not
    depend on the number of videos, so it is the better one for small sets. The statistic needs
    the samples; they are held in buffers of fixed size, one set for each process.

    Args:
        extractor: Network for videos; None to update with features.
        dimension: D, if no extractor is given.
        capacity: Maximum number of videos per side and process.
        kwargs: Keyword arguments of `torchmetrics.Metric`.
    """

    full_state_update = True
    sides = ("true", "generated")

    def __init__(
        self,
        extractor: FeatureExtractor | None = None,
        dimension: int | None = None,
        capacity: int = 2048,
        **kwargs: Any,
    ) -> None:
        super().__init__(extractor, dimension, **kwargs)
        self.capacity = capacity
        self.add_buffers(self.dimension, capacity)

    def update(self, video: Tensor, real: bool) -> None:
        """Add videos (B, T, 3, H, W) uint8, or features (B, D).

        Args:
            video: Videos or features.
            real: Whether they are true videos or generated ones.

        Raises:
            ValueError: Shapes that do not fit, or more videos than the capacity.
        """
        self.store("true" if real else "generated", self.features(video))

    def compute(self) -> Tensor:
        """The squared discrepancy, () float64; it may be a little below zero.

        Raises:
            ValueError: Fewer than two videos on a side, or mixed kinds of video.
        """
        true, made = self.samples()
        self.check((len(true), len(made)))
        return kernel_distance(true, made)

    def samples(self) -> tuple[Tensor, Tensor]:
        """Features (N, D) of all true and all generated videos so far."""
        return self.stored("true"), self.stored("generated")

    def protocol(self) -> dict[str, Any]:
        """Return what the result depends on; see `check_comparable`."""
        true, made = self.samples()
        return self.describe((len(true), len(made)))

    def _merge(self, state: dict[str, Tensor]) -> None:
        super()._merge(state)
        self.kind = torch.maximum(self.kind, state["kind"])


def check_comparable(first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    """Check that two distances were measured in the same way.

    Args:
        first: `protocol()` of one metric.
        second: `protocol()` of another.

    Raises:
        ValueError: They differ in extractor, frames, size or number of videos; all differences
            are named.
    """
    apart = [
        f"{name} {first.get(name)} against {second.get(name)}"
        for name in sorted({*first, *second})
        if first.get(name) != second.get(name)
    ]
    if apart:
        raise ValueError(
            f"These distances cannot be compared: {'; '.join(apart)}. Measure both alike."
        )
