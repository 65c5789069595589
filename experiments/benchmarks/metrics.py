"""What scoring costs: clips from frames against the bare optical flow, and from latent flow."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

#: The issue's bars: cost from frames relative to the flow alone, and milliseconds from latent flow.
FRAMES_BAR = 1.2
LATENT_BAR_MS = 2.0


def run(options: list[str]) -> dict[str, Any]:
    """Time the scoring of rendered clips of 40 x 128 x 128.

    The bare flow is OpenCV's Farneback of all pairs of grey frames, spread over the same number
    of threads. Processor time is given beside wall time: it does not depend on what else runs.

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

    from datamodules.synthetic import DanceSpec, render_clip
    from metrics import MotionMusicAlignment2D
    from metrics.functional.motion_video import motion_from_video

    # Clips are spread over threads here; torch's own would fight them for the same cores.
    torch.set_num_threads(1)
    made = [
        render_clip(DanceSpec(seed=seed, size=128)).frames for seed in range(min(8, args.clips))
    ]
    batches = [torch.stack([made[(k + i) % len(made)] for i in range(8)]) for k in range(8)]
    beats = (0.2 + 0.5 * torch.arange(8)).expand(8, -1)
    rounds = max(1, args.clips // 8)
    metric = MotionMusicAlignment2D()

    def score_frames(k: int) -> None:
        metric.update(motion=motion_from_video(batches[k % 8], 10, workers=args.threads),
                      fps=10, music_beats=beats)  # fmt: skip

    latent = 0.1 * torch.randn(8, 40, 3, 32, 32).cumsum(1)
    numbers = {
        "bare_flow": _timed(lambda k: _bare_flow(batches[k % 8], args.threads), rounds),
        "from_frames": _timed(score_frames, rounds),
        "from_latent_flow": _timed(
            lambda _: metric.update(latent_flow=latent, fps=10, music_beats=beats), rounds
        ),
    }
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
        "clips": rounds * 8,
        "threads": args.threads,
        "ms_per_clip": numbers,
        "ratio_to_flow": ratio,
        "wall_ratio_to_flow": wall_ratio,
        "bars": {"ratio_to_flow": FRAMES_BAR, "latent_ms": LATENT_BAR_MS},
    }


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips", type=int, default=64, help="clips to score (default: 64)")
    parser.add_argument("--threads", type=int, default=2, help="threads (default: 2)")


def _timed(work: Callable[[int], None], rounds: int) -> dict[str, float]:
    """Milliseconds a clip of work on batches of eight, after one round to warm up."""
    work(0)
    wall, processor = time.perf_counter(), time.process_time()
    for k in range(rounds):
        work(k)
    scale = 1000 / (8 * rounds)
    return {
        "wall_ms": (time.perf_counter() - wall) * scale,
        "cpu_ms": (time.process_time() - processor) * scale,
    }


def _bare_flow(video: Any, threads: int) -> None:
    """Farneback of all pairs of grey frames, and nothing else."""
    from concurrent.futures import ThreadPoolExecutor
    from itertools import pairwise

    import cv2

    from metrics.functional.optical_flow import FARNEBACK

    def one_clip(frames: Any) -> None:
        grey = [cv2.cvtColor(f.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY) for f in frames]
        for before, after in pairwise(grey):
            cv2.calcOpticalFlowFarneback(before, after, None, *FARNEBACK)  # type: ignore[call-overload]

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one_clip, video))
