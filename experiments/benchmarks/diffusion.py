"""Stage 2: a training step and a video of 4 s, by the published procedure and by this project."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from datamodules.batch import ClipBatch, to_unit
from experiments.benchmarks.harness import (
    add_options,
    best_time,
    count_gflop,
    matrix_rate,
    peak_memory,
    print_table,
)
from experiments.config.load import load_settings
from experiments.factories.modules import build_diffusion
from experiments.factories.networks import build_autoencoder
from experiments.processes.cpu import set_up_processor
from lightning_modules.diffusion import ValidationSampling
from lightning_modules.networks.denoiser import FlowUNet3D
from lightning_modules.sampling import Guidance

HELP = """Stage 2: a training step and a 4-s video, as published and as in this project.

All procedures use the same modules with random weights and one clip at a time. Each is timed in a
process of its own, so that its peak memory is its own."""
EXAMPLES = [
    "dabfusion benchmark diffusion",
    "dabfusion benchmark diffusion --device cuda --bf16 --compile --json diffusion.json",
]
#: LFDM's default number of DDIM steps.
PUBLISHED_SAMPLING_STEPS = 250
#: Name, preset, and whether it is done as in LFDM's code, see `Stage2Bench`.
PROCEDURES = (
    ("published procedure", "aist128", True),
    ("faithful (aist128)", "aist128", False),
    ("efficient (aist128_efficient)", "aist128_efficient", False),
)
#: What results record of the command line.
OPTIONS = ("repeats", "steps", "threads", "device", "bf16", "compile", "processor_time", "words")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmark's arguments."""
    parser.add_argument("words", nargs="*", metavar="key=value", help="settings of all three")
    options = {
        "--repeats": (2, "timings after a warm-up, the best counts; 0: cold"),
        "--steps": (3, "sampling steps that are timed"),
        "--threads": (0, "CPU threads; 0: PyTorch's default"),
        "--device": ("cpu", "where the networks run"),
        "--bf16": (False, "autocast to bfloat16"),
        "--compile": (False, "torch.compile the denoiser"),
        "--processor-time": (False, "not wall-clock time; with --threads 1, for a busy machine"),
    }
    add_options(parser, options)


class Stage2Bench:
    """One procedure on one random clip, with random weights.

    Args:
        preset: Name of the preset.
        published: Whether to extract flow and decode frames one by one in the training step, and
            to concatenate z_0 to every frame, as LFDM's code does.
        device: `cpu` or `cuda`.
        bf16: Whether the module of stage 2 computes in bfloat16.
        words: Settings on top of the preset, as `key=value`.
    """

    def __init__(
        self, preset: str, published: bool, device: str, bf16: bool, words: Iterable[str] = ()
    ) -> None:
        torch.manual_seed(0)
        fixed = ["music.clap=false", "music.wav2clip=false", "music.spectral=true"]
        fixed += ["stage2.loss.drop_music=0", "stage2.loss.window_start=0"]
        self.settings, self.published = load_settings(preset, [*fixed, *words]), published
        self.autocast = partial(torch.autocast, device, torch.bfloat16, enabled=bf16)
        frames, size = self.settings.clips.frames, self.settings.clips.size
        video = torch.randint(256, (1, frames, 3, size, size), dtype=torch.uint8)
        self.video = to_unit(video).to(device)
        autoencoder = build_autoencoder(self.settings.stage1).to(device).eval()
        with torch.no_grad():
            self.z0 = autoencoder.encode(self.video[:, 0])
            self.flow = autoencoder.flow(self.video[:, 0], self.video)
        self.batch = ClipBatch(
            clip_ids=["clip@0"],
            music_ids=["music"],
            fps=self.settings.clips.fps,
            index=torch.tensor([0]),
            beats=torch.tensor([[0.5]]),
            beat_features=torch.rand(1, frames, 7),
            frames=video,
            music={"spectral": torch.rand(1, frames, 44)},
            latent_flow=self.flow,
        ).to(device)
        self.module = build_diffusion(self.settings, autoencoder, [self.flow]).to(device)
        if published:
            concatenate_z0(self.module.denoiser, self.z0)
        configured: Any = self.module.configure_optimizers()
        self.optimizer = configured["optimizer"]

    def denoise(self) -> Tensor:
        """Run one forward pass of the denoiser."""
        with self.autocast():
            music = self.module.conditioner(self.batch.beat_features, self.batch.music)
            timestep = torch.tensor([500], device=self.z0.device)
            return self.module.denoiser(self.flow, timestep, self.z0, music)

    def forward_backward(self) -> None:
        """Run one forward and backward pass of the denoiser."""
        self.denoise().float().square().mean().backward()
        self.optimizer.zero_grad()

    def training_step(self) -> None:
        """Run one training step on one clip, from frames (published) or from cached flow."""
        if self.published:
            # LFDM runs the decoder, too, though its output is not used.
            outputs = [self.module.autoencoder(*pair) for pair in self._pairs(self.video)]
            self.batch.latent_flow = torch.cat([out.latent_flow for out in outputs], dim=1)
        with self.autocast():
            loss = self.module.training_step(self.batch, 0)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.published:  # true and predicted flow are decoded for losses that are only logged
            self.decode()
            self.decode()

    @torch.no_grad()
    def decode(self) -> None:
        """Decode all frames of the video, at once or (published) one by one."""
        for reference, flow in self._pairs(self.flow):
            self.module.autoencoder.decode(reference, flow)

    def _pairs(self, clip: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The reference with the whole clip, or (published) with each frame (1, 1, C, h, w)."""
        frames = 1 if self.published else clip.shape[1]
        return [(self.video[:, 0], part) for part in clip.split(frames, dim=1)]

    def sample(self, steps: int, guidance: float) -> Tensor:
        """Sample the latent flow of one video."""
        solver = "ddim" if self.published else self.settings.sampling.solver
        self.module.validation = ValidationSampling(1, solver, steps, Guidance(guidance))
        with self.autocast():
            return self.module.sample(self.batch)


def concatenate_z0(denoiser: FlowUNet3D, z0: Tensor) -> None:
    """Concatenate z_0 (1, C, h, w) to every frame before the first convolution, as LFDM does."""
    flow: Any = denoiser.stem
    image: Any = denoiser.image_stem

    def joined(x: Tensor) -> Tensor:
        x = torch.cat((x, z0.repeat_interleave(len(x), dim=0)), dim=1)
        weight, bias = torch.cat((flow.weight, image.weight), dim=1), flow.bias + image.bias
        return F.conv2d(x, weight, bias, padding=flow.padding)

    flow.forward = joined
    # The denoiser adds the output of this convolution, whose term is in `joined` already.
    image.forward = lambda z: z.new_zeros(len(z), image.out_channels, *z.shape[2:])


def measure(preset: str, published: bool, args: argparse.Namespace) -> dict[str, Any]:
    """Return the cost of one procedure, one clip at a time: seconds, GFLOP, bytes."""
    set_up_processor(args.threads)
    device = args.device
    clock = time.process_time if args.processor_time else time.perf_counter
    rate = matrix_rate(device, args.bf16, clock)
    bench = Stage2Bench(preset, published, device, args.bf16, args.words)
    denoise = torch.no_grad()(bench.denoise)
    gflop = count_gflop(denoise)
    if args.compile:
        bench.module.denoiser.compile()
    timed = partial(best_time, repeats=args.repeats, device=device, clock=clock)
    step_s, backward_s = timed(bench.training_step), timed(bench.forward_backward)
    forward_s, decode_s = timed(denoise), timed(bench.decode)
    # Sampling is timed for a few steps and scaled to those of a video.
    steps = PUBLISHED_SAMPLING_STEPS if published else bench.settings.sampling.steps
    if args.repeats:
        bench.sample(1, 2.0)
    plain_s, guided_s = (
        timed(partial(bench.sample, args.steps, scale), repeats=0) * steps / args.steps
        for scale in (1.0, 2.0)
    )
    clips = bench.settings.clips
    return {
        "threads": torch.get_num_threads(),
        "matrix_gflops": rate,
        "parameters": sum(p.numel() for p in bench.module.denoiser.parameters()),
        "forward_gflop": gflop,
        "step_s": step_s,
        "clips_per_s": 1 / step_s,
        "forward_s": forward_s,
        "forward_share_of_matrix_rate": gflop / forward_s / rate,
        "forward_backward_s": backward_s,
        "forward_backward_share_of_matrix_rate": 3 * gflop / backward_s / rate,
        "sampling_steps": steps,
        "decode_s": decode_s,
        "video_s": plain_s + decode_s,
        "video_guided_s": guided_s + decode_s,
        "real_time_factor": clips.frames / clips.fps / (plain_s + decode_s),
        "peak_memory_bytes": peak_memory(device),
    }


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Time all procedures, print a table and return the numbers."""
    rows = {}
    for name, preset, published in PROCEDURES:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            rows[name] = process.submit(measure, preset, published, args).result()
    print_table(rows, "Stage 2, one clip: seconds, GFLOP, and shares of a matrix product's rate")
    return {
        "options": {name: getattr(args, name) for name in OPTIONS},
        "rows": [{"procedure": name, **row} for name, row in rows.items()],
    }
