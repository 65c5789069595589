"""Settings of a run as such: hardware, cadence of logging and checkpoints, Weights & Biases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass
class RunSettings:
    """How a training runs; none of these changes what is learnt, but `precision` and
    `compile` by rounding."""

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to compute; auto takes the GPUs if there are any."""
    devices: int = 0
    """Processes on this machine, one a GPU (or, on the CPU, so many processes); 0 means every GPU,
    or one process on the CPU."""
    nodes: int = 1
    """Machines that take part; more than one is started by torchrun or SLURM on each of them."""
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    """Arithmetic of the networks; 32 is exactly reproducible on the CPU."""
    compile: bool = False
    """Compile the network that learns with torch.compile. Pays on GPUs, most with bf16-mixed; on
    the CPU it needs a C++ compiler and a minute or more, so it is off. Rounds differently."""
    threads: int = 0
    """Threads of each process for arithmetic on the CPU; 0 leaves it to PyTorch."""
    export: Literal["best", "last"] = "best"
    """Which weights are exported at the end: those of the best validation, or the last; the moving
    average of them where one is kept."""
    log_every: int = 50
    """Steps between two lines of training metrics."""
    validate_every: int = 0
    """Steps between two validations; 0 means four validations a run."""
    validation_batches: int = 0
    """Batches of a validation in each process; 0 means all."""
    checkpoint_every: int = 0
    """Steps between two writings of checkpoints/last.ckpt; 0 means twenty a run. What a kill
    loses is at most this, and is computed again bit by bit."""
    keep_every: int = 0
    """Steps between two checkpoints that are kept under their own names; 0 keeps none."""
    samples: int = 4
    """Validation clips that are shown as videos with sound; 0 for none."""
    samples_every: int = 0
    """Steps between two showings, at a validation; 0 means only at the end of the run."""
    on_nan: Literal["stop", "skip"] = "stop"
    """What to do when a loss or a gradient is not finite: stop with the clips' ids in the run's
    `nonfinite.json`, or leave the step out, count it and go on."""
    explode_factor: float = 0.0
    """Stop, or skip, also when a loss exceeds this many times its running mean; 0 never."""
    wandb: Literal["auto", "online", "offline", "off"] = "auto"
    """Weights & Biases: auto logs online where this machine is logged in (`wandb login` or
    WANDB_API_KEY), and else offline, for `wandb sync` later."""
    project: str = "dabfusion"
    """The project's name at Weights & Biases."""
    name: str = ""
    """The run's name at Weights & Biases; empty takes the run folder's."""
    group: str = ""
    """Weights & Biases' group of this run, for repetitions and sweeps."""
    rank_timeout_s: float = 600.0
    """Seconds after which the processes of a run give up on one that does not answer. A process
    that dies is noticed at once; this is for one that hangs, and longer than drawing samples."""

    def __post_init__(self) -> None:
        for name in ("devices", "threads", "validate_every", "validation_batches"):
            _at_least(self, name, 0)
        for name in ("checkpoint_every", "keep_every", "samples", "samples_every"):
            _at_least(self, name, 0)
        for name in ("nodes", "log_every"):
            _at_least(self, name, 1)
        if self.explode_factor != 0.0 and self.explode_factor <= 1.0:
            raise ValueError(
                f"run.explode_factor is {self.explode_factor:g}, but a loss explodes at a multiple "
                "of its mean: give a number above 1, or 0 for never."
            )
        if self.rank_timeout_s < 5.0:
            raise ValueError(
                f"run.rank_timeout_s is {self.rank_timeout_s:g}, but starting the processes alone "
                "takes some seconds: give at least 5."
            )


def _at_least(settings: RunSettings, name: str, least: int) -> None:
    value = getattr(settings, name)
    if value < least:
        raise ValueError(f"run.{name} is {value}, but must be at least {least}.")
