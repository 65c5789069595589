"""Settings of a run: hardware, intervals of logging and checkpoints, Weights & Biases."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from datamodules.options.checks import check_range


@dataclass
class RunSettings:
    """How a training runs. Only `precision` and `compile` affect the result, by rounding."""

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Hardware; auto uses the GPUs if there are any."""
    devices: int = 0
    """Processes on this machine, one per GPU (or as many on the CPU); 0 uses every GPU, or one
    process on the CPU."""
    nodes: int = 1
    """Number of machines; if more than one, start the command on each with torchrun or SLURM."""
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    """Floating-point precision; 32 is exactly reproducible on the CPU."""
    compile: bool = False
    """Compile the trained network with torch.compile: faster on GPUs, mostly with bf16-mixed. On
    the CPU it needs a C++ compiler and a minute or more. Rounding differs."""
    threads: int = 0
    """CPU threads of each process; 0 is PyTorch's default."""
    export: Literal["best", "last"] = "best"
    """Weights that are exported at the end: of the best validation, or the last; their moving
    average if there is one."""
    log_every: int = 50
    """Steps between two lines of training metrics."""
    validate_every: int = 0
    """Steps between two validations; 0 validates four times per run."""
    validation_batches: int = 0
    """Batches per validation in each process; 0 uses all."""
    checkpoint_every: int = 0
    """Steps between two writes of checkpoints/last.ckpt; 0 writes twenty times per run. An
    interrupted run loses at most this many steps and recomputes them bit by bit on resume."""
    keep_every: int = 0
    """Steps between two checkpoints that are kept under their own names (0: none)."""
    samples: int = 4
    """Validation clips that are written as videos with sound (0: none)."""
    samples_every: int = 0
    """Steps between two writes of sample videos, at a validation; 0 writes them at the end only."""
    on_nan: Literal["stop", "skip"] = "stop"
    """If a loss or gradient is not finite: stop (the clips' ids are in the run's
    `nonfinite.json`), or skip the step, count it and continue."""
    explode_factor: float = 0.0
    """Also stop or skip if a loss exceeds this multiple of its running mean (0: never)."""
    wandb: Literal["auto", "online", "offline", "off"] = "auto"
    """Weights & Biases: auto logs online if this machine is logged in (`wandb login` or
    WANDB_API_KEY), otherwise offline, for a later `wandb sync`."""
    project: str = "dabfusion"
    """Weights & Biases project."""
    name: str = ""
    """Name of the run at Weights & Biases; empty uses the name of the run folder."""
    group: str = ""
    """Group of the run at Weights & Biases, for repetitions and sweeps."""
    rank_timeout_s: float = 600.0
    """Seconds after which the processes of a run stop waiting for one that does not respond. A
    process that exits is noticed at once. Must be longer than writing samples takes."""

    def __post_init__(self) -> None:
        check_range(self, 0, math.inf, "devices", "threads", "validate_every", "validation_batches")
        check_range(self, 0, math.inf, "checkpoint_every", "keep_every", "samples", "samples_every")
        check_range(self, 1, math.inf, "nodes", "log_every")
        if self.explode_factor != 0.0 and self.explode_factor <= 1.0:
            raise ValueError(
                f"explode_factor is {self.explode_factor:g}, but must be above 1 (a multiple of "
                "the mean loss), or 0 for never."
            )
        if self.rank_timeout_s < 5.0:
            raise ValueError(
                f"rank_timeout_s is {self.rank_timeout_s:g}, but must be at least 5, because "
                "starting the processes takes some seconds."
            )
