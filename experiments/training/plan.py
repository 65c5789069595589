"""What a training would do and cost, before it is started: `dabfusion train --dry-run`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from datamodules.index import read_index
from experiments.config.load import Settings
from experiments.processes.ranks import ALONE, find_ranks
from experiments.training.cadence import (
    check_prepared_size,
    stage_batch,
    stage_steps,
    validation_interval,
)
from experiments.training.resume import decide_start


@dataclass(frozen=True)
class Sizes:
    """Bytes that follow from the networks alone."""

    trained: int
    """Parameters that learn."""
    frozen: int
    """Parameters that do not."""

    @property
    def checkpoint(self) -> int:
        """Bytes of a checkpoint: weights, two moments of Adam, moving average, in float32."""
        return 4 * (4 * self.trained + self.frozen)

    @property
    def resident(self) -> int:
        """Bytes in memory before any activation: as a checkpoint, and the gradient."""
        return self.checkpoint + 4 * self.trained


def print_plan(settings: Settings, stage: str, probe: bool) -> None:
    """Print steps, memory, disk and, with a probe, time.

    Args:
        settings: Resolved.
        stage: `autoencoder` or `diffusion`.
        probe: Run some steps to measure time and memory.
    """
    ranks, steps = find_ranks(settings.run), stage_steps(settings, stage)
    start = decide_start(settings, stage, steps)
    batch_size = stage_batch(settings, stage, ranks.world)
    check_prepared_size(settings, read_index(Path(settings.data)).settings.size)
    sizes = count_parameters(_networks(settings, stage))
    keep = settings.run.keep_every
    kept = steps // keep if keep else 0
    exchanged = f"{_bytes(4 * sizes.trained)} exchanged a step" if ranks.world > 1 else "alone"
    rows = [
        ("stage", f"{stage}, preset {settings.preset or '(defaults)'}, seed {settings.seed}"),
        ("run folder", f"{start.folder.path} ({_beginning(start.step, start.finished)})"),
        ("steps", f"{steps - start.step} of {steps}, {batch_size} clips each"),
        ("processes", f"{ranks.devices} on each of {ranks.nodes} machine(s), {exchanged}"),
        ("validation", f"every {validation_interval(settings, steps)} steps"),
        ("parameters", f"{sizes.trained:,} learn, {sizes.frozen:,} do not"),
        ("memory", f"{_bytes(sizes.resident)} a process before activations"),
        ("disk", f"{_bytes(sizes.checkpoint * (2 + kept))} for {2 + kept} checkpoints"),
    ]
    if probe:
        from experiments.training.probe import time_training

        found = time_training(settings, stage, ranks)
        left = found.seconds * (steps - start.step)
        rows += [
            ("cached first", found.to_cache),
            ("peak memory", f"{_bytes(found.peak_bytes)} in the timing probe"),
            ("time", f"{1000 * found.seconds:.1f} ms a step, {_duration(left)} without validation"),
        ]
    for name, text in rows:
        print(f"{name:14}{text}")


def count_parameters(module: nn.Module) -> Sizes:
    """Parameters of a stage, by whether they learn."""
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in module.parameters() if not p.requires_grad)
    return Sizes(trained, frozen)


def _networks(settings: Settings, stage: str) -> nn.Module:
    """The networks of a stage's checkpoints, without Lightning, which takes seconds to load."""
    if stage == "autoencoder":
        from experiments.factories.stage1 import build_autoencoder

        return build_autoencoder(settings.stage1)
    if stage == "diffusion":
        from experiments.factories.stage2_networks import build_conditioner, build_denoiser
        from lightning_modules.checkpoints import load_autoencoder

        channels = load_autoencoder(Path(settings.autoencoder)).channels_latent
        return nn.ModuleList([build_denoiser(settings, channels), build_conditioner(settings)])
    from experiments.training.stages import build_parts

    return build_parts(settings, stage, ALONE).module


def _beginning(step: int, finished: bool) -> str:
    if finished:
        return "already finished"
    return f"goes on at step {step}" if step else "new"


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return (
        f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else "under a minute"
    )
