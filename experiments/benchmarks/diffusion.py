"""Stage 2: a training step and a video of 4 s, by the published procedure and by this project."""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

from experiments.benchmarks.harness import (
    best_time,
    matrix_rate,
    peak_memory,
    print_table,
    time_once,
)

HELP = """Stage 2: a training step and a 4-s video, as published and as in this project.

All procedures use the same modules with random weights and one clip at a time. Each is timed in a
process of its own, so that its peak memory is its own."""
EXAMPLES = [
    "dabfusion benchmark diffusion",
    "dabfusion benchmark diffusion --device cuda --bf16 --compile --json diffusion.json",
]
#: LFDM's default number of DDIM steps.
PUBLISHED_SAMPLING_STEPS = 250


class Procedure(NamedTuple):
    """A way to train and to sample."""

    name: str
    preset: str
    published: bool
    """Flow is extracted and frames are decoded one by one in the training step, and z_0 is
    concatenated to every frame."""


PROCEDURES = (
    Procedure("published procedure", "aist128", True),
    Procedure("faithful (aist128)", "aist128", False),
    Procedure("efficient (aist128_efficient)", "aist128_efficient", False),
)
_OPTIONS = ("repeats", "steps", "threads", "device", "bf16", "compile", "processor_time", "words")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmark's arguments."""
    parser.add_argument("words", nargs="*", metavar="key=value", help="settings of all three")
    parser.add_argument(
        "--repeats", type=int, default=2, help="timings after a warm-up, best counts; 0: cold (2)"
    )
    parser.add_argument("--steps", type=int, default=3, help="sampling steps that are timed (3)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (PyTorch default)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--compile", action="store_true", help="torch.compile the denoiser")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="processor instead of wall-clock time; with --threads 1, for a busy machine",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Time all procedures, print a table and return the numbers."""
    from multiprocessing import get_context

    rows = []
    for procedure in PROCEDURES:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            rows.append(process.submit(measure, procedure, args).result())
    _print(rows)
    return {"options": {name: getattr(args, name) for name in _OPTIONS}, "rows": rows}


def measure(procedure: Procedure, args: argparse.Namespace) -> dict[str, Any]:
    """Return the cost of one procedure, one clip at a time: seconds, GFLOP, bytes."""
    import torch

    from experiments.benchmarks.diffusion_parts import Stage2Bench
    from experiments.processes.cpu import set_up_processor

    set_up_processor(args.threads)
    device, repeats = args.device, args.repeats
    clock = time.process_time if args.processor_time else time.perf_counter
    rate = matrix_rate(device, args.bf16, clock)
    bench = Stage2Bench(
        procedure.preset, procedure.published, device, args.bf16, args.words, args.compile
    )
    step_s = best_time(bench.training_step, repeats, device, clock)
    backward_s = best_time(bench.forward_backward, repeats, device, clock)
    forward_s = best_time(bench.denoise, repeats, device, clock)
    # Sampling is timed for a few steps and scaled to those of a video.
    steps = bench.settings.sampling.steps
    if procedure.published:
        steps = PUBLISHED_SAMPLING_STEPS
    if repeats:
        bench.sample(1, 2.0)
    plain_s, guided_s = (
        time_once(lambda scale=scale: bench.sample(args.steps, scale), device, clock)  # type: ignore[misc]
        * steps
        / args.steps
        for scale in (1.0, 2.0)
    )
    decode_s = best_time(bench.decode, repeats, device, clock)
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
        "forward_backward_s": backward_s,
        "forward_backward_share_of_matrix_rate": 3 * bench.gflop / backward_s / rate,
        "sampling_steps": steps,
        "decode_s": decode_s,
        "video_s": plain_s + decode_s,
        "video_guided_s": guided_s + decode_s,
        "real_time_factor": clips.frames / clips.fps / (plain_s + decode_s),
        "peak_memory_bytes": peak_memory(device),
    }


def _print(rows: list[dict[str, Any]]) -> None:
    first = rows[0]
    rates = " ".join(f"{row['matrix_gflops']:.0f}" for row in rows)
    print_table(
        [
            *("", "GFLOP", "of matrix rate", "step s", "speed-up", "clips/s", "GB"),
            *("video s", "speed-up", "guided s"),
        ],
        [
            (
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
            for row in rows
        ],
        title=f"Stage 2, one clip, {first['threads']} threads; matrix product {rates} GFLOP/s",
        caption="of matrix rate: denoiser forward, and forward with backward",
    )
