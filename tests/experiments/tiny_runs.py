"""Real trainings, as small as possible: eight clips of 32 x 32 pixels, very narrow networks."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch

from datamodules.index import DatasetSettings
from datamodules.media.video import write_video
from datamodules.preparation.prepare import PrepareOptions, prepare
from datamodules.synthetic.dataset import DanceSpec, render_clip
from experiments import cli

NAMES = (
    "gBR_sBM_c01_d04_mBR1_ch03",
    "gPO_sBM_c01_d10_mPO2_ch04",
    "gHO_sBM_c01_d20_mHO3_ch05",
    "gLO_sBM_c01_d13_mLO4_ch06",
    "gBR_sBM_c01_d90_mBR0_ch01",
    "gPO_sBM_c01_d91_mPO1_ch01",
    "gBR_sBM_c01_d92_mBR0_ch02",
    "gPO_sBM_c01_d93_mPO1_ch02",
)
SIZE = 32

TINY = [
    "clips.size=32",
    "clips.frames=4",
    "clips.stride=3",
    "stage1.network.region_width=4",
    "stage1.network.region_blocks=2",
    "stage1.network.region_cap=8",
    "stage1.network.regions=2",
    "stage1.network.region_padding=1",
    "stage1.network.background=zero",
    "stage1.network.flow_width=4",
    "stage1.network.flow_blocks=2",
    "stage1.network.flow_cap=8",
    "stage1.network.generator_width=4",
    "stage1.network.generator_cap=8",
    "stage1.network.residual_blocks=1",
    "stage1.network.kernel=3",
    "stage1.network.norm=group",
    "stage1.train.batch_size=2",
    "stage2.network.width=8",
    "stage2.network.multipliers=[1,2]",
    "stage2.network.blocks=1",
    "stage2.network.stem_kernel=3",
    "stage2.network.temporal_conv=[true,false]",
    "stage2.network.temporal_attention=[false,true]",
    "stage2.network.spatial_attention=[none,none]",
    "stage2.network.heads=1",
    "stage2.network.head_dim=8",
    "stage2.network.groups=4",
    "stage2.train.batch_size=2",
    "stage2.train.validation_clips=2",
    "stage2.train.ema_decay=0.9",
    "music.dim=16",
    "music.clap=false",
    "music.wav2clip=false",
    "music.beats=frame",
    "sampling.steps=2",
    "sampling.overlap=1",
    "run.accelerator=cpu",
    "run.devices=1",
    "run.threads=1",
    "run.log_every=1",
    "run.samples=0",
    "run.wandb=off",
]


def make_data(folder: Path) -> Path:
    """Render and prepare the clips; return the prepared folder."""
    videos = folder / "videos"
    videos.mkdir()
    for name in NAMES:
        clip = render_clip(DanceSpec(name=name, size=SIZE, seconds=2.0))
        path = videos / f"{name}.mp4"
        write_video(path, clip.frames, clip.fps, clip.audio, clip.sample_rate)
    prepare(videos, folder / "prepared", PrepareOptions(DatasetSettings(size=SIZE)))
    return folder / "prepared"


def command(*words: str) -> list[str]:
    """The command line of `dabfusion WORDS` for another process."""
    return [sys.executable, "-m", "experiments.cli", *words]


def environment(**more: str) -> dict[str, str]:
    """The environment with one thread and without the variables of ranks."""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_PORT", "MASTER_ADDR")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return kept | {"OMP_NUM_THREADS": "1"} | more


def run_cli(*words: str, timeout: float = 600.0, **more: str) -> subprocess.CompletedProcess[str]:
    """Run `dabfusion WORDS` in another process."""
    return subprocess.run(
        command(*words),
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(**more),
        check=False,
    )


#: Forks processes that have already done the heavy imports.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["experiments.cli", "experiments.training.train"])


def forked_cli(*words: str) -> ForkServerProcess:
    """Start `dabfusion WORDS` in another process, quickly and without output."""
    process = _FORKS.Process(target=_main, args=(words,))
    process.start()
    return process


def _main(words: tuple[str, ...]) -> None:
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    sys.exit(cli.main(list(words)))


def weights(run: Path, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    """Everything in a checkpoint that training changes, by name."""
    checkpoint = torch.load(run / "checkpoints" / name, weights_only=True)
    found = {f"weights {key}": value for key, value in checkpoint["state_dict"].items()}
    average = checkpoint["callbacks"].get("ExponentialMovingAverage", {}).get("average", {})
    found |= {f"average {key}": value for key, value in average.items()}
    for number, state in checkpoint["optimizer_states"][0]["state"].items():
        found |= {f"adam {number} {key}": torch.as_tensor(state[key]) for key in sorted(state)}
    return found


def differences(first: Path, second: Path) -> list[str]:
    """Names of what differs in any bit between two runs' last checkpoints."""
    one, other = weights(first), weights(second)
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]


def metrics(run: Path) -> list[dict[str, Any]]:
    """The run's metrics without the clock."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def rank_of(parent: int, rank: int) -> int:
    """Find the process of a rank of a launched run by its environment."""
    for task in Path("/proc").glob("[0-9]*"):
        try:
            status = (task / "status").read_text(encoding="utf-8")
            variables = (task / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"PPid:\t{parent}\n" in status and f"LOCAL_RANK={rank}".encode() in variables:
            return int(task.name)
    raise AssertionError(f"Process {parent} has no child with rank {rank}.")
