"""What stage 2 costs: a training step and a 4-s video, as published and as here."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from experiments.arguments import Parser

if TYPE_CHECKING:
    from experiments.benchmarks.diffusion_parts import Stage2Bench

PUBLISHED_SAMPLING_STEPS = 250
"""LFDM's default, of DDIM."""
MATRIX = 4096
Clock = Callable[[], float]


@dataclass(frozen=True)
class Procedure:
    """One way to train and to sample."""

    name: str
    preset: str
    published: bool
    """Flow extracted and frames decoded one by one in the step, z_0 concatenated to every frame."""


@dataclass(frozen=True)
class Options:
    """How to measure."""

    repeats: int
    """Timings of each part after one to warm up, of which the shortest counts; 0: one, cold."""
    steps: int
    """Sampling steps that are timed; a video's are extrapolated."""
    threads: int
    """Of the CPU; 0 as PyTorch likes."""
    device: str
    bf16: bool
    compile: bool
    processor_time: bool
    """Time of the processor instead of the wall clock: for one thread on a busy machine."""
    words: tuple[str, ...]
    """Settings on top of each preset."""


PROCEDURES = (
    Procedure("published procedure", "aist128", True),
    Procedure("faithful (aist128)", "aist128", False),
    Procedure("efficient (aist128_efficient)", "aist128_efficient", False),
)


def run(options: list[str]) -> dict[str, Any]:
    """Time all three procedures with the same modules and random weights, and print a table.

    Each has a process of its own, so that its peak memory is its own, too.
    """
    parser = Parser("dabfusion benchmark diffusion", __doc__ or "")
    parser.add_argument("words", nargs="*", metavar="key=value", help="settings of all three")
    parser.add_argument(
        "--repeats", type=int, default=2, help="timings of each part, best counts; 0: one, cold"
    )
    parser.add_argument("--steps", type=int, default=3, help="sampling steps timed, then scaled up")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (as PyTorch likes)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--compile", action="store_true", help="torch.compile the denoiser")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="processor instead of wall time, with --threads 1 for a machine that is not idle",
    )
    args = vars(parser.parse(options))
    chosen = Options(**{**args, "words": tuple(args["words"])})
    rows = []
    for procedure in PROCEDURES:
        with ProcessPoolExecutor(1, mp_context=_spawning()) as process:
            rows.append(process.submit(measure, procedure, chosen).result())
    _print(rows)
    return {"options": asdict(chosen), "rows": rows}


def matrix_rate(device: str, bf16: bool, clock: Clock = time.perf_counter) -> float:
    """GFLOP/s of a square matrix product, the yardstick for everything else."""
    import torch

    dtype = torch.bfloat16 if bf16 else torch.float32
    a = torch.randn(MATRIX, MATRIX, device=device, dtype=dtype)
    seconds = best_time(lambda: a @ a, 3, device, clock)
    return 2 * MATRIX**3 / seconds / 1e9


def best_time(
    work: Callable[[], Any], repeats: int, device: str, clock: Clock = time.perf_counter
) -> float:
    """The shortest of several runs in seconds, after one to warm up; 0: of that one."""
    cold = _time(work, device, clock)
    return min((_time(work, device, clock) for _ in range(repeats)), default=cold)


def _time(work: Callable[[], Any], device: str, clock: Clock) -> float:
    import torch

    began = clock()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - began


def measure(procedure: Procedure, options: Options) -> dict[str, Any]:
    """The costs of one procedure, one clip at a time: seconds, GFLOP, bytes."""
    import torch

    from experiments.benchmarks.diffusion_parts import Stage2Bench
    from experiments.processes.cpu import set_up_processor

    set_up_processor(options.threads)
    device, repeats = options.device, options.repeats
    clock = time.process_time if options.processor_time else time.perf_counter
    rate = matrix_rate(device, options.bf16, clock)
    bench = Stage2Bench(
        procedure.preset, procedure.published, device, options.bf16, options.words, options.compile
    )
    step_s = best_time(bench.training_step, repeats, device, clock)
    learn_s = best_time(bench.learn, repeats, device, clock)
    forward_s = best_time(bench.denoise, repeats, device, clock)
    video = _video_seconds(bench, procedure, options, clock)
    clips = bench.settings.clips
    return {
        "procedure": procedure.name,
        "threads": torch.get_num_threads(),
        "matrix_gflops": rate,
        "parameters": bench.parameters,
        "forward_gflop": bench.gflop,
        "step_s": step_s,
        "clips_per_s": 1 / step_s,
        "forward_s": forward_s,
        "forward_share_of_matrix_rate": bench.gflop / forward_s / rate,
        "forward_backward_s": learn_s,
        "forward_backward_share_of_matrix_rate": 3 * bench.gflop / learn_s / rate,
        **video,
        "real_time_factor": clips.frames / clips.fps / video["video_s"],
        "peak_memory_bytes": _peak_memory(device),
    }


def _video_seconds(
    bench: Stage2Bench, procedure: Procedure, options: Options, clock: Clock
) -> dict[str, Any]:
    """Seconds of one video without and with guidance, from a few steps."""
    device, timed = options.device, options.steps
    own = bench.settings.sampling.steps
    steps = PUBLISHED_SAMPLING_STEPS if procedure.published else own
    if options.repeats:
        bench.sample(1, 2.0)
    plain_s = _time(lambda: bench.sample(timed, 1.0), device, clock) * steps / timed
    guided_s = _time(lambda: bench.sample(timed, 2.0), device, clock) * steps / timed
    decode_s = best_time(bench.decode, options.repeats, device, clock)
    return {
        "sampling_steps": steps,
        "decode_s": decode_s,
        "video_s": plain_s + decode_s,
        "video_guided_s": guided_s + decode_s,
    }


def _peak_memory(device: str) -> int:
    """Bytes: of the device, or of this process at its fullest."""
    import resource
    import sys

    import torch

    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _spawning() -> Any:
    from multiprocessing import get_context

    return get_context("spawn")


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    first = rows[0]
    rates = " ".join(f"{row['matrix_gflops']:.0f}" for row in rows)
    table = Table(
        title=f"Stage 2, one clip, {first['threads']} threads; matrix product {rates} GFLOP/s",
        caption="of matrix rate: denoiser forward, and forward with backward",
    )
    for column in ("", "GFLOP", "of matrix rate", "step s", "times", "clips/s", "GB"):
        table.add_column(column, justify="right" if column else "left")
    for column in ("video s", "times", "guided s"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row["procedure"],
            f"{row['forward_gflop']:.1f} ({row['forward_gflop'] / first['forward_gflop']:.0%})",
            f"{row['forward_share_of_matrix_rate']:.0%}, "
            f"{row['forward_backward_share_of_matrix_rate']:.0%}",
            f"{row['step_s']:.2f}",
            f"{first['step_s'] / row['step_s']:.1f}",
            f"{row['clips_per_s']:.2f}",
            f"{row['peak_memory_bytes'] / 1e9:.1f}",
            f"{row['video_s']:.1f} ({row['sampling_steps']} steps)",
            f"{first['video_s'] / row['video_s']:.0f}",
            f"{row['video_guided_s']:.1f}",
        )
    Console(width=140).print(table)
