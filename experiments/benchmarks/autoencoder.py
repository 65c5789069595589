"""Stage 1: latent flow and decoding of one clip with random weights."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from experiments.benchmarks.harness import (
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
COMPILED = "all at once, bf16 + compile"
#: Images, channels and side of the convolution that decoding is compared to: one of its residual
#: blocks', over all frames.
CONVOLUTION = (40, 256, 32)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmark's arguments."""
    parser.add_argument("--preset", default="aist128", help="preset of the network (aist128)")
    parser.add_argument("--frames", type=int, default=40, help="frames of the clip (40)")
    parser.add_argument("--size", type=int, default=0, help="pixels (the preset's)")
    parser.add_argument("--repeats", type=int, default=3, help="timings; the best counts (3)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (PyTorch default)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Time one clip, print a table and return its numbers."""
    import torch

    from experiments.config.load import load_settings
    from experiments.factories.networks import build_autoencoder
    from experiments.processes.cpu import set_up_processor

    set_up_processor(args.threads)
    settings = load_settings(args.preset, [])
    size = args.size or settings.clips.size
    torch.manual_seed(0)
    network = build_autoencoder(settings.stage1).eval().requires_grad_(False).to(args.device)
    rates = {
        "matrix": matrix_rate(args.device),
        "convolution": _convolution_rate(args.device, args.repeats),
    }
    rows = _measure(network, size, rates, args)
    numbers = {
        "parameters": sum(p.numel() for p in network.parameters()),
        "frames": args.frames,
        "size": size,
        "threads": torch.get_num_threads(),
        "matrix_gflops": rates["matrix"],
        "convolution_gflops": rates["convolution"],
        "peak_memory_gib": peak_memory(args.device) / 2**30,
        "rows": rows,
    }
    _print(numbers)
    return numbers


def _convolution_rate(device: str, repeats: int) -> float:
    """GFLOP/s of a 3 x 3 convolution of size `CONVOLUTION` in float32."""
    import torch
    from torch.nn import functional as F

    number, channels, side = CONVOLUTION
    x = torch.randn(number, channels, side, side, device=device)
    weight = torch.randn(channels, channels, 3, 3, device=device)
    with torch.inference_mode():
        seconds = best_time(lambda: F.conv2d(x, weight, padding=1), max(3, repeats), device)
    return 2 * number * (channels * side * 3) ** 2 / seconds / 1e9


def _measure(
    network: Any, size: int, rates: dict[str, float], args: argparse.Namespace
) -> list[dict[str, Any]]:
    import torch

    generator = torch.Generator().manual_seed(0)
    video = torch.rand(1, args.frames, 3, size, size, generator=generator).to(args.device)
    reference = video[:, 0]
    rows = []
    with torch.inference_mode():
        inputs = {"flow": video, "decoding": network.flow(reference, video)}
        for part, work in (("flow", network.flow), ("decoding", network.decode)):
            clip = inputs[part]

            at_once = partial(work, reference, clip)

            def one_by_one(work: Any = work, clip: Any = clip) -> None:
                for t in range(args.frames):
                    work(reference, clip[:, t : t + 1])

            slow = best_time(one_by_one, args.repeats, args.device)
            fast = best_time(at_once, args.repeats, args.device)
            gflop = count_gflop(at_once)
            row = {"part": part, "one_by_one_s": slow, "at_once_s": fast, "speedup": slow / fast}
            row["gflop"] = gflop
            for kind, rate in rates.items():
                row[f"share_of_{kind}_rate"] = gflop / fast / rate
            if args.device == "cuda":
                compiled = partial(torch.compile(work), reference, clip)
                with torch.autocast("cuda", torch.bfloat16):
                    row[COMPILED] = best_time(compiled, args.repeats, "cuda")
            rows.append(row)
    return rows


def _print(numbers: dict[str, Any]) -> None:
    print_table(
        ("", "one by one", "at once", "speed-up", "GFLOP", "of matrix", "of convolution", COMPILED),
        [
            (
                row["part"],
                f"{row['one_by_one_s']:.2f} s",
                f"{row['at_once_s']:.2f} s",
                f"{row['speedup']:.2f}",
                f"{row['gflop']:.0f}",
                f"{row['share_of_matrix_rate']:.0%}",
                f"{row['share_of_convolution_rate']:.0%}",
                f"{row[COMPILED]:.3f} s" if COMPILED in row else "-",
            )
            for row in numbers["rows"]
        ],
        title=f"{numbers['parameters'] / 1e6:.1f} M parameters, {numbers['frames']} frames of "
        f"{numbers['size']} x {numbers['size']}, {numbers['threads']} threads, peak memory "
        f"{numbers['peak_memory_gib']:.1f} GiB",
        caption=f"Matrix product {numbers['matrix_gflops']:.0f} GFLOP/s, 3 x 3 convolution "
        f"{numbers['convolution_gflops']:.0f} GFLOP/s",
    )
