"""Scoring: clips from frames compared to bare optical flow, and clips from latent flow."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from experiments.benchmarks.harness import print_table, time_in_turns

HELP = """Scoring: clips from frames compared to bare optical flow, and from latent flow.

The bare flow is OpenCV's Farneback flow of all pairs of gray frames of clips of 40 x 128 x 128,
spread over the same number of threads."""
EXAMPLES = ["dabfusion benchmark metrics --clips 1000"]
#: Bars: cost from frames relative to the bare flow, and milliseconds from latent flow.
FRAMES_BAR = 1.2
LATENT_BAR_MS = 2.0
#: Clips of one update.
BATCH = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmark's arguments."""
    parser.add_argument("--clips", type=int, default=64, help="clips to score (64)")
    parser.add_argument("--threads", type=int, default=2, help="threads (2)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Return milliseconds a clip, their ratio to the bare flow, and the bars."""
    import torch

    # Clips are spread over threads here; PyTorch's own would compete for the same cores.
    torch.set_num_threads(1)
    rounds = max(1, args.clips // BATCH)
    times = {
        name: {f"{kind}_ms": 1000 * spent[f"{kind}_s"] / BATCH for kind in ("wall", "cpu")}
        for name, spent in time_in_turns(_candidates(args.threads), rounds).items()
    }
    ratio, wall_ratio = (
        times["from_frames"][kind] / times["bare_flow"][kind] for kind in ("cpu_ms", "wall_ms")
    )
    print_table(
        ("", "wall ms/clip", "processor ms/clip"),
        [(name, f"{t['wall_ms']:.2f}", f"{t['cpu_ms']:.2f}") for name, t in times.items()],
        caption=f"from frames / bare flow: {ratio:.3f} processor, {wall_ratio:.3f} wall (bar "
        f"{FRAMES_BAR}); bar of from_latent_flow: {LATENT_BAR_MS} ms",
    )
    return {
        "clips": rounds * BATCH,
        "threads": args.threads,
        "ms_per_clip": times,
        "ratio_to_flow": ratio,
        "wall_ratio_to_flow": wall_ratio,
        "bars": {"ratio_to_flow": FRAMES_BAR, "latent_ms": LATENT_BAR_MS},
    }


def _candidates(threads: int) -> dict[str, Callable[[int], Any]]:
    """Functions of the round that are timed, each for `BATCH` clips."""
    import torch

    from datamodules.synthetic.dataset import DanceSpec, render_clip
    from metrics import MotionMusicAlignment2D
    from metrics.functional.motion_video import motion_from_video

    made = [render_clip(DanceSpec(seed=seed, size=128)).frames for seed in range(BATCH)]
    videos = [torch.stack(made[k:] + made[:k]) for k in range(BATCH)]
    beats = (0.2 + 0.5 * torch.arange(8)).expand(BATCH, -1)
    latent = 0.1 * torch.randn(BATCH, 40, 3, 32, 32).cumsum(1)
    metric = MotionMusicAlignment2D()

    def score_frames(k: int) -> None:
        signal = motion_from_video(videos[k % BATCH], 10, workers=threads)
        metric.update(motion=signal, fps=10, music_beats=beats)

    return {
        "bare_flow": lambda k: _bare_flow(videos[k % BATCH], threads),
        "from_frames": score_frames,
        "from_latent_flow": lambda _: metric.update(latent_flow=latent, fps=10, music_beats=beats),
    }


def _bare_flow(video: Any, threads: int) -> None:
    """Compute Farneback flow of all pairs of gray frames, and nothing else."""
    from concurrent.futures import ThreadPoolExecutor
    from itertools import pairwise

    import cv2

    from metrics.functional.optical_flow import FARNEBACK

    def one_clip(frames: Any) -> None:
        gray = [cv2.cvtColor(cv2.merge(list(f)), cv2.COLOR_RGB2GRAY) for f in frames.numpy()]
        for before, after in pairwise(gray):
            cv2.calcOpticalFlowFarneback(before, after, None, *FARNEBACK)  # type: ignore[call-overload]

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one_clip, video))
