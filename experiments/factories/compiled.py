"""`run.compile`: networks translated to fused kernels, in place."""

from __future__ import annotations

import os
import shutil

import torch
from torch import nn

from experiments.config.run import RunSettings
from experiments.errors import SettingsError

#: What torch.compile tries on the CPU where CXX does not name a compiler.
_COMPILERS = ("g++", "clang++", "c++")


def compile_network(network: nn.Module, run: RunSettings) -> None:
    """Have `network` compiled at its first call, if `run.compile` asks for it.

    Parameters, their names and checkpoints stay as they are: only the call is replaced. Shapes that
    change (progressive resolution, the last batch of a validation) are compiled anew.

    Raises:
        SettingsError: there is no C++ compiler, which the CPU's kernels need.
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
