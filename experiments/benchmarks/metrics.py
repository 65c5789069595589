"""What scoring costs: clips from frames against the bare optical flow, and from latent flow."""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

#: Bars: cost from frames relative to the flow alone, and milliseconds from latent flow.
FRAMES_BAR = 1.2
LATENT_BAR_MS = 2.0
#: Clips of one update.
BATCH = 8


def run(options: list[str]) -> dict[str, Any]:
    """Time the scoring of rendered clips of 40 x 128 x 128.

    The bare flow is OpenCV's Farneback of all pairs of grey frames, spread over the same number
    of threads, with its own allocations and the cheapest way to grey. The kinds take turns, batch
    by batch, so that a busy machine slows all alike. Processor time is given beside wall time.

    Args:
        options: command-line words; see `--help`.

    Returns:
        Milliseconds a clip, their ratio to the bare flow, and the bars.
    """
    from experiments.arguments import Parser

    parser = Parser("dabfusion benchmark metrics", __doc__ or "")
    _add_arguments(parser)
    args = parser.parse(options)
    import torch

    # Clips are spread over threads here; torch's own would fight them for the same cores.
    torch.set_num_threads(1)
    rounds = max(1, args.clips // BATCH)
    numbers = _in_turns(_kinds(args.threads), rounds)
    ratio = numbers["from_frames"]["cpu_ms"] / numbers["bare_flow"]["cpu_ms"]
    wall_ratio = numbers["from_frames"]["wall_ms"] / numbers["bare_flow"]["wall_ms"]
    print(f"{'':20}{'wall ms/clip':>14}{'processor ms/clip':>20}")
    for name, times in numbers.items():
        print(f"{name:20}{times['wall_ms']:14.2f}{times['cpu_ms']:20.2f}")
    print(
        f"from frames / bare flow: {ratio:.3f} processor, {wall_ratio:.3f} wall (bar {FRAMES_BAR})"
    )
    print(
        f"from latent flow: {numbers['from_latent_flow']['wall_ms']:.2f} ms (bar {LATENT_BAR_MS})"
    )
    return {
        "clips": rounds * BATCH,
        "threads": args.threads,
        "ms_per_clip": numbers,
        "ratio_to_flow": ratio,
        "wall_ratio_to_flow": wall_ratio,
        "bars": {"ratio_to_flow": FRAMES_BAR, "latent_ms": LATENT_BAR_MS},
    }


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips", type=int, default=64, help="clips to score (default: 64)")
    parser.add_argument("--threads", type=int, default=2, help="threads (default: 2)")


def _kinds(threads: int) -> dict[str, Callable[[int], None]]:
    """What is timed: functions of the round, each for `BATCH` clips."""
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


def _in_turns(kinds: dict[str, Callable[[int], None]], rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds a clip of every kind, after one round to warm up."""
    wall: dict[str, float] = defaultdict(float)
    processor: dict[str, float] = defaultdict(float)
    for k in range(rounds + 1):
        for name, work in kinds.items():
            started = time.perf_counter(), time.process_time()
            work(k)
            if k > 0:
                wall[name] += time.perf_counter() - started[0]
                processor[name] += time.process_time() - started[1]
    scale = 1000 / (BATCH * rounds)
    return {
        name: {"wall_ms": wall[name] * scale, "cpu_ms": processor[name] * scale} for name in kinds
    }


def _bare_flow(video: Any, threads: int) -> None:
    """Farneback of all pairs of grey frames, and nothing else."""
    from concurrent.futures import ThreadPoolExecutor
    from itertools import pairwise

    import cv2

    from metrics.functional.optical_flow import FARNEBACK

    def one_clip(frames: Any) -> None:
        grey = [cv2.cvtColor(cv2.merge(list(f)), cv2.COLOR_RGB2GRAY) for f in frames.numpy()]
        for before, after in pairwise(grey):
            cv2.calcOpticalFlowFarneback(before, after, None, *FARNEBACK)  # type: ignore[call-overload]

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one_clip, video))
