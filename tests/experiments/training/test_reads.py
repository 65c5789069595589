"""How often a training reads what it builds on, counted by the operating system."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny_runs import TINY

from datamodules.index import read_index
from experiments import cli
from lightning_modules.checkpoints import load_autoencoder

IN_OPEN = 0x20
EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows
WEIGHTS = "autoencoder.safetensors"


@contextmanager
def counted_opens(*folders: Path) -> Iterator[Counter[str]]:
    """Count by name how often files in the folders are opened (Linux inotify)."""
    library = ctypes.CDLL(None, use_errno=True)
    descriptor = library.inotify_init1(os.O_NONBLOCK)
    assert descriptor >= 0
    for folder in folders:
        assert library.inotify_add_watch(descriptor, bytes(folder), IN_OPEN) >= 0
    opened: Counter[str] = Counter()
    yield opened
    events = os.read(descriptor, 1 << 20)
    os.close(descriptor)
    place = 0
    while place < len(events):
        *_, length = EVENT.unpack_from(events, place)
        place += EVENT.size + length
        opened[events[place - length : place].rstrip(b"\0").decode()] += 1


@pytest.mark.skipif(sys.platform != "linux", reason="inotify counts the reads")
def test_stage_1_is_loaded_once_and_the_index_read_at_most_twice(
    data: Path, autoencoder: Path, tmp_path: Path
) -> None:
    with counted_opens(data, autoencoder / "export") as once:
        load_autoencoder(autoencoder)
        read_index(data)
    words = [*TINY, f"data={data}", f"autoencoder={autoencoder}", f"out={tmp_path / 'run'}"]
    # A cache and samples of its own, so that everything that reads these files takes part.
    words += [f"clips.cache={tmp_path / 'cache'}", "run.samples=1", "stage2.train.steps=2"]
    with counted_opens(data, autoencoder / "export") as opened:
        assert cli.main(["train", "diffusion", *words]) == 0
    assert opened[WEIGHTS] == once[WEIGHTS] > 0
    assert 0 < opened["index.parquet"] <= 2 * once["index.parquet"]
    assert list((tmp_path / "cache").rglob("*.safetensors"))
