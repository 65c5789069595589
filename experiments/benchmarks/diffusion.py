"""What stage 2 costs: a training step and a 4-s video, as published and as here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from experiments.arguments import Parser

FRAMES, LATENT, SIZE = 40, 32, 128
FPS = 10.0
PUBLISHED_SAMPLING_STEPS = 250
"""LFDM's default, of DDIM."""
MATRIX = 4096


@dataclass(frozen=True)
class Procedure:
    """One way to train and to sample."""

    name: str
    preset: str
    published: bool
    """Flow extracted and frames decoded one by one in the step, z_0 concatenated to every frame."""


PROCEDURES = (
    Procedure("published procedure", "aist128", True),
    Procedure("faithful (aist128)", "aist128", False),
    Procedure("efficient (aist128_efficient)", "aist128_efficient", False),
)


def run(options: list[str]) -> dict[str, Any]:
    """Time all three procedures with the same modules and random weights, and print a table."""
    parser = Parser("dabfusion benchmark diffusion", __doc__ or "")
    parser.add_argument("--repeats", type=int, default=2, help="timings of each part; best counts")
    parser.add_argument("--steps", type=int, default=2, help="sampling steps timed, then scaled up")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (as PyTorch likes)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    args = parser.parse(options)
    import torch

    if args.threads:
        torch.set_num_threads(args.threads)
    rate = matrix_rate(args.device, args.bf16)
    rows = [_measure(p, args, rate) for p in PROCEDURES]
    _print(rows, rate)
    return {"matrix_gflops": rate, "threads": torch.get_num_threads(), "rows": rows}


def matrix_rate(device: str, bf16: bool) -> float:
    """GFLOP/s of a square matrix product, the yardstick for everything else."""
    import torch

    dtype = torch.bfloat16 if bf16 else torch.float32
    a = torch.randn(MATRIX, MATRIX, device=device, dtype=dtype)
    seconds = best_time(lambda: a @ a, 3, device)
    return 2 * MATRIX**3 / seconds / 1e9


def best_time(work: Callable[[], Any], repeats: int, device: str) -> float:
    """The shortest of several runs in seconds, after one to warm up."""
    import torch

    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return min(times[1:])


def _measure(procedure: Procedure, args: Any, rate: float) -> dict[str, Any]:
    import torch

    from experiments.benchmarks.diffusion_parts import Stage2Bench

    bench = Stage2Bench(procedure.preset, procedure.published, args.device, args.bf16)
    step_s = best_time(bench.training_step, args.repeats, args.device)
    forward_s = best_time(bench.denoise, args.repeats, args.device)
    settings = bench.settings.sampling
    steps = PUBLISHED_SAMPLING_STEPS if procedure.published else settings.steps
    sampled_s = best_time(lambda: bench.sample(args.steps, 1.0), 1, args.device) / args.steps
    decode_s = best_time(bench.decode, 1, args.device)
    guided_s = 2 * sampled_s
    memory = torch.cuda.max_memory_allocated() if args.device == "cuda" else _peak_memory()
    return {
        "procedure": procedure.name,
        "parameters": bench.parameters,
        "forward_gflop": bench.gflop,
        "step_s": step_s,
        "clips_per_s": 1 / step_s,
        "forward_s": forward_s,
        "forward_gflops": bench.gflop / forward_s,
        "share_of_matrix_rate": bench.gflop / forward_s / rate,
        "sampling_steps": steps,
        "video_s": steps * sampled_s + decode_s,
        "video_guided_s": steps * guided_s + decode_s,
        "real_time_factor": FRAMES / FPS / (steps * sampled_s + decode_s),
        "peak_memory_bytes": memory,
    }


def _peak_memory() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _print(rows: list[dict[str, Any]], rate: float) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Stage 2, one clip of 40 x 128 x 128; matrix product {rate:.0f} GFLOP/s")
    for column in ("", "step s", "times", "GFLOP", "of matrix rate", "4-s video s", "times"):
        table.add_column(column, justify="right" if column else "left")
    table.add_column("guided s", justify="right")
    first = rows[0]
    for row in rows:
        table.add_row(
            row["procedure"],
            f"{row['step_s']:.2f}",
            f"{first['step_s'] / row['step_s']:.1f}",
            f"{row['forward_gflop']:.0f}",
            f"{row['share_of_matrix_rate']:.0%}",
            f"{row['video_s']:.1f} ({row['sampling_steps']} steps)",
            f"{first['video_s'] / row['video_s']:.1f}",
            f"{row['video_guided_s']:.1f}",
        )
    Console(width=120).print(table)
