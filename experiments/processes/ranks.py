"""How many processes (ranks) work together, which one this is, and how they start and end."""

from __future__ import annotations

import os
from dataclasses import dataclass

from experiments.config.run import RunSettings
from experiments.errors import SettingsError

#: How to continue a training that was stopped.
RESUME = "give the same command with resume=auto to continue from its last checkpoint"
#: How to continue other shared work that was stopped.
KEPT = "give the same command again to continue; finished work is kept"


@dataclass(frozen=True)
class Ranks:
    """The processes that take part in a run."""

    devices: int  # processes on each machine
    nodes: int  # machines
    started: bool  # whether torchrun, SLURM or `launch` has started this process as one of them

    @property
    def world_size(self) -> int:
        """Number of processes on all machines."""
        return self.devices * self.nodes


SINGLE_PROCESS = Ranks(1, 1, started=False)


def find_ranks(run: RunSettings) -> Ranks:
    """Return the processes of torchrun, SLURM or `launch`, or else those in the settings."""
    environment = os.environ
    if "LOCAL_RANK" in environment and "WORLD_SIZE" in environment:
        world_size = int(environment["WORLD_SIZE"])
        local = int(environment.get("LOCAL_WORLD_SIZE", run.devices or world_size))
        return Ranks(local, world_size // local, started=True)
    if "SLURM_NTASKS" in environment and "SLURM_PROCID" in environment:
        nodes = int(environment.get("SLURM_NNODES", "1"))
        return Ranks(int(environment["SLURM_NTASKS"]) // nodes, nodes, started=True)
    devices = run.devices
    if not devices and run.accelerator != "cpu":
        import torch

        devices = torch.cuda.device_count()
    return Ranks(max(1, devices), run.nodes, started=False)


def is_main_rank() -> bool:
    """Return whether this process writes the results: rank 0, or the only process."""
    names = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
    return all(int(os.environ.get(name, "0")) == 0 for name in names)


def start_ranks(run: RunSettings, again: str) -> int | None:
    """Run this same command in several processes if the settings request several.

    Returns:
        The exit status of the whole command, or None if this process should do the work: as the
        only one, or as one that torchrun, SLURM or this function has started.

    Raises:
        SettingsError: Several machines are requested, whose processes cannot be started from here.
    """
    ranks = find_ranks(run)
    if ranks.started or ranks.world_size == 1:
        return None
    if ranks.nodes > 1:
        raise SettingsError(
            f"run.nodes={ranks.nodes} needs this command started on each machine by torchrun or "
            "SLURM; experiments/README.md has both command lines."
        )
    from experiments.processes.launch import launch

    return launch(ranks.devices, again)
