"""Start this command once per device, and stop all processes when one of them fails.

This is not torchrun's elastic agent, which cannot stop a training between two steps: it signals
the process group of each rank, data loader's workers included; when one rank ends it terminates the
others even if they are writing a checkpoint; and its ranks outlive a killed agent.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from typing import IO

from experiments.errors import FAULT, INTERRUPTED, USER_ERROR

#: Seconds for the other ranks to notice by themselves that one is gone.
GRACE_S = 10.0
#: Seconds after Ctrl-C, which the terminal sends to every rank.
INTERRUPT_GRACE_S = 60.0
_PR_SET_PDEATHSIG = 1

Processes = list[subprocess.Popen[str]]


def launch(devices: int, again: str) -> int:
    """Run this same command once per device and return the exit status of the whole.

    The terminal shows the output of rank 0, and the last line of another rank that failed first,
    with the sentence `again` on how to continue.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with ExitStack() as stack:
        # Files, not pipes, because nobody reads them while the ranks run.
        outputs = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(devices)]
        processes = [
            _start(rank, devices, port, output if rank else None)
            for rank, output in enumerate(outputs)
        ]
        stack.callback(_end, processes, grace_s=0.0)
        previous = signal.signal(signal.SIGTERM, lambda *_: _send(processes, signal.SIGTERM))
        stack.callback(signal.signal, signal.SIGTERM, previous)
        try:
            while not any(statuses := [process.poll() for process in processes]):
                if None not in statuses:
                    return 0
                time.sleep(0.2)
            _end(processes, grace_s=GRACE_S)
        except KeyboardInterrupt:
            _end(processes, grace_s=INTERRUPT_GRACE_S)
            return INTERRUPTED
        # A rank killed from outside is the cause; others fail because it is missing.
        failed = {rank: status for rank, status in enumerate(statuses) if status}
        killed = [rank for rank, status in failed.items() if status < 0]
        first = (killed or list(failed))[0]
        status = failed[first]
        if status == processes[0].returncode and status in (USER_ERROR, INTERRUPTED):
            return status  # rank 0 has printed the reason
        outputs[first].seek(0)
        return _explain(first, status, outputs[first].read(), again)


def _start(rank: int, devices: int, port: int, output: IO[str] | None) -> subprocess.Popen[str]:
    """Start one rank with the environment variables that torchrun would set."""
    variables = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "WORLD_SIZE": devices,
        "LOCAL_WORLD_SIZE": devices,
        "NODE_RANK": 0,
        "RANK": rank,
        "LOCAL_RANK": rank,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.cli", *sys.argv[1:]],
        env=os.environ | {name: str(value) for name, value in variables.items()},
        stdout=output,
        stderr=output,
        text=True,
        preexec_fn=_end_with_parent,
    )


def _end_with_parent() -> None:
    """Make Linux send SIGTERM to this rank when its launcher dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _explain(rank: int, status: int, output: str, again: str) -> int:
    """Print why the run was stopped, and return its exit status."""
    last = (output.strip().splitlines() or [""])[-1]
    if status in (USER_ERROR, INTERRUPTED):
        if last:
            print(last, file=sys.stderr)
        return status
    how = f"ended with status {status}" + (f" ({last})" if last else "")
    if status < 0:
        names = {int(number): number.name for number in signal.Signals}
        how = f"was ended by {names.get(-status, f'signal {-status}')}"
    print(f"The run was stopped because rank {rank} {how}; {again}.", file=sys.stderr)
    return FAULT


def _send(processes: Processes, number: int) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)


def _end(processes: Processes, grace_s: float) -> None:
    """Wait for the ranks to end; after `grace_s` send SIGTERM, then SIGKILL."""
    for number, patience_s in ((0, grace_s), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        if number:
            _send(processes, number)
        until = time.monotonic() + patience_s
        while any(process.poll() is None for process in processes):
            if time.monotonic() >= until:
                break
            time.sleep(0.1)
