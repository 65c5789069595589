"""The setting `run.compile`: torch.compile of a network, in place."""

from __future__ import annotations

import os
import shutil

import torch
from torch import nn

from experiments.config.run import RunSettings
from experiments.errors import SettingsError

#: Compilers that torch.compile tries on the CPU if CXX is not set.
_COMPILERS = ("g++", "clang++", "c++")


def compile_network(network: nn.Module, run: RunSettings) -> None:
    """Compile `network` at its first call if `run.compile` is true.

    Only the call is replaced: parameters, their names and checkpoints do not change. Inputs of a
    new shape (progressive resolution, the last validation batch) are compiled again.

    Raises:
        SettingsError: There is no C++ compiler, which PyTorch needs on the CPU.
    """
    if not run.compile:
        return
    on_gpu = run.accelerator != "cpu" and torch.cuda.is_available()
    named = os.environ.get("CXX", "")
    found = [name for name in (named, *_COMPILERS) if name and shutil.which(name)]
    if not on_gpu and not found:
        raise SettingsError(
            "run.compile is true, but no C++ compiler is on the PATH, which PyTorch needs to "
            "compile for the CPU: install g++, or set run.compile=false."
        )
    network.compile()
