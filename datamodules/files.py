"""Files that are there whole or not at all: written under a temporary name, then renamed."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import safetensors.torch
from torch import Tensor

PARTIAL = ".partial"

#: Endings of the video files that every command takes, in lower case.
VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".ts")
)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def replacing(path: Path, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path next to `path` to write to; it replaces `path` at the end.

    A kill leaves either the old file or the new one. Any number of processes may replace the same
    file. If the body raises, `path` is untouched and the temporary file is removed.

    Args:
        path: The file; its folder is made if missing.
        sync: Also survive a power failure: the bytes are on the disk before the name changes.

    Raises:
        OSError: No space or no permission; nothing is left half-written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays: some writers choose the format by it.
    temporary = path.with_name(f".{secrets.token_hex(6)}{PARTIAL}{path.suffix}")
    try:
        yield temporary
        if sync:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, sync: bool = False) -> None:
    """Write a file atomically; see `replacing`. Caches that can be made again need no `sync`."""
    with replacing(path, sync) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write a small UTF-8 text file atomically and durably; see `replacing`."""
    write_bytes(path, content.encode(), sync=True)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file atomically, tensors in the order of their names."""
    ordered = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    write_bytes(path, safetensors.torch.save(ordered))


def remove_partial(folder: Path) -> None:
    """Delete what a killed process left half-written in `folder`."""
    if folder.is_dir():
        for entry in os.scandir(folder):
            if entry.name.startswith(".") and PARTIAL in entry.name:
                with suppress(FileNotFoundError):
                    os.unlink(entry.path)


def is_no_space(error: BaseException) -> bool:
    """Whether an error, FFmpeg's included, says that the disk or the quota is full."""
    return getattr(error, "errno", None) in _NO_SPACE
