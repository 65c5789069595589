"""Stage 1: latent flow and decoding of one clip with random weights."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from experiments.benchmarks.harness import (
    add_options,
    best_time,
    count_gflop,
    matrix_rate,
    peak_memory,
    print_table,
)

HELP = """Stage 1: latent flow and decoding of a clip, all frames at once and one by one."""
EXAMPLES = [
    "dabfusion benchmark autoencoder",
    "dabfusion benchmark autoencoder --preset quickstart --size 64 --device cuda",
]
#: Images, channels and side of the convolution that decoding is compared to: one of its residual
#: blocks', over all frames.
CONVOLUTION = (40, 256, 32)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmark's arguments."""
    options = {
        "--preset": ("aist128", "preset of the network"),
        "--frames": (40, "frames of the clip"),
        "--size": (0, "pixels; 0: the preset's"),
        "--repeats": (3, "timings; the best counts"),
        "--threads": (0, "CPU threads; 0: PyTorch's default"),
        "--device": ("cpu", "where the network runs"),
    }
    add_options(parser, options)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Time one clip, print a table and return its numbers."""
    import torch
    from torch.nn import functional as F

    from experiments.config.load import load_settings
    from experiments.factories.networks import build_autoencoder
    from experiments.processes.cpu import set_up_processor

    set_up_processor(args.threads)
    settings = load_settings(args.preset, [])
    device, size = args.device, args.size or settings.clips.size
    torch.manual_seed(0)
    network = build_autoencoder(settings.stage1).eval().requires_grad_(False).to(device)
    number, channels, side = CONVOLUTION
    x = torch.randn(number, channels, side, side, device=device)
    weight = torch.randn(channels, channels, 3, 3, device=device)
    video = torch.rand(1, args.frames, 3, size, size, device=device)
    reference, rows = video[:, 0], {}
    with torch.inference_mode():
        seconds = best_time(partial(F.conv2d, x, weight, padding=1), max(3, args.repeats), device)
        convolution = 2 * number * (channels * side * 3) ** 2 / seconds / 1e9
        rates = {"matrix": matrix_rate(device), "convolution": convolution}
        flow = network.flow(reference, video)
        for part, work, clip in (("flow", network.flow, video), ("decoding", network.decode, flow)):
            rows[part] = _measure(partial(work, reference), clip, rates, args)
    numbers = {
        "parameters": sum(p.numel() for p in network.parameters()),
        "frames": args.frames,
        "size": size,
        "threads": torch.get_num_threads(),
        **{f"{kind}_gflops": rate for kind, rate in rates.items()},
        "peak_memory_gib": peak_memory(device) / 2**30,
    }
    print_table({"measured": numbers}, "Stage 1, one clip")
    print_table(rows, "Seconds, GFLOP, and shares of the rates of a matrix product and convolution")
    return numbers | {"rows": [{"part": part, **row} for part, row in rows.items()]}


def _measure(
    work: Any, clip: Any, rates: dict[str, float], args: argparse.Namespace
) -> dict[str, Any]:
    """Time `work` on a clip (1, T, C, h, w), frame by frame and at once."""
    import torch

    def one_by_one() -> None:
        for frame in clip.split(1, dim=1):
            work(frame)

    at_once = partial(work, clip)
    slow, fast = (best_time(f, args.repeats, args.device) for f in (one_by_one, at_once))
    gflop = count_gflop(at_once)
    row = {"one_by_one_s": slow, "at_once_s": fast, "speedup": slow / fast, "gflop": gflop}
    row |= {f"share_of_{kind}_rate": gflop / fast / rate for kind, rate in rates.items()}
    if args.device == "cuda":
        with torch.autocast("cuda", torch.bfloat16):
            compiled = partial(torch.compile(work), clip)
            row["all at once, bf16 + compile"] = best_time(compiled, args.repeats, "cuda")
    return row
