"""Run functions that decode foreign files in a process of their own.

A damaged video can crash FFmpeg or make it hang. Neither may end a command that has a folder of
other videos to read::

    with GuardedProcess() as guarded:
        frames = guarded.call(read_video, path)  # raises DataError if the decoder dies or hangs
        found = guarded.attempt(name, read_video, path)  # returns a Failure instead
"""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any, ParamSpec, TypeVar

from datamodules.errors import DataError

#: Seconds after which a call counts as hung. Scoring a video of an hour takes less.
PATIENCE_S = 1800.0
#: What decoding a damaged file may raise.
DECODING_ERRORS = (OSError, ValueError, RuntimeError, MemoryError)
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """A video that could not be used, and why."""

    name: str
    reason: str


class GuardedProcess:
    """One process that runs functions for this one, and is replaced when it dies or hangs.

    It is started by the first call. Functions, arguments and results are sent as plain pickles, so
    functions must be importable by name. (The pickles of `multiprocessing.Connection.send` keep a
    file descriptor open for every tensor.)

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
            self._pipe, theirs = self._context.Pipe()
            self._process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()  # so that the end of the process is an EOFError here
        content = pickle.dumps((function, args, kwargs))
        try:
            self._pipe.send_bytes(content)
            if not self._pipe.poll(self.patience_s):
                self.close()
                raise DataError(f"Decoding it did not end within {self.patience_s:g} s.")
            succeeded, value = self._pipe.recv()
        except (EOFError, ConnectionError) as error:
            self.close()
            raise DataError("Decoding it crashed the decoder.") from error
        if not succeeded:
            raise value
        return value

    def attempt(
        self, name: str, function: Callable[..., Result], *args: object
    ) -> Result | Failure:
        """Call a function; return a failure of `name` if a damaged file stops it."""
        try:
            return self.call(function, *args)
        except DECODING_ERRORS as error:
            return Failure(name, " ".join(str(error).split()) or type(error).__name__)

    def close(self) -> None:
        """Stop the process; the next call starts another one."""
        if self._process is not None:
            self._pipe.close()
            self._process.kill()
            self._process.join()
            self._process = None

    def __enter__(self) -> GuardedProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
            answer = pickle.dumps((True, function(*args, **kwargs)))
        except Exception as error:  # of the function, or because its result cannot be pickled
            try:
                copy.copy(error)  # rebuilds it as unpickling will
                answer = pickle.dumps((False, error))
            except Exception:
                answer = pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
        pipe.send_bytes(answer)


def _follow_parent() -> None:
    """End this process when its parent has ended, even in the middle of a hanging call."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
