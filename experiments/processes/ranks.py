"""One process a device on this machine, watched so that the death of one ends the run at once."""

from __future__ import annotations

import atexit
import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import IO

from experiments.config.run import RunSettings
from experiments.errors import FAULT, INTERRUPTED, USER_ERROR, RankLost, SettingsError

#: Seconds that the other ranks have to notice by themselves that one is gone.
GRACE_S = 10.0
_PR_SET_PDEATHSIG = 1
#: What gloo and NCCL say of a process that does not answer.
_LOST = re.compile(r"gloo|NCCL|Connection (closed|reset|refused)|[Tt]imed out|Broken pipe")
#: How a training that was ended is taken up again.
RESUME = "give the same command with resume=auto to go on from its last checkpoint"
#: How shared work that was ended is taken up again.
KEPT = "give the same command again to go on; what is done is kept"


@dataclass(frozen=True)
class Ranks:
    """How many processes take part in a run."""

    devices: int
    """Processes on each machine."""
    nodes: int
    """Machines."""
    started: bool
    """Whether this process is one of them (of torchrun, SLURM or `launch`)."""

    @property
    def world(self) -> int:
        """All processes."""
        return self.devices * self.nodes


#: One process, started by nobody in particular.
ALONE = Ranks(1, 1, started=False)


def find_ranks(run: RunSettings) -> Ranks:
    """What torchrun, SLURM or `launch` have started, or else what the settings ask for."""
    environment = os.environ
    if "LOCAL_RANK" in environment and "WORLD_SIZE" in environment:
        world = int(environment["WORLD_SIZE"])
        local = int(environment.get("LOCAL_WORLD_SIZE", run.devices or world))
        return Ranks(local, world // local, started=True)
    if "SLURM_NTASKS" in environment and "SLURM_PROCID" in environment:
        nodes = int(environment.get("SLURM_NNODES", "1"))
        return Ranks(int(environment["SLURM_NTASKS"]) // nodes, nodes, started=True)
    return Ranks(run.devices or _available_devices(run), run.nodes, False)


def is_main_rank() -> bool:
    """Whether this process writes the run folder: rank 0, or the only one."""
    names = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
    return all(int(os.environ.get(name, "0")) == 0 for name in names)


def rank_lost(
    error: RuntimeError, rank: int, world: int, place: str, again: str
) -> RankLost | None:
    """The error that another process's death is, if this one comes of it.

    Args:
        error: What was raised.
        rank: Of this process.
        world: All processes.
        place: Where this one was, such as "at step 3".
        again: How to go on.
    """
    if world == 1 or not _LOST.search(str(error)):
        return None
    return RankLost(f"Rank {rank} stopped {place}, because another one is gone or silent; {again}.")


def leave_ranks_at_exit() -> None:
    """Have this process leave its group before the interpreter is taken down.

    PyTorch asks for it, and Lightning does so for NCCL alone: gloo's threads must not outlive what
    they work on.
    """
    atexit.register(_leave_ranks)


def _leave_ranks() -> None:
    import torch.distributed

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def start_ranks(run: RunSettings, again: str) -> int | None:
    """Run this same command in several processes, if the settings ask for several.

    Args:
        run: How many, on how many machines.
        again: How to go on after a process has died.

    Returns:
        The exit status of the whole, or None where this process is to do the work: as the only one,
        or as one that torchrun, SLURM or this function has started.

    Raises:
        SettingsError: If other machines are to take part, whose processes only they can start.
    """
    ranks = find_ranks(run)
    if ranks.started:
        return None
    if ranks.nodes > 1:
        raise SettingsError(
            f"run.nodes={ranks.nodes} needs this command started on each of them by torchrun or "
            "SLURM; experiments/README.md has both command lines."
        )
    return launch(ranks.devices, again) if ranks.world > 1 else None


def launch(devices: int, again: str = RESUME) -> int:
    """Run this same command once for each device, and return the exit status of the whole.

    Rank 0 speaks for all; of the others only the words of one that failed first are shown.

    Args:
        devices: Processes to start.
        again: How to go on after one has died.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    # Files, not pipes: nobody reads them while the ranks run.
    outputs = [tempfile.TemporaryFile("w+") for _ in range(devices)]  # noqa: SIM115
    processes = [_start(rank, devices, port, outputs[rank]) for rank in range(devices)]
    previous = signal.signal(signal.SIGTERM, lambda *_: _send(processes, signal.SIGTERM))
    try:
        first = _wait(processes)
        if first is None:
            return max(process.returncode for process in processes)
        status = processes[first].returncode
        if first and status == processes[0].returncode and status in (USER_ERROR, INTERRUPTED):
            return status  # rank 0 has said the same itself
        return _explain(first, status, outputs[first], again)
    except KeyboardInterrupt:  # the terminal has sent it to every rank, too
        _end(processes, grace_s=60.0)
        return INTERRUPTED
    finally:
        _end(processes, grace_s=0.0)
        signal.signal(signal.SIGTERM, previous)
        for output in outputs:
            output.close()


def _start(rank: int, devices: int, port: int, output: IO[str]) -> subprocess.Popen[str]:
    environment = os.environ | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(devices),
        "LOCAL_WORLD_SIZE": str(devices),
        "NODE_RANK": "0",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
    }
    words = [sys.executable, "-m", "experiments.cli", *sys.argv[1:]]
    quiet = None if rank == 0 else output
    return subprocess.Popen(
        words, env=environment, stdout=quiet, stderr=quiet, text=True, preexec_fn=_end_with_parent
    )


def _end_with_parent() -> None:
    """Have Linux send SIGTERM to a rank whose launcher is gone, so that none goes on unwatched."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait(processes: list[subprocess.Popen[str]]) -> int | None:
    """The first rank that failed, once every rank has ended; None if none failed."""
    while True:
        statuses = [process.poll() for process in processes]
        failed = [rank for rank, status in enumerate(statuses) if status]
        if failed:
            # A rank killed from outside comes before those that fail for want of it.
            killed = [rank for rank in failed if (statuses[rank] or 0) < 0]
            _end(processes, grace_s=GRACE_S)
            return (killed or failed)[0]
        if all(status == 0 for status in statuses):
            return None
        time.sleep(0.2)


def _explain(rank: int, status: int, output: IO[str], again: str) -> int:
    output.seek(0)
    said = output.read().strip().splitlines()
    if status in (USER_ERROR, INTERRUPTED):
        if said:
            print(said[-1], file=sys.stderr)
        return status
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        how = f"was ended by {name}"
    else:
        how = f"ended with status {status}" + (f" ({said[-1]})" if said else "")
    print(
        f"The run was stopped because rank {rank} {how}; {again}.",
        file=sys.stderr,
    )
    return FAULT


def _send(processes: list[subprocess.Popen[str]], number: int) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)


def _end(processes: list[subprocess.Popen[str]], grace_s: float) -> None:
    until = time.monotonic() + grace_s
    for number, patience in ((None, 0.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        if number is not None:
            _send(processes, number)
            until = time.monotonic() + patience
        while time.monotonic() < until and any(p.poll() is None for p in processes):
            time.sleep(0.1)
        if all(process.poll() is not None for process in processes):
            return


def _available_devices(run: RunSettings) -> int:
    if run.accelerator == "cpu":
        return 1
    import torch

    return max(1, torch.cuda.device_count())
