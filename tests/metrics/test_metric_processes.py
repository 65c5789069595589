"""Two real processes over gloo: uneven numbers of clips, one of them with none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

import metrics
from metrics import (
    AVAlign,
    BeatAlignmentScore,
    BeatF1,
    FrechetVideoDistance,
    KernelVideoDistance,
    MotionDiversity,
    MotionJerk,
    MotionMusicAlignment2D,
    NearestTrainingClip,
    PhaseCosine,
    WarpError,
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
    video = torch.randint(0, 255, (7, 3, 3, 24, 24), generator=random, dtype=torch.uint8)
    by_music = {
        "MotionMusicAlignment2D": MotionMusicAlignment2D(),
        "BeatF1": BeatF1(),
        "PhaseCosine": PhaseCosine(),
    }
    bas, av_align, jerk, warp = BeatAlignmentScore("mint"), AVAlign(), MotionJerk(), WarpError()
    frechet, kernel = FrechetVideoDistance(dimension=3), KernelVideoDistance(None, 3, capacity=9)
    diversity, nearest = MotionDiversity(3, capacity=9), NearestTrainingClip(3, capacity=9)
    for clip in range(first, last):
        here = slice(clip, clip + 1)
        for metric in by_music.values():
            metric.update(motion=motion[here], fps=10, music_beats=beats[here],
                          music_ids=names[here])  # fmt: skip
        bas.update(speed=motion[here], fps=10, music_beats=beats[here])
        av_align.update(magnitude=motion[here], fps=10, onsets=beats[here])
        jerk.update(motion=motion[here], fps=10)
        warp.update(video[here])
        for distance in (frechet, kernel):
            distance.update(true[here], real=True)
            distance.update(made[here], real=False)
        diversity.update(true[here])
        nearest.update(true[here], training=True)
        nearest.update(made[here], training=False)
    rest = (bas, av_align, jerk, warp, frechet, kernel, diversity, nearest)
    found = {
        name: metric.compute()
        for name, metric in [*by_music.items(), *((type(m).__name__, m) for m in rest)]
    }
    found["after"] = by_music["MotionMusicAlignment2D"].compute()  # a second one changes nothing
    return {name: _numbers(value) for name, value in found.items()}


def _numbers(value: torch.Tensor | dict[str, torch.Tensor]) -> dict[str, float]:
    plain = value if isinstance(value, dict) else {"value": value}
    return {key: float(one) for key, one in plain.items()}


def work(rank: int, shares: tuple[int, int], folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    start = sum(shares[:rank])
    torch.save(filled(start, start + shares[rank]), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("case", SHARES)
def test_two_processes_equal_one(case: str, tmp_path: Path) -> None:
    mp.spawn(work, args=(SHARES[case], str(tmp_path)), nprocs=2)
    expected = filled(0, 7)
    exported = [name for name in metrics.__all__ if name != "VERSION"]
    homes = {name: getattr(metrics, name).__module__ for name in exported}
    ours = {name for name, home in homes.items() if home.startswith("metrics.")}
    assert set(expected) == {*ours, "after"}
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, values in expected.items():
            for key, value in values.items():
                assert found[name][key] == pytest.approx(value, rel=1e-6, abs=1e-9), (name, key)
