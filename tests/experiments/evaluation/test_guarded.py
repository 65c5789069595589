"""Decoders that crash or hang end neither the command nor the videos after them."""

from __future__ import annotations

import os
import time
from operator import add

import pytest
import torch

from datamodules.errors import DataError
from experiments.evaluation.guarded import Failure, GuardedProcess


def test_results_and_errors_come_back() -> None:
    with GuardedProcess() as guarded:
        assert guarded.call(add, 1, 2) == 3
        with pytest.raises(FileNotFoundError, match="nowhere"):
            guarded.call(os.stat, "/nowhere")
        assert guarded.call(os.getpid) == guarded.call(os.getpid) != os.getpid()


def test_a_crash_is_an_error_and_the_next_call_works() -> None:
    with GuardedProcess() as guarded:
        with pytest.raises(DataError, match="crashed"):
            guarded.call(os.abort)
        assert guarded.call(add, 1, 2) == 3


def test_a_hang_is_an_error_and_the_next_call_works() -> None:
    with GuardedProcess(patience_s=1.0) as guarded:
        guarded.call(os.getpid)
        with pytest.raises(DataError, match="within 1 s"):
            guarded.call(time.sleep, 60)
        guarded.patience_s = 60.0
        assert guarded.call(add, 1, 2) == 3


def test_a_result_that_cannot_be_pickled_is_an_error() -> None:
    with GuardedProcess() as guarded:
        with pytest.raises(Exception, match="pickle"):
            guarded.call(eval, "lambda: 0")
        assert guarded.call(add, 1, 2) == 3


def test_tensors_keep_no_file_descriptor_open() -> None:
    with GuardedProcess() as guarded:
        guarded.call(os.getpid)
        before = len(os.listdir("/proc/self/fd"))
        kept = [guarded.call(torch.arange, count) for count in range(1, 9)]
        assert [len(tensor) for tensor in kept] == list(range(1, 9))
        assert len(os.listdir("/proc/self/fd")) == before


def test_an_attempt_turns_what_damage_raises_into_a_failure() -> None:
    with GuardedProcess() as guarded:
        assert guarded.attempt("sum", add, 1, 2) == 3
        missing = guarded.attempt("clip", os.stat, "/nowhere")
        assert isinstance(missing, Failure)
        assert missing.name == "clip"
        assert "/nowhere" in missing.reason
