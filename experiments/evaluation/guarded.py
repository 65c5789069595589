"""Run functions that decode foreign files in a process of their own.

A damaged video can crash FFmpeg or make it hang. Neither may end a command that has a folder of
other videos to read::

    with GuardedProcess() as guarded:
        frames = guarded.call(read_video, path)     # raises DataError if the decoder dies or hangs
"""

from __future__ import annotations

import copy
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing import connection
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from datamodules.errors import DataError

#: Seconds after which a call counts as hung. Scoring a video of an hour takes less.
PATIENCE_S = 1800.0
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class GuardedProcess:
    """One process that runs functions for this one, and is replaced when it dies or hangs.

    It is started by the first call. Functions, arguments and results are pickled, so functions
    must be importable by name; return NumPy arrays rather than tensors.

    Args:
        patience_s: Seconds that a call may take.
        preload: Modules that the process imports once, before it is forked.
    """

    def __init__(self, patience_s: float = PATIENCE_S, preload: tuple[str, ...] = ()) -> None:
        self.patience_s = patience_s
        # Forked from a clean server process: no threads and no open readers are inherited.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__, *preload])
        self._process: Any = None
        self._pipe: Any = None

    def call(
        self,
        function: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Call a function in the other process and return its result.

        Raises:
            DataError: If the process dies or the call takes longer than `patience_s`.
            Exception: Whatever the function raises.
        """
        if self._process is None:
            self._start()
        self._pipe.send((function, args, kwargs))
        try:
            if not self._pipe.poll(self.patience_s):
                self.close()
                raise DataError(f"Decoding it did not end within {self.patience_s:g} s.")
            succeeded, value = self._pipe.recv()
        except (EOFError, ConnectionResetError) as error:
            self.close()
            raise DataError("Decoding it crashed the decoder.") from error
        if not succeeded:
            raise value
        return value

    def close(self) -> None:
        """Stop the process; the next call starts another one."""
        if self._process is not None:
            self._pipe.close()
            self._process.kill()
            self._process.join()
            self._process = None

    def __enter__(self) -> GuardedProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()  # so that the end of the process is an EOFError here


def _serve(pipe: Any) -> None:
    """Answer calls until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the parent
    threading.Thread(target=_follow_parent, daemon=True).start()
    while True:
        try:
            function, args, kwargs = pipe.recv()
        except EOFError:
            return
        try:
            answer: tuple[bool, Any] = True, function(*args, **kwargs)
            pipe.send(answer)
        except Exception as error:  # of the function, or because its result cannot be pickled
            try:
                copy.copy(error)  # rebuilds it as unpickling will
                pipe.send((False, error))
            except Exception:
                pipe.send((False, RuntimeError(f"{type(error).__name__}: {error}")))


def _follow_parent() -> None:
    """End this process when its parent has ended, even in the middle of a hanging call."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
