"""What stage 1 costs: flow and decoding of a clip, all frames at once and one by one."""

from __future__ import annotations

import resource
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from experiments.arguments import Parser
from experiments.benchmarks.diffusion import best_time, matrix_rate

if TYPE_CHECKING:
    from lightning_modules.networks.autoencoder import LatentFlowAutoencoder

COMPILED = "all at once, bf16 + compile"
#: The convolution whose rate decoding is held against: one of its residual blocks', all frames.
CONVOLUTION = (40, 256, 32)


def run(options: list[str]) -> dict[str, Any]:
    """Time one clip with random weights, print a table, return its numbers."""
    parser = Parser("dabfusion benchmark autoencoder", __doc__ or "")
    parser.add_argument("--preset", default="aist128", help="whose stage-1 sizes (aist128)")
    parser.add_argument("--frames", type=int, default=40, help="frames of the clip")
    parser.add_argument("--size", type=int, default=0, help="pixels (the preset's)")
    parser.add_argument("--repeats", type=int, default=3, help="timings of each part; best counts")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (as PyTorch likes)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    args = parser.parse(options)
    import torch

    from experiments.config.load import load_settings
    from experiments.factories.stage1 import build_autoencoder
    from experiments.processes.cpu import set_up_processor

    set_up_processor(args.threads)
    settings = load_settings(args.preset, [])
    size = args.size or settings.clips.size
    torch.manual_seed(0)
    network = build_autoencoder(settings.stage1).eval().requires_grad_(False).to(args.device)
    rates = {
        "matrix": matrix_rate(args.device, False),
        "convolution": convolution_rate(args.device, args.repeats),
    }
    rows = _measure(network, args.frames, size, args.repeats, args.device, rates)
    parameters = sum(p.numel() for p in network.parameters())
    numbers = {
        "parameters": parameters,
        "frames": args.frames,
        "size": size,
        "threads": torch.get_num_threads(),
        "matrix_gflops": rates["matrix"],
        "convolution_gflops": rates["convolution"],
        "peak_memory_gib": _peak_memory(args.device),
        "rows": rows,
    }
    _print(numbers)
    return numbers


def convolution_rate(device: str, repeats: int) -> float:
    """GFLOP/s of a 3 x 3 convolution of `CONVOLUTION` (images, channels, side) in float32."""
    import torch
    from torch.nn import functional as F

    number, channels, side = CONVOLUTION
    x = torch.randn(number, channels, side, side, device=device)
    weight = torch.randn(channels, channels, 3, 3, device=device)
    with torch.inference_mode():
        seconds = best_time(lambda: F.conv2d(x, weight, padding=1), max(3, repeats), device)
    return 2 * number * (channels * side * 3) ** 2 / seconds / 1e9


def _measure(
    network: LatentFlowAutoencoder,
    frames: int,
    size: int,
    repeats: int,
    device: str,
    rates: dict[str, float],
) -> list[dict[str, Any]]:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    generator = torch.Generator().manual_seed(0)
    video = torch.rand(1, frames, 3, size, size, generator=generator).to(device)
    reference = video[:, 0]
    with torch.inference_mode():
        flow = network.flow(reference, video)

        def one_by_one(part: str) -> None:
            for t in range(frames):
                if part == "flow":
                    network.flow(reference, video[:, t : t + 1])
                else:
                    network.decode(reference, flow[:, t : t + 1])

        def at_once(part: str) -> None:
            if part == "flow":
                network.flow(reference, video)
            else:
                network.decode(reference, flow)

        rows = []
        for part in ("flow", "decoding"):
            slow = best_time(partial(one_by_one, part), repeats, device)
            fast = best_time(partial(at_once, part), repeats, device)
            with FlopCounterMode(display=False) as counter:
                at_once(part)
            gflop = counter.get_total_flops() / 1e9
            row = {
                "part": part,
                "one_by_one_s": slow,
                "at_once_s": fast,
                "speedup": slow / fast,
                "gflop": gflop,
                "share_of_matrix_rate": gflop / fast / rates["matrix"],
                "share_of_convolution_rate": gflop / fast / rates["convolution"],
            }
            if device == "cuda":
                row[COMPILED] = _compiled(network, part, reference, video, flow, repeats)
            rows.append(row)
    return rows


def _compiled(
    network: LatentFlowAutoencoder, part: str, reference: Any, video: Any, flow: Any, repeats: int
) -> float:
    import torch

    work = torch.compile(network.flow if part == "flow" else network.decode)
    second = video if part == "flow" else flow
    with torch.autocast("cuda", torch.bfloat16):
        return best_time(lambda: work(reference, second), repeats, "cuda")


def _peak_memory(device: str) -> float:
    """GiB: of the device, or of this process at its fullest."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _print(numbers: dict[str, Any]) -> None:
    print(
        f"{numbers['parameters'] / 1e6:.1f} M parameters, {numbers['frames']} frames of "
        f"{numbers['size']} x {numbers['size']}, {numbers['threads']} threads, peak memory "
        f"{numbers['peak_memory_gib']:.1f} GiB\nMatrix product {numbers['matrix_gflops']:.0f} "
        f"GFLOP/s, 3 x 3 convolution {numbers['convolution_gflops']:.0f} GFLOP/s"
    )
    headings = ("one by one", "at once", "speed-up", "GFLOP", "of matrix", "of convolution")
    widths = (12, 10, 10, 8, 11, 16)
    cells = (f"{name:>{width}}" for name, width in zip(headings, widths, strict=True))
    print(f"{'':10}" + "".join(cells))
    for row in numbers["rows"]:
        print(
            f"{row['part']:10}{row['one_by_one_s']:>10.2f} s{row['at_once_s']:>8.2f} s"
            f"{row['speedup']:>10.2f}{row['gflop']:>8.0f}{row['share_of_matrix_rate']:>11.0%}"
            f"{row['share_of_convolution_rate']:>16.0%}"
        )
        if COMPILED in row:
            print(f"{'':10}{COMPILED}: {row[COMPILED]:.3f} s")
