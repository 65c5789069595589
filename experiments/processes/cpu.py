"""How arithmetic uses the CPU of this process: its threads, and memory that it keeps."""

from __future__ import annotations

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def set_up_processor(threads: int = 0) -> None:
    """Prepare for training or sampling on the CPU; results stay the same bit by bit.

    Args:
        threads: For arithmetic; 0 leaves them as PyTorch likes.
    """
    import torch

    if threads:
        torch.set_num_threads(threads)
    if not torch.cuda.is_available():
        keep_freed_memory()


def keep_freed_memory() -> bool:
    """Have the C library reuse large blocks instead of giving each back to the system.

    PyTorch allocates the output of every operation anew. glibc maps each block above 32 MB from the
    system and unmaps it when it is freed, and the system clears its pages at the next use. That
    slows networks of the published size, whose blocks are that large, and not the quickstart's. The
    peak of memory grows a little, because freed blocks are not always fit for the next one.

    Returns:
        Whether the C library is glibc and took the settings.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(_M_MMAP_MAX, 0) and library.mallopt(_M_TRIM_THRESHOLD, _NEVER))
