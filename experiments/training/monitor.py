"""The monitor of failure signatures of a training, with limits from clips of its own data."""

from __future__ import annotations

from collections.abc import Iterator

from datamodules.aist import AISTDataModule
from datamodules.batch import ClipBatch
from experiments.config.load import Settings
from lightning_modules.callbacks.monitor import SIGNS, FailureMonitor

#: Training clips that are decoded at once.
BATCH = 8


def build_monitor(settings: Settings, data: AISTDataModule) -> FailureMonitor | None:
    """The monitor that the settings ask for, or None.

    Args:
        settings: `stage2.monitor` names what is watched.
        data: of stage 2, with reference frames and latent flow, or all frames.
    """
    monitor = settings.stage2.monitor
    inside = {name: getattr(monitor, name) for name in SIGNS if getattr(monitor, name)}
    if not monitor.clips or not inside:
        return None
    return FailureMonitor(inside, monitor.tolerated, lambda: _spread(data, monitor.clips))


def _spread(data: AISTDataModule, clips: int) -> Iterator[ClipBatch]:
    """At most so many training clips, evenly spread over the data set."""
    dataset = data.dataset("train")
    places = list(range(0, len(dataset), max(1, len(dataset) // clips)))[:clips]
    for first in range(0, len(places), BATCH):
        yield dataset.__getitems__(places[first : first + BATCH])
