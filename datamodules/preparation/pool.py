"""Worker processes that survive a decoder's crash.

A damaged video can crash the process that decodes it, or block it forever. Videos are submitted a
few at a time; when a process dies, those that were submitted are tried again one by one, and the
one that crashes again is quarantined.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import Any

from datamodules.files import write_bytes
from datamodules.preparation.video_task import VideoTask, fingerprint, prepare_video, record_path

Record = dict[str, Any]
_PATIENCE_S = 1800.0  # no video of a minute takes this long, on any machine


def run_all(
    tasks: Sequence[VideoTask],
    workers: int,
    advance: Callable[[int], None],
    meanwhile: Callable[[], None] | None = None,
    finished: Callable[[Record], None] | None = None,
) -> list[Record]:
    """Prepare all videos; records in the order of completion.

    Args:
        tasks: The videos.
        workers: Processes; 1 works in this process, where a crash ends everything.
        advance: Called after each video with the number of videos done.
        meanwhile: Run in this process while the workers are busy.
        finished: Called in this process with the record of each video that did not crash.

    Raises:
        OSError: The disk is full.
    """
    if workers <= 1 or len(tasks) <= 1:
        records = []
        for task in tasks:
            records.append(prepare_video(task))
            advance(len(records))
        return records
    records = []
    waiting = list(reversed(tasks))
    while waiting:
        suspects = _run_pool(
            waiting, min(workers, len(tasks)), records, advance, meanwhile, finished
        )
        meanwhile = None
        _run_alone(suspects, records, advance)
    lost = len(tasks) - len(records)
    if lost:
        raise RuntimeError(f"{lost} of {len(tasks)} videos have no record after preparation.")
    return records


def _run_pool(
    waiting: list[VideoTask],
    workers: int,
    records: list[Record],
    advance: Callable[[int], None],
    meanwhile: Callable[[], None] | None,
    finished: Callable[[Record], None] | None,
) -> list[VideoTask]:
    """Process `waiting` from its end; return the videos that were submitted when a process died."""
    pool = _pool(workers)
    running: dict[Future[Record], VideoTask] = {}
    try:
        while waiting or running:
            while waiting and len(running) < 3 * workers:
                # Removed once it is handed over: `submit` raises where a process has just died.
                running[pool.submit(prepare_video, waiting[-1])] = waiting[-1]
                waiting.pop()
            if meanwhile is not None:
                meanwhile()
                meanwhile = None
            ready, _ = wait(running, timeout=_PATIENCE_S, return_when=FIRST_COMPLETED)
            if not ready:
                return list(running.values())
            for future in ready:
                record = future.result()
                del running[future]
                records.append(record)
                advance(len(records))
                if finished is not None:
                    finished(record)
        return []
    except BrokenProcessPool:
        return list(running.values())
    finally:
        _end(pool)


def _run_alone(
    suspects: Sequence[VideoTask], records: list[Record], advance: Callable[[int], None]
) -> None:
    """Process one video after the other in a separate process, replaced when it dies or hangs;
    the video that it was processing is quarantined."""
    pool = None
    try:
        for task in suspects:
            began = time.monotonic()
            pool, future = _submitted(pool, task)
            try:
                record = future.result(timeout=_PATIENCE_S)
            except (BrokenProcessPool, TimeoutError) as error:
                _end(pool)
                pool = None
                hung = isinstance(error, TimeoutError)
                what = f"was not decoded in {time.monotonic() - began:.0f} s"
                reason = f"{task.source} {what if hung else 'crashes the decoder'}."
                record = {"name": task.name, "fingerprint": fingerprint(task), "reason": reason}
                content = json.dumps(record, sort_keys=True, indent=1) + "\n"
                write_bytes(record_path(task.out, task.name), content.encode())
            records.append(record)
            advance(len(records))
    finally:
        if pool is not None:
            _end(pool)


def _submitted(
    pool: ProcessPoolExecutor | None, task: VideoTask
) -> tuple[ProcessPoolExecutor, Future[Record]]:
    """Hand a video to a process that is alive: one that died idle is not the video's fault."""
    if pool is not None:
        try:
            return pool, pool.submit(prepare_video, task)
        except BrokenProcessPool:
            _end(pool)
    pool = _pool(1)
    return pool, pool.submit(prepare_video, task)


def _pool(workers: int) -> ProcessPoolExecutor:
    # A clean server process forks the workers: they inherit neither threads nor open readers.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["datamodules.preparation.video_task"])
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _end(pool: ProcessPoolExecutor) -> None:
    """Stop the workers, those that hang included."""
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.join(timeout=5.0)
        if process.is_alive():
            process.kill()
