"""Two real processes over gloo: uneven numbers of clips, one of them with none."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from metrics import (
    FrechetVideoDistance,
    KernelVideoDistance,
    MotionDiversity,
    MotionMusicAlignment2D,
    NearestTrainingClip,
)

#: Clips of each process: uneven, and one empty.
SHARES = {"uneven": (5, 2), "empty": (7, 0)}


def filled(first: int, last: int) -> dict[str, dict[str, float]]:
    """Results of all metrics over clips `first` ... `last - 1` of a fixed set of seven."""
    random = torch.Generator().manual_seed(0)
    motion = 30 * torch.rand(7, 39, generator=random)
    beats = 0.1 + 0.2 * torch.rand(7, 1, generator=random) + 0.5 * torch.arange(8)
    names = ["a", "a", "b", "c", "c", "c", "d"]
    true, made = torch.rand(2, 7, 3, generator=random).unbind(0)
    alignment = MotionMusicAlignment2D()
    frechet, kernel = FrechetVideoDistance(dimension=3), KernelVideoDistance(None, 3, capacity=9)
    diversity, nearest = MotionDiversity(3, capacity=9), NearestTrainingClip(3, capacity=9)
    for clip in range(first, last):
        here = slice(clip, clip + 1)
        alignment.update(motion=motion[here], fps=10, music_beats=beats[here],
                         music_ids=names[here])  # fmt: skip
        for metric in (frechet, kernel):
            metric.update(true[here], real=True)
            metric.update(made[here], real=False)
        diversity.update(true[here])
        nearest.update(true[here], training=True)
        nearest.update(made[here], training=False)
    found = {
        "alignment": alignment.compute(),
        "frechet": {"value": frechet.compute()},
        "kernel": {"value": kernel.compute()},
        "diversity": {"value": diversity.compute()},
        "nearest": nearest.compute(),
        "after": {"clips": alignment.compute()["clips"]},
    }
    return {name: {k: float(v) for k, v in values.items()} for name, values in found.items()}


def work(rank: int, shares: tuple[int, int], port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    start = sum(shares[:rank])
    torch.save(filled(start, start + shares[rank]), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("case", SHARES)
def test_two_processes_equal_one(case: str, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(work, args=(SHARES[case], port, str(tmp_path)), nprocs=2)
    expected = filled(0, 7)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, values in expected.items():
            for key, value in values.items():
                assert found[name][key] == pytest.approx(value, rel=1e-6, abs=1e-9), (name, key)
