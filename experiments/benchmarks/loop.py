"""The training loop: what Lightning and our callbacks add to a bare loop of the same steps."""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from datamodules.batch import ClipBatch
from datamodules.index import DatasetSettings
from datamodules.media.video import write_video
from datamodules.preparation.prepare import PrepareOptions, prepare
from datamodules.synthetic.dataset import DanceSpec, render_clip
from experiments.benchmarks.harness import print_table
from experiments.config.load import Settings, load_settings
from experiments.factories.networks import build_autoencoder
from experiments.runs.logs import JsonlLogger, log_to
from experiments.training.resolve import ResolvedRun, ensure_caches, resolve_run
from experiments.training.stages import StageParts, build_parts
from experiments.training.train import build_callbacks, build_trainer
from lightning_modules.callbacks.ema import averaged_tensors
from lightning_modules.checkpoints import save_autoencoder

HELP = """Training loop: what Lightning and our callbacks add to a bare loop of the same steps.

Both loops run the same batches through the same step of the same preset, in alternation. The bare
loop does: next batch, loss, backward, clipping, optimizer, schedule, and the moving average where
the preset keeps one. It has no logging, no guard and no checkpoints. Times are processor times on
the CPU, so use run.threads=1 there."""
EXAMPLES = [
    "dabfusion benchmark loop run.threads=1",
    "dabfusion benchmark loop preset=aist128 data=aist",
]
NAMES = (
    "gBR_sBM_c01_d04_mBR1_ch03",
    "gPO_sBM_c01_d10_mPO2_ch04",
    "gHO_sBM_c01_d20_mHO3_ch05",
    "gBR_sBM_c01_d90_mBR0_ch01",
)
#: Rounds of both loops, steps of a round, those of them that only warm up. The ninety that count
#: include a line of metrics and a checkpoint, as often as in the preset `quickstart`.
ROUNDS, STEPS, WARMUP = 3, 94, 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmark's arguments."""
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="on top of preset=quickstart"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Return milliseconds a step of both loops and the overhead in percent, for each stage."""
    presets = [word.partition("=")[2] for word in args.settings if word.startswith("preset=")]
    words = [word for word in args.settings if not word.startswith("preset=")]
    settings = load_settings(presets[-1] if presets else "quickstart", words)
    numbers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        settings = with_data(settings, Path(folder))
        for stage in ("autoencoder", "diffusion"):
            bare, loop = _measure(settings, stage, Path(folder))
            overhead = 100.0 * (loop / bare - 1.0)
            numbers[stage] = {"bare_ms": bare, "loop_ms": loop, "overhead_percent": overhead}
    print_table(
        ("stage", "bare ms", "loop ms", "overhead"),
        [
            (stage, f"{n['bare_ms']:.2f}", f"{n['loop_ms']:.2f}", f"{n['overhead_percent']:.1f}%")
            for stage, n in numbers.items()
        ],
    )
    return numbers


def with_data(settings: Settings, folder: Path) -> Settings:
    """Return settings with a few rendered clips and an untrained stage 1 if they have none."""
    videos, size = folder / "videos", settings.clips.size
    data = settings.data
    if not data:
        videos.mkdir()
        for name in NAMES:
            clip = render_clip(DanceSpec(name=name, size=size, fps=settings.clips.fps, seconds=8.0))
            path = videos / f"{name}.mp4"
            write_video(path, clip.frames, clip.fps, clip.audio, clip.sample_rate)
        options = PrepareOptions(DatasetSettings(fps=settings.clips.fps, size=size))
        prepare(videos, folder / "prepared", options)
        data = str(folder / "prepared")
    autoencoder = settings.autoencoder
    if not autoencoder:
        autoencoder = str(folder / "autoencoder")
        save_autoencoder(build_autoencoder(settings.stage1), autoencoder)
    watched = replace(settings.run, wandb="off", samples=0, validation_batches=1)
    # Steps in which only the regions are trained are faster than the others.
    train = replace(settings.stage1.train, region_steps=0)
    stage1 = replace(settings.stage1, train=train)
    return replace(settings, data=data, autoencoder=autoencoder, run=watched, stage1=stage1)


def _measure(settings: Settings, stage: str, folder: Path) -> tuple[float, float]:
    """Milliseconds of a bare step, and of one in the loop: medians of the rounds' means."""
    # As in a real run, except that no validation falls into the measured steps.
    run = replace(settings.run, devices=1, nodes=1, validate_every=10 * STEPS)
    resolved = resolve_run(replace(settings, run=run, out=str(folder / f"run-{stage}")), stage)
    parts = build_parts(resolved, ensure_caches(resolved))
    bare: list[float] = []
    loop: list[float] = []
    for _ in range(ROUNDS):
        loop.append(statistics.mean(_loop_steps(resolved, parts)))
        bare.append(statistics.mean(_bare_steps(parts, resolved.section.gradient_clip)))
    return 1000.0 * statistics.median(bare), 1000.0 * statistics.median(loop)


def _loop_steps(run: ResolvedRun, parts: StageParts) -> list[float]:
    run.folder.last.parent.mkdir(parents=True, exist_ok=True)
    clock = _Clock()
    with log_to(None):
        callbacks = build_callbacks(run, parts, lambda done, total: None)
        # The cadence of the real run is kept, over fewer steps.
        short = replace(run, steps=STEPS)
        logger = JsonlLogger(run.folder.metrics)
        trainer = build_trainer(short, parts, [logger], [clock, *callbacks])
        trainer.fit(parts.module, datamodule=parts.data)
    return clock.durations()


def _bare_steps(parts: StageParts, gradient_clip: float) -> list[float]:
    module = parts.module
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    module.to(device).train()
    configured: Any = module.configure_optimizers()
    module.trainer = None  # without one, nothing is logged
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    live = list(averaged_tensors(module).values()) if parts.ema_decay else []
    average = [tensor.detach().clone() for tensor in live]
    clock = _Clock()
    for number, batch in enumerate(_batches(parts)):
        loss = module.training_step(batch.to(device), number)
        assert isinstance(loss, torch.Tensor)
        optimizer.zero_grad()
        loss.backward()
        if gradient_clip:
            torch.nn.utils.clip_grad_norm_(module.parameters(), gradient_clip)
        optimizer.step()
        schedule.step()
        if average:
            torch._foreach_lerp_(average, live, 1.0 - parts.ema_decay)
        clock.tick(device)
    return clock.durations()


def _batches(parts: StageParts) -> Any:
    """Yield the first batches of the run from its loader."""
    parts.data.trainer = None
    made = 0
    while True:
        batch: ClipBatch
        for batch in parts.data.train_dataloader():
            yield batch
            made += 1
            if made == STEPS:
                return


class _Clock(Callback):
    """Record the end of each step: wall-clock time on a GPU, processor time on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def tick(self, device: torch.device) -> None:
        """Record the end of a step."""
        if device.type == "cuda":
            torch.cuda.synchronize()
            self.times.append(time.perf_counter())
        else:
            self.times.append(time.process_time())

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """A step lasts from its start to the next one's: all that the loop does is in between."""
        self.tick(pl_module.device)

    def durations(self) -> list[float]:
        """Return the seconds of the steps after the warm-up."""
        ends = self.times[WARMUP:]
        return [after - before for before, after in itertools.pairwise(ends)]
