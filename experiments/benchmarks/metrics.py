"""Scoring: clips from frames compared to bare optical flow, and clips from latent flow."""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

from experiments.benchmarks.harness import add_options, print_table, time_in_turns

HELP = """Scoring: clips from frames compared to bare optical flow, and from latent flow.

The bare flow is OpenCV's Farneback flow of all pairs of gray frames of clips of 40 x 128 x 128,
spread over the same number of threads."""
EXAMPLES = ["dabfusion benchmark metrics --clips 1000"]
#: At most: cost from frames relative to the bare flow, and milliseconds from latent flow.
BARS = {"ratio_to_flow": 1.2, "latent_ms": 2.0}
#: Clips of one update.
BATCH = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmark's arguments."""
    add_options(parser, {"--clips": (64, "clips to score"), "--threads": (2, "threads")})


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Return milliseconds a clip, their ratio to the bare flow, and the bars."""
    import cv2
    import torch

    from datamodules.synthetic.dataset import DanceSpec, render_clip
    from metrics import MotionMusicAlignment2D
    from metrics.functional.motion_video import motion_from_video
    from metrics.functional.optical_flow import FARNEBACK, to_gray

    # Clips are spread over threads here; PyTorch's own would compete for the same cores.
    torch.set_num_threads(1)
    made = [render_clip(DanceSpec(seed=seed, size=128)).frames for seed in range(BATCH)]
    videos = [torch.stack(made[k:] + made[:k]) for k in range(BATCH)]
    latent = 0.1 * torch.randn(BATCH, 40, 3, 32, 32).cumsum(1)
    beats = (0.2 + 0.5 * torch.arange(8)).expand(BATCH, -1)
    metric = MotionMusicAlignment2D()

    def flow_of_clip(clip: torch.Tensor) -> None:
        for one, two in pairwise(to_gray(clip).numpy()):
            cv2.calcOpticalFlowFarneback(one, two, None, *FARNEBACK)  # type: ignore[call-overload]

    def bare_flow(k: int) -> None:
        with ThreadPoolExecutor(args.threads) as pool:
            list(pool.map(flow_of_clip, videos[k % BATCH]))

    def from_frames(k: int) -> None:
        signal = motion_from_video(videos[k % BATCH], 10, workers=args.threads)
        metric.update(motion=signal, fps=10, music_beats=beats)

    def from_latent_flow(_: int) -> None:
        metric.update(latent_flow=latent, fps=10, music_beats=beats)

    candidates = {work.__name__: work for work in (bare_flow, from_frames, from_latent_flow)}
    rounds = max(1, args.clips // BATCH)
    times = {
        name: {f"{kind}_ms": 1000 * spent[f"{kind}_s"] / BATCH for kind in ("wall", "cpu")}
        for name, spent in time_in_turns(candidates, rounds).items()
    }
    frames, flow = times["from_frames"], times["bare_flow"]
    ratios = {
        "ratio_to_flow": frames["cpu_ms"] / flow["cpu_ms"],
        "wall_ratio_to_flow": frames["wall_ms"] / flow["wall_ms"],
    }
    print_table(times, "Milliseconds a clip")
    latent_ms = {"latent_ms": times["from_latent_flow"]["cpu_ms"]}
    print_table({"measured": ratios | latent_ms, "at most": BARS}, "From frames / bare flow")
    measured = {"clips": rounds * BATCH, "threads": args.threads, "ms_per_clip": times}
    return measured | ratios | {"bars": BARS}
