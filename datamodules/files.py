"""Files that are there whole or not at all: written under a temporary name, then renamed."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import safetensors.torch
from torch import Tensor

PARTIAL = ".partial"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically; any number of processes may write the same one.

    Raises:
        OSError: no space, no permission; nothing half is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}{PARTIAL}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def write_text(path: Path, content: str) -> None:
    """`write_bytes` of UTF-8 text."""
    write_bytes(path, content.encode())


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file atomically, tensors in the order of their names."""
    ordered = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    write_bytes(path, safetensors.torch.save(ordered))


def remove_partial(folder: Path) -> None:
    """Delete what a killed process left half-written in `folder`."""
    if folder.is_dir():
        for entry in os.scandir(folder):
            if entry.name.startswith(".") and entry.name.endswith(PARTIAL):
                with suppress(FileNotFoundError):
                    os.unlink(entry.path)


def is_no_space(error: BaseException) -> bool:
    """Whether an error, FFmpeg's included, says that the disk or the quota is full."""
    return getattr(error, "errno", None) in _NO_SPACE
