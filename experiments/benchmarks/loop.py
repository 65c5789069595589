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
from lightning.pytorch.callbacks import LambdaCallback

from datamodules.index import DatasetSettings
from datamodules.preparation.prepare import PrepareOptions, prepare
from experiments.benchmarks.harness import print_table, render_video
from experiments.config.load import Settings, settings_from_words
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
#: Videos that are rendered if no data is given: three to train on and one to validate on.
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
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = with_data(settings_from_words(["preset=quickstart", *args.settings]), folder)
        stages = ("autoencoder", "diffusion")
        numbers = {stage: _measure(settings, stage, folder) for stage in stages}
    print_table(numbers, "A training step")
    return numbers


def with_data(settings: Settings, folder: Path) -> Settings:
    """Return settings with a few rendered clips and an untrained stage 1 if they have none."""
    size, fps = settings.clips.size, settings.clips.fps
    data, autoencoder = settings.data, settings.autoencoder
    if not data:
        data = str(folder / "prepared")
        for name in NAMES:
            render_video(folder / "videos" / f"{name}.mp4", size=size, fps=fps, seconds=8.0)
        prepare(folder / "videos", Path(data), PrepareOptions(DatasetSettings(fps=fps, size=size)))
    if not autoencoder:
        autoencoder = str(folder / "autoencoder")
        save_autoencoder(build_autoencoder(settings.stage1), autoencoder)
    return replace(settings, data=data, autoencoder=autoencoder)


def _measure(settings: Settings, stage: str, folder: Path) -> dict[str, float]:
    """Milliseconds of a bare step, and of one in the loop: medians of the rounds' means."""
    # As in a real run, except that no validation falls into the measured steps, and that stage 1
    # trains all networks from the first step on, not only the regions, which is faster.
    cadence = replace(settings.run, wandb="off", samples=0, validation_batches=1)
    cadence = replace(cadence, devices=1, nodes=1, validate_every=10 * STEPS)
    train = replace(settings.stage1.train, region_steps=0)
    settings = replace(settings, run=cadence, stage1=replace(settings.stage1, train=train))
    resolved = resolve_run(replace(settings, out=str(folder / f"run-{stage}")), stage)
    parts = build_parts(resolved, ensure_caches(resolved))
    rounds = [(_loop_step(resolved, parts), _bare_step(resolved, parts)) for _ in range(ROUNDS)]
    loop, bare = (1000.0 * statistics.median(times) for times in zip(*rounds, strict=True))
    return {"bare_ms": bare, "loop_ms": loop, "overhead_percent": 100.0 * (loop / bare - 1.0)}


def _loop_step(run: ResolvedRun, parts: StageParts) -> float:
    """Mean seconds of a step in Lightning's loop."""
    run.folder.last.parent.mkdir(parents=True, exist_ok=True)
    times: list[float] = []
    # A step lasts from its start to the next one's: all that the loop does is in between.
    clock = LambdaCallback(on_train_batch_start=lambda *_: times.append(_now()))
    with log_to(None):
        callbacks = [clock, *build_callbacks(run, parts, lambda done, total: None)]
        # The cadence of the real run is kept, over fewer steps.
        short, logger = replace(run, steps=STEPS), JsonlLogger(run.folder.metrics)
        trainer = build_trainer(short, parts, [logger], callbacks)
        trainer.fit(parts.module, datamodule=parts.data)
    return statistics.mean(b - a for a, b in itertools.pairwise(times[WARMUP:]))


def _bare_step(run: ResolvedRun, parts: StageParts) -> float:
    """Mean seconds of a step in a bare loop."""
    module: Any = parts.module
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    module.to(device).train()
    configured = module.configure_optimizers()
    module.trainer = parts.data.trainer = None  # without one, nothing is logged
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    live = list(averaged_tensors(module).values()) if parts.ema_decay else []
    average = [tensor.detach().clone() for tensor in live]
    epochs = (parts.data.train_dataloader() for _ in itertools.count())
    times = []
    for number, batch in enumerate(itertools.islice(itertools.chain.from_iterable(epochs), STEPS)):
        loss = module.training_step(batch.to(device), number)
        optimizer.zero_grad()
        loss.backward()
        if run.section.gradient_clip:
            torch.nn.utils.clip_grad_norm_(module.parameters(), run.section.gradient_clip)
        optimizer.step()
        schedule.step()
        if average:
            torch._foreach_lerp_(average, live, 1.0 - parts.ema_decay)
        times.append(_now())
    return statistics.mean(b - a for a, b in itertools.pairwise(times[WARMUP:]))


def _now() -> float:
    """Wall-clock seconds when a GPU's kernels have ended, or processor seconds on the CPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()
